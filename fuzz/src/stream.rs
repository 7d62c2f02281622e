//! Formats that are read as a stream: tar, gzip, zstd.

use crate::listing::with_checksums;
use std::io::{self, Read};
use store::archive::{Archive, Entry, Kind, PATH_LIMIT, Writer};
use store::error::Result;
use store::inflate::open;

/// The most bytes of content that are looked at.
const MOST: u64 = 1 << 20;

/// An archive, as it is and with its headers' checksums made right, which else would refuse nearly every input.
pub fn tar(data: &[u8]) -> bool {
    let raw = list(data).is_ok();
    let Ok(entries) = list(&with_checksums(data)) else { return raw };
    for (entry, content) in &entries {
        check(entry, content);
    }
    // Written by our own writer, it must be read the same; sparse files are never written.
    let mut plain = entries.into_iter().filter(|(entry, _)| !matches!(entry.kind, Kind::File { map: Some(_), .. }));
    let plain: Vec<_> = plain.by_ref().collect();
    let mut again = Vec::new();
    let mut writer = Writer::new(&mut again);
    for (entry, content) in &plain {
        writer.entry(entry).and_then(|()| writer.data(content)).expect("what was read can be written");
    }
    writer.finish().expect("memory takes it");
    let reread = list(&again);
    assert!(reread.as_ref().is_ok_and(|reread| *reread == plain), "written again it is {reread:?} and was {plain:?}");
    true
}

type Listed = Vec<(Entry, Vec<u8>)>;

fn list(mut bytes: &[u8]) -> Result<Listed> {
    let mut archive = Archive::new(&mut bytes);
    let mut entries = Vec::new();
    let outcome = loop {
        match archive.next_entry() {
            Ok(Some(entry)) => match archive.read_data(MOST) {
                Ok(content) => entries.push((entry, content)),
                Err(error) => break Err(error),
            },
            Ok(None) => break Ok(entries),
            Err(error) => break Err(error),
        }
    };
    outcome.inspect_err(|error| assert_eq!(error.exit_code(), 6, "{error}"))
}

/// What holds for every entry.
fn check(entry: &Entry, content: &[u8]) {
    assert!(entry.path.len() <= PATH_LIMIT && !entry.path.contains(&0), "{entry:?}");
    assert!(entry.mode <= 0o7777 && entry.mtime.1 < 1_000_000_000, "{entry:?}");
    if let Kind::File { size, map: Some(map) } = &entry.kind {
        let ends = map.iter().try_fold(0, |end, segment| {
            let fits = segment.offset >= end;
            fits.then_some(segment.offset.checked_add(segment.length)?)
        });
        assert!(ends.is_some_and(|end| end <= *size), "{entry:?}");
        assert_eq!(map.iter().map(|segment| segment.length).sum::<u64>(), content.len() as u64, "{entry:?}");
    } else if let Kind::File { size, map: None } = entry.kind {
        assert_eq!(size, content.len() as u64, "{entry:?}");
    }
}

/// gzip content.
pub fn gzip(data: &[u8]) -> bool {
    inflate(data)
}

/// zstd content.
pub fn zstd(data: &[u8]) -> bool {
    inflate(data)
}

/// Inflates; how the input is cut into reads must make no difference.
fn inflate(data: &[u8]) -> bool {
    let whole = content(data);
    let drops = content(Drops(data));
    let kind = |outcome: &io::Result<Vec<u8>>| outcome.as_ref().err().map(io::Error::kind);
    assert_eq!(kind(&whole), kind(&drops), "{whole:?} at once and {drops:?} in drops");
    assert!(matches!(kind(&whole), None | Some(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)));
    whole.is_ok_and(|whole| {
        assert!(drops.is_ok_and(|drops| drops == whole), "in drops it has other content");
        true
    })
}

fn content(input: impl Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(Box::new(input))?.take(MOST).read_to_end(&mut content).map(|_| content)
}

/// Input that comes a few bytes at a time.
struct Drops<'a>(&'a [u8]);

impl Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(7);
        self.0.read(&mut buffer[..most])
    }
}
