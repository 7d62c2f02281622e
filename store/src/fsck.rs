//! Checking the store: every blob's bytes, every image's parts, every container's bundle.

use crate::container::{self, Container};
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::gc::Freed;
use crate::json::MANIFEST_LIMIT;
use crate::oci::{Descriptor, Index, media};
use crate::root::{EMPTY_INDEX, Store, sync_dir};
use crate::state::State;
use crate::tree;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;

/// What a check has found.
#[derive(Debug, Default)]
pub struct Found {
    /// The faults, one line each.
    pub faults: Vec<String>,
    /// The blobs that are damaged.
    blobs: Vec<Digest>,
    /// What is in `layers/` and is no unpacked layer, or a damaged one.
    pub(crate) layers: Vec<OsString>,
}

/// A check on its way.
struct Check<'a> {
    store: &'a Store,
    /// The blobs that are not what their names say, and why.
    damaged: Vec<(Digest, String)>,
    /// The blobs that are not as some image needs them.
    told: BTreeSet<Digest>,
    faults: Vec<String>,
    layers: Vec<OsString>,
}

impl Store {
    /// Checks everything but the content of unpacked layers. Nothing is changed.
    pub fn check(&self) -> Result<Found> {
        // First: while the store is in use nothing is collected, but images come.
        let index = self.index()?;
        let mut check = Check {
            store: self,
            damaged: self.check_blobs()?,
            told: BTreeSet::new(),
            faults: Vec::new(),
            layers: Vec::new(),
        };
        for entry in index.manifests {
            let name = entry.ref_name().unwrap_or(entry.digest.as_str()).to_owned();
            check.entry(&entry, &name, 0);
        }
        for (digest, reason) in &check.damaged {
            if !check.told.contains(digest) {
                check.faults.push(format!("blob {digest}: {reason}"));
            }
        }
        for entry in fs::read_dir(self.path("layers")).doing(|| "reading layers".into())? {
            let entry = entry.doing(|| "reading layers".into())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let sound = container::is_id(&name) && entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !sound {
                check.faults.push(format!("layers/{name}: not an unpacked layer"));
                check.layers.push(entry.file_name());
            }
        }
        for container in self.containers()? {
            let before = check.faults.len();
            check.container(&container);
            if !container.dir.exists() || container.is_remains() {
                check.faults.truncate(before); // Removed meanwhile, or garbage.
            }
        }
        let Check { damaged, faults, layers, .. } = check;
        let blobs = damaged.into_iter().map(|(digest, _)| digest).collect();
        Ok(Found { faults, blobs, layers })
    }

    /// Removes the blobs and layers that a check has found damaged, so that pulling their images brings them anew. A layer
    /// that a container runs on stays, with an error. Nobody else may use the store meanwhile.
    pub fn repair(&self, found: &Found) -> Result<Freed> {
        let mut freed = Freed::default();
        for digest in &found.blobs {
            tree::remove(&self.blob_path(digest))?;
            freed.blobs += 1;
        }
        // What is not known of a container is taken as the worst.
        let alive = |container: &Container| container.state(self).map_or(true, State::is_alive);
        let running: Vec<_> = self.containers()?.into_iter().filter(alive).collect();
        let running: Vec<_> = running.iter().map(|container| container.config()?.layers()).collect();
        for name in &found.layers {
            let used = |layers: &Vec<Digest>| layers.iter().any(|layer| OsStr::new(layer.hex()) == name);
            if running.iter().any(|layers| layers.as_ref().map_or(true, used)) {
                let name = name.display();
                let busy = format!("layer {name} is damaged, and a container runs on it\nhint: stop it first");
                freed.failed.push(Error::Busy(busy));
                continue;
            }
            // At once, as ever: what is in `layers/` is whole.
            let garbage = self.ingest_path("layer")?;
            fs::rename(self.path("layers").join(name), &garbage).doing(|| format!("removing {}", name.display()))?;
            sync_dir(&self.path("layers"))?;
            freed.layers += 1;
            freed.failed.extend(tree::remove(&garbage).err());
        }
        Ok(freed)
    }

