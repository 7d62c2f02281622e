//! Writing tar archives: ustar headers, and PAX records for what does not fit into them.

use super::{BLOCK, Entry, Kind, pax};
use std::io::{Result, Write};
use tar::Header;

/// An archive being written.
pub struct Writer<'a> {
    output: &'a mut dyn Write,
    /// How much fills the last block of the data that is being written.
    padding: usize,
}

impl<'a> Writer<'a> {
    /// Writes to `output`, which should have a buffer.
    pub fn new(output: &'a mut dyn Write) -> Self {
        Self { output, padding: 0 }
    }

    /// Begins an entry. As many bytes of data as the size of a file says must follow; sparse ones are not written.
    pub fn entry(&mut self, entry: &Entry) -> Result<()> {
        self.pad()?;
        let (kind, link, size, device): (u8, &[u8], u64, _) = match &entry.kind {
            Kind::File { size, .. } => (b'0', b"", *size, (0, 0)),
            Kind::HardLink(target) => (b'1', target, 0, (0, 0)),
            Kind::Symlink(target) => (b'2', target, 0, (0, 0)),
            Kind::Character(major, minor) => (b'3', b"", 0, (*major, *minor)),
            Kind::Block(major, minor) => (b'4', b"", 0, (*major, *minor)),
            Kind::Directory => (b'5', b"", 0, (0, 0)),
            Kind::Fifo => (b'6', b"", 0, (0, 0)),
        };
        let mut header = Header::new_ustar();
        header.set_mode(entry.mode);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(u64::try_from(entry.mtime.0).unwrap_or(0));
        header.set_size(size);
        header.set_device_major(device.0)?;
        header.set_device_minor(device.1)?;
        let mut records = Vec::new();
        if entry.mtime.1 != 0 || entry.mtime.0 < 0 {
            records.extend(pax::record(b"mtime", decimal(entry.mtime).as_bytes()));
        }
        for (name, value) in &entry.xattrs {
            records.extend(pax::record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value));
        }
        put(&mut header.as_old_mut().name, &entry.path, b"path", &mut records);
        put(&mut header.as_old_mut().linkname, link, b"linkpath", &mut records);
        if !records.is_empty() {
            self.extension(&records)?;
        }
        header.as_old_mut().linkflag = [kind];
        self.header(&mut header)?;
        self.padding = padding(size);
        Ok(())
    }

    /// Writes data of the entry.
    pub fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.output.write_all(bytes)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<()> {
        self.pad()?;
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()
    }

    fn extension(&mut self, records: &[u8]) -> Result<()> {
        let mut header = Header::new_ustar();
        let name = b"././@PaxHeader";
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkflag = *b"x";
        header.set_mode(0o644);
        header.set_size(records.len() as u64);
        self.header(&mut header)?;
        self.output.write_all(records)?;
        self.padding = padding(records.len() as u64);
        self.pad()
    }

    fn header(&mut self, header: &mut Header) -> Result<()> {
        header.set_cksum();
        self.output.write_all(header.as_bytes())
    }

    fn pad(&mut self) -> Result<()> {
        let padding = std::mem::take(&mut self.padding);
        self.output.write_all(&[0; BLOCK][..padding])
    }
}

/// What is missing to a whole block.
pub fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

/// Puts a text into a header's field, or into a record where it is too long.
fn put(field: &mut [u8; 100], text: &[u8], key: &[u8], records: &mut Vec<u8>) {
    let count = text.len().min(field.len());
    field[..count].copy_from_slice(&text[..count]);
    if count < text.len() {
        records.extend(pax::record(key, text));
    }
}

/// A PAX time: seconds and nanoseconds since 1970 as a decimal fraction, with the sign in front.
fn decimal((seconds, nanoseconds): (i64, u32)) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let (sign, total) = (if total < 0 { "-" } else { "" }, total.unsigned_abs());
    format!("{sign}{}.{:09}", total / 1_000_000_000, total % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Archive;

    #[test]
    fn writes_what_is_read_back_the_same() {
        let entry = |path: &[u8], kind| Entry {
            path: path.to_vec(),
            kind,
            mode: 0o4755,
            uid: 4_294_967_294,
            gid: 5,
            mtime: (-2, 750_000_000),
            xattrs: vec![(b"user.a".to_vec(), b"=\n\0".to_vec()), (b"user.empty".to_vec(), Vec::new())],
        };
        let long = b"d/".repeat(60);
        let all = [
            entry(b"./", Kind::Directory),
            entry(&[b'n'; 100], Kind::File { size: 5, map: None }),
            entry(&[&long[..], b"\xff"].concat(), Kind::HardLink([b'n'; 100].to_vec())),
            entry(b"link", Kind::Symlink(long.clone())),
            entry(b"full", Kind::File { size: 512, map: None }),
            Entry { mtime: (1 << 33, 0), xattrs: Vec::new(), ..entry(b"device", Kind::Character(1, 300)) },
            entry(b"fifo", Kind::Fifo),
        ];
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        for entry in &all {
            writer.entry(entry).unwrap();
            if let Kind::File { size, .. } = entry.kind {
                writer.data(&vec![b'x'; usize::try_from(size).unwrap()]).unwrap();
            }
        }
        writer.finish().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut bytes = &bytes[..];
        let mut archive = Archive::new(&mut bytes);
        for entry in &all {
            assert_eq!(&archive.next_entry().unwrap().unwrap(), entry);
            if let Kind::File { size, .. } = entry.kind {
                assert_eq!(archive.read_data(1000).unwrap().len() as u64, size);
            }
        }
        assert!(archive.next_entry().unwrap().is_none());
    }
}
