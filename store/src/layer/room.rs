//! Room on the store's file system, which no layer may use up.

use crate::error::{Doing, Result};
use crate::root::Store;
use crate::space::too_large;
use rustix::fs::fstatvfs;
use std::os::fd::AsFd;

/// How many bytes are taken before the file system is asked again, for others write to it too.
const STEP: u64 = 64 << 20;

/// The most bytes that are left for others; at most a twentieth of the file system.
const RESERVE: u64 = 64 << 20;

/// What may still be written.
#[derive(Debug, Default)]
pub struct Room {
    left: u64,
}

impl Room {
    /// Takes room for `size` bytes, holes among them, on the file system of `place`. More than there is fails at once:
    /// what an archive says of its files is believed only as far as they fit.
    pub fn take(&mut self, place: impl AsFd, size: u64) -> Result<()> {
        if size > self.left {
            let found = fstatvfs(place).doing(|| "looking for room".into())?;
            let reserve = (found.f_blocks / 20).saturating_mul(found.f_frsize).min(RESERVE);
            let free = found.f_bavail.saturating_mul(found.f_frsize).saturating_sub(reserve);
            // A tmpfs without a limit has no blocks.
            if found.f_blocks > 0 && size > free {
                return Err(too_large(size, free, &Store::default_path()?));
            }
            self.left = free.min(STEP);
        }
        self.left = self.left.saturating_sub(size);
        Ok(())
    }
}
