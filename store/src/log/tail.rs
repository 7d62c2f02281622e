//! Finding the last lines of the log from its end, whatever its size.

use super::read::{BLOCK, Part, Reader};
use super::{Kind, LONGEST_HEAD, Line};
use crate::error::{Doing, Result};
use rustix::io::pread;

/// A walk over the lines of a log from the last to the first, until enough lines of output have begun.
///
/// A line of output ends with one line of the log, `F`, but may begin many before it, with those of the other stream
/// between them. So the walk goes on after the last line that is wanted, until each that it has met has begun.
struct Walk<'a> {
    wanted: u64,
    until: Option<&'a str>,
    /// For each stream: has it been met, is the beginning of a wanted line still to come, and how many lines that are
    /// not wanted end within the walk?
    met: [bool; 2],
    beginning: [bool; 2],
    skip: [u64; 2],
}

impl Walk<'_> {
    fn is_done(&self) -> bool {
        self.wanted == 0 && self.beginning == [false; 2]
    }

    /// Goes over one line. `false`: the walk ends after it, without it.
    fn step(&mut self, line: &Line) -> bool {
        if line.kind == Kind::Lost || self.until.is_some_and(|until| line.time > until.as_bytes()) {
            return true;
        }
        let stream = line.stream as usize;
        let ends = line.kind == Kind::Full || !self.met[stream];
        self.met[stream] = true;
        if !ends {
            return true;
        }
        self.beginning[stream] = false;
        if self.is_done() {
            return false;
        }
        if self.wanted > 0 {
            self.wanted -= 1;
            self.beginning[stream] = true;
        } else {
            self.skip[stream] += 1;
        }
        true
    }
}

impl Reader {
    /// Goes to the last `wanted` lines of output, of those that are not later than `until` (RFC 3339 in UTC to the
    /// nanosecond). What is read from there begins with lines that are not among them: so many of standard output, and
    /// so many of standard error.
    pub fn seek_tail(&mut self, wanted: u64, until: Option<&str>) -> Result<[u64; 2]> {
        let mut walk = Walk { wanted, until, met: [false; 2], beginning: [false; 2], skip: [0; 2] };
        for part in self.parts.iter_mut().rev() {
            part.place = start(part, &mut walk).doing(|| "reading the log from its end".into())?;
        }
        Ok(walk.skip)
    }
}

/// Walks over one file: where reading it is to begin. Where the walk has ended before, that is its end.
fn start(part: &Part, walk: &mut Walk) -> rustix::io::Result<u64> {
    let size = part.size()?;
    let mut block = vec![0; BLOCK + LONGEST_HEAD];
    // Where the line begins that was met last; none before the end of the last whole line was.
    let (mut high, mut next) = (size, None);
    while !walk.is_done() && high > 0 {
        let low = high.saturating_sub(BLOCK as u64);
        // The head of a line that begins in this block may go on in the next one.
        let most = usize::try_from(size - low).unwrap_or(block.len()).min(block.len());
        let held = pread(&part.file, &mut block[..most], low)?;
        let held = &block[..held];
        let within = usize::try_from(high - low).unwrap_or(BLOCK).min(held.len());
        for place in (0..=within).rev().filter(|place| begins_line(held, low, *place)) {
            let here = low + place as u64;
            if let Some(end) = next {
                let length = usize::try_from(end - here - 1).unwrap_or(LONGEST_HEAD).min(LONGEST_HEAD);
                let line = &held[place..held.len().min(place + length)];
                if Line::parse(line).is_some_and(|line| !walk.step(&line)) {
                    return Ok(end);
                }
            }
            next = Some(here);
        }
        high = low;
    }
    Ok(if walk.is_done() { size } else { 0 })
}

/// Does a line begin `place` bytes into a block that was read from `low` on?
fn begins_line(block: &[u8], low: u64, place: usize) -> bool {
    if place == 0 { low == 0 } else { block[place - 1] == b'\n' }
}

#[cfg(test)]
mod tests {
    use crate::log::tests::{Dir, Got, Random};
    use crate::log::{Kind, Limits, Line, Log, Reader, Stream};
    use std::fs;

    /// The lines of output, in the order of their ends so far, but for so many of each stream at the beginning.
    fn whole_lines(reader: &mut Reader, mut skip: [u64; 2]) -> Vec<(Stream, Vec<u8>)> {
        let (mut ended, mut begun, mut number) = (Vec::new(), [None, None], 0);
        let take = |line: &Line| {
            let stream = line.stream as usize;
            let whole = begun[stream].get_or_insert_with(|| (0, line.stream, Vec::new()));
            number += 1;
            whole.0 = number;
            whole.2.extend_from_slice(line.text);
            if line.kind == Kind::Full {
                ended.extend(begun[stream].take().filter(|_| skip[stream] == 0));
                skip[stream] = skip[stream].saturating_sub(1);
            }
            Ok(())
        };
        reader.read(take).unwrap();
        ended.extend(begun.into_iter().flatten().filter(|line| skip[line.1 as usize] == 0));
        ended.sort_by_key(|line| line.0);
        ended.into_iter().map(|(_, stream, text)| (stream, text)).collect()
    }

    #[test]
    fn the_last_lines_are_those_of_the_whole() {
        for seed in 1..6 {
            let (dir, mut random) = (Dir::new(&format!("tail{seed}")), Random(seed));
            let mut log = Log::open(&dir.0, Limits { size: [1 << 15, 1 << 20][random.below(2)], files: 60 });
            for _ in 0..120 {
                let most = [1, 8, 400, 20_000][random.below(4)];
                let length = random.below(most) + 1;
                let newline = [2, 30, 10_000][random.below(3)];
                log.append(random.stream(), &random.bytes(length, newline));
            }
            let all = whole_lines(&mut Reader::open(&dir.0).unwrap(), [0; 2]);
            for count in (1..12).chain([all.len() - 1, all.len(), all.len() + 1, usize::MAX]) {
                let mut reader = Reader::open(&dir.0).unwrap();
                let skip = reader.seek_tail(count as u64, None).unwrap();
                let tail = whole_lines(&mut reader, skip);
                assert_eq!(tail.len(), count.min(all.len()), "seed {seed}, {count} lines");
                assert!(tail == all[all.len() - tail.len()..], "seed {seed}, {count} lines");
            }
            let mut reader = Reader::open(&dir.0).unwrap();
            assert_eq!(reader.seek_tail(0, None).unwrap(), [0, 0]);
            reader.read(|_| panic!("nothing was wanted")).unwrap();
            log.append(Stream::Out, b"later\n");
            let mut got = Got::default();
            got.read(&mut reader);
            assert_eq!(got.output[0], b"later\n");
        }
    }

    #[test]
    fn the_last_lines_before_a_time() {
        let dir = Dir::new("until");
        let lines: Vec<String> =
            (10..60).map(|second| format!("2024-01-01T00:00:{second}.000000000Z stdout F {second}\n")).collect();
        fs::write(dir.file(0), lines.concat()).unwrap();
        let mut reader = Reader::open(&dir.0).unwrap();
        assert_eq!(reader.seek_tail(2, Some("2024-01-01T00:00:30.000000000Z")).unwrap(), [0, 0]);
        let mut got = Got::default();
        got.read(&mut reader);
        assert_eq!(got.lines()[..3], ["29", "30", "31"]);
    }
}
