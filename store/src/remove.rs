//! Removing containers and references.

use crate::container::Container;
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::gc::Freed;
use crate::mark::Marks;
use crate::oci::{Descriptor, Index, media};
use crate::reference::Reference;
use crate::root::{Store, sync_dir};
use crate::spec::annotation;
use crate::tree;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

/// What [`Store::remove_image`] did.
#[derive(Debug, Default)]
pub struct Removed {
    /// The references that are gone.
    pub names: Vec<String>,
    /// The manifest or index that is gone with its last reference.
    pub digest: Option<Digest>,
    /// What was removed with it; `None` if another program uses the store, so that it is left to `gc`.
    pub freed: Option<Freed>,
}

impl Store {
    /// Removes a container that does not run: at once from the listings, then from the disk.
    pub fn remove_container(&self, container: &Container) -> Result<()> {
        let running = container.lock(self)?;
        tree::remove(&self.unlist_container(container)?)?;
        drop(running);
        Ok(())
    }

    /// Takes a container, whose lock the caller holds, out of the listings; what is left to remove is the tree
    /// that is returned.
    pub fn unlist_container(&self, container: &Container) -> Result<PathBuf> {
        // As long as it is listed: what says where they are goes with it.
        container.remove_cgroups(self)?;
        let garbage = self.path("ingest").join(format!("container.{}", container.id));
        let temporary = container.is_temporary();
        let names = self.lock_names()?;
        match fs::rename(&container.dir, &garbage) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Locking a container that another program has just removed has made this anew.
                tree::remove(&self.run_dir()?.join(&container.id))?;
                return Err(Error::NotFound(format!("no such container: {}", container.short())));
            }
            other => other.doing(|| format!("removing {}", container.dir.display()))?,
        }
        for (name, _) in self.names()?.iter().filter(|(_, id)| *id == container.id) {
            let link = self.path("containers").join(name);
            fs::remove_file(&link).doing(|| format!("removing {}", link.display()))?;
        }
        drop(names);
        if !temporary {
            // Before its parts go: a power cut must not bring back a half of it.
            sync_dir(&self.path("containers"))?;
        }
        tree::remove(&self.run_dir()?.join(&container.id))?;
        Ok(garbage)
    }

    /// Removes the reference that `text` is, or the image whose digest it is; with the last reference go the
    /// blobs and layers that nothing else uses. `force`: even if containers use it or it has several references.
    pub fn remove_image(&self, text: &str, force: bool) -> Result<Removed> {
        let (digest, names) = self.change_index(|index| {
            let entry = self.find_entry(text)?;
            let digest = entry.digest.clone();
            let places: Vec<usize> = if is_name_of(text, &entry) {
                index.manifests.iter().position(|other| *other == entry).into_iter().collect()
            } else {
                (0..index.manifests.len()).filter(|place| index.manifests[*place].digest == digest).collect()
            };
            if places.len() > 1 && !force {
                return Err(several(text, index, &places));
            }
            let last = !(0..index.manifests.len()).any(|i| !places.contains(&i) && index.manifests[i].digest == digest);
            if last && !force {
                self.refuse_used(text, &entry)?;
            }
            let mut names = Vec::new();
            for place in places.iter().rev() {
                names.extend(index.manifests.remove(*place).ref_name().map(str::to_owned));
            }
            Ok((last.then_some(entry), names))
        })?;
        let Some(entry) = digest else {
            return Ok(Removed { names, ..Removed::default() });
        };
        let mut candidates = Marks::default();
        self.mark_from(&entry, &mut candidates);
        let freed = if self.try_lock_exclusively()? { Some(self.sweep(&candidates)?) } else { None };
        Ok(Removed { names, digest: Some(entry.digest), freed })
    }

    fn sweep(&self, candidates: &Marks) -> Result<Freed> {
        let used = self.mark()?;
        let mut freed = Freed::default();
        for digest in candidates.blobs.iter().filter(|digest| !used.blobs.contains(digest)) {
            self.free_blob(digest, &mut freed)?;
        }
        self.free_layers(&candidates.layers, &used.layers, &mut freed)?;
        Ok(freed)
    }

    /// Removes those of the entries of `index.json` that `unwanted` picks and no container was made of, and then all
    /// that nothing leads to; `None` if another program uses the store, so that this is left to `gc`.
    pub fn remove_unused(&self, unwanted: impl Fn(&Descriptor) -> bool) -> Result<(Vec<Descriptor>, Option<Freed>)> {
        let removed: Vec<Descriptor> = self.change_index(|index| {
            let users = self.users()?;
            let gone = |entry: &mut Descriptor| unwanted(entry) && self.user(&users, entry).is_none();
            Ok(index.manifests.extract_if(.., gone).collect())
        })?;
        if !self.try_lock_exclusively()? {
            return Ok((removed, None));
        }
        // What another tool may have written, collecting leaves for a while: not so what was just removed.
        let mut candidates = Marks::default();
        for entry in &removed {
            self.mark_from(entry, &mut candidates);
        }
        let mut freed = self.sweep(&candidates)?;
        self.collect_into(&mut freed)?;
        Ok((removed, Some(freed)))
    }

    fn refuse_used(&self, text: &str, entry: &Descriptor) -> Result<()> {
        match self.user(&self.users()?, entry) {
            None => Ok(()),
            Some(container) => Err(Error::Busy(format!(
                "image {text} is used by container {}\nhint: remove the container first, or force with -f",
                container.short()
            ))),
        }
    }

    /// All containers that can be read, each with the digest of the manifest that it was made of. Of the others the
    /// layers stay (see [`Marks::unreadable`]), which is all that a container needs of its image.
    fn users(&self) -> Result<Vec<(String, Container)>> {
        let manifest =
            |container: &Container| Some(container.config().ok()?.annotation(annotation::MANIFEST).to_owned());
        Ok(self.containers()?.into_iter().filter_map(|container| Some((manifest(&container)?, container))).collect())
    }

    /// A container that was made of this entry of `index.json`, or of what it leads to.
    fn user<'a>(&self, users: &'a [(String, Container)], entry: &Descriptor) -> Option<&'a Container> {
        let mut own = BTreeSet::from([entry.digest.clone()]);
        if media::is_index(&entry.media_type) {
            let mut marks = Marks::default();
            self.mark_from(entry, &mut marks);
            own.extend(marks.blobs);
        }
        let found = users.iter().find(|(manifest, _)| own.iter().any(|digest| digest.as_str() == manifest));
        found.map(|(_, container)| container)
    }
}

/// Was the entry found by its name, rather than by its digest?
fn is_name_of(text: &str, entry: &Descriptor) -> bool {
    let full = text.parse::<Reference>().map(|reference| reference.to_string());
    entry.ref_name().is_some_and(|name| name == text || full.is_ok_and(|full| full == name))
}

fn several(text: &str, index: &Index, places: &[usize]) -> Error {
    let names: Vec<&str> = places.iter().filter_map(|place| index.manifests[*place].ref_name()).collect();
    Error::Busy(format!(
        "image {text} has several references: {}\nhint: remove them by name, or all with -f",
        names.join(" ")
    ))
}
