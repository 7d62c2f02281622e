//! Containers of the store: each is an OCI bundle, `containers/ID/`, found by id, by name or by an id's first digits.

use crate::blob::is_at;
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::json;
use crate::root::{Store, make_dir, run_dir};
use crate::spec::{Spec, annotation};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// The largest `config.json` that is read, in bytes.
const SPEC_LIMIT: u64 = 16 << 20;

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

    fn container(&self, id: &str) -> Option<Container> {
        let dir = self.path("containers").join(id);
        (is_id(id) && fs::symlink_metadata(&dir).is_ok_and(|metadata| metadata.is_dir()))
            .then(|| Container { id: id.to_owned(), dir })
    }
}

impl Container {
    /// Reads the bundle's `config.json`.
    pub fn spec(&self) -> Result<Spec> {
        let path = self.dir.join("config.json");
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(SPEC_LIMIT).read_to_end(&mut bytes));
        read.doing(|| format!("reading {}", path.display()))?;
        json::read(&bytes, &path.display().to_string())
    }

    /// The container's directory for what runs, `RUN/ID/`, made where it is missing.
    pub fn run_dir(&self, store: &Store) -> Result<PathBuf> {
        let path = run_dir(store.root())?.join(&self.id);
        make_dir(&path, 0o700)?;
        Ok(path)
    }

    /// Takes the lock that is held for as long as the container runs; [`Error::Busy`] if it does.
    pub fn lock(&self, store: &Store) -> Result<File> {
        loop {
            let path = self.run_dir(store)?.join("lock");
            let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = match opened {
                // Whoever ran it has ended, and removed the directory, just now.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other.doing(|| format!("opening {}", path.display()))?,
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Err(Error::Busy(format!("container {} is running", self.short()))),
                other => other.doing(|| format!("locking {}", path.display()))?,
            }
            // A file that has lost its name locks nothing: another program has made a new one, or will.
            if is_at(&file, &path) {
                return Ok(file);
            }
        }
    }

    /// The first twelve digits of the id: what listings show.
    pub fn short(&self) -> &str {
        &self.id[..12]
    }
}

/// The layers of a container's root filesystem, the top first, as `config.json` names them.
pub fn layers(spec: &Spec) -> Result<Vec<Digest>> {
    let text = spec.annotation(annotation::LAYERS).unwrap_or_default();
    text.split(':').filter(|hex| !hex.is_empty()).map(|hex| format!("sha256:{hex}").parse()).collect()
}
