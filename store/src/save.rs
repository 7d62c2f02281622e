//! Writing images as archives that other tools load. The same images give the same bytes, whoever writes them and when.

use crate::archive::{Entry, Kind, Writer};
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::image::Image;
use crate::inflate::{self, CHUNK, Hashing, read_full, refusal};
use crate::json::{Value, object};
use crate::oci::{Descriptor, FULL_NAME, Index, REF_NAME, media};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::root::Store;
use std::io::{Read, Write};

/// The kinds of archives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// What `docker save` wrote for ten years, and every tool reads (Docker's image spec 1.2).
    #[default]
    Docker,
    /// An OCI image layout (image-spec, `image-layout.md`).
    Oci,
}

/// An image to save, and the references it is to have.
struct Saved {
    image: Image,
    names: Vec<String>,
}

/// A file of an archive: a blob as it is stored or, where a diffid is given, inflated.
struct File<'a> {
    name: String,
    blob: &'a Descriptor,
    diff_id: Option<&'a Digest>,
}

/// What an archive begins and ends with.
type Plan<'a> = (Vec<File<'a>>, Vec<(&'static str, Value)>);

/// Writes the images that `texts` name to `output`, which should have a buffer. Every byte is verified on its way: of
/// an image that is damaged, the archive has no end.
pub fn save(store: &Store, texts: &[String], format: Format, output: &mut dyn Write) -> Result<()> {
    let mut images: Vec<Saved> = Vec::new();
    for text in texts {
        let image = whole(store, text)?;
        let names: Vec<String> = image.reference.iter().filter(|name| is_named(text, name)).cloned().collect();
        match images.iter_mut().find(|other| other.image.descriptor.digest == image.descriptor.digest) {
            Some(other) => other.names.extend(names),
            None => images.push(Saved { image, names }),
        }
    }
    // The order in which they were asked for makes no other archive.
    images.sort_by(|a, b| a.image.descriptor.digest.cmp(&b.image.descriptor.digest));
    for saved in &mut images {
        saved.names.sort();
        saved.names.dedup();
    }
    let (mut files, documents) = if format == Format::Docker { docker(&images) } else { oci(&images) };
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files.dedup_by(|a, b| a.name == b.name);
    let mut saving = Saving { store, writer: Writer::new(output), directories: Vec::new() };
    for File { name, blob, diff_id } in files {
        saving.directories(&name)?;
        match diff_id {
            Some(diff_id) => saving.layer(&name, blob, diff_id)?,
            None => saving.blob(&name, blob)?,
        }
    }
    for (name, document) in documents {
        saving.document(name, &document)?;
    }
    saving.writer.finish().doing(|| "writing the archive".into())
}

/// The image, of which all is here.
fn whole(store: &Store, text: &str) -> Result<Image> {
    let image = store.find_image(text, &Platform::host())?;
    match image.manifest.layers.iter().find(|layer| !store.has_blob(layer)) {
        Some(layer) => Err(Error::NotFound(format!(
            "image {text}: layer {} is missing, or not whole\nhint: pull the image again",
            layer.digest
        ))),
        None => Ok(image),
    }
}

/// Was the image asked for by this name of it, and not by a digest?
fn is_named(text: &str, name: &str) -> bool {
    text == name || text.parse::<Reference>().is_ok_and(|reference| reference.to_string() == name)
}

/// `CONFIG.json`, `DIFFID.tar`, not compressed, and `manifest.json` that says which belong together.
fn docker(images: &[Saved]) -> Plan<'_> {
    let (mut files, mut listed) = (Vec::new(), Vec::new());
    for Saved { image, names } in images {
        let blob = &image.manifest.config;
        let config = format!("{}.json", blob.digest.hex());
        let mut layers = Vec::new();
        for (blob, diff_id) in image.manifest.layers.iter().zip(image.diff_ids()) {
            layers.push(format!("{}.tar", diff_id.hex()));
            files.push(File { name: format!("{}.tar", diff_id.hex()), blob, diff_id: Some(diff_id) });
        }
        listed.push(object(vec![
            ("Config", (&config).into()),
            // A name with a digest is no tag.
            ("RepoTags", names.iter().filter(|name| !name.contains('@')).collect()),
            ("Layers", layers.iter().collect()),
        ]));
        files.push(File { name: config, blob, diff_id: None });
    }
    (files, vec![("manifest.json", Value::Array(listed))])
}

