//! Containers of the store: each is an OCI bundle, `containers/ID/`, found by id, by name or by an id's first digits.

use crate::blob::is_at;
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::json::{self, FromJson, Value};
use crate::root::{Store, make_dir};
use crate::spec::{Spec, annotation};
use crate::tree;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The largest `config.json` that is read, in bytes.
const SPEC_LIMIT: u64 = 16 << 20;

/// The bit of a bundle's mode that says: it goes when it has ended, so it was not synced.
pub const TEMPORARY: u32 = 0o1000;

/// A container of the store.
#[derive(Debug, Clone)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The bundle's directory.
    pub dir: PathBuf,
}

/// Is `text` a container's whole id?
pub fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Is `text` a container's name, `[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}`, and not taken for an id?
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.len() <= 128
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte))
        && !is_id(text)
}

impl Store {
    /// Finds a container by its id, its name, or the first digits of its id where they are unique.
    pub fn find_container(&self, text: &str) -> Result<Container> {
        let missing = || Error::NotFound(format!("no such container: {text}"));
        let containers = self.path("containers");
        if is_id(text) {
            return self.container(text).ok_or_else(missing);
        }
        if !is_name(text) {
            return Err(missing());
        }
        if let Ok(target) = fs::read_link(containers.join(text)) {
            return target.to_str().and_then(|id| self.container(id)).ok_or_else(missing);
        }
        let mut found = self.containers()?.into_iter().filter(|container| container.id.starts_with(text));
        let first = found.next().ok_or_else(missing)?;
        if found.next().is_some() {
            return Err(Error::Failed(format!("{text} begins the ids of several containers: give more digits")));
        }
        Ok(first)
    }

