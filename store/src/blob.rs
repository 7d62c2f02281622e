//! Blobs: content named by its digest, visible only once every byte is verified.

use crate::digest::{Digest, Hasher};
use crate::error::{Doing, Error, Result};
use crate::json::{self, FromJson};
use crate::oci::{Descriptor, media};
use crate::root::{Store, keep_dir, sync_dir};
use crate::tree;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The bit of a file's mode that says: this is on its way into the store, or was published by a program that was ended
/// before it made it read-only. Files of other tools do not have it.
pub const OURS: u32 = 0o1000;

impl Store {
    /// Where the blob of this digest is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs").join(digest.algorithm()).join(digest.hex())
    }

    /// Is the described blob here, in its full size?
    pub fn has_blob(&self, descriptor: &Descriptor) -> bool {
        let found = fs::metadata(self.blob_path(&descriptor.digest));
        found.is_ok_and(|metadata| metadata.is_file() && metadata.len() == descriptor.size)
    }

    /// Opens a blob; one that is missing is [`Error::NotFound`].
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        match File::open(self.blob_path(digest)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::NotFound(format!("the store holds no blob {digest}")))
            }
            other => other.doing(|| format!("opening blob {digest}")),
        }
    }

    /// Reads a small blob whole, checking its size and digest; at most `limit` bytes.
    pub fn read_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > limit {
            return Err(Error::Refused(format!(
                "blob {digest} is of {size} bytes: more than the {limit} allowed here"
            )));
        }
        // Room for all of it, and for seeing its end, so that it is read at once.
        let mut bytes = Vec::with_capacity(usize::try_from(*size + 1).unwrap_or_default());
        let read = self.open_blob(digest)?.take(size + 1).read_to_end(&mut bytes);
        read.doing(|| format!("reading blob {digest}"))?;
        let mut hasher = digest.hasher();
        hasher.update(&bytes);
        if bytes.len() as u64 != *size || hasher.finish() != *digest {
            self.verify_blob(digest)?;
            return Err(Error::Refused(format!("blob {digest} is not of the {size} bytes of its descriptor")));
        }
        Ok(bytes)
    }

    /// The digest and size of what is kept as a blob.
    pub fn hash_blob(&self, digest: &Digest) -> Result<(Digest, u64)> {
        hash(&mut self.open_blob(digest)?, digest)
    }

    /// Refuses a blob whose content is not what its digest says, and removes it: as long as it is there, pulling
    /// the image again would take it for held.
    pub fn verify_blob(&self, digest: &Digest) -> Result<()> {
        let mut file = self.open_blob(digest)?;
        if hash(&mut file, digest)?.0 == *digest {
            return Ok(());
        }
        // Whoever brings it anew holds this lock, and puts it in the damaged one's place.
        if let Ok((beside, _lock)) = self.lock_ingest(digest, FlockOperation::NonBlockingLockExclusive) {
            let path = self.blob_path(digest);
            for gone in [is_at(&file, &path).then_some(path), Some(beside)].into_iter().flatten() {
                let _ = fs::remove_file(gone); // A store that is only read keeps it.
            }
        }
        Err(Error::Refused(format!("blob {digest} is damaged\nhint: pull the image again")))
    }

    /// Reads a JSON blob, checking its size and digest; `what` names it in errors.
    pub fn read_json<T: FromJson>(&self, descriptor: &Descriptor, limit: u64, what: &str) -> Result<T> {
        json::read(&self.read_blob(descriptor, limit)?, &format!("{what} {}", descriptor.digest))
    }

    /// Stores bytes that are at hand, under their own digest.
    pub fn put_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let descriptor = Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64);
        if self.has_blob(&descriptor) && self.verify_blob(&descriptor.digest).is_ok() {
            return Ok(descriptor);
        }
        if let Some(mut ingest) = self.ingest(&descriptor)? {
            ingest.restart()?;
            ingest.write(bytes)?;
            ingest.finish()?;
        }
        Ok(descriptor)
    }

    /// Begins, or goes on with, the described blob. `None`: it is here already.
    ///
    /// Waits while another program brings the same blob. What an earlier run left is hashed again, so that
    /// [`Ingest::offset`] tells where to go on.
    pub fn ingest(&self, descriptor: &Descriptor) -> Result<Option<Ingest<'_>>> {
        if self.has_blob(descriptor) {
            return Ok(None);
        }
        let (path, mut file) = self.lock_ingest(&descriptor.digest, FlockOperation::LockExclusive)?;
        // Another program may have brought it since: the file is then one that has just been made.
        if self.has_blob(descriptor) {
            let _ = fs::remove_file(&path); // What stays is garbage that `gc` removes.
            return Ok(None);
        }
        let mut hasher = descriptor.digest.hasher();
        let offset = hash_rest(&mut file, &mut hasher).doing(|| format!("reading {}", path.display()))?;
        let mut ingest = Ingest { store: self, expected: descriptor.clone(), file, hasher, offset, path };
        if offset > descriptor.size {
            ingest.restart()?;
        }
        self.expect_space(descriptor, ingest.offset)?;
        Ok(Some(ingest))
    }

    /// Opens and locks the file that this blob is brought in.
    fn lock_ingest(&self, digest: &Digest, operation: FlockOperation) -> Result<(PathBuf, File)> {
        let path = self.path("ingest").join(format!("{}-{}", digest.algorithm(), digest.hex()));
        let doing = || format!("opening {}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600 | OURS);
        let open = || options.open(&path);
        loop {
            let file = match open() {
                // Published between the look at its name and that of landlock(7), which lets nobody write among blobs.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => open(),
                other => other,
            };
            let file = file.doing(doing)?;
            flock(&file, operation).doing(doing)?;
            // Whoever held the lock before may have published or given up this very file: only its name counts.
            if is_at(&file, &path) {
                return Ok((path, file));
            }
        }
    }
}

