//! Unpacking the layers of images: each once, whole or not at all, whoever else does the same meanwhile.

mod queue;

use crate::archive::Archive;
use crate::blob::is_at;
use crate::digest::{Digest, Hasher};
use crate::error::{Doing, Error, Result};
use crate::image::Image;
use crate::inflate::{self, CHUNK, Hashing, read_full};
use crate::layer::{Layer, LeftOut, Owners};
use crate::root::{Store, sync_dir};
use crate::tree;
use queue::Queue;
use rustix::fs::{FlockOperation, Mode, fchmod, flock, fremovexattr, syncfs};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

/// The most that a layer may hold whatever its blob's size, in bytes, and how often it may hold that size besides. No gzip
/// reaches this ratio (RFC 1951: 1032 at most); of zstd it takes a long run of one byte.
const CONTENT_FLOOR: u64 = 4 << 30;
const CONTENT_RATIO: u64 = 1100;

/// How long another program is waited for with layers of ours unpublished.
const PATIENCE: Duration = Duration::from_secs(5);

/// A run of unpacking. Layers become visible together, by [`Unpacking::publish`].
pub struct Unpacking<'a> {
    store: &'a Store,
    owners: Rc<Owners>,
    left_out: LeftOut,
    /// What was asked for and is not published: blob and diffid, in that order.
    asked: Vec<(Digest, Digest)>,
    ready: Vec<(Digest, Ready)>,
}

/// A layer that is unpacked, but not visible yet.
struct Ready {
    layer: Layer,
    claim: Claim,
}

impl<'a> Unpacking<'a> {
    /// Begins. From here on the program's umask is 0, for modes are those of the archives.
    pub fn new(store: &'a Store) -> Result<Self> {
        rustix::process::umask(Mode::empty());
        let owners = Rc::new(Owners::here()?);
        Ok(Self { store, owners, left_out: LeftOut::default(), asked: Vec::new(), ready: Vec::new() })
    }

    /// Unpacks a layer, unless it is there. One that another program is unpacking is left until the end.
    pub fn layer(&mut self, blob: &Digest, diff_id: &Digest) -> Result<()> {
        if self.asked.iter().any(|(_, asked)| asked == diff_id) {
            return Ok(());
        }
        self.asked.push((blob.clone(), diff_id.clone()));
        // Waiting here, with other layers claimed, two programs could wait for one another.
        if let Some(claim) = Claim::new(self.store, diff_id, FlockOperation::NonBlockingLockExclusive)? {
            let ready = self.unpack(blob, diff_id, claim)?;
            self.ready.push((diff_id.clone(), ready));
        }
        Ok(())
    }

    /// Unpacks what is missing of an image's layers, and publishes them.
    pub fn image(&mut self, image: &Image) -> Result<()> {
        let pairs = image.manifest.layers.iter().zip(image.diff_ids());
        let pairs: Vec<_> = pairs.map(|(layer, diff_id)| (layer.digest.clone(), diff_id.clone())).collect();
        for (blob, diff_id) in &pairs {
            self.layer(blob, diff_id)?;
        }
        self.asked.retain(|(_, asked)| !pairs.iter().any(|(_, diff_id)| diff_id == asked));
        self.publish_in_order(&pairs)
    }

    /// Publishes the layers that no image was named for. Those that want the layers below are given up: they would be
    /// wrong for as long as they are there.
    pub fn publish(&mut self) -> Result<()> {
        let mut batch = Vec::new();
        for (_, diff_id) in std::mem::take(&mut self.asked) {
            match self.take(&diff_id) {
                Some(ready) if ready.layer.is_settled() => batch.push((diff_id, ready)),
                Some(_) => self.left_out.layers += 1,
                None => {}
            }
        }
        self.flush(&mut batch)
    }

    /// The layer of this diffid, if it waits to be published.
    fn take(&mut self, diff_id: &Digest) -> Option<Ready> {
        let place = self.ready.iter().position(|(known, _)| known == diff_id)?;
        Some(self.ready.swap_remove(place).1)
    }

    /// What could not be kept, in one line for each kind.
    pub fn notices(&self) -> Vec<String> {
        self.left_out.lines()
    }