/// Blobs as they are stored, and the index that names them.
fn oci(images: &[Saved]) -> Plan<'_> {
    let (mut files, mut manifests) = (Vec::new(), Vec::new());
    for Saved { image, names } in images {
        for blob in image.manifest.layers.iter().chain([&image.manifest.config, &image.descriptor]) {
            let name = format!("blobs/{}/{}", blob.digest.algorithm(), blob.digest.hex());
            files.push(File { name, blob, diff_id: None });
        }
        let Descriptor { media_type, digest, size, .. } = &image.descriptor;
        let mut entry = Descriptor::new(media_type, digest.clone(), *size);
        entry.platform = Some(image.config.platform());
        if names.is_empty() {
            manifests.push(entry.clone());
        }
        for name in names {
            let annotations = entry.annotations.get_or_insert_default();
            annotations.insert(FULL_NAME.to_owned(), name.clone());
            annotations.insert(REF_NAME.to_owned(), name.clone());
            manifests.push(entry.clone());
        }
    }
    let media_type = Some(media::INDEX.to_owned());
    let index = Index { schema_version: 2, media_type, manifests, extra: Vec::new() };
    let layout = object(vec![("imageLayoutVersion", "1.0.0".into())]);
    (files, vec![("index.json", (&index).into()), ("oci-layout", layout)])
}

/// An archive on its way.
struct Saving<'a> {
    store: &'a Store,
    writer: Writer<'a>,
    /// Those that it has.
    directories: Vec<String>,
}

impl Saving<'_> {
    /// Writes the directories that a name leads through: skopeo cannot make them itself for an ordinary user.
    fn directories(&mut self, name: &str) -> Result<()> {
        for (end, _) in name.match_indices('/') {
            let directory = name[..=end].to_owned();
            if !self.directories.contains(&directory) {
                self.entry(&directory, Kind::Directory, 0o755)?;
                self.directories.push(directory);
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &str, size: u64) -> Result<()> {
        self.entry(name, Kind::File { size, map: None }, 0o644)
    }

    fn entry(&mut self, name: &str, kind: Kind, mode: u32) -> Result<()> {
        let path = name.as_bytes().to_vec();
        let entry = Entry { path, kind, mode, uid: 0, gid: 0, mtime: (0, 0), xattrs: Vec::new() };
        self.writer.entry(&entry).doing(|| "writing the archive".into())
    }

    fn document(&mut self, name: &str, document: &Value) -> Result<()> {
        let text = document.to_string();
        self.file(name, text.len() as u64)?;
        put(&mut self.writer, text.as_bytes())
    }

    /// Writes a blob as it is stored.
    fn blob(&mut self, name: &str, blob: &Descriptor) -> Result<()> {
        self.file(name, blob.size)?;
        let mut content = Hashing::new(self.store.open_blob(&blob.digest)?.take(blob.size), blob.digest.hasher());
        copy(&mut content, &mut |bytes| put(&mut self.writer, bytes))?;
        if content.finish() == (blob.digest.clone(), blob.size) { Ok(()) } else { Err(damaged(self.store, blob)) }
    }

    /// Writes a layer's content. Its size comes before it in the archive, so it is inflated twice.
    fn layer(&mut self, name: &str, blob: &Descriptor, diff_id: &Digest) -> Result<()> {
        let size = inflate(self.store, blob, diff_id, &mut |_| Ok(()))?;
        self.file(name, size)?;
        let mut left = size;
        inflate(self.store, blob, diff_id, &mut |bytes| {
            left = left.checked_sub(bytes.len() as u64).ok_or_else(|| damaged(self.store, blob))?;
            put(&mut self.writer, bytes)
        })?;
        if left == 0 { Ok(()) } else { Err(damaged(self.store, blob)) }
    }
}

/// Inflates a layer, verifies it, and hands on its content; the size of that.
fn inflate(
    store: &Store,
    blob: &Descriptor,
    diff_id: &Digest,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let mut stored = Hashing::new(store.open_blob(&blob.digest)?, blob.digest.hasher());
    let opened = inflate::open(Box::new(&mut stored)).map_err(|error| refusal(error, "reading a layer"));
    let inflated = opened.and_then(|content| {
        let mut content = Hashing::new(content, diff_id.hasher());
        copy(&mut content, each).map(|()| content.finish())
    });
    match inflated {
        Ok((actual, size)) if actual == *diff_id && stored.finish().0 == blob.digest => Ok(size),
        Ok(_) | Err(Error::Refused(_)) => Err(damaged(store, blob)),
        Err(error) => Err(error),
    }
}

/// What is wrong with a blob that is not what it should be.
fn damaged(store: &Store, blob: &Descriptor) -> Error {
    let otherwise = || Error::Refused(format!("blob {} has not the size or content that its image says", blob.digest));
    store.verify_blob(&blob.digest).err().unwrap_or_else(otherwise)
}

/// Hands on all that comes.
fn copy(content: &mut dyn Read, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match read_full(content, &mut buffer).map_err(|error| refusal(error, "reading a blob"))? {
            0 => return Ok(()),
            count => each(&buffer[..count])?,
        }
    }
}

fn put(writer: &mut Writer<'_>, bytes: &[u8]) -> Result<()> {
    writer.data(bytes).doing(|| "writing the archive".into())
}
