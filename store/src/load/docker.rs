//! What `docker save` writes: `manifest.json`, configs and layers by file names of any kind (Docker's image spec 1.2).

use super::Loading;
use super::contents::Contents;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::json::{self, CONFIG_LIMIT, Fields, FromJson, MANIFEST_LIMIT, Value, Wrong};
use crate::oci::{Descriptor, ImageConfig, Manifest, media};

/// One image of `manifest.json`.
struct Listed {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl FromJson for Listed {
    fn from_json(value: Value) -> std::result::Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self { config: fields.take("Config")?, repo_tags: fields.take("RepoTags")?, layers: fields.list("Layers")? })
    }
}

impl Loading<'_> {
    /// Brings the images that are asked for, or all, from an archive whose files are in the store already.
    pub fn docker(&mut self, contents: &Contents, manifest: &[u8]) -> Result<()> {
        let listed: Vec<Listed> = json::read(manifest, "manifest.json")?;
        let tags = |image: &Listed| image.repo_tags.clone().unwrap_or_default();
        let wanted = |image: &&Listed| self.source.name.is_none() || tags(image).iter().any(|tag| self.is_wanted(tag));
        let found: Vec<&Listed> = listed.iter().filter(wanted).collect();
        if found.is_empty() {
            return Err(self.missing());
        }
        if found.len() > 1 && self.options.name.is_some() {
            let all: Vec<String> = found.iter().flat_map(|image| tags(image)).collect();
            return Err(Error::Usage(format!("--as wants one image\nhint: say which: {}", all.join(", "))));
        }
        // Named before anything is kept: all of an archive or nothing.
        let mut images = Vec::new();
        for image in found {
            let tags: Vec<String> = tags(image).into_iter().filter(|tag| self.is_wanted(tag)).collect();
            let names = if self.options.name.is_some() || tags.is_empty() {
                vec![self.full_name(&[])?]
            } else {
                tags.iter().map(|tag| self.full_name(&[tag])).collect::<Result<Vec<_>>>()?
            };
            images.push((self.image(contents, image)?, names));
        }
        self.keep(&images)
    }

    /// Makes the manifest of an image; always the same for the same files.
    fn image(&self, contents: &Contents, listed: &Listed) -> Result<Image> {
        let mut config = contents.file(&listed.config)?.clone();
        config.media_type = media::CONFIG.into();
        let read: ImageConfig = self.store.read_json(&config, CONFIG_LIMIT, "config")?;
        let layers = listed.layers.iter().map(|name| contents.file(name).cloned()).collect::<Result<Vec<_>>>()?;
        if layers.len() != read.rootfs.diff_ids.len() {
            return Err(Error::Refused(format!("{}: its layers and diffids differ in number", listed.config)));
        }
        for (layer, diff_id) in layers.iter().zip(&read.rootfs.diff_ids) {
            check(layer, diff_id)?;
        }
        let (version, media_type) = (2, Some(media::MANIFEST.to_owned()));
        let manifest = Manifest { schema_version: version, media_type, config, layers };
        let bytes = Value::from(&manifest).to_string().into_bytes();
        if bytes.len() as u64 > MANIFEST_LIMIT {
            return Err(Error::Refused(format!("{}: it has too many layers", listed.config)));
        }
        let descriptor = self.store.put_blob(media::MANIFEST, &bytes)?;
        let descriptor = Descriptor { extra: Vec::new(), ..descriptor };
        Ok(Image { reference: None, descriptor, manifest, config: read })
    }
}

/// A layer that is not compressed is its own content, so its digest can be checked here.
fn check(layer: &Descriptor, diff_id: &Digest) -> Result<()> {
    if layer.media_type == media::LAYER && diff_id.algorithm() == "sha256" && layer.digest != *diff_id {
        return Err(Error::Refused(format!("layer {} has another diffid: {diff_id}", layer.digest)));
    }
    Ok(())
}
