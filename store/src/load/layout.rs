//! OCI image layouts (image-spec, `image-layout.md`), in a directory or an archive.

use super::Loading;
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::image::{Image, choose_platform};
use crate::inflate::CHUNK;
use crate::json::{self, CONFIG_LIMIT, MANIFEST_LIMIT, Value};
use crate::oci::{Descriptor, ImageConfig, Index, Manifest, media};
use crate::platform::Platform;
use crate::root::Store;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The most indexes within one another that are followed to a manifest.
const DEPTH: usize = 4;

/// Where containerd and docker write an image's full name.
const FULL_NAME: &str = "io.containerd.image.name";

/// Brings a blob into the store.
type Bring<'a> = dyn Fn(&Descriptor) -> Result<()> + 'a;

impl Loading<'_> {
    /// Brings an image from a layout's directory.
    pub fn layout(&mut self, dir: &Path) -> Result<()> {
        let path = dir.join("index.json");
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MANIFEST_LIMIT).read_to_end(&mut bytes));
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
        self.keep(&image, &name)
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
            let document: Value = json::read(&bytes, &what)?;
            if is_index(&descriptor, &document, &what)? {
                let index: Index = json::make(document, &what)?;
                let best = choose_platform(&index, platform).cloned();
                descriptor = best.ok_or_else(|| Error::NotFound(format!("it has nothing for {platform}")))?;
                continue;
            }
            let manifest: Manifest = json::make(document, &what)?;
            bring(&manifest.config)?;
            let config: ImageConfig = self.store.read_json(&manifest.config, CONFIG_LIMIT, "config")?;
            if config.rootfs.diff_ids.len() != manifest.layers.len() {
                return Err(Error::Refused(format!("{what}: its layers and diffids differ in number")));
            }
            for layer in &manifest.layers {
                bring(layer)?;
            }
            if descriptor.media_type.is_empty() {
                descriptor.media_type = manifest.media_type.clone().unwrap_or_else(|| media::MANIFEST.into());
            }
            return Ok(Image { reference: None, descriptor, manifest, config });
        }
        Err(Error::Refused("indexes are nested too deep".into()))
    }
}

/// Is it an index? What could be read as both, or is not what its media types say, is refused (CVE-2021-41190).
fn is_index(descriptor: &Descriptor, document: &Value, what: &str) -> Result<bool> {
    let has = |field: &str| !document[field].is_null();
    let index = has("manifests");
    let stated = [Some(descriptor.media_type.as_str()), document["mediaType"].as_str()];
    let agrees =
        |stated: &&str| stated.is_empty() || if index { media::is_index(stated) } else { media::is_manifest(stated) };
    if index == (has("config") || has("layers")) || !stated.iter().flatten().all(agrees) {
        return Err(Error::Refused(format!("{what}: it is not clearly an index or a manifest")));
    }
    Ok(index)
}

/// The names that an entry carries, the fullest first.
fn names(entry: &Descriptor) -> Vec<String> {
    let full = entry.annotations.as_ref().and_then(|all| all.get(FULL_NAME));
    full.map(String::as_str).into_iter().chain(entry.ref_name()).map(str::to_owned).collect()
}

/// Copies a blob from a layout's directory.
fn copy(store: &Store, dir: &Path, descriptor: &Descriptor) -> Result<()> {
    let digest: &Digest = &descriptor.digest;
    let Some(mut ingest) = store.ingest(descriptor)? else {
        return Ok(());
    };
    ingest.restart()?;
    let path = dir.join("blobs").join(digest.algorithm()).join(digest.hex());
    let doing = || format!("reading {}", path.display());
    if fs::metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Err(ingest.give_up(Error::Refused(format!("it lacks blob {digest}"))));
    }
    let mut file = File::open(&path).doing(doing)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer).doing(doing)? {
            0 => return ingest.finish(),
            count => ingest.write(&buffer[..count])?,
        }
    }
}
