//! Sparse files of GNU tar: the map that says where in the file the archived data lies.

use super::{Archive, BLOCK, Kind, number, pax};
use crate::error::{Error, Result};
use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

/// The most segments that one file may have.
pub const LIMIT: usize = 1 << 20;

/// Data of a sparse file; around it are holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

fn refused() -> Error {
    Error::Refused("its sparse map is malformed".into())
}

/// Adds the segments of an old GNU header or of an extension header; an entry of all zeros ends them.
pub fn add_old(map: &mut Vec<Segment>, headers: &[GnuSparseHeader]) -> Result<()> {
    for header in headers.iter().take_while(|header| !header.is_empty()) {
        if map.len() >= LIMIT {
            return Err(refused());
        }
        let (offset, length) =
            (number::size(&header.offset, "sparse map")?, number::size(&header.numbytes, "sparse map")?);
        map.push(Segment { offset, length });
    }
    Ok(())
}

/// Reads the map of format 1.0, which stands before the data: decimal numbers, each on its line; first how many
/// segments there are, then offset and length of each. `line` gives the next line.
pub fn read_new(mut line: impl FnMut() -> Result<Vec<u8>>) -> Result<Vec<Segment>> {
    let mut next = || number::decimal(&line()?).ok_or_else(refused);
    let count = usize::try_from(next()?).ok().filter(|count| *count <= LIMIT).ok_or_else(refused)?;
    let mut map = Vec::new();
    for _ in 0..count {
        map.push(Segment { offset: next()?, length: next()? });
    }
    Ok(map)
}

/// Checks that segments lie in order within a file of `size` bytes, and together are the `data` bytes archived.
///
/// Only the last may end within a block: where data follows, GNU tar looks for it in the next block, others at once.
pub fn check(map: &[Segment], size: u64, data: u64) -> Result<()> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for segment in map {
        if segment.offset < end || segment.length > 0 && !sum.is_multiple_of(BLOCK as u64) {
            return Err(refused());
        }
        end = segment.offset.checked_add(segment.length).ok_or_else(refused)?;
        sum = sum.checked_add(segment.length).ok_or_else(refused)?;
    }
    let fits = end <= size && sum == data && i64::try_from(size).is_ok();
    if fits { Ok(()) } else { Err(refused()) }
}

impl Archive<'_> {
    /// A sparse file of the old GNU format: the map is in the header and in blocks after it.
    pub(super) fn sparse_old(&mut self, header: &Header, data: u64) -> Result<Kind> {
        let gnu = header.as_gnu().ok_or_else(|| super::refused("it is sparse, but its header is not GNU's"))?;
        let mut map = Vec::new();
        add_old(&mut map, &gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let block = self.block()?.ok_or_else(|| super::refused("the archive ends within an entry"))?;
            let mut extension = GnuExtSparseHeader::new();
            extension.as_mut_bytes().copy_from_slice(&block);
            add_old(&mut map, extension.sparse())?;
            more = extension.is_extended();
        }
        let size = number::size(&gnu.realsize, "size")?;
        check(&map, size, data)?;
        self.begin_data(data)?;
        Ok(Kind::File { size, map: Some(map) })
    }

    /// A sparse file of one of the PAX formats: the map is among the records (0.0, 0.1) or before the data (1.0).
    pub(super) fn sparse_pax(&mut self, sparse: &mut pax::Sparse, archived: u64) -> Result<Kind> {
        let size = sparse.size.ok_or_else(refused)?;
        self.begin_data(archived)?;
        let map = match (sparse.version, sparse.map.take()) {
            ((None, None) | (Some(0), Some(0 | 1)), Some(map)) => map,
            ((Some(1), Some(0)), None) => {
                let map = read_new(|| self.line())?;
                // The data begins with the next block.
                let used = archived - self.data;
                let pad = usize::try_from(used.next_multiple_of(BLOCK as u64) - used).unwrap_or_default();
                self.skip_within(pad)?;
                map
            }
            _ => return Err(super::refused("it is sparse in a form that is not known")),
        };
        if sparse.count.is_some_and(|count| count != map.len() as u64) {
            return Err(refused());
        }
        check(&map, size, self.data)?;
        Ok(Kind::File { size, map: Some(map) })
    }

    /// A line of at most 20 bytes from the entry's data, without its end.
    fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            let byte = *self.data()?.first().ok_or_else(refused)?;
            self.consume(1);
            match byte {
                b'\n' => return Ok(line),
                _ if line.len() < 20 => line.push(byte),
                _ => return Err(refused()),
            }
        }
    }

    fn skip_within(&mut self, mut count: usize) -> Result<()> {
        while count > 0 {
            let step = self.data()?.len().min(count);
            if step == 0 {
                return Err(refused());
            }
            self.consume(step);
            count -= step;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(offset: u64, length: u64) -> Segment {
        Segment { offset, length }
    }

    #[test]
    fn reads_a_map_of_format_1() {
        let read = |text: &str| {
            let mut lines = text.lines().map(|line| line.as_bytes().to_vec());
            read_new(|| lines.next().ok_or_else(refused))
        };
        assert_eq!(read("2\n0\n5\n4096\n10").unwrap(), [segment(0, 5), segment(4096, 10)]);
        assert_eq!(read("0").unwrap(), []);
        for bad in ["", "x", "2\n0\n5\n1", "-1", "99999999999", "1\n-1\n2", "1\n \n2"] {
            assert_eq!(read(bad).unwrap_err().exit_code(), 6, "{bad:?}");
        }
    }

    #[test]
    fn checks_order_bounds_and_sum() {
        let good = [segment(0, 512), segment(512, 0), segment(4096, 10), segment(5000, 0)];
        check(&good, 5000, 522).unwrap();
        check(&[], 1 << 40, 0).unwrap();
        check(&[segment(10, 0)], 10, 0).unwrap();
        for (map, size, data) in [
            (&good[..], 5000, 523),
            (&good, 4100, 522),
            (&[segment(0, 5), segment(4096, 10)], 5000, 15),
            (&[segment(5, 512), segment(9, 1)], 1000, 513),
            (&[segment(5, 512), segment(0, 1)], 1000, 513),
            (&[segment(u64::MAX, 2)], u64::MAX, 2),
            (&[segment(0, u64::MAX), segment(u64::MAX, u64::MAX)], u64::MAX, 1),
            (&[], u64::MAX, 0),
        ] {
            assert_eq!(check(map, size, data).unwrap_err().exit_code(), 6, "{map:?}");
        }
    }
}
