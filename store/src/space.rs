//! Room on file systems, and sizes as people read them.

use crate::error::{Error, Result};
use crate::oci::Descriptor;
use crate::root::Store;
use std::path::Path;

/// A size in decimal units, as one word: `4.2MB`.
pub fn size(bytes: u64) -> String {
    let mut unit = 1;
    for name in ["B", "kB", "MB", "GB", "TB"] {
        if bytes / unit < 1000 || name == "TB" {
            let (whole, tenth) = (bytes / unit, bytes % unit * 10 / unit);
            return if unit == 1 || whole >= 100 { format!("{whole}{name}") } else { format!("{whole}.{tenth}{name}") };
        }
        unit *= 1000;
    }
    String::new()
}

/// How many bytes the caller can still write at `path` (statvfs(3)); `None` where the file system does not tell.
pub fn free(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    // A tmpfs without a limit has no blocks.
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

/// The same in words.
pub(crate) fn free_in_words(path: &Path) -> Option<String> {
    free(path).map(|free| format!("{} are free in {}", size(free), path.display()))
}

/// What does not fit in the store, and by how much.
pub(crate) fn too_large(needed: u64, free: u64, store: &Path) -> Error {
    Error::Failed(format!("it needs {}, {} are free in {}", size(needed), size(free), store.display()))
}

impl Store {
    /// Fails early where the rest of a blob, from `offset` on, cannot fit.
    pub(crate) fn expect_space(&self, blob: &Descriptor, offset: u64) -> Result<()> {
        let needed = blob.size.saturating_sub(offset);
        match free(self.root()) {
            Some(free) if free < needed => {
                Err(too_large(needed, free, self.root()).about(&format!("bringing blob {}", blob.digest)))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_sizes() {
        for (bytes, text) in [(0, "0B"), (999, "999B"), (1000, "1.0kB"), (4_250_000, "4.2MB"), (123_456_789, "123MB")] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(2_000_000_000_000_000), "2000TB");
    }
}
