//! Archives out of short texts, which a fuzzer changes with more success than it changes headers.
//!
//! Each line is an entry: `KIND PATH`, and after another space its content or the path it links to. Kinds are `f`ile,
//! `d`irectory, `h`ard link, `s`ymbolic link, `p`ipe, `c`haracter and `b`lock device. A line of another kind changes
//! the entries after it: `m`ode (octal), `o`wner (a number) and extended attributes `x NAME VALUE`.

use store::archive::{Entry, Kind, Writer};

/// The most entries of one archive: each costs several system calls.
const MOST: usize = 64;

/// The archive that a text describes; `$` in the target of a link stands for `dollar`.
pub fn archive(text: &[u8], dollar: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    let (mut mode, mut owner, mut xattrs) = (0o644, 0, Vec::new());
    for line in text.split(|byte| *byte == b'\n').take(MOST) {
        let mut words = line.splitn(3, |byte| *byte == b' ').map(without_nul);
        let mut next = || words.next().unwrap_or_default();
        let (kind, path, rest) = (next(), next(), next());
        let number = |radix| std::str::from_utf8(&path).ok().and_then(|digits| u32::from_str_radix(digits, radix).ok());
        let target = || rest.split(|byte| *byte == b'$').collect::<Vec<_>>().join(dollar);
        let kind = match kind.first() {
            Some(b'f') => Kind::File { size: rest.len() as u64, map: None },
            Some(b'd') => Kind::Directory,
            Some(b'h') => Kind::HardLink(target()),
            Some(b's') => Kind::Symlink(target()),
            Some(b'p') => Kind::Fifo,
            Some(b'c') => Kind::Character(0, rest.len().try_into().unwrap_or(0)),
            Some(b'b') => Kind::Block(1, rest.len().try_into().unwrap_or(0)),
            other => {
                match other {
                    Some(b'm') => mode = number(8).unwrap_or(mode) & 0o7777,
                    Some(b'o') => owner = number(10).unwrap_or(owner),
                    Some(b'x') => xattrs.push((path, rest)),
                    _ => {}
                }
                continue;
            }
        };
        let content = if let Kind::File { .. } = kind { &rest[..] } else { &[] };
        let entry = Entry { path, kind, mode, uid: owner, gid: owner, mtime: (1, 0), xattrs: xattrs.clone() };
        writer.entry(&entry).and_then(|()| writer.data(content)).expect("memory takes it");
    }
    writer.finish().expect("memory takes it");
    bytes
}

/// An archive of files: each begins with a line `=NAME`. In names and contents, `@N` stands for the digest of the file
/// before with that number (a digit), `%N` for its hexadecimal digits alone, and `#N` for its length.
pub fn files(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    let mut contents: Vec<Vec<u8>> = Vec::new();
    for part in split(text.strip_prefix(b"=").unwrap_or(text), b"\n=").take(MOST) {
        let end = part.iter().position(|byte| *byte == b'\n').unwrap_or(part.len());
        let content = filled(part.get(end + 1..).unwrap_or_default(), &contents);
        contents.push(content);
        let path = without_nul(&filled(&part[..end], &contents));
        let content = contents.last().map_or(&[][..], |content| content);
        let kind = Kind::File { size: content.len() as u64, map: None };
        let entry = Entry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime: (1, 0), xattrs: Vec::new() };
        writer.entry(&entry).and_then(|()| writer.data(content)).expect("memory takes it");
    }
    writer.finish().expect("memory takes it");
    bytes
}

fn filled(text: &[u8], contents: &[Vec<u8>]) -> Vec<u8> {
    let mut filled = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let number = after.first().filter(|digit| digit.is_ascii_digit()).map(|digit| usize::from(digit - b'0'));
        match (first, number.and_then(|number| contents.get(number))) {
            (b'@', Some(content)) => filled.extend(store::Digest::of(content).as_str().bytes()),
            (b'%', Some(content)) => filled.extend(store::Digest::of(content).hex().bytes()),
            (b'#', Some(content)) => filled.extend(content.len().to_string().bytes()),
            _ => {
                filled.push(*first);
                rest = after;
                continue;
            }
        }
        rest = &after[1..];
    }
    filled
}

/// The parts of a text between separators.
pub fn split<'a>(text: &'a [u8], separator: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.windows(separator.len()).position(|window| window == separator);
        rest = end.map(|end| &text[end + separator.len()..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

/// No path has NUL: the writer would end it there.
fn without_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| *byte != 0).collect()
}

/// A raw archive with the checksum of every header made right, as far as sizes lead from one to the next.
pub fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + 512).filter(|header| header.iter().any(|byte| *byte != 0)) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits = header[124..136].iter().filter(|byte| byte.is_ascii_digit());
        let size = digits.fold(0_usize, |size, digit| (size * 8 + usize::from(digit - b'0')) & 0xffff_ffff);
        at = at.saturating_add(512 + size.next_multiple_of(512));
    }
    bytes
}
