//! The store's directory: where it is, what is in it, and the lock that keeps collecting apart from using.

use crate::error::{Doing, Error, Result};
use crate::json;
use crate::oci::Index;
use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, flock, futimens};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// What `oci-layout` holds (image-spec, `image-layout.md#oci-layout-file`).
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// How each version begins in it that this program knows.
pub const LAYOUT_VERSION: &str = "\"1.0.";

/// An `index.json` that names no image.
pub(crate) const EMPTY_INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

/// How long collecting waits for programs that use the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open store. While it lives, nothing in the store is collected.
///
/// | path | what |
/// | --- | --- |
/// | `oci-layout`, `index.json`, `blobs/ALGORITHM/HEX` | an OCI image layout |
/// | `layers/DIFFID-HEX/` | one unpacked layer, an overlay lowerdir |
/// | `containers/ID/` | one container, an OCI bundle; `containers/NAME` is a link to its id |
/// | `ingest/` | what is not complete yet, and what is being removed: never read by another program |
/// | `lock` | held shared to use the store, exclusively to collect |
pub struct Store {
    root: PathBuf,
    lock: File,
    run: OnceLock<PathBuf>,
}

impl Store {
    /// The store's path: `$CRATE_ROOT`, else `/var/lib/crate` for root, else `$XDG_DATA_HOME/crate`.
    pub fn default_path() -> Result<PathBuf> {
        if let Some(path) = variable("CRATE_ROOT") {
            return absolute(path);
        }
        if rustix::process::geteuid().is_root() {
            return Ok("/var/lib/crate".into());
        }
        let data = variable("XDG_DATA_HOME").filter(|path| path.is_absolute());
        data.or_else(|| Some(variable("HOME")?.join(".local/share")))
            .map(|path| path.join("crate"))
            .ok_or_else(|| Error::Failed("finding the store: none of CRATE_ROOT, XDG_DATA_HOME and HOME is set".into()))
    }

    /// Opens the store at its default path, making it first where it is missing.
    pub fn open() -> Result<Self> {
        Self::open_at(&Self::default_path()?)
    }

    /// Opens the store at `root`, making it first where it is missing.
    pub fn open_at(root: &Path) -> Result<Self> {
        let store = Self::look_at(root)?;
        store.lock_shared()?;
        Ok(store)
    }

    /// Opens the store at its default path to look at containers alone: nothing is locked, so this waits for nobody
    /// and nobody waits for it. Blobs and layers may be collected meanwhile.
    pub fn look() -> Result<Self> {
        Self::look_at(&Self::default_path()?)
    }

    fn look_at(root: &Path) -> Result<Self> {
        let layout = root.join("oci-layout");
        if !layout.exists() {
            make(root, &layout)?;
        }
        let text = when_whole(|| {
            let mut text = String::with_capacity(64);
            let opened = File::open(&layout).and_then(|file| file.take(4096).read_to_string(&mut text));
            opened.doing(|| format!("reading {}", layout.display()))?;
            let empty = text.is_empty().then(|| Error::Refused(format!("{} is empty", layout.display())));
            empty.map_or(Ok(text), Err)
        })?;
        if !text.contains(LAYOUT_VERSION) {
            return Err(Error::Failed(format!(
                "{} is of a version that this program does not know\nhint: if it is damaged, remove it: it is made again",
                layout.display()
            )));
        }
        // A layout that another tool made has only its own directories.
        if !root.join("ingest").exists() {
            make_parts(root)?;
        }
        Ok(Self { root: root.to_owned(), lock: open_lock(root)?, run: OnceLock::new() })
    }

    /// The store's own path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of what runs; see [`run_dir`]. It is looked for once.
    pub fn run_dir(&self) -> Result<&Path> {
        if self.run.get().is_none() {
            let _ = self.run.set(run_dir(&self.root)?); // Nothing else sets it.
        }
        Ok(self.run.get().map_or(&self.root, |path| path))
    }

    /// A path within the store.
    pub fn path(&self, within: impl AsRef<Path>) -> PathBuf {
        self.root.join(within)
    }

