//! Names within layers: what is allowed, and which of them are whiteouts (image-spec, `layer.md#whiteouts`).

use crate::archive::PATH_LIMIT;
use crate::error::{Error, Result};

/// The most directories within one another.
const DEPTH_LIMIT: usize = 256;

/// The longest name within a directory, in bytes.
const NAME_LIMIT: usize = 255;

/// A path in its plain form: names with single slashes between; empty for the layer's root.
///
/// Leading slashes and `.` are dropped. `..` is refused: no builder writes it, and readers differ about it.
pub fn clean(path: &[u8]) -> Result<Vec<u8>> {
    let refuse = |why: &str| Err(Error::Refused(why.to_owned()));
    if path.is_empty() || path.contains(&0) || path.len() > PATH_LIMIT {
        return refuse("its path is empty, too long or holds a NUL byte");
    }
    let mut clean = Vec::with_capacity(path.len());
    let mut depth = 0;
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => continue,
            b".." => return refuse("its path leads upwards"),
            _ if name.len() > NAME_LIMIT => return refuse("a name in its path is longer than 255 bytes"),
            _ => {}
        }
        depth += 1;
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(name);
    }
    if depth > DEPTH_LIMIT { refuse("its path is too deep") } else { Ok(clean) }
}

/// A clean path's directory and name. The root has no name.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// The path of `name` in the directory of this clean path.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_owned() } else { [directory, b"/", name].concat() }
}

/// The directories that a clean path is in, the innermost first, ending with the root.
pub fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut path = path;
    std::iter::from_fn(move || {
        let last = path.is_empty();
        path = split(path).0;
        (!last).then_some(path)
    })
}

/// Is the path below this directory?
pub fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() && !path.is_empty()
        || path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// What an entry's name says about it.
#[derive(Debug, PartialEq)]
pub enum Meaning<'a> {
    /// It is the entry's own name.
    Plain,
    /// `.wh.NAME`: lower layers' NAME is hidden.
    Whiteout(&'a [u8]),
    /// `.wh..wh..opq`: everything that lower layers have in this directory is hidden.
    Opaque,
    /// Other names with `.wh..wh.` were aufs's own.
    Ignored,
}

/// What a clean path means.
pub fn meaning(path: &[u8]) -> Result<Meaning<'_>> {
    let (directory, name) = split(path);
    let mut parents = directory.split(|byte| *byte == b'/').filter(|name| name.starts_with(b".wh."));
    match parents.next() {
        Some(own) if own.starts_with(b".wh..wh.") => return Ok(Meaning::Ignored),
        Some(_) => return Err(Error::Refused("it is within a whiteout".into())),
        None => {}
    }
    match name.strip_prefix(b".wh.") {
        None => Ok(Meaning::Plain),
        Some(b".wh..opq") => Ok(Meaning::Opaque),
        Some(rest) if rest.starts_with(b".wh.") => Ok(Meaning::Ignored),
        Some(b"" | b"." | b"..") => Err(Error::Refused("it is a whiteout of nothing".into())),
        Some(hidden) => Ok(Meaning::Whiteout(hidden)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_paths() {
        for (path, clean_path) in [
            (&b"a/b"[..], &b"a/b"[..]),
            (b"/a//b/", b"a/b"),
            (b"./a/./b", b"a/b"),
            (b"./", b""),
            (b"/", b""),
            (b"a/...", b"a/..."),
            (b"\xff\xfe/ \n", b"\xff\xfe/ \n"),
        ] {
            assert_eq!(clean(path).unwrap(), clean_path);
        }
        let (long, deep, name) = (vec![b'a'; 4097], b"a/".repeat(257), vec![b'a'; 256]);
        for bad in [&b""[..], b"..", b"a/../b", b"/..", b"a\0b", &long, &deep, &name] {
            assert_eq!(clean(bad).unwrap_err().exit_code(), 6, "{bad:?}");
        }
    }

    #[test]
    fn knows_whiteouts() {
        for (path, expected) in [
            (&b"a/.wh.b"[..], Meaning::Whiteout(b"b")),
            (b".wh.b", Meaning::Whiteout(b"b")),
            (b"a/.wh....", Meaning::Whiteout(b"...")),
            (b"a/.wh..wh..opq", Meaning::Opaque),
            (b".wh..wh.plnk", Meaning::Ignored),
            (b".wh..wh.plnk/1.2", Meaning::Ignored),
            (b"a/.wh..wh.aufs", Meaning::Ignored),
            (b"a/.wh", Meaning::Plain),
            (b"a/b.wh.c", Meaning::Plain),
        ] {
            assert_eq!(meaning(path).unwrap(), expected);
        }
        for bad in [&b"a/.wh."[..], b".wh..", b".wh...", b".wh.a/b"] {
            assert_eq!(meaning(bad).unwrap_err().exit_code(), 6, "{bad:?}");
        }
    }

    #[test]
    fn splits_and_compares_paths() {
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
        assert_eq!(parents(b"a/b/c").collect::<Vec<_>>(), [&b"a/b"[..], b"a", b""]);
        assert_eq!(parents(b"").count(), 0);
        assert_eq!((join(b"", b"a"), join(b"a", b"b")), (b"a".to_vec(), b"a/b".to_vec()));
        assert!(is_below(b"a/b", b"a") && is_below(b"a", b""));
        assert!(!is_below(b"ab", b"a") && !is_below(b"a", b"a") && !is_below(b"", b""));
    }
}
