//! Documents of the image-spec, and Docker's schema 2, which differs only in media types.

use crate::digest::Digest;
use crate::platform::Platform;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
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

/// A content descriptor (image-spec, `descriptor.md`). Unknown fields are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The type of the content.
    #[serde(default)]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    pub size: u64,
    /// For a manifest within an index: what it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Arbitrary metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor without platform and annotations.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self { media_type, digest, size, platform: None, annotations: None, extra: Map::new() }
    }

    /// The reference that an entry of `index.json` carries.
    pub fn ref_name(&self) -> Option<&str> {
        self.annotations.as_ref()?.get(REF_NAME).map(String::as_str)
    }
}

/// An image index (image-spec, `image-index.md`). Unknown fields are kept: ours is rewritten in place of others'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The type of this document; absent in many indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests, or further indexes.
    pub manifests: Vec<Descriptor>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An image manifest (image-spec, `manifest.md`). Only read: manifests are kept as the bytes received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The type of this document; absent in many OCI manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, the base first.
    pub layers: Vec<Descriptor>,
}

/// An image config (image-spec, `config.md`). Only read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// The processor architecture, in Go's words.
    #[serde(default)]
    pub architecture: String,
    /// The operating system, in Go's words.
    #[serde(default)]
    pub os: String,
    /// The variant of the architecture, such as `v8`.
    #[serde(default)]
    pub variant: Option<String>,
    /// How to run the image.
    #[serde(default)]
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
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct RootFs {
    /// The digests of the uncompressed layers, the base first.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

/// The `config` of an image config: the defaults for running it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::zero_sized_map_values, reason = "JSON has no sets: Go writes them as objects of empty objects")]
pub struct Execution {
    /// `user`, `uid`, `user:group`, `uid:gid`, …
    #[serde(default)]
    pub user: Option<String>,
    /// `NAME=value` each.
    #[serde(default)]
    pub env: Option<Vec<String>>,
    /// The program and its first arguments.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// The arguments, or the program where there is no entrypoint.
    #[serde(default)]
    pub cmd: Option<Vec<String>>,
    /// Directories that hold data of the container; the values are empty objects.
    #[serde(default)]
    pub volumes: Option<BTreeMap<String, IgnoredAny>>,
    /// The directory to start in.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Arbitrary metadata.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that asks the program to end.
    #[serde(default)]
    pub stop_signal: Option<String>,
    /// Ports that the program listens on, such as `80/tcp`.
    #[serde(default)]
    pub exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
}
