//! Content whose digest is known only when all of it has come: files of docker archives.

use crate::digest::Hasher;
use crate::error::{Doing, Result};
use crate::oci::Descriptor;
use crate::root::{Store, keep_dir, sync_dir};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

/// A blob-to-be in `ingest/`. Dropped unfinished, it goes.
pub struct Spool<'a> {
    store: &'a Store,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Store {
    /// Begins a blob of unknown digest.
    pub fn spool(&self) -> Result<Spool<'_>> {
        let path = self.ingest_path("spool")?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.doing(|| format!("making {}", path.display()))?;
        Ok(Spool { store: self, path, file, hasher: Hasher::sha256(), size: 0 })
    }
}

impl Spool<'_> {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).doing(|| format!("writing {}", self.path.display()))
    }

    /// Makes it a blob under its own digest.
    pub fn finish(self, media_type: &str) -> Result<Descriptor> {
        let descriptor = Descriptor::new(media_type, self.hasher.clone().finish(), self.size);
        if self.store.has_blob(&descriptor) {
            return Ok(descriptor);
        }
        let parent = self.store.path("blobs").join(descriptor.digest.algorithm());
        keep_dir(&parent, 0o755)?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o444))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| fs::rename(&self.path, self.store.blob_path(&descriptor.digest)))
            .doing(|| format!("storing blob {}", descriptor.digest))?;
        sync_dir(&parent)?;
        Ok(descriptor)
    }
}

impl Drop for Spool<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // Gone already, if it has become a blob.
    }
}