    /// Publishes an image's layers, the base first, each settled on those before it.
    fn publish_in_order(&mut self, pairs: &[(Digest, Digest)]) -> Result<()> {
        let mut batch: Vec<(Digest, Ready)> = Vec::new();
        for (place, (blob, diff_id)) in pairs.iter().enumerate() {
            let mut ready = match self.take(diff_id) {
                Some(ready) => ready,
                None if self.store.layer_path(diff_id).exists() => continue,
                None if batch.iter().any(|(known, _)| known == diff_id) => continue,
                None => {
                    // Another program has it.
                    self.flush(&mut batch)?;
                    let Some(claim) = self.wait(diff_id)? else { continue };
                    self.unpack(blob, diff_id, claim)?
                }
            };
            let below = pairs[..place].iter().rev().map(|(_, diff_id)| {
                let waiting = batch.iter().find(|(known, _)| known == diff_id);
                waiting.map_or_else(|| self.store.layer_path(diff_id), |(_, ready)| ready.claim.path.clone())
            });
            let below: Vec<PathBuf> = below.collect();
            ready.layer.settle(&below).map_err(|error| about(error, diff_id))?;
            batch.push((diff_id.clone(), ready));
        }
        self.flush(&mut batch)
    }

    /// Waits for a layer that another program unpacks; `None`: it is there.
    ///
    /// The other one may wait for a layer of ours, where its image has them in another order. So what is not visible
    /// yet is given up after a while, to be unpacked again.
    fn wait(&mut self, diff_id: &Digest) -> Result<Option<Claim>> {
        let begun = Instant::now();
        while !self.ready.is_empty() && begun.elapsed() < PATIENCE {
            let claim = Claim::new(self.store, diff_id, FlockOperation::NonBlockingLockExclusive)?;
            if claim.is_some() || self.store.layer_path(diff_id).exists() {
                return Ok(claim);
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.ready.clear();
        Claim::new(self.store, diff_id, FlockOperation::LockExclusive)
    }

    /// Makes layers visible: they are on the disk before they are.
    fn flush(&self, batch: &mut Vec<(Digest, Ready)>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let layers = self.store.path("layers");
        let doing = || format!("storing layers in {}", layers.display());
        syncfs(open_dir(&layers)?).doing(doing)?;
        for (diff_id, ready) in batch.drain(..) {
            ready.claim.publish(&self.store.layer_path(&diff_id))?;
        }
        sync_dir(&layers)
    }

    fn unpack(&mut self, blob: &Digest, diff_id: &Digest, claim: Claim) -> Result<Ready> {
        let root = claim.make()?;
        let mut layer = Layer::new(root, Rc::clone(&self.owners));
        let file = self.store.open_blob(blob)?;
        extract(&mut layer, file, blob, diff_id).map_err(|error| about(self.cause(error, blob), diff_id))?;
        self.left_out.add(layer.left_out());
        Ok(Ready { layer, claim })
    }

    /// Why a layer was refused: that its blob is damaged says more than what came of it.
    fn cause(&self, error: Error, blob: &Digest) -> Error {
        match error {
            Error::Refused(_) => self.store.verify_blob(blob).err().unwrap_or(error),
            other => other,
        }
    }
}

fn about(error: Error, diff_id: &Digest) -> Error {
    error.about(&format!("unpacking layer {diff_id}"))
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    File::open(path).map(OwnedFd::from).doing(|| format!("opening {}", path.display()))
}

/// Makes an empty directory for a layer.
pub(crate) fn make_root(path: &Path) -> Result<OwnedFd> {
    let doing = || format!("making {}", path.display());
    DirBuilder::new().mode(0o755).create(path).doing(doing)?;
    let root = open_dir(path)?;
    // `ingest/` may hand down a group or an access control list that the layer knows nothing of.
    let _ = fremovexattr(&root, "system.posix_acl_default");
    let _ = fremovexattr(&root, "system.posix_acl_access");
    let own = (rustix::process::geteuid(), rustix::process::getegid());
    rustix::fs::fchown(&root, Some(own.0), Some(own.1)).doing(doing)?;
    fchmod(&root, Mode::from_raw_mode(0o755)).doing(doing)?;
    Ok(root)
}

/// The sole right to unpack a layer, held by the lock of a file in `ingest/`. Dropped, what was unpacked goes.
struct Claim {
    path: PathBuf,
    lock: PathBuf,
    _file: File,
}

impl Claim {
    /// `None`: the layer is there, or another program has it and `operation` does not wait.
    fn new(store: &Store, diff_id: &Digest, operation: FlockOperation) -> Result<Option<Self>> {
        let path = store.path("ingest").join(format!("layer-{}", diff_id.hex()));
        let lock = path.with_extension("lock");
        let doing = || format!("locking {}", lock.display());
        loop {
            if store.layer_path(diff_id).exists() {
                return Ok(None);
            }
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&lock);
            let file = file.doing(doing)?;
            match flock(&file, operation) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                other => other.doing(doing)?,
            }
            // Whoever held the lock before has removed the file: only its name counts.
            if is_at(&file, &lock) && !store.layer_path(diff_id).exists() {
                return Ok(Some(Self { path, lock, _file: file }));
            }
        }
    }

