//! What is in use: everything that `index.json` and the containers lead to.

use crate::digest::Digest;
use crate::error::Result;
use crate::json::{self, CONFIG_LIMIT, Fields, FromJson, MANIFEST_LIMIT, Value, Wrong};
use crate::oci::{Descriptor, ImageConfig};
use crate::root::Store;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;

/// Blobs and unpacked layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Blobs, by digest.
    pub blobs: BTreeSet<Digest>,
    /// Layers, by diffid.
    pub layers: BTreeSet<Digest>,
    /// Containers whose `config.json` cannot be read: each may use any layer, so all count as used.
    pub unreadable: Vec<String>,
}

/// Whatever can lead from one document to further blobs: manifests, indexes, and others of their shape.
struct Document {
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
    blobs: Vec<Descriptor>,
    subject: Option<Descriptor>,
}

impl FromJson for Document {
    fn from_json(value: Value) -> std::result::Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            config: fields.take("config")?,
            layers: fields.take_or_default("layers")?,
            manifests: fields.take_or_default("manifests")?,
            blobs: fields.take_or_default("blobs")?,
            subject: fields.take("subject")?,
        })
    }
}

impl Store {
    /// Everything in use. Documents that cannot be read lead nowhere; a container that cannot be read, to every layer.
    pub fn mark(&self) -> Result<Marks> {
        let mut marks = Marks::default();
        for entry in self.index()?.manifests {
            self.mark_from(&entry, &mut marks);
        }
        for container in self.containers()? {
            match container.config().and_then(|config| config.layers()) {
                Ok(layers) => marks.layers.extend(layers),
                Err(_) if !container.dir.exists() || container.is_remains() => {} // Or removed meanwhile.
                Err(_) => marks.unreadable.push(container.short().to_owned()),
            }
        }
        if !marks.unreadable.is_empty() {
            marks.layers.extend(self.unpacked()?);
        }
        Ok(marks)
    }

    /// Marks what a descriptor leads to. Parts that are missing are passed over: an index of several platforms
    /// need not be here whole.
    pub fn mark_from(&self, from: &Descriptor, marks: &mut Marks) {
        let mut rest = vec![from.clone()];
        while let Some(descriptor) = rest.pop() {
            if !marks.blobs.insert(descriptor.digest.clone()) {
                continue;
            }
            let Some(document) = self.peek::<Document>(&descriptor.digest, MANIFEST_LIMIT) else {
                continue;
            };
            if let Some(config) = &document.config {
                let read = self.peek::<ImageConfig>(&config.digest, CONFIG_LIMIT);
                marks.layers.extend(read.into_iter().flat_map(|config| config.rootfs.diff_ids));
            }
            let leaves = document.config.into_iter().chain(document.layers).chain(document.blobs);
            marks.blobs.extend(leaves.map(|leaf| leaf.digest));
            rest.extend(document.manifests.into_iter().chain(document.subject));
        }
    }

    /// Reads a document for what it leads to only, so neither size nor digest matter.
    fn peek<T: FromJson>(&self, digest: &Digest, limit: u64) -> Option<T> {
        let mut bytes = Vec::new();
        File::open(self.blob_path(digest)).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).ok()?;
        if bytes.len() as u64 > limit {
            return None;
        }
        json::read(&bytes, "document").ok()
    }
}
