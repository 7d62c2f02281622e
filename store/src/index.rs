//! `index.json`: one entry for each reference (image-spec, `image-layout.md#indexjson-file`).

use crate::error::{Doing, Error, Result};
use crate::json::{self, Value};
use crate::oci::{Descriptor, Index};
use crate::root::{Store, when_whole};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::Read;

/// The largest `index.json` that is read, in bytes.
const INDEX_LIMIT: u64 = 64 << 20;

/// The most values in it: eight or nine for each reference.
const INDEX_VALUES: usize = 4 << 20;

impl Store {
    /// Reads `index.json`.
    pub fn index(&self) -> Result<Index> {
        let path = self.path("index.json");
        when_whole(|| {
            let mut bytes = Vec::with_capacity(1 << 14);
            let read = File::open(&path).and_then(|file| file.take(INDEX_LIMIT).read_to_end(&mut bytes));
            read.doing(|| format!("reading {}", path.display()))?;
            json::read_many(&bytes, INDEX_VALUES, &path.display().to_string()).map_err(|error| match error {
                Error::Refused(text) => Error::Refused(format!("{text}\nhint: crate fsck --repair begins a new one")),
                other => other,
            })
        })
    }

    /// Changes `index.json` with no other program of ours changing it meanwhile.
    pub fn change_index<T>(&self, change: impl FnOnce(&mut Index) -> Result<T>) -> Result<T> {
        // `oci-layout` is never replaced, so its lock serves for `index.json`, which always is.
        let layout = File::open(self.path("oci-layout")).doing(|| "opening oci-layout".into())?;
        flock(&layout, FlockOperation::LockExclusive).doing(|| "locking oci-layout".into())?;
        let mut index = self.index()?;
        let before = index.clone();
        let outcome = change(&mut index)?;
        if index != before {
            self.replace("index.json", Value::from(&index).to_string().as_bytes())?;
        }
        Ok(outcome)
    }

    /// Makes `name` refer to `manifest`, and to nothing else. Everything the manifest needs must be here already.
    pub fn set_reference(&self, name: &str, manifest: &Descriptor) -> Result<()> {
        self.change_index(|index| {
            index.refer(name, manifest);
            Ok(())
        })
    }
}