/// Is this open file the one of that name?
pub fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (named, own) = (fs::symlink_metadata(path), file.metadata());
    named.is_ok_and(|named| own.is_ok_and(|own| id(named) == id(own)))
}

/// The digest, by the algorithm of `digest`, and the size of a file.
fn hash(file: &mut File, digest: &Digest) -> Result<(Digest, u64)> {
    let mut hasher = digest.hasher();
    let size = hash_rest(file, &mut hasher).doing(|| format!("reading blob {digest}"))?;
    Ok((hasher.finish(), size))
}

fn hash_rest(file: &mut File, hasher: &mut Hasher) -> std::io::Result<u64> {
    let mut buffer = vec![0; 1 << 18];
    let mut offset = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(offset),
            count => {
                hasher.update(&buffer[..count]);
                offset += count as u64;
            }
        }
    }
}

/// A blob on its way into the store, held by one program at a time. Dropped unfinished, what has come stays for
/// a later run to go on with.
pub struct Ingest<'a> {
    store: &'a Store,
    expected: Descriptor,
    file: File,
    hasher: Hasher,
    offset: u64,
    path: PathBuf,
}

impl Ingest<'_> {
    /// How many bytes are here already.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What is being brought.
    pub fn expected(&self) -> &Descriptor {
        &self.expected
    }

    /// Forgets what has come, to begin again.
    pub fn restart(&mut self) -> Result<()> {
        self.hasher = self.expected.digest.hasher();
        self.offset = 0;
        self.file.set_len(0).and_then(|()| self.file.rewind()).doing(|| format!("emptying {}", self.path.display()))
    }

    /// Adds bytes; more than the descriptor's size are refused, and what has come is removed.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Descriptor { digest, size, .. } = &self.expected;
        let length = self.offset + bytes.len() as u64;
        if length > *size {
            let refusal = Error::Refused(format!("blob {digest} is longer than the {size} bytes of its descriptor"));
            return Err(self.give_up(refusal));
        }
        self.file.write_all(bytes).doing(|| format!("writing blob {digest} of {size} bytes"))?;
        self.hasher.update(bytes);
        self.offset = length;
        Ok(())
    }

    /// Verifies size and digest, then makes the blob visible. What does not match is removed and refused.
    pub fn finish(self) -> Result<()> {
        let Descriptor { digest, size, .. } = &self.expected;
        if self.offset != *size {
            let refusal = format!("blob {digest} ended after {} of {size} bytes", self.offset);
            return Err(self.give_up(Error::Refused(refusal)));
        }
        let actual = self.hasher.clone().finish();
        if actual != *digest {
            return Err(
                self.give_up(Error::Refused(format!("blob {digest} has other content: its digest is {actual}")))
            );
        }
        let target = self.store.blob_path(digest);
        let parent = self.store.path("blobs").join(digest.algorithm());
        keep_dir(&parent, 0o755)?;
        // Other tools write a manifest again that is here already, in place: its owner must be allowed to.
        let media = &self.expected.media_type;
        let mode = if media::is_manifest(media) || media::is_index(media) { 0o644 } else { 0o444 };
        if target.is_dir() {
            tree::remove(&target)?; // No blob: somebody has put it there.
        }
        // The mode comes last: another program that is about to wait for this file must be able to open it.
        let published = (self.file.sync_all())
            .and_then(|()| fs::rename(&self.path, &target))
            .and_then(|()| self.file.set_permissions(fs::Permissions::from_mode(mode)));
        published.doing(|| format!("storing blob {digest}"))?;
        sync_dir(&parent)
    }

    /// Removes what has come, and hands back the error that made it worthless.
    pub fn give_up(&self, error: Error) -> Error {
        let _ = fs::remove_file(&self.path); // The error at hand says more; `gc` removes what stays.
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::media;

    /// A store in a layout as other tools make it.
    fn foreign(name: &str) -> Store {
        let root = std::env::temp_dir().join(format!("crate-blob-{name}-{}", std::process::id()));
        crate::tree::remove(&root).unwrap();
        fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        fs::write(root.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
        Store::open_at(&root).unwrap()
    }

    #[test]
    fn what_is_damaged_goes_and_comes_again() {
        let store = foreign("damaged");
        let descriptor = store.put_blob(media::CONFIG, b"content").unwrap();
        let path = store.blob_path(&descriptor.digest);
        let damage = || {
            fs::remove_file(&path).unwrap();
            fs::write(&path, b"CONTENT").unwrap();
        };
        damage();
        assert!(store.ingest(&descriptor).unwrap().is_none());
        assert_eq!(store.read_blob(&descriptor, 100).unwrap_err().exit_code(), 6);
        assert!(!path.exists());
        store.put_blob(media::CONFIG, b"content").unwrap();
        damage();
        store.put_blob(media::CONFIG, b"content").unwrap();
        // A descriptor that lies about the size must not cost others their blob.
        let lying = Descriptor { size: 3, ..descriptor.clone() };
        assert_eq!(store.read_blob(&lying, 100).unwrap_err().exit_code(), 6);
        assert_eq!(store.read_blob(&descriptor, 100).unwrap(), b"content");
        assert_eq!(fs::read_dir(store.path("ingest")).unwrap().count(), 0);
        crate::tree::remove(store.root()).unwrap();
    }

    #[test]
    fn one_of_several_brings_a_blob() {
        let store = foreign("several");
        let descriptor = Descriptor::new(media::LAYER, Digest::of(b"content"), 7);
        let brought = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let Some(mut ingest) = store.ingest(&descriptor).unwrap() else {
                        return;
                    };
                    brought.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    ingest.write(b"content").unwrap();
                    ingest.finish().unwrap();
                });
            }
        });
        assert_eq!(brought.into_inner(), 1);
        crate::tree::remove(store.root()).unwrap();
    }
}
