//! Collecting what nothing leads to.

use crate::blob::OURS;
use crate::container::{Container, is_id};
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::mark::Marks;
use crate::root::{Store, sync_dir};
use crate::tree;
use std::collections::BTreeSet;
use std::fs::{self, DirEntry, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How long what has come of a blob is kept for a later pull to go on with.
const PARTIAL: Duration = Duration::from_secs(24 * 3600);

/// How long a blob of another program is kept: it may be about to name it in `index.json`, and knows no lock.
const FOREIGN: Duration = Duration::from_secs(3600);

/// What was removed.
#[derive(Debug, Default)]
pub struct Freed {
    /// How many blobs.
    pub blobs: usize,
    /// How many unpacked layers.
    pub layers: usize,
    /// How many unfinished or half removed things, and names that led nowhere.
    pub remains: usize,
    /// How many bytes of blobs.
    pub bytes: u64,
    /// What could not be removed, and why.
    pub failed: Vec<Error>,
}

impl Store {
    /// Removes all that nothing leads to. Waits until no other program uses the store.
    pub fn collect(&self) -> Result<Freed> {
        self.lock_exclusively()?;
        let mut freed = Freed::default();
        self.collect_into(&mut freed)?;
        Ok(freed)
    }

    /// Does [`Store::collect`] where nobody else uses the store, and adds to what was removed already.
    pub(crate) fn collect_into(&self, freed: &mut Freed) -> Result<()> {
        let used = self.mark()?;
        freed.failed.extend(used.unreadable.iter().map(|id| {
            let hint = format!("hint: crate fsck says why, crate rm {id} removes it");
            Error::Refused(format!("container {id} cannot be read and may use any layer: none was removed\n{hint}"))
        }));
        let now = self.now();
        self.collect_blobs(&used, now, freed)?;
        self.free_layers(&self.unpacked()?, &used.layers, freed)?;
        for container in self.containers()?.iter().filter(|container| container.is_remains()) {
            freed.count(self.remove_container(container));
        }
        self.collect_names(freed)?;
        for entry in self.list("ingest")? {
            let name = entry.file_name().to_string_lossy().into_owned();
            let partial = name.replacen('-', ":", 1).parse::<Digest>().is_ok();
            if !(partial && entry.metadata().is_ok_and(|metadata| is_younger(&metadata, PARTIAL, now))) {
                freed.remove(&entry);
            }
        }
        self.collect_runs(freed)
    }

    fn collect_blobs(&self, used: &Marks, now: SystemTime, freed: &mut Freed) -> Result<()> {
        for algorithm in ["sha256", "sha512"] {
            if !self.path("blobs").join(algorithm).exists() {
                continue;
            }
            for entry in self.list(&format!("blobs/{algorithm}"))? {
                let name = format!("{algorithm}:{}", entry.file_name().to_string_lossy());
                let Ok(digest) = name.parse::<Digest>() else { continue };
                let metadata = entry.metadata().doing(|| format!("reading {}", entry.path().display()))?;
                // Our own layers and configs are read-only, or marked; a manifest of ours only stays for a while longer.
                let mode = metadata.permissions().mode();
                let foreign = mode & 0o222 != 0 && mode & OURS == 0 && is_younger(&metadata, FOREIGN, now);
                if !used.blobs.contains(&digest) && !foreign {
                    self.free_blob(&digest, freed)?;
                }
            }
        }
        Ok(())
    }

    /// Removes names of containers that are gone.
    fn collect_names(&self, freed: &mut Freed) -> Result<()> {
        let _names = self.lock_names()?;
        for entry in self.list("containers")? {
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if is_link && fs::metadata(entry.path()).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                freed.remove(&entry);
            }
        }
        Ok(())
    }

    /// Removes the runtime directories of containers that are gone, and the cgroups of all that do not run; not what runs,
    /// for several stores may share them.
    fn collect_runs(&self, freed: &mut Freed) -> Result<()> {
        let run = self.run_dir()?;
        let entries = fs::read_dir(run).doing(|| format!("reading {}", run.display()))?;
        for entry in entries.filter_map(std::result::Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let bundle = self.path("containers").join(&name);
            let gone = !bundle.exists();
            if !is_id(&name) || !gone && !entry.path().join("cgroup").exists() {
                continue;
            }
            let container = Container { id: name, dir: if gone { entry.path() } else { bundle } };
            let locked = container.lock(self);
            if matches!(locked, Err(Error::Busy(_))) {
                continue;
            }
            match container.remove_cgroups(self) {
                Err(error) => freed.failed.push(error),
                Ok(()) if gone => freed.remove(&entry),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn free_blob(&self, digest: &Digest, freed: &mut Freed) -> Result<()> {
        let path = self.blob_path(digest);
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            return Ok(());
        };
        fs::remove_file(&path).doing(|| format!("removing {}", path.display()))?;
        freed.blobs += 1;
        freed.bytes += metadata.size();
        Ok(())
    }

    /// Removes those unpacked layers that are not used. They leave `layers/` at once, and for good before their parts go, since what is there is
    /// always complete. Where one cannot leave, those before it go all the same.
    pub(crate) fn free_layers(&self, all: &BTreeSet<Digest>, used: &BTreeSet<Digest>, freed: &mut Freed) -> Result<()> {
        let mut garbage = Vec::new();
        let mut unused = all.iter().filter(|layer| !used.contains(layer));
        let moved = unused.try_for_each(|layer| self.move_out(layer, &mut garbage));
        freed.layers += garbage.len();
        if !garbage.is_empty() {
            sync_dir(&self.path("layers"))?;
        }
        freed.failed.extend(garbage.iter().filter_map(|beside| tree::remove(beside).err()));
        moved
    }

    fn move_out(&self, layer: &Digest, garbage: &mut Vec<PathBuf>) -> Result<()> {
        let beside = self.ingest_path("layer")?;
        match fs::rename(self.layer_path(layer), &beside) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.doing(|| format!("removing layer {layer}"))?,
        }
        garbage.push(beside);
        Ok(())
    }

    /// The diffids of all unpacked layers.
    pub(crate) fn unpacked(&self) -> Result<BTreeSet<Digest>> {
        let mut layers = BTreeSet::new();
        for entry in self.list("layers")? {
            layers.extend(format!("sha256:{}", entry.file_name().display()).parse::<Digest>().ok());
        }
        Ok(layers)
    }

    fn list(&self, within: &str) -> Result<Vec<DirEntry>> {
        let path = self.path(within);
        let read = fs::read_dir(&path).and_then(Iterator::collect);
        read.doing(|| format!("reading {}", path.display()))
    }
}

impl Freed {
    fn remove(&mut self, entry: &DirEntry) {
        self.count(tree::remove(&entry.path()));
    }

    fn count(&mut self, removed: Result<()>) {
        match removed {
            Ok(()) => self.remains += 1,
            Err(error) => self.failed.push(error),
        }
    }
}

fn is_younger(metadata: &Metadata, age: Duration, now: SystemTime) -> bool {
    let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    // A time in the future is that of a clock set back: such a file is taken as new.
    now.duration_since(changed).map_or(true, |own| own < age)
}
