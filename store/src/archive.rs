//! Tar archives. Reading: ustar, PAX and GNU, one strict rule for each. Writing: ustar and PAX.
//!
//! Where readers differ about an archive it is refused, for what one program checks and another unpacks must be the
//! same. Only headers are laid out by the `tar` crate; everything that follows them is read and bounded here.

mod number;
mod pax;
mod sparse;
mod write;

pub use sparse::Segment;
pub use write::Writer;

use crate::error::{Error, Result};
use crate::inflate::{only_zeros, refusal};
use pax::Records;
use rustix::fs::ftruncate;
use rustix::io::{Errno, pwrite};
use std::io::{BufRead, Read};
use std::os::fd::OwnedFd;
use tar::Header;

/// The longest path, in bytes.
pub const PATH_LIMIT: usize = 4096;

/// The most entries in one archive.
const ENTRY_LIMIT: u64 = 5_000_000;

/// The most zeros after an archive's end; tapes have records of up to some MiB.
const PADDING_LIMIT: u64 = 16 << 20;

/// The size of the blocks that an archive consists of.
const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A regular file. Its data follows: all of it, or the segments of `map`.
    File {
        /// The size of the file.
        size: u64,
        /// Where the data lies in a sparse file.
        map: Option<Vec<Segment>>,
    },
    /// A further name of the file at this path.
    HardLink(Vec<u8>),
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A character device, major and minor number.
    Character(u32, u32),
    /// A block device, major and minor number.
    Block(u32, u32),
}

/// One entry, with all that headers and records say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The path as archived: any bytes but NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permissions with setuid, setgid and sticky bit.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The time of the last change, seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An archive being read.
pub struct Archive<'a> {
    input: &'a mut dyn BufRead,
    /// How much of the entry's data is yet to come.
    data: u64,
    /// How much fills its last block.
    padding: usize,
    entries: u64,
}

/// What extension headers say about the entry to come.
#[derive(Default)]
struct Extensions {
    pax: Option<Records>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

fn refused(why: &str) -> Error {
    Error::Refused(why.to_owned())
}

impl<'a> Archive<'a> {
    /// Reads the archive that `input` holds, decompressed.
    pub fn new(input: &'a mut dyn BufRead) -> Self {
        Self { input, data: 0, padding: 0, entries: 0 }
    }

    /// The next entry; `None` at the archive's end, after which there are only zeros.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        let mut any = false;
        loop {
            self.skip_data()?;
            let Some(header) = self.header()? else {
                return if any { Err(refused("an extension header at the end belongs to nothing")) } else { Ok(None) };
            };
            self.entries += 1;
            if self.entries > ENTRY_LIMIT {
                return Err(Error::Refused(format!("the archive has more than {ENTRY_LIMIT} entries")));
            }
            match header.as_old().linkflag[0] {
                b'x' => once(&mut extensions.pax, pax::parse(&self.extension(&header)?)?)?,
                b'L' => once(&mut extensions.path, without_nul(self.extension(&header)?)?)?,
                b'K' => once(&mut extensions.link, without_nul(self.extension(&header)?)?)?,
                // Builders ignore global records, others apply them: only those that say nothing are let through.
                b'g' if pax::parse(&self.extension(&header)?)?.is_empty() => continue,
                b'g' => return Err(refused("a global PAX header changes entries")),
                _ => return self.entry(&header, extensions).map(Some),
            }
            any = true;
        }
    }

    /// The next bytes of the entry's data; none at its end. [`Archive::consume`] says how many were used.
    pub fn data(&mut self) -> Result<&[u8]> {
        if self.data == 0 {
            return Ok(&[]);
        }
        let bytes = self.input.fill_buf().map_err(|error| refusal(error, "reading the archive"))?;
        if bytes.is_empty() {
            return Err(refused("the archive ends within an entry"));
        }
        let count = usize::try_from(self.data).unwrap_or(usize::MAX).min(bytes.len());
        Ok(&bytes[..count])
    }

