//! Reading the log, also while it is written and its files get other numbers.

use super::{Line, open};
use crate::error::{Doing, Result};
use rustix::fs::{Mode, OFlags, fstat, open as open_path};
use rustix::io::{Errno, pread};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// How much is read at once, in bytes: more than the longest line.
pub(super) const BLOCK: usize = 64 << 10;

/// A container's log, open for reading.
pub struct Reader {
    path: PathBuf,
    dir: OwnedFd,
    /// The files of the log, the oldest first. Those that were read stay open for as long as they are there: no other
    /// file can then be taken for one of them.
    pub(super) parts: Vec<Part>,
    block: Vec<u8>,
    malformed: u64,
}

/// One file, whatever its number is by now.
pub(super) struct Part {
    pub(super) file: File,
    device: u64,
    inode: u64,
    /// Where the first line begins that was not read.
    pub(super) place: u64,
}

impl Part {
    fn is(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// How long the file is by now.
    pub(super) fn size(&self) -> rustix::io::Result<u64> {
        Ok(fstat(&self.file)?.st_size.cast_unsigned())
    }
}

impl Reader {
    /// Opens the log of the bundle in `dir`, as much of it as there is.
    pub fn open(dir: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = open_path(dir, flags, Mode::empty()).doing(|| format!("opening {}", dir.display()))?;
        let (path, block) = (dir.join("log"), vec![0; BLOCK]);
        let mut reader = Self { path, dir: opened, parts: Vec::new(), block, malformed: 0 };
        reader.renew()?;
        Ok(reader)
    }

    /// Looks for files that are newer than those that are open. From here on, the older ones do not grow any more.
    pub fn renew(&mut self) -> Result<()> {
        let reading = || format!("reading {}", self.path.display());
        // Files move to higher numbers, and are looked at from low ones to high ones: none slips through. In the middle
        // of a rotation, or after one that was interrupted, a number is free; three in a row end the log.
        let (mut newer, mut missing, mut number) = (Vec::<Part>::new(), 0, 0);
        while missing < 3 {
            match open(self.dir.as_fd(), number, OFlags::RDONLY) {
                Err(Errno::NOENT) => missing += 1,
                other => {
                    let file = other.doing(reading)?;
                    let stat = fstat(&file).doing(reading)?;
                    let part = Part { file, device: stat.st_dev, inode: stat.st_ino, place: 0 };
                    if self.parts.iter().any(|known| known.is(&part)) {
                        break;
                    }
                    if !newer.iter().any(|known| known.is(&part)) {
                        newer.push(part);
                    }
                    missing = 0;
                }
            }
            number += 1;
        }
        if !newer.is_empty() {
            self.parts.retain(|part| {
                fstat(&part.file).is_ok_and(|stat| stat.st_nlink > 0 || part.place < stat.st_size.cast_unsigned())
            });
            self.parts.extend(newer.into_iter().rev());
        }
        Ok(())
    }

    /// Reads the lines that have come since the last call, up to what there is now, and gives each to `take`.
    pub fn read(&mut self, mut take: impl FnMut(&Line) -> Result<()>) -> Result<()> {
        let reading = || format!("reading {}", self.path.display());
        for part in &mut self.parts {
            let size = part.size().doing(reading)?;
            if size < part.place {
                part.place = 0; // Somebody has emptied it.
            }
            while part.place < size {
                let wanted = usize::try_from(size - part.place).unwrap_or(BLOCK).min(BLOCK);
                let held = pread(&part.file, &mut self.block[..wanted], part.place).doing(reading)?;
                let held = &self.block[..held];
                let Some(end) = held.iter().rposition(|byte| *byte == b'\n') else {
                    if held.len() < BLOCK {
                        break; // The last line is still being written.
                    }
                    self.malformed += 1;
                    part.place += BLOCK as u64;
                    continue;
                };
                for line in held[..end].split(|byte| *byte == b'\n') {
                    match Line::parse(line) {
                        Some(line) => take(&line)?,
                        None => self.malformed += 1,
                    }
                }
                part.place += end as u64 + 1;
            }
        }
        Ok(())
    }

    /// How many lines were left out because they are malformed.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }
}
