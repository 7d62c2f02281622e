use super::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

const WIDE: Limits = Limits { size: 1 << 30, files: 3 };

/// A directory that is removed in the end.
pub(super) struct Dir(pub(super) PathBuf);

impl Dir {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crate-log-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn file(&self, number: u32) -> PathBuf {
        self.0.join(name(number))
    }

    /// The sizes of the files, which have consecutive numbers.
    fn sizes(&self) -> Vec<u64> {
        (0..).map_while(|number| Some(fs::metadata(self.file(number)).ok()?.len())).collect()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Numbers that look random and are the same in every run (xorshift).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    /// Bytes of every value, and newlines among them so often.
    pub(super) fn bytes(&mut self, length: usize, newline: usize) -> Vec<u8> {
        (0..length)
            .map(|_| if self.below(newline) == 0 { b'\n' } else { u8::try_from(self.below(256)).unwrap() })
            .collect()
    }

    pub(super) fn stream(&mut self) -> Stream {
        if self.below(2) == 0 { Stream::Out } else { Stream::Err }
    }
}

/// What a reader gets: the output of each stream, and the sentences about lost bytes.
#[derive(Default)]
pub(super) struct Got {
    pub(super) output: [Vec<u8>; 2],
    lost: Vec<String>,
}

impl Got {
    pub(super) fn read(&mut self, reader: &mut Reader) {
        let take = |line: &Line| {
            assert!(line.text.len() <= TEXT);
            let newline: &[u8] = if line.kind == Kind::Full { b"\n" } else { b"" };
            match line.kind {
                Kind::Lost => self.lost.push(String::from_utf8(line.text.to_vec()).unwrap()),
                _ => self.output[line.stream as usize].extend([line.text, newline].concat()),
            }
            Ok(())
        };
        reader.read(take).unwrap();
    }

    fn all(dir: &Dir) -> Self {
        let (mut got, mut reader) = (Self::default(), Reader::open(&dir.0).unwrap());
        got.read(&mut reader);
        assert_eq!(reader.malformed(), 0);
        got
    }

    pub(super) fn lines(&self) -> Vec<&str> {
        str::from_utf8(&self.output[0]).unwrap().lines().collect()
    }
}

/// Lines of one length, which rotation takes apart at places that are easy to say.
fn numbered(number: usize) -> String {
    format!("{number:09}")
}

fn write_numbered(log: &mut Log, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| log.append(Stream::Out, format!("{}\n", numbered(number)).as_bytes()));
}

#[test]
fn bytes_come_back() {
    let (dir, mut random) = (Dir::new("bytes"), Random(1));
    let (mut log, mut wrote) = (Log::open(&dir.0, WIDE), [vec![], vec![]]);
    let mut put = |stream: Stream, bytes: &[u8]| {
        log.append(stream, bytes);
        wrote[stream as usize].extend_from_slice(bytes);
    };
    for _ in 0..400 {
        let (length, newline) = (random.below(2000), [2, 40, 100_000][random.below(3)]);
        put(random.stream(), &random.bytes(length, newline));
    }
    for length in [TEXT - 1, TEXT, TEXT + 1, 2 * TEXT, 65535, 65536, 65537, 1_000_000] {
        let mut line = random.bytes(length, usize::MAX);
        line.retain(|byte| *byte != b'\n');
        line.resize(length, 0);
        put(Stream::Out, &line);
        put(Stream::Err, &line);
        put(Stream::Out, b"\n");
        line.push(b'\n');
        put(Stream::Err, &line);
    }
    put(Stream::Err, b"\n\n\n");
    put(Stream::Out, b"");
    put(Stream::Out, "half a character \u{20ac}".as_bytes().split_last().unwrap().1);
    let got = Got::all(&dir);
    assert!(got.output == wrote && got.lost.is_empty());
}