    /// Lets other programs collect: what this one goes on to use is a container whose lock it holds.
    pub fn unlock(&self) -> Result<()> {
        flock(&self.lock, FlockOperation::Unlock).doing(|| format!("unlocking {}", self.root.display()))
    }

    /// Uses the store again after [`Store::unlock`].
    pub fn lock_shared(&self) -> Result<()> {
        flock(&self.lock, FlockOperation::LockShared).doing(|| format!("locking {}", self.root.display()))
    }

    /// Waits until no other program uses the store, and keeps it so for as long as this `Store` lives. After 10 s of waiting
    /// it is [`Error::Busy`]: whoever uses the store lets others use it too, so that there may always be somebody.
    pub fn lock_exclusively(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            // A failed conversion has lost the shared lock (flock(2)): two that wait do not wait for one another.
            match flock(&self.lock, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => sleep(Duration::from_millis(10)),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let root = self.root.display();
                    return Err(Error::Busy(format!("{root} is in use by other programs\nhint: try again later")));
                }
                other => return other.doing(|| format!("locking {}", self.root.display())),
            }
        }
    }

    /// Does [`Store::lock_exclusively`] without waiting; `false` if another program uses the store.
    pub fn try_lock_exclusively(&self) -> Result<bool> {
        match flock(&self.lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                // A failed conversion has lost the shared lock (flock(2)).
                flock(&self.lock, FlockOperation::LockShared).doing(|| format!("locking {}", self.root.display()))?;
                Ok(false)
            }
            other => other.doing(|| format!("locking {}", self.root.display())).map(|()| true),
        }
    }

    /// What time it is by the clock that dates the files of the store: on a network, not this machine's.
    pub fn now(&self) -> SystemTime {
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let now = Timestamps { last_access: omit, last_modification: Timespec { tv_nsec: UTIME_NOW, ..omit } };
        let touched = futimens(&self.lock, &now).map_err(std::io::Error::from);
        touched.and_then(|()| self.lock.metadata()?.modified()).unwrap_or_else(|_| SystemTime::now())
    }

    /// A new name in `ingest/` that no other running program uses.
    pub fn ingest_path(&self, what: &str) -> Result<PathBuf> {
        Ok(self.path("ingest").join(format!("{what}.{}", random_hex(8)?)))
    }

    /// Replaces the file `within` the store by `bytes`, so that a crash leaves the old file or the new one.
    pub fn replace(&self, within: &str, bytes: &[u8]) -> Result<()> {
        let target = self.path(within);
        let beside = self.ingest_path("file")?;
        let written = write_synced(&beside, bytes).and_then(|()| fs::rename(&beside, &target));
        if written.is_err() {
            let _ = fs::remove_file(&beside); // What matters is the error that came first.
        }
        written.doing(|| format!("writing {}", target.display()))?;
        sync_dir(target.parent().unwrap_or(&self.root))
    }
}

/// Reads a file that other tools write in place, and that may just now be half written: what is refused is read again
/// for a while.
pub fn when_whole<T>(read: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 0..20 {
        match read() {
            Err(Error::Refused(_)) => sleep(Duration::from_millis(10)),
            other => return other,
        }
    }
    read()
}

/// Random bytes as `2 * bytes` hexadecimal digits: container ids and names beside.
pub fn random_hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut buffer));
    read.doing(|| "reading /dev/urandom".into())?;
    Ok(crate::digest::hex(&buffer))
}

/// Makes what was renamed or made in a directory survive a power cut.
pub fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).doing(|| format!("syncing {}", path.display()))
}

/// Makes a directory of mode `mode`, whatever the umask; one that is there already is left alone.
pub fn make_dir(path: &Path, mode: u32) -> Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other
            .and_then(|()| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)))
            .doing(|| format!("making {}", path.display())),
    }
}

