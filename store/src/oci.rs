//! Documents of the image-spec, and Docker's schema 2, which differs only in media types.

use crate::digest::Digest;
use crate::json::{Fields, FromJson, Value, Wrong, object_of_present};
use crate::platform::Platform;
use std::collections::BTreeMap;

/// Media types (image-spec, `media-types.md`; Docker's `manifest-v2-2.md`).
pub mod media {
    /// An OCI image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An OCI image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// An OCI layer, uncompressed.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// An OCI layer in gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// An OCI layer in zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's manifest, version 2, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's image config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

    /// Does this media type name an index (a list of manifests)?
    pub fn is_index(media_type: &str) -> bool {
        media_type == INDEX || media_type == DOCKER_LIST
    }

    /// Does this media type name an image manifest?
    pub fn is_manifest(media_type: &str) -> bool {
        media_type == MANIFEST || media_type == DOCKER_MANIFEST
    }
}

/// The annotation that names the reference of an entry of `index.json`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation where containerd and docker write an image's full name.
pub const FULL_NAME: &str = "io.containerd.image.name";

/// The annotation of an entry of `index.json` that tells which file or directory it was loaded from: a digest of that path and
/// the reference.
pub const ORIGIN: &str = "crate.source";

/// A content descriptor (image-spec, `descriptor.md`). Unknown fields are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptor {
    /// The type of the content.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    pub size: u64,
    /// For a manifest within an index: what it runs on.
    pub platform: Option<Platform>,
    /// Arbitrary metadata.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Fields that this version does not know.
    pub extra: Vec<(String, Value)>,
}

impl Descriptor {
    /// A descriptor without platform and annotations.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self { media_type, digest, size, platform: None, annotations: None, extra: Vec::new() }
    }

    /// The reference that an entry of `index.json` carries.
    pub fn ref_name(&self) -> Option<&str> {
        self.annotation(REF_NAME)
    }

    /// An annotation's text.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// An image index (image-spec, `image-index.md`). Unknown fields are kept: ours is rewritten in place of others'.
#[derive(Debug, Clone, PartialEq)]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The type of this document; absent in many indexes.
    pub media_type: Option<String>,
    /// The manifests, or further indexes.
    pub manifests: Vec<Descriptor>,
    /// Fields that this version does not know.
    pub extra: Vec<(String, Value)>,
}

impl Index {
    /// Makes `name` refer to `manifest`, and to nothing else.
    pub fn refer(&mut self, name: &str, manifest: &Descriptor) {
        let mut entry = manifest.clone();
        entry.annotations.get_or_insert_default().insert(REF_NAME.to_owned(), name.to_owned());
        match self.manifests.iter().position(|entry| entry.ref_name() == Some(name)) {
            Some(place) => self.manifests[place] = entry,
            None => self.manifests.push(entry),
        }
    }
}

/// An image manifest (image-spec, `manifest.md`). Only read: manifests are kept as the bytes received.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The type of this document; absent in many OCI manifests.
    pub media_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, the base first.
    pub layers: Vec<Descriptor>,
}

/// An image config (image-spec, `config.md`). Only read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339.
    pub created: Option<String>,
    /// The processor architecture, in Go's words.
    pub architecture: String,
    /// The operating system, in Go's words.
    pub os: String,
    /// The variant of the architecture, such as `v8`.
    pub variant: Option<String>,
    /// How to run the image.
    pub config: Option<Execution>,
    /// The layers by the digest of their uncompressed content.
    pub rootfs: RootFs,
}

impl ImageConfig {
    /// What the image runs on.
    pub fn platform(&self) -> Platform {
        Platform { os: self.os.clone(), architecture: self.architecture.clone(), variant: self.variant.clone() }
    }
}

/// The layers of an image config.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RootFs {
    /// The digests of the uncompressed layers, the base first.
    pub diff_ids: Vec<Digest>,
}

/// The `config` of an image config: the defaults for running it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Execution {
    /// `user`, `uid`, `user:group`, `uid:gid`, …
    pub user: Option<String>,
    /// `NAME=value` each.
    pub env: Option<Vec<String>>,
    /// The program and its first arguments.
    pub entrypoint: Option<Vec<String>>,
    /// The arguments, or the program where there is no entrypoint.
    pub cmd: Option<Vec<String>>,
    /// Directories that hold data of the container: in JSON the keys of an object of empty objects.
    pub volumes: Vec<String>,
    /// The directory to start in.
    pub working_dir: Option<String>,
    /// Arbitrary metadata.
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that asks the program to end.
    pub stop_signal: Option<String>,
}

impl FromJson for Descriptor {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            media_type: fields.take_or_default("mediaType")?,
            digest: fields.take("digest")?,
            size: fields.take("size")?,
            platform: fields.take("platform")?,
            annotations: fields.take("annotations")?,
            extra: fields.rest(),
        })
    }
}

impl From<&Descriptor> for Value {
    fn from(descriptor: &Descriptor) -> Self {
        let own = object_of_present(vec![
            ("mediaType", (&descriptor.media_type).into()),
            ("digest", descriptor.digest.as_str().into()),
            ("size", descriptor.size.into()),
            ("platform", descriptor.platform.as_ref().into()),
            ("annotations", descriptor.annotations.as_ref().into()),
        ]);
        own.and(&descriptor.extra)
    }
}

impl FromJson for Index {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            schema_version: fields.take("schemaVersion")?,
            media_type: fields.take("mediaType")?,
            manifests: fields.list("manifests")?,
            extra: fields.rest(),
        })
    }
}

impl From<&Index> for Value {
    fn from(index: &Index) -> Self {
        let own = object_of_present(vec![
            ("schemaVersion", index.schema_version.into()),
            ("mediaType", index.media_type.as_ref().into()),
            ("manifests", index.manifests.iter().collect()),
        ]);
        own.and(&index.extra)
    }
}

impl FromJson for Manifest {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            schema_version: fields.take("schemaVersion")?,
            media_type: fields.take("mediaType")?,
            config: fields.take("config")?,
            layers: fields.list("layers")?,
        })
    }
}

impl From<&Manifest> for Value {
    fn from(manifest: &Manifest) -> Self {
        object_of_present(vec![
            ("schemaVersion", manifest.schema_version.into()),
            ("mediaType", manifest.media_type.as_ref().into()),
            ("config", (&manifest.config).into()),
            ("layers", manifest.layers.iter().collect()),
        ])
    }
}

impl FromJson for ImageConfig {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            created: fields.take("created")?,
            architecture: fields.take_or_default("architecture")?,
            os: fields.take_or_default("os")?,
            variant: fields.take("variant")?,
            config: fields.take("config")?,
            rootfs: fields.take("rootfs")?,
        })
    }
}

impl FromJson for RootFs {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        Ok(Self { diff_ids: Fields::from_json(value)?.take_or_default("diff_ids")? })
    }
}

impl FromJson for Execution {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            user: fields.take("User")?,
            env: fields.take("Env")?,
            entrypoint: fields.take("Entrypoint")?,
            cmd: fields.take("Cmd")?,
            volumes: fields.take::<Option<Fields>>("Volumes")?.map_or_else(Vec::new, Fields::names),
            working_dir: fields.take("WorkingDir")?,
            labels: fields.take("Labels")?,
            stop_signal: fields.take("StopSignal")?,
        })
    }
}