    /// All containers, in the order of their ids.
    pub fn containers(&self) -> Result<Vec<Container>> {
        let path = self.path("containers");
        let entries = fs::read_dir(&path).doing(|| format!("reading {}", path.display()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut all: Vec<Container> = names.filter_map(|id| self.container(&id)).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// The names of containers, each with the id that it leads to; also those that lead nowhere.
    pub fn names(&self) -> Result<Vec<(String, String)>> {
        let path = self.path("containers");
        let entries = fs::read_dir(&path).doing(|| format!("reading {}", path.display()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let link =
            |name: String| Some((fs::read_link(path.join(&name)).ok()?.into_os_string().into_string().ok()?, name));
        Ok(names.filter_map(link).map(|(id, name)| (name, id)).collect())
    }

    fn container(&self, id: &str) -> Option<Container> {
        let dir = self.path("containers").join(id);
        (is_id(id) && fs::symlink_metadata(&dir).is_ok_and(|metadata| metadata.is_dir()))
            .then(|| Container { id: id.to_owned(), dir })
    }
}

impl Container {
    /// Reads the bundle's `config.json` to run it.
    pub fn spec(&self) -> Result<Spec> {
        self.read_config()
    }

    /// Reads the bundle's `config.json` as it stands, to tell of it.
    pub fn config(&self) -> Result<Config> {
        self.read_config().map(Config)
    }

    fn read_config<T: FromJson>(&self) -> Result<T> {
        let path = self.dir.join("config.json");
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(SPEC_LIMIT).read_to_end(&mut bytes));
        read.doing(|| format!("reading {}", path.display()))?;
        // The profile is many times as long as all the rest, and matters when the container is started.
        json::read_around(&bytes, &["linux", "seccomp"], &path.display().to_string())
    }

    /// Does it go when it has ended, so that a power cut may take a part of it?
    pub fn is_temporary(&self) -> bool {
        fs::symlink_metadata(&self.dir).is_ok_and(|metadata| metadata.mode() & TEMPORARY != 0)
    }

    /// Is this what a power cut has left of a [temporary](Container::is_temporary) container? It is garbage.
    pub fn is_remains(&self) -> bool {
        let whole = || self.config().and_then(|config| config.layers()).is_ok() && self.missing_part().is_none();
        self.is_temporary() && !whole() && self.dir.exists()
    }

    /// A directory of the bundle that should be there and is not.
    pub fn missing_part(&self) -> Option<&'static str> {
        let rootfs = self.dir.join("rootfs");
        // A copy of the layers takes the place of both: there is no upper directory then.
        let copied = || fs::read_dir(&rootfs).map_or(true, |mut entries| entries.next().is_some());
        let missing = |part: &&str| !(self.dir.join(part).is_dir() || *part == "upper" && copied());
        ["rootfs", "upper", "work"].into_iter().find(missing)
    }

    /// The container's directory for what runs, `RUN/ID/`, made where it is missing.
    pub fn run_dir(&self, store: &Store) -> Result<PathBuf> {
        let path = store.run_dir()?.join(&self.id);
        make_dir(&path, 0o700)?;
        Ok(path)
    }

    /// Takes the lock that is held for as long as the container runs, or is being removed; [`Error::Busy`] if it is
    /// taken, or the program has outlived who held it.
    ///
    /// It is a record lock (fcntl(2)), which belongs to this process: a forked child does not have it, and it is gone
    /// as soon as this process closes any descriptor of that file. So whoever holds it must not ask for the state.
    ///
    /// The bundle has a lock too, which is taken with it: `RUN/` may be removed from below what runs, as
    /// `$XDG_RUNTIME_DIR` is when its user logs out.
    pub fn lock(&self, store: &Store) -> Result<Lock> {
        let run = self.take_lock(store, FlockOperation::NonBlockingLockExclusive)?;
        if self.is_orphaned(store)? {
            return Err(Error::Busy(format!(
                "container {} runs, but its supervisor was killed\nhint: crate stop, or crate rm -f, ends it",
                self.short()
            )));
        }
        let path = self.dir.join("lock");
        let bundle = match open_lock(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Locking a container that another program has just removed has made this anew.
                tree::remove(&store.run_dir()?.join(&self.id))?;
                return Err(Error::NotFound(format!("no such container: {}", self.short())));
            }
            other => other.doing(|| format!("opening {}", path.display()))?,
        };
        match fcntl_lock(&bundle, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::ACCESS | Errno::AGAIN) => Err(self.busy()),
            other => other.doing(|| format!("locking {}", path.display())).map(|()| Lock { _files: [run, bundle] }),
        }
    }

    fn busy(&self) -> Error {
        Error::Busy(format!("container {} is running, or in use", self.short()))
    }

    /// Takes the lock together with others who only keep the container from being started or removed.
    pub fn lock_shared(&self, store: &Store) -> Result<File> {
        self.take_lock(store, FlockOperation::NonBlockingLockShared)
    }

    fn take_lock(&self, store: &Store, operation: FlockOperation) -> Result<File> {
        loop {
            let (path, file) = self.run_lock(store)?;
            match fcntl_lock(&file, operation) {
                Err(Errno::ACCESS | Errno::AGAIN) => return Err(self.busy()),
                other => other.doing(|| format!("locking {}", path.display()))?,
            }
            // A file that has lost its name locks nothing: another program has made a new one, or will.
            if is_at(&file, &path) {
                return Ok(file);
            }
        }
    }

    fn run_lock(&self, store: &Store) -> Result<(PathBuf, File)> {
        for tries in 0.. {
            let path = store.run_dir()?.join(&self.id).join("lock");
            let opened = self.run_dir(store).and_then(|_| {
                let file =
                    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
                file.doing(|| format!("opening {}", path.display()))
            });
            match opened {
                // Whoever ran it has ended, and removed the directory, just now.
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound && tries < 100 => {}
                other => return other.map(|file| (path, file)),
            }
        }
        Err(Error::Failed(format!("opening the lock of container {}", self.short())))
    }

    /// The process that holds the container's lock for itself, told by the kernel (fcntl(2), `F_GETLK`): nothing is
    /// locked by asking. It is 0 for one of another pid namespace.
    pub fn lock_holder(&self, store: &Store) -> Result<Option<u32>> {
        Ok(holder(&store.run_dir()?.join(&self.id).join("lock"))?.or(holder(&self.dir.join("lock"))?))
    }

    /// The first twelve digits of the id: what listings show.
    pub fn short(&self) -> &str {
        &self.id[..12]
    }
}

/// A `config.json` of which not all need be known.
#[derive(Debug, Clone, Default)]
pub struct Config(pub Value);

impl Config {
    /// An annotation's text; empty where there is none.
    pub fn annotation(&self, key: &str) -> &str {
        self.0["annotations"][key].as_str().unwrap_or_default()
    }

    /// The layers of the root filesystem, the top first.
    pub fn layers(&self) -> Result<Vec<Digest>> {
        named_layers(self.annotation(annotation::LAYERS))
    }
}

/// What keeps a container from being started or removed for as long as it is held.
pub struct Lock {
    _files: [File; 2],
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn holder(path: &Path) -> Result<Option<u32>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.doing(|| format!("opening {}", path.display()))?,
    };
    let found = fcntl_getlk(&file, &Flock::from(FlockType::ReadLock));
    let found = found.doing(|| format!("asking who locks {}", path.display()))?;
    Ok(found.map(|lock| lock.pid.map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned())))
}

/// The layers of a container's root filesystem, the top first, as `config.json` names them.
pub fn layers(spec: &Spec) -> Result<Vec<Digest>> {
    named_layers(spec.annotation(annotation::LAYERS).unwrap_or_default())
}

fn named_layers(text: &str) -> Result<Vec<Digest>> {
    text.split(':').filter(|hex| !hex.is_empty()).map(|hex| format!("sha256:{hex}").parse()).collect()
}
