//! PAX records (POSIX pax, `pax Extended Header File Format`), byte for byte: names and values may hold anything.

use super::number;
use super::sparse::Segment;
use crate::error::{Error, Result};

/// The longest block of records that is read, in bytes.
pub const LIMIT: u64 = 1 << 20;

/// The most extended attributes of one entry: each is compared with all before it.
const XATTRS_LIMIT: usize = 1024;

/// What the records before an entry say about it. An absent value leaves the header's in force.
#[derive(Debug, Default, PartialEq)]
pub struct Records {
    /// The path.
    pub path: Option<Vec<u8>>,
    /// The target of a link.
    pub link: Option<Vec<u8>>,
    /// The size of the data in the archive.
    pub size: Option<u64>,
    /// The user id.
    pub uid: Option<u32>,
    /// The group id.
    pub gid: Option<u32>,
    /// The time of the last change of the content, seconds and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// Extended attributes (`SCHILY.xattr.NAME`), in their order.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The records of GNU tar's sparse formats.
    pub sparse: Sparse,
}

/// `GNU.sparse.*` (GNU tar, `Sparse Formats`): formats 0.0, 0.1 and 1.0.
#[derive(Debug, Default, PartialEq)]
pub struct Sparse {
    /// `major` and `minor`; format 1.0 only.
    pub version: (Option<u64>, Option<u64>),
    /// `name`: the path of the file itself.
    pub name: Option<Vec<u8>>,
    /// `size` (0.0, 0.1) or `realsize` (1.0): the size of the whole file.
    pub size: Option<u64>,
    /// `numblocks`: how many segments there are.
    pub count: Option<u64>,
    /// The segments of `map` (0.1), or of `offset` and `numbytes` (0.0).
    pub map: Option<Vec<Segment>>,
    /// An `offset` whose `numbytes` has not come yet.
    half: Option<u64>,
}

impl Records {
    /// Is anything said that changes an entry?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads a block of records. Whatever is malformed, or given twice, is refused: readers differ about it.
pub fn parse(mut block: &[u8]) -> Result<Records> {
    let mut records = Records::default();
    while !block.is_empty() {
        let (key, value, rest) = split(block).ok_or_else(|| refused("a PAX record is malformed"))?;
        block = rest;
        set(&mut records, key, value)?;
    }
    if records.sparse.half.is_some() {
        return Err(refused("its sparse map is malformed"));
    }
    Ok(records)
}

/// The first record, `LENGTH KEY=VALUE\n`, where LENGTH counts all of it; and what follows.
fn split(block: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = block.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number::decimal(&block[..space])?).ok()?;
    let record = block.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let key = &record[..equals];
    (!key.is_empty() && !key.contains(&0)).then(|| (key, &record[equals + 1..], &block[length..]))
}

/// A record as it is written.
pub fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1; // The length counts its own digits.
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn refused(why: &str) -> Error {
    Error::Refused(why.to_owned())
}

fn set(records: &mut Records, key: &[u8], value: &[u8]) -> Result<()> {
    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
        let many = records.xattrs.len() >= XATTRS_LIMIT;
        if many || name.is_empty() || records.xattrs.iter().any(|(known, _)| known == name) {
            return Err(refused("an extended attribute is given twice or has no name, or there are too many"));
        }
        records.xattrs.push((name.to_owned(), value.to_owned()));
        return Ok(());
    }
    if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
        return set_sparse(&mut records.sparse, name, value);
    }
    // POSIX: an empty value takes back what was said before, so the header's holds.
    if value.is_empty() {
        return Ok(());
    }
    let short = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
    match key {
        b"path" => once(&mut records.path, text(value), key),
        b"linkpath" => once(&mut records.link, text(value), key),
        b"size" => once(&mut records.size, number::decimal(value), key),
        b"uid" => once(&mut records.uid, short(number::decimal(value)), key),
        b"gid" => once(&mut records.gid, short(number::decimal(value)), key),
        b"mtime" => once(&mut records.mtime, number::time(value), key),
        b"SCHILY.realsize" => Err(refused("it is sparse in a form that no reader shares")),
        _ => Ok(()), // Comments, names of owners, times that are not kept, other programs' own.
    }
}

fn set_sparse(sparse: &mut Sparse, name: &[u8], value: &[u8]) -> Result<()> {
    let number = number::decimal(value);
    match name {
        b"major" => once(&mut sparse.version.0, number, name),
        b"minor" => once(&mut sparse.version.1, number, name),
        b"name" => once(&mut sparse.name, text(value), name),
        b"size" | b"realsize" => once(&mut sparse.size, number, name),
        b"numblocks" => once(&mut sparse.count, number, name),
        b"map" => once(&mut sparse.map, map(value), name),
        b"offset" => once(&mut sparse.half, number, name),
        b"numbytes" => {
            let segment = sparse.half.take().zip(number).map(|(offset, length)| Segment { offset, length });
            let segment = segment.ok_or_else(|| refused("its sparse map is malformed"))?;
            sparse.map.get_or_insert_default().push(segment);
            Ok(())
        }
        _ => Err(refused("it is sparse in a form that is not known")),
    }
}