    /// Moves on by `count` of the bytes that [`Archive::data`] gave.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.data = self.data.saturating_sub(count as u64);
    }

    /// Reads the rest of the entry's data into memory; more than `limit` bytes are refused.
    pub fn read_data(&mut self, limit: u64) -> Result<Vec<u8>> {
        if self.data > limit {
            return Err(Error::Refused(format!("it is of {} bytes: more than the {limit} allowed here", self.data)));
        }
        let mut all = Vec::new();
        loop {
            let bytes = self.data()?;
            let count = bytes.len();
            if count == 0 {
                return Ok(all);
            }
            all.extend_from_slice(bytes);
            self.consume(count);
        }
    }

    /// Writes the next `length` bytes of the entry's data into a file at `offset`; the inner result is the system's.
    pub fn write_data(&mut self, file: &OwnedFd, mut offset: u64, mut length: u64) -> Result<rustix::io::Result<()>> {
        while length > 0 {
            let bytes = self.data()?;
            let count = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
            if count == 0 {
                return Err(refused("its data ends too early"));
            }
            match pwrite(file, &bytes[..count], offset) {
                Err(Errno::INTR) => {}
                Err(error) => return Ok(Err(error)),
                Ok(written) => {
                    self.consume(written);
                    (offset, length) = (offset + written as u64, length - written as u64);
                }
            }
        }
        Ok(Ok(()))
    }

    /// Writes the data of an entry of `size` bytes, which lies where `map` says, into an empty file.
    pub fn write_file(&mut self, file: &OwnedFd, size: u64, map: Option<&[Segment]>) -> Result<rustix::io::Result<()>> {
        let Some(map) = map else { return self.write_data(file, 0, size) };
        if let Err(error) = ftruncate(file, size) {
            return Ok(Err(error));
        }
        for segment in map {
            if let Err(error) = self.write_data(file, segment.offset, segment.length)? {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Passes over what is left of the entry's data, and over its padding, which may be missing at the archive's end: umoci
    /// 0.4 leaves it out, and other readers of layers do not miss it.
    fn skip_data(&mut self) -> Result<()> {
        loop {
            match self.data()?.len() {
                0 => break,
                count => self.consume(count),
            }
        }
        let padding = &mut [0; BLOCK][..std::mem::take(&mut self.padding)];
        let read = crate::inflate::read_full(&mut self.input, padding);
        read.map(drop).map_err(|error| refusal(error, "reading the archive"))
    }

    /// Begins an entry's data of `size` bytes.
    fn begin_data(&mut self, size: u64) -> Result<()> {
        if i64::try_from(size).is_err() {
            return Err(refused("its size is out of range"));
        }
        self.data = size;
        self.padding = write::padding(size);
        Ok(())
    }

    /// The data of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        self.begin_data(number::size(&header.as_old().size, "size")?)?;
        self.read_data(pax::LIMIT)
    }

    /// One block; `None` at the end of the input.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        match crate::inflate::read_full(&mut self.input, &mut block) {
            Ok(0) => Ok(None),
            Ok(count) if count == block.len() => Ok(Some(block)),
            Ok(_) => Err(refused("the archive ends within a block")),
            Err(error) => Err(refusal(error, "reading the archive")),
        }
    }

    /// The next header; `None` at the end: two blocks of zeros, or one before the end of the input, or just that.
    fn header(&mut self) -> Result<Option<Header>> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block == [0; BLOCK] {
            let mut rest = (&mut *self.input).take(PADDING_LIMIT);
            let end = only_zeros(&mut rest, "something follows the archive's end");
            end.map_err(|error| refusal(error, "reading the archive"))?;
            return if rest.limit() > 0 {
                Ok(None)
            } else {
                Err(refused("zeros without end follow the archive's end"))
            };
        }
        let header = Header::from_byte_slice(&block).clone();
        let stored = number::field(&header.as_old().cksum, "checksum")?;
        // The checksum counts itself as spaces. Some old writers added signed bytes.
        let bytes = block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
        let (unsigned, signed) = bytes.fold((0, 0), |(unsigned, signed), byte| {
            (unsigned + i64::from(byte), signed + i64::from(byte.cast_signed()))
        });
        if stored != unsigned && stored != signed {
            return Err(refused("it is not a tar archive, or damaged: a header's checksum does not match"));
        }
        // Whether the name goes on in the prefix, readers find out in different ways.
        if !matches!(&block[257..265], b"ustar\x0000" | b"ustar  \0" | b"\0\0\0\0\0\0\0\0") {
            return Err(refused("a header is of no form that all readers know"));
        }
        Ok(Some(header))
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry> {
        let old = header.as_old();
        let mut pax = extensions.pax.unwrap_or_default();
        let named = pax.path.is_some() || pax.sparse.name.is_some();
        if extensions.path.is_some() && named || extensions.link.is_some() && pax.link.is_some() {
            return Err(refused("PAX and GNU headers name it differently"));
        }
        let own = || header.path_bytes().into_owned();
        let path = pax.sparse.name.take().or(pax.path.take()).or(extensions.path).unwrap_or_else(own);
        let link = || header.link_name_bytes().unwrap_or_default().into_owned();
        let link = pax.link.take().or(extensions.link).unwrap_or_else(link);
        let size = pax.size.map_or_else(|| number::size(&old.size, "size"), Ok)?;
        let id = |known: Option<u32>, field, what| known.map_or_else(|| number::id(field, what), Ok);
        let mtime = || number::field(&old.mtime, "time").map(|seconds| (seconds, 0));
        let (uid, gid) = (id(pax.uid, &old.uid, "user id")?, id(pax.gid, &old.gid, "group id")?);
        let kind = self.kind(header, &path, link, size, &mut pax);
        let kind = kind.map_err(|error| error.about(&shown(&path)))?;
        Ok(Entry {
            kind,
            mode: u32::try_from(number::field(&old.mode, "mode")? & 0o7777).unwrap_or(0),
            uid,
            gid,
            mtime: pax.mtime.map_or_else(mtime, Ok)?,
            xattrs: pax.xattrs,
            path,
        })
    }

    fn kind(&mut self, header: &Header, path: &[u8], link: Vec<u8>, size: u64, pax: &mut Records) -> Result<Kind> {
        let kind = header.as_old().linkflag[0];
        let slash = path.ends_with(b"/");
        let sparse = pax.sparse != pax::Sparse::default();
        match kind {
            0 | b'0' | b'7' if !slash && sparse => return self.sparse_pax(&mut pax.sparse, size),
            _ if sparse => return Err(refused("it is sparse, but not a regular file")),
            0 | b'0' | b'7' if !slash => {
                self.begin_data(size)?;
                return Ok(Kind::File { size, map: None });
            }
            b'S' if !slash => return self.sparse_old(header, size),
            _ if size != 0 => return Err(refused("it has data, but is not a regular file")),
            _ => {}
        }
        let numbers = header.as_ustar().map(|own| (&own.dev_major, &own.dev_minor));
        let numbers = numbers.or_else(|| header.as_gnu().map(|own| (&own.dev_major, &own.dev_minor)));
        let device = || -> Result<(u32, u32)> {
            let (major, minor) = numbers.ok_or_else(|| refused("it is a device without numbers"))?;
            let (major, minor) = (number::id(major, "device number")?, number::id(minor, "device number")?);
            // mknod(2) would drop the bits above, and make 0:0 of some: a whiteout.
            if major >= 1 << 12 || minor >= 1 << 20 {
                return Err(refused("its device number is none that Linux has"));
            }
            Ok((major, minor))
        };
        // Before POSIX a directory was a file with a slash at the end of its name.
        match kind {
            b'5' | 0 => Ok(Kind::Directory),
            _ if slash => Err(refused("it is not a directory, but its name ends in a slash")),
            b'1' | b'2' if link.is_empty() || link.len() >= PATH_LIMIT => {
                Err(refused("the target of the link is empty or too long"))
            }
            b'1' => Ok(Kind::HardLink(link)),
            b'2' => Ok(Kind::Symlink(link)),
            b'3' => device().map(|(major, minor)| Kind::Character(major, minor)),
            b'4' => device().map(|(major, minor)| Kind::Block(major, minor)),
            b'6' => Ok(Kind::Fifo),
            _ => Err(Error::Refused(format!("it is of type {:?}, which no layer may have", char::from(kind)))),
        }
    }
}

/// A path for messages: printable, and no longer than a few lines.
pub fn shown(path: &[u8]) -> String {
    let end = if path.len() > 200 { "…" } else { "" };
    format!("{}{end}", path[..path.len().min(200)].escape_ascii())
}

/// A long name of GNU tar's, which ends with a NUL byte: where there is none, it reads on.
fn without_nul(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    let end = bytes.iter().position(|byte| *byte == 0);
    if bytes.pop().is_none() || end != Some(bytes.len()) {
        return Err(refused("a long name does not end with its NUL byte"));
    }
    Ok(bytes)
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(refused("two extension headers of one kind belong to one entry")),
    }
}

#[cfg(test)]
mod tests;