/// Makes a directory of mode `mode`, where it is missing, so that what is in it is not lost in a power cut with its name.
pub fn keep_dir(path: &Path, mode: u32) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    make_dir(path, mode)?;
    path.parent().map_or(Ok(()), sync_dir)
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a store; two programs may do so at once.
fn make(root: &Path, layout: &Path) -> Result<()> {
    let missing = root.ancestors().take_while(|dir| !dir.exists()).count();
    fs::create_dir_all(root).doing(|| format!("making {}", root.display()))?;
    for above in root.ancestors().skip(1).take(missing) {
        let _ = sync_dir(above); // One that may not be read cannot be synced either.
    }
    let foreign =
        |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|entry| !is_ours(&entry.file_name().to_string_lossy()));
    if fs::read_dir(root).doing(|| format!("reading {}", root.display()))?.any(foreign) {
        return Err(Error::Failed(format!("{} is neither a store nor empty", root.display())));
    }
    // Not `lock`: whoever made the store first may hold that for as long as it waits for this very program.
    let lock = File::open(root).doing(|| format!("opening {}", root.display()))?;
    flock(&lock, FlockOperation::LockExclusive).doing(|| format!("locking {}", root.display()))?;
    if layout.exists() {
        return Ok(());
    }
    fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .doing(|| format!("closing {} to others", root.display()))?;
    make_parts(root)?;
    let (index, beside) = (root.join("index.json"), root.join("ingest/oci-layout"));
    // One that names images is older than the loss of `oci-layout`.
    let index_is_whole = fs::read(&index).is_ok_and(|bytes| json::read::<Index>(&bytes, "index.json").is_ok());
    let made = (if index_is_whole { Ok(()) } else { fs::write(&index, EMPTY_INDEX) })
        .and_then(|()| fs::write(&beside, LAYOUT))
        .and_then(|()| File::open(&index)?.sync_all())
        .and_then(|()| File::open(&beside)?.sync_all())
        .and_then(|()| fs::rename(&beside, layout));
    if made.is_err() {
        let _ = fs::remove_file(&beside); // What matters is the error that came first.
    }
    made.doing(|| format!("making {}", root.display()))?;
    sync_dir(root)
}

/// Makes the directories of a store, as far as they are missing; `ingest`, by which it is known that all are there, last.
fn make_parts(root: &Path) -> Result<()> {
    let parts =
        [("blobs", 0o755), ("blobs/sha256", 0o755), ("layers", 0o700), ("containers", 0o700), ("ingest", 0o700)];
    parts.iter().try_for_each(|(name, mode)| keep_dir(&root.join(name), *mode))
}

/// Is this the name of something that an unfinished [`make`] can leave?
fn is_ours(name: &str) -> bool {
    matches!(name, "blobs" | "layers" | "containers" | "ingest" | "lock" | "index.json" | "oci-layout" | "run")
}

fn open_lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let made = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    // A store that is read-only can still be used: its lock only needs to be open.
    let opened = made.or_else(|error| match error.kind() {
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => File::open(&path),
        _ => Err(error),
    });
    opened.doing(|| format!("opening {}", path.display()))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A path that means the same wherever a program works.
pub(crate) fn absolute(path: PathBuf) -> Result<PathBuf> {
    if path.is_absolute() {
        return Ok(path);
    }
    std::env::current_dir().map(|here| here.join(path)).doing(|| "finding the working directory".into())
}

/// The directory of what runs: `$CRATE_RUN`, else `/run/crate` for root, else `$XDG_RUNTIME_DIR/crate`, else
/// `run` within the store. It is made with mode 0700; one that belongs to somebody else is refused.
pub fn run_dir(store: &Path) -> Result<PathBuf> {
    let euid = rustix::process::geteuid();
    let runtime = || variable("XDG_RUNTIME_DIR").filter(|dir| owned(dir, euid.as_raw()));
    let path = match variable("CRATE_RUN") {
        Some(path) => absolute(path)?,
        None if euid.is_root() => "/run/crate".into(),
        None => runtime().map_or_else(|| store.join("run"), |dir| dir.join("crate")),
    };
    fs::create_dir_all(path.parent().unwrap_or(&path)).doing(|| format!("making {}", path.display()))?;
    make_dir(&path, 0o700)?;
    if owned(&path, euid.as_raw()) {
        return Ok(path);
    }
    Err(Error::Failed(format!(
        "{} belongs to another user\nhint: set CRATE_RUN to a directory of your own",
        path.display()
    )))
}

fn owned(path: &Path, uid: u32) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == uid)
}