#[test]
fn lines_are_those_of_the_standard() {
    let dir = Dir::new("format");
    let mut log = Log::open(&dir.0, WIDE);
    log.append(Stream::Out, b"a b\n\nc");
    log.append(Stream::Err, b"d\n");
    drop(log);
    let text = fs::read_to_string(dir.file(0)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let times: Vec<&str> = lines.iter().map(|line| &line[..30]).collect();
    assert!(times.is_sorted() && times.iter().all(|time| time.ends_with('Z')), "{text}");
    assert_eq!(
        lines.iter().map(|line| &line[30..]).collect::<Vec<_>>(),
        [" stdout F a b", " stdout F ", " stdout P c", " stderr F d"]
    );
    for (line, kind) in [
        ("2016-10-06T00:17:09.669794202Z stdout F x", Some(Kind::Full)),
        ("2016-10-06T00:17:09.669794202+02:00 stderr P:a:b ", Some(Kind::Part)),
        ("2016-10-06T00:17:09.669794202Z stderr F:lost 1 bytes", Some(Kind::Lost)),
        ("2016-10-06T00:17:09.669794202Z stdout F", None),
        ("2016-10-06T00:17:09.669794202Z stdin F x", None),
        ("2016-10-06T00:17:09.669794202Z stdout X x", None),
        ("2016-10-06 stdout F x", None),
        ("", None),
    ] {
        assert_eq!(Line::parse(line.as_bytes()).map(|line| line.kind), kind, "{line}");
    }
}

#[test]
fn keeps_the_last_of_it_within_the_limits() {
    for files in [1, 2, 5] {
        let dir = Dir::new(&format!("rotate{files}"));
        let mut log = Log::open(&dir.0, Limits { size: 4096, files });
        write_numbered(&mut log, 0..1000);
        assert_eq!(dir.sizes().len(), files as usize);
        assert!(dir.sizes().iter().all(|size| *size <= 4096));
        assert!(dir.sizes().iter().skip(1).all(|size| *size > 4000));
        let got = Got::all(&dir);
        let kept = got.lines();
        let first = 1000 - kept.len();
        assert_eq!(kept, (first..1000).map(numbered).collect::<Vec<_>>());
        log.append(Stream::Out, &vec![b'x'; 100_000]);
        assert!(dir.sizes().iter().all(|size| *size <= 4096));
    }
}

#[test]
fn fewer_files_than_before() {
    let dir = Dir::new("fewer");
    write_numbered(&mut Log::open(&dir.0, Limits { size: 4096, files: 6 }), 0..1000);
    assert_eq!(dir.sizes().len(), 6);
    write_numbered(&mut Log::open(&dir.0, Limits { size: 4096, files: 2 }), 1000..1100);
    assert_eq!(dir.sizes().len(), 2);
}

/// Rotation is a row of renames, the highest number first; after any of them the writer may be killed.
#[test]
fn interrupted_rotation_loses_and_doubles_nothing() {
    for steps in 0..=3 {
        let dir = Dir::new(&format!("interrupted{steps}"));
        let limits = Limits { size: 4096, files: 4 };
        let mut log = Log::open(&dir.0, limits);
        write_numbered(&mut log, 0..220); // Three files, and a part of the fourth.
        let mut held = Reader::open(&dir.0).unwrap();
        drop(log);
        for number in (0..3).rev().take(steps) {
            fs::rename(dir.file(number), dir.file(number + 1)).unwrap();
        }
        held.renew().unwrap();
        let mut got = Got::default();
        got.read(&mut held);
        assert_eq!(got.lines().len(), Got::all(&dir).lines().len());
        write_numbered(&mut Log::open(&dir.0, limits), 220..290);
        held.renew().unwrap();
        got.read(&mut held);
        let kept = Got::all(&dir);
        let first = 290 - kept.lines().len();
        assert!(first <= 81, "{steps}: {first} lines are lost");
        assert_eq!(kept.lines(), (first..290).map(numbered).collect::<Vec<_>>());
        let first = 290 - got.lines().len();
        assert_eq!(got.lines(), (first..290).map(numbered).collect::<Vec<_>>());
    }
}

#[test]
fn an_unfinished_line_is_mended() {
    let dir = Dir::new("torn");
    let mut log = Log::open(&dir.0, WIDE);
    log.append(Stream::Out, b"one\ntwo\n");
    drop(log);
    let whole = fs::read(dir.file(0)).unwrap();
    let line = whole.len() / 2;
    for cut in 0..=whole.len() {
        fs::write(dir.file(0), &whole[..cut]).unwrap();
        Log::open(&dir.0, WIDE).append(Stream::Out, b"three\n");
        let before: &[&str] = &["one", "two"][..cut / line];
        assert_eq!(Got::all(&dir).lines(), [before, &["three"]].concat());
    }
    for zeros in [1, 4095, 4096, 4097, 100_000] {
        fs::write(dir.file(0), [&whole, &vec![0; zeros][..]].concat()).unwrap(); // As a power cut may leave it.
        Log::open(&dir.0, WIDE).append(Stream::Out, b"three\n");
        assert_eq!(Got::all(&dir).lines(), ["one", "two", "three"]);
    }
}

/// Whatever is in a log: it is read to its end, and what it says is kept apart from what cannot be understood.
#[test]
fn malformed_lines_are_left_out() {
    let dir = Dir::new("malformed");
    let mut log = Log::open(&dir.0, WIDE);
    for noise in [
        &b"\n"[..],
        b"2024\n",
        b"\0\n",
        b"2024-01-01T00:00:00Z stdout F\n",
        &[&vec![b'x'; 200_000][..], b"\n"].concat(),
    ] {
        write_numbered(&mut log, 0..1);
        fs::OpenOptions::new().append(true).open(dir.file(0)).unwrap().write_all(noise).unwrap();
    }
    write_numbered(&mut log, 0..1);
    let mut reader = Reader::open(&dir.0).unwrap();
    let mut got = Got::default();
    got.read(&mut reader);
    assert_eq!(got.lines().len(), 6);
    assert!((5..=8).contains(&reader.malformed()));
    let mut random = Random(3);
    for _ in 0..50 {
        fs::write(dir.file(0), random.bytes(3000, 60)).unwrap();
        let mut reader = Reader::open(&dir.0).unwrap();
        reader.seek_tail(3, None).unwrap();
        Got::default().read(&mut reader);
    }
}

#[test]
fn reads_on_through_rotations() {
    for seed in 1..20 {
        let (dir, mut random) = (Dir::new(&format!("follow{seed}")), Random(seed));
        let mut log = Log::open(&dir.0, Limits { size: 4096, files: 4 });
        let (mut got, mut number) = (Got::default(), 0);
        let mut reader = Reader::open(&dir.0).unwrap();
        while number < 2000 {
            let more = random.below(140); // Two rotations at the most.
            write_numbered(&mut log, number..number + more);
            number += more;
            reader.renew().unwrap();
            if random.below(3) == 0 {
                write_numbered(&mut log, number..number + 5); // Between looking and reading.
                number += 5;
            }
            got.read(&mut reader);
            if random.below(10) == 0 {
                let (log, reader) = (&mut log, &mut reader);
                fs::remove_file(dir.file(0)).unwrap_or_default(); // All of it has been read, or will be.
                write_numbered(log, number..number + 1);
                number += 1;
                reader.renew().unwrap();
                got.read(reader);
            }
        }
        reader.renew().unwrap();
        got.read(&mut reader);
        assert_eq!(got.lines(), (0..number).map(numbered).collect::<Vec<_>>(), "seed {seed}");
        assert!(reader.parts.len() <= 6);
    }
}

#[test]
fn a_file_that_was_emptied_is_read_again() {
    let dir = Dir::new("emptied");
    let mut log = Log::open(&dir.0, WIDE);
    let (mut got, mut reader) = (Got::default(), Reader::open(&dir.0).unwrap());
    write_numbered(&mut log, 0..10);
    got.read(&mut reader);
    fs::OpenOptions::new().write(true).truncate(true).open(dir.file(0)).unwrap();
    write_numbered(&mut log, 10..12);
    got.read(&mut reader);
    assert_eq!(got.lines(), (0..12).map(numbered).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_opened_is_counted() {
    let dir = Dir::new("refused");
    fs::create_dir(dir.file(0)).unwrap();
    let mut log = Log::open(&dir.0, WIDE);
    log.append(Stream::Out, b"12345\n678");
    log.append(Stream::Err, b"\n");
    log.finish();
    fs::remove_dir(dir.file(0)).unwrap();
    log.append(Stream::Out, b"9"); // It is not tried again so soon.
    log.finish();
    log.append(Stream::Out, b"after\n");
    fs::remove_file(dir.file(0)).unwrap();
    log.append(Stream::Out, b"after its file was removed\n");
    assert_eq!(Got::all(&dir).lines(), ["after its file was removed"]);
    fs::remove_dir_all(&dir.0).unwrap();
    log.append(Stream::Out, b"gone");
    fs::create_dir(&dir.0).unwrap();
    log.finish();
    let got = Got::all(&dir);
    assert_eq!(got.lost, ["4 bytes of output were lost: No such file or directory"]);
}

#[test]
fn the_count_is_in_the_log_before_what_follows() {
    let dir = Dir::new("count");
    fs::create_dir(dir.file(0)).unwrap();
    let mut log = Log::open(&dir.0, WIDE);
    log.append(Stream::Out, b"12345\n678");
    fs::remove_dir(dir.file(0)).unwrap();
    log.finish();
    log.append(Stream::Out, b"after\n");
    log.finish();
    let text = fs::read_to_string(dir.file(0)).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| &line[30..]).collect();
    assert_eq!(lines, [" stderr F:lost 9 bytes of output were lost: Is a directory", " stdout F after"]);
}

/// Every byte is either in the log or counted, and no line is torn, however little room there is. The limit on the size
/// of files is one of the process: the test runs itself once more, with the signal ignored that comes with the error.
#[test]
fn a_full_disk_loses_what_it_counts() {
    if std::env::var_os("LIMITED").is_some() {
        return write_on_a_full_disk();
    }
    let own = std::env::current_exe().unwrap();
    let script = "trap '' XFSZ; LIMITED=1 exec \"$0\" --exact log::tests::a_full_disk_loses_what_it_counts --nocapture";
    let output = Command::new("sh").args(["-c", script]).arg(own).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

fn write_on_a_full_disk() {
    let most = getrlimit(Resource::Fsize).maximum;
    let limit =
        |bytes: Option<u64>| setrlimit(Resource::Fsize, Rlimit { current: bytes.or(most), maximum: most }).unwrap();
    for seed in 1..40 {
        let (dir, mut random) = (Dir::new(&format!("full{seed}")), Random(seed));
        let mut log = Log::open(&dir.0, WIDE);
        let mut wrote = 0;
        for _ in 0..60 {
            let size = fs::metadata(dir.file(0)).unwrap().len();
            limit(Some(size + random.below(3000) as u64).filter(|_| random.below(2) == 0));
            let (length, newline) = (random.below(1500), [2, 40, 10_000][random.below(3)]);
            log.append(random.stream(), &random.bytes(length, newline));
            wrote += length as u64;
            if random.below(2) == 0 {
                log.finish(); // It also ends the pause.
            }
        }
        limit(None);
        log.finish();
        let got = Got::all(&dir);
        let lost: Vec<u64> = got.lost.iter().map(|text| text.split(' ').next().unwrap().parse().unwrap()).collect();
        assert!(
            lost.len() > 3 && got.lost[0].ends_with(" bytes of output were lost: File too large"),
            "{:?}",
            got.lost
        );
        let kept = got.output.iter().map(|output| output.len() as u64).sum::<u64>();
        assert_eq!(kept + lost.iter().sum::<u64>(), wrote, "seed {seed}");
    }
}
