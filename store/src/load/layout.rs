//! OCI image layouts (image-spec, `image-layout.md`), in a directory or an archive.

use super::Loading;
use crate::document::Document;
use crate::error::{Doing, Error, Result};
use crate::image::{Image, choose_platform};
use crate::inflate::CHUNK;
use crate::json::{self, CONFIG_LIMIT, MANIFEST_LIMIT};
use crate::oci::{Descriptor, FULL_NAME, ImageConfig, Index};
use crate::platform::Platform;
use crate::root::{LAYOUT_VERSION, Store};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The most indexes within one another that are followed to a manifest.
const DEPTH: usize = 4;

/// Brings a blob into the store.
type Bring<'a> = dyn Fn(&Descriptor) -> Result<()> + 'a;

impl Loading<'_> {
    /// Brings an image from a layout's directory.
    pub fn layout(&mut self, dir: &Path) -> Result<()> {
        known_version(&dir.join("oci-layout"))?;
        let path = dir.join("index.json");
        let mut bytes = Vec::new();
        let read = open_regular(&path).and_then(|file| file.take(MANIFEST_LIMIT).read_to_end(&mut bytes));
        read.doing(|| format!("opening {}", path.display()))?;
        let store = self.store;
        let loaded = self.index(&bytes, &|descriptor| copy(store, dir, descriptor));
        loaded.map_err(|error| error.about(&format!("loading {}", dir.display())))
    }

    /// Brings the image that is asked for, with the index at hand and the blobs by `bring`.
    pub fn index(&mut self, index: &[u8], bring: &Bring<'_>) -> Result<()> {
        let index: Index = json::read(index, "index.json")?;
        let entry = self.choose(&index)?;
        let names = names(entry);
        let name = self.full_name(&names.iter().map(|name| &name[..]).collect::<Vec<_>>())?;
        let platform = self.options.platform.clone().unwrap_or_else(Platform::host);
        let image = self.bring_image(entry.clone(), &platform, bring)?;
        if self.options.platform.as_ref().is_some_and(|wanted| wanted.rank(&image.config.platform()).is_none()) {
            return Err(Error::NotFound(format!("{name} is for {}, not {platform}", image.config.platform())));
        }
        self.keep(&[(image, vec![name])])
    }

    /// The entry that was asked for; entries of one image for several platforms serve as one.
    fn choose<'a>(&self, index: &'a Index) -> Result<&'a Descriptor> {
        let wanted = |entry: &&Descriptor| match names(entry) {
            names if names.is_empty() => self.source.name.is_none(),
            names => names.iter().any(|name| self.is_wanted(name)),
        };
        let found: Vec<&Descriptor> = index.manifests.iter().filter(wanted).collect();
        let Some(first) = found.first() else {
            return Err(self.missing());
        };
        if found.iter().all(|entry| entry.digest == first.digest) {
            return Ok(first);
        }
        if found.iter().any(|entry| names(entry) != names(first)) {
            let all: Vec<String> = found.iter().map(|entry| names(entry).join(" ")).collect();
            return Err(Error::Usage(format!("it has several images\nhint: say which: {}", all.join(", "))));
        }
        let platform = self.options.platform.clone().unwrap_or_else(Platform::host);
        let found = Index { manifests: found.into_iter().cloned().collect(), ..index.clone() };
        let best = choose_platform(&found, &platform).map(|entry| entry.digest.clone());
        let best = best.and_then(|digest| index.manifests.iter().find(|entry| entry.digest == digest));
        best.ok_or_else(|| Error::NotFound(format!("it has nothing for {platform}")))
    }

    fn bring_image(&mut self, mut descriptor: Descriptor, platform: &Platform, bring: &Bring<'_>) -> Result<Image> {
        for _ in 0..=DEPTH {
            bring(&descriptor)?;
            let bytes = self.store.read_blob(&descriptor, MANIFEST_LIMIT)?;
            let what = format!("manifest {}", descriptor.digest);
            let manifest = match Document::read(&bytes, &[Some(&descriptor.media_type)], &what)? {
                Document::Index(index) => {
                    let best = choose_platform(&index, platform).cloned();
                    descriptor = best.ok_or_else(|| Error::NotFound(format!("it has nothing for {platform}")))?;
                    continue;
                }
                Document::Manifest(manifest, media_type) => {
                    media_type.clone_into(&mut descriptor.media_type);
                    manifest
                }
            };
            bring(&manifest.config)?;
            let config: ImageConfig = self.store.read_json(&manifest.config, CONFIG_LIMIT, "config")?;
            if config.rootfs.diff_ids.len() != manifest.layers.len() {
                return Err(Error::Refused(format!("{what}: its layers and diffids differ in number")));
            }
            for layer in &manifest.layers {
                bring(layer)?;
            }
            return Ok(Image { reference: None, descriptor, manifest, config });
        }
        Err(Error::Refused("indexes are nested too deep".into()))
    }
}

/// Refuses a layout of another version; one that does not say is taken as it is.
fn known_version(path: &Path) -> Result<()> {
    let mut text = String::new();
    match open_regular(path).and_then(|file| file.take(4096).read_to_string(&mut text)) {
        Ok(_) if text.contains(LAYOUT_VERSION) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => Err(Error::Refused(format!("{} is of no version that is known here", path.display()))),
    }
}

/// The names that an entry carries, the fullest first.
fn names(entry: &Descriptor) -> Vec<String> {
    entry.annotation(FULL_NAME).into_iter().chain(entry.ref_name()).map(str::to_owned).collect()
}

/// Opens a file of a layout. What is none, such as a FIFO, would block or have effects of its own.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let regular = file.metadata()?.is_file();
    if regular { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// Copies a blob from a layout's directory.
fn copy(store: &Store, dir: &Path, descriptor: &Descriptor) -> Result<()> {
    let Some(mut ingest) = store.ingest(descriptor)? else {
        return Ok(());
    };
    ingest.restart()?;
    let path = dir.join("blobs").join(descriptor.digest.algorithm()).join(descriptor.digest.hex());
    let doing = || format!("reading {}", path.display());
    let mut file = match open_regular(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(ingest.give_up(Error::Refused(format!("it lacks blob {}", descriptor.digest))));
        }
        Err(error) if error.kind() == ErrorKind::Other => {
            return Err(ingest.give_up(Error::Refused(format!("its blob {} is no regular file", descriptor.digest))));
        }
        other => other.doing(doing)?,
    };
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer).doing(doing)? {
            0 => return ingest.finish(),
            count => ingest.write(&buffer[..count])?,
        }
    }
}