/// `OFFSET,LENGTH,OFFSET,LENGTH…`
fn map(value: &[u8]) -> Option<Vec<Segment>> {
    if value.is_empty() {
        return Some(Vec::new());
    }
    let numbers: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(number::decimal).collect();
    let numbers = numbers.filter(|numbers| numbers.len() % 2 == 0)?;
    Some(numbers.chunks_exact(2).map(|pair| Segment { offset: pair[0], length: pair[1] }).collect())
}

fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.contains(&0)).then(|| value.to_owned())
}

fn once<T>(place: &mut Option<T>, value: Option<T>, key: &[u8]) -> Result<()> {
    let key = String::from_utf8_lossy(key);
    match value {
        None => Err(Error::Refused(format!("its PAX record {key} is malformed"))),
        Some(_) if place.is_some() => Err(Error::Refused(format!("its PAX record {key} is given twice"))),
        value => {
            *place = value;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        super::record(key.as_bytes(), value)
    }

    #[test]
    fn reads_records_with_any_bytes() {
        let block = [
            record("path", "häuser/\u{fffd}".as_bytes()),
            record("SCHILY.xattr.security.capability", b"\x01\0\0\x02=\n\0"),
            record("SCHILY.xattr.user.empty", b""),
            record("size", b"8589934592"),
            record("uid", b"4294967294"),
            record("mtime", b"1700000000.25"),
            record("comment", b""),
            record("linkpath", b"\xff\xfe"),
            record("gid", b""),
        ]
        .concat();
        let records = parse(&block).unwrap();
        assert_eq!(records.path.unwrap(), "häuser/\u{fffd}".as_bytes());
        assert_eq!(records.xattrs[0], (b"security.capability".to_vec(), b"\x01\0\0\x02=\n\0".to_vec()));
        assert_eq!(records.xattrs[1], (b"user.empty".to_vec(), Vec::new()));
        assert_eq!((records.size, records.uid, records.gid), (Some(8_589_934_592), Some(4_294_967_294), None));
        assert_eq!(records.mtime, Some((1_700_000_000, 250_000_000)));
        assert_eq!(records.link.unwrap(), b"\xff\xfe");
        assert!(parse(b"").unwrap().is_empty());
        assert!(parse(&record("comment", b"x")).unwrap().is_empty());
    }

    #[test]
    fn refuses_what_readers_differ_about() {
        for block in [
            &b"9 path=x\nx"[..],
            b"9 path=xy\n",
            b"8 path=x\n",
            b"11 path=x\n",
            b"009999999999999999999999 path=x\n",
            b"9 path-x\n",
            b"4 =\n",
            b" path=x\n",
            b"-9 path=x\n",
            b"6 a\0=\n",
            b"0 a=\n",
            b"5 a=",
            b"\0\0\0\0",
        ] {
            assert_eq!(parse(block).unwrap_err().exit_code(), 6, "{block:?}");
        }
        for (key, value) in [
            ("path", &b"a\0b"[..]),
            ("size", b"-1"),
            ("size", b" 1"),
            ("uid", b"4294967296"),
            ("mtime", b"x"),
            ("SCHILY.xattr.", b"x"),
            ("GNU.sparse.map", b"1,2,3"),
            ("GNU.sparse.numbytes", b"1"),
            ("GNU.sparse.offset", b"1"),
            ("GNU.sparse.other", b"1"),
        ] {
            assert_eq!(parse(&record(key, value)).unwrap_err().exit_code(), 6, "{key}");
        }
        for key in ["path", "size", "mtime", "SCHILY.xattr.user.a", "GNU.sparse.size"] {
            assert_eq!(parse(&record(key, b"1").repeat(2)).unwrap_err().exit_code(), 6, "{key} twice");
        }
    }

    #[test]
    fn reads_the_sparse_formats_0() {
        let segments = vec![Segment { offset: 0, length: 5 }, Segment { offset: 4096, length: 10 }];
        let pair = |offset: &[u8], length: &[u8]| {
            [record("GNU.sparse.offset", offset), record("GNU.sparse.numbytes", length)].concat()
        };
        let old = parse(&[pair(b"0", b"5"), pair(b"4096", b"10")].concat()).unwrap();
        let new = parse(&record("GNU.sparse.map", b"0,5,4096,10")).unwrap();
        assert_eq!((&old.sparse.map, &new.sparse.map), (&Some(segments.clone()), &Some(segments)));
        assert_eq!(parse(&record("GNU.sparse.map", b"")).unwrap().sparse.map, Some(Vec::new()));
    }
}