    /// Puts an empty `index.json` in the place of one that cannot be read, which is kept beside it; says whether it did.
    pub fn repair_index(&self) -> Result<bool> {
        match self.index() {
            Ok(_) => return Ok(false),
            // That the system refuses to read it now does not mean that it is damaged.
            Err(Error::Io { doing, source })
                if !matches!(source.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) =>
            {
                return Err(Error::Io { doing, source });
            }
            Err(_) => {}
        }
        let (path, beside) = (self.path("index.json"), self.path("index.json.damaged"));
        tree::remove(&beside)?;
        match fs::rename(&path, &beside) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.doing(|| format!("renaming {}", path.display()))?,
        }
        self.replace("index.json", EMPTY_INDEX.as_bytes()).map(|()| true)
    }

    /// The blobs that are not what their names say, and why.
    fn check_blobs(&self) -> Result<Vec<(Digest, String)>> {
        let mut damaged = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            let Ok(entries) = fs::read_dir(self.path("blobs").join(algorithm)) else {
                continue;
            };
            for entry in entries {
                let entry = entry.doing(|| "reading blobs".into())?;
                let name = format!("{algorithm}:{}", entry.file_name().to_string_lossy());
                // Other tools keep files of their own there for a while.
                let Ok(digest) = name.parse::<Digest>() else { continue };
                match self.hash_blob(&digest) {
                    Ok((actual, _)) if actual == digest => {}
                    Ok((actual, _)) => damaged.push((digest, format!("damaged: its digest is {actual}"))),
                    Err(error) => damaged.push((digest, error.to_string())),
                }
            }
        }
        Ok(damaged)
    }
}

impl Check<'_> {
    fn fault(&mut self, name: &str, what: &str) {
        self.faults.push(format!("{name}: {what}"));
    }

    /// Checks one blob that an image needs.
    fn blob(&mut self, descriptor: &Descriptor, what: &str, name: &str) -> bool {
        let Descriptor { digest, size, .. } = descriptor;
        let damage = self.damaged.iter().find(|(damaged, _)| damaged == digest);
        let fault = match (damage, fs::symlink_metadata(self.store.blob_path(digest)).map(|found| found.len())) {
            (Some((_, reason)), _) => format!("{what} {digest}: {reason}"),
            (None, Ok(actual)) if actual == *size => return true,
            (None, Ok(actual)) => format!("{what} {digest} is of {actual} bytes, not of {size}"),
            (None, Err(_)) => format!("{what} {digest} is missing"),
        };
        self.told.insert(digest.clone());
        self.fault(name, &fault);
        false
    }

    fn entry(&mut self, entry: &Descriptor, name: &str, depth: usize) {
        let is_index = media::is_index(&entry.media_type);
        if !self.blob(entry, if is_index { "index" } else { "manifest" }, name) {
            return;
        }
        if is_index {
            self.index(entry, name, depth);
        } else if media::is_manifest(&entry.media_type) {
            self.manifest(entry, name);
        }
    }

    /// Of an index of several platforms, those count that are here, and one must be.
    fn index(&mut self, entry: &Descriptor, name: &str, depth: usize) {
        let read = self.store.read_json::<Index>(entry, MANIFEST_LIMIT, "index");
        let index = match read {
            Ok(index) if depth < 4 => index,
            Ok(_) => return self.fault(name, "indexes are nested too deep"),
            Err(error) => return self.fault(name, &error.to_string()),
        };
        let here = |store: &Store, child: &Descriptor| fs::symlink_metadata(store.blob_path(&child.digest)).is_ok();
        let held: Vec<Descriptor> = index.manifests.into_iter().filter(|child| here(self.store, child)).collect();
        if held.is_empty() {
            self.fault(name, &format!("index {}: none of its manifests is here", entry.digest));
        }
        for child in held {
            self.entry(&child, name, depth + 1);
        }
    }

    fn manifest(&mut self, entry: &Descriptor, name: &str) {
        let manifest = match self.store.read_json::<crate::oci::Manifest>(entry, MANIFEST_LIMIT, "manifest") {
            Ok(manifest) => manifest,
            Err(error) => return self.fault(name, &error.to_string()),
        };
        let mut whole = self.blob(&manifest.config, "config", name);
        for layer in &manifest.layers {
            whole &= self.blob(layer, "layer", name);
        }
        // An artifact's config is no image config: what it holds is not ours to judge.
        let is_image = matches!(manifest.config.media_type.as_str(), media::CONFIG | media::DOCKER_CONFIG);
        if whole && is_image {
            let read = self.store.read_image(entry).map(drop);
            read.unwrap_or_else(|error| self.fault(name, &error.to_string()));
        }
    }

    fn container(&mut self, container: &Container) {
        let name = format!("container {}", container.short());
        let layers = container.spec().and_then(|spec| container::layers(&spec));
        match layers {
            Err(error) => self.fault(&name, &error.to_string()),
            Ok(layers) => {
                for layer in layers {
                    if !self.store.layer_path(&layer).is_dir() {
                        self.fault(&name, &format!("layer {layer} is missing"));
                    }
                }
            }
        }
        if let Some(part) = container.missing_part() {
            self.fault(&name, &format!("{part}/ is missing"));
        }
    }
}

/// Says how many faults were found, as an error (exit code 6).
pub fn verdict(faults: &[String]) -> Result<()> {
    match faults.len() {
        0 => Ok(()),
        1 => Err(Error::Refused("1 fault".into())),
        count => Err(Error::Refused(format!("{count} faults"))),
    }
}