    /// Makes the empty directory to unpack into; what an earlier run left there goes first.
    fn make(&self) -> Result<OwnedFd> {
        tree::remove(&self.path)?;
        make_root(&self.path)
    }

    fn publish(self, target: &Path) -> Result<()> {
        fs::rename(&self.path, target).doing(|| format!("storing {}", target.display()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // After an error, which says more. What stays is garbage that the next run or `gc` removes.
        let _ = tree::remove(&self.path);
        let _ = fs::remove_file(&self.lock);
    }
}

/// Inflates a blob and unpacks it, one beside the other; both digests are verified.
pub(crate) fn extract(layer: &mut Layer, file: File, blob: &Digest, diff_id: &Digest) -> Result<()> {
    let queue = Queue::default();
    thread::scope(|scope| {
        let reader = thread::Builder::new().spawn_scoped(scope, || produce(file, blob, &queue));
        let reader = reader.doing(|| "starting a thread".into())?;
        let mut input = Chunks { queue: &queue, chunk: Vec::new(), next: 0, hasher: diff_id.hasher() };
        let unpacked = layer.unpack(&mut Archive::new(&mut input));
        queue.abandon(); // The reader, if it still runs, ends when nobody takes its chunks.
        let read = reader.join();
        unpacked?;
        let actual = read.map_err(|_| Error::Failed("reading the blob ended early".into()))?;
        if actual.as_ref() != Some(blob) {
            return Err(Error::Refused(format!("blob {blob} is damaged")));
        }
        let actual = input.hasher.finish();
        if actual != *diff_id {
            return Err(Error::Refused(format!("its content has another diffid: {actual}")));
        }
        Ok(())
    })
}

/// Hands on a blob's content in chunks; the digest of the blob, if all of it was read.
fn produce(file: File, blob: &Digest, queue: &Queue) -> Option<Digest> {
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let mut hashing = Hashing::new(file, blob.hasher());
    let handed = hand_on(&mut hashing, CONTENT_FLOOR.saturating_add(size.saturating_mul(CONTENT_RATIO)), queue);
    let all = matches!(handed, Ok(true));
    queue.end(handed.map(drop));
    all.then(|| hashing.finish().0)
}

/// `false`: nobody takes it any more.
fn hand_on(input: impl Read, mut left: u64, queue: &Queue) -> io::Result<bool> {
    let mut content = inflate::open(Box::new(input))?;
    loop {
        let mut chunk = queue.used();
        chunk.resize(CHUNK, 0);
        let count = read_full(&mut content, &mut chunk)?;
        chunk.truncate(count);
        if count == 0 {
            return Ok(true);
        }
        left = left.checked_sub(count as u64).ok_or_else(|| inflate::damaged("it holds too much for its size"))?;
        if !queue.put(chunk) {
            return Ok(false);
        }
    }
}

/// The content as it comes out of the other thread, hashed on its way.
struct Chunks<'a> {
    queue: &'a Queue,
    chunk: Vec<u8>,
    next: usize,
    hasher: Hasher,
}

impl BufRead for Chunks<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.next == self.chunk.len() {
            self.next = 0;
            self.chunk = self.queue.take(std::mem::take(&mut self.chunk))?;
            self.hasher.update(&self.chunk);
        }
        Ok(&self.chunk[self.next..])
    }

    fn consume(&mut self, count: usize) {
        self.next += count;
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
