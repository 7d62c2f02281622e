//! Images that the store holds: found by reference or digest, read with every byte verified.

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::json::{CONFIG_LIMIT, MANIFEST_LIMIT};
use crate::oci::{Descriptor, ImageConfig, Index, Manifest, media};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::root::Store;
use std::path::PathBuf;

/// The most indexes within one another that are followed to a manifest.
const INDEX_DEPTH: usize = 4;

/// An image of the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The reference of its entry in `index.json`, if it was found through one that has a name.
    pub reference: Option<String>,
    /// Its manifest's descriptor.
    pub descriptor: Descriptor,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its config.
    pub config: ImageConfig,
}

impl Image {
    /// The diffids of its layers, the base first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.config.rootfs.diff_ids
    }

    /// The bytes of its config and layers, as stored.
    pub fn size(&self) -> u64 {
        self.manifest.layers.iter().fold(self.manifest.config.size, |sum, layer| sum.saturating_add(layer.size))
    }
}

impl Store {
    /// Finds the entry of `index.json` that `text` names.
    ///
    /// In this order: the full reference that `text` stands for, a name that another tool wrote as it stands,
    /// what has the digest of `text` and came from the same repository under any name, the digest of a manifest, and at
    /// least four first digits of one.
    pub fn find_entry(&self, text: &str) -> Result<Descriptor> {
        let index = self.index()?;
        let reference = text.parse::<Reference>().ok();
        let full = reference.as_ref().map(Reference::to_string);
        let named = |name: &str| index.manifests.iter().find(|entry| entry.ref_name() == Some(name));
        let same = || {
            index
                .manifests
                .iter()
                .find(|entry| reference.as_ref().is_some_and(|reference| is_exactly(reference, entry)))
        };
        if let Some(entry) = full.as_deref().and_then(named).or_else(|| named(text)).or_else(same) {
            return Ok(entry.clone());
        }
        find_digest(&index, text)?.ok_or_else(|| {
            let tried = full.filter(|full| full != text).map_or_else(String::new, |full| format!(" (tried {full})"));
            Error::NotFound(format!("no such image: {text}{tried}"))
        })
    }

    /// Finds an image and reads its manifest and config; `platform` chooses within an index.
    pub fn find_image(&self, text: &str, platform: &Platform) -> Result<Image> {
        self.entry_image(&self.find_entry(text)?, platform)
    }

    /// Reads the image of an entry of `index.json`; `platform` chooses within an index.
    pub fn entry_image(&self, entry: &Descriptor, platform: &Platform) -> Result<Image> {
        let reference = entry.ref_name().map(str::to_owned);
        let image = self.read_image(&self.choose(entry, platform, INDEX_DEPTH)?)?;
        Ok(Image { reference, ..image })
    }

    /// Reads the image of a manifest.
    pub fn read_image(&self, descriptor: &Descriptor) -> Result<Image> {
        let digest = &descriptor.digest;
        let manifest: Manifest = self.read_json(descriptor, MANIFEST_LIMIT, "manifest")?;
        let config: ImageConfig = self.read_json(&manifest.config, CONFIG_LIMIT, "config")?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(Error::Refused(format!("image {digest} has {layers} layers and {diff_ids} diffids")));
        }
        Ok(Image { reference: None, descriptor: descriptor.clone(), manifest, config })
    }

    /// Where a layer is, or would be, unpacked.
    pub fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.path("layers").join(diff_id.hex())
    }

    /// Follows an entry that is an index to the best manifest for `platform`.
    fn choose(&self, entry: &Descriptor, platform: &Platform, depth: usize) -> Result<Descriptor> {
        if !media::is_index(&entry.media_type) {
            return Ok(entry.clone());
        }
        if depth == 0 {
            return Err(Error::Refused(format!("index {}: indexes are nested too deep", entry.digest)));
        }
        let index: Index = self.read_json(entry, MANIFEST_LIMIT, "index")?;
        let best = choose_platform(&index, platform);
        let best = best.ok_or_else(|| Error::NotFound(format!("index {} has nothing for {platform}", entry.digest)))?;
        self.choose(best, platform, depth - 1)
    }
}

/// The entry of an index that suits `platform` best; the first of equals. Entries without a platform, such as a
/// nested index, serve where nothing better is there; attestations (`unknown/unknown`) never do.
pub fn choose_platform<'a>(index: &'a Index, platform: &Platform) -> Option<&'a Descriptor> {
    let rank = |entry: &Descriptor| match &entry.platform {
        Some(candidate) if candidate.os == "unknown" => None,
        Some(candidate) => platform.rank(candidate),
        None => Some(u32::MAX),
    };
    let ranked = index.manifests.iter().filter_map(|entry| Some((rank(entry)?, entry)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
}

/// Has the entry the digest that the reference has, and a name in the same repository?
fn is_exactly(reference: &Reference, entry: &Descriptor) -> bool {
    let other = || entry.ref_name()?.parse::<Reference>().ok();
    reference.digest.as_ref() == Some(&entry.digest)
        && other().is_some_and(|other| other.host == reference.host && other.repository == reference.repository)
}

fn find_digest(index: &Index, text: &str) -> Result<Option<Descriptor>> {
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    if prefix.len() < 4 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let mut found = index.manifests.iter().filter(|entry| entry.digest.hex().starts_with(prefix));
    let Some(first) = found.next() else { return Ok(None) };
    if found.any(|entry| entry.digest != first.digest) {
        return Err(Error::Failed(format!("{text} begins the digests of several images: give more digits")));
    }
    Ok(Some(first.clone()))
}
