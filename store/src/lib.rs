//! Every format that crate keeps on disk: the OCI image layout, references, digests, unpacked layers and bundles.
//!
//! The store is a directory (see [`Store`]) that is itself a valid OCI image layout (image-spec, `image-layout.md`).
//! Programs that only read images or bundles link this library without its `unpack` feature.

#[cfg(feature = "unpack")]
pub mod archive;
pub mod at;
#[cfg(feature = "unpack")]
pub mod audit;
pub mod blob;
pub mod bundle;
pub mod capability;
pub mod cgroup;
#[cfg(feature = "confine")]
pub mod confine;
pub mod confinement;
pub mod container;
pub mod copy;
pub mod create;
pub mod device;
pub mod digest;
pub mod document;
pub mod environment;
pub mod error;
#[cfg(feature = "unpack")]
pub mod extract;
pub mod fsck;
pub mod gc;
pub mod idmap;
pub mod image;
pub mod index;
#[cfg(feature = "unpack")]
pub mod inflate;
pub mod json;
#[cfg(feature = "unpack")]
pub mod layer;
pub mod limits;
#[cfg(feature = "unpack")]
pub mod load;
pub mod log;
pub mod mark;
pub mod mounts;
pub mod oci;
#[cfg(feature = "unpack")]
pub mod pack;
pub mod platform;
pub mod process;
pub mod reference;
pub mod remove;
pub mod root;
#[cfg(feature = "unpack")]
pub mod save;
pub mod seccomp;
pub mod signal;
pub mod space;
pub mod spec;
#[cfg(feature = "unpack")]
pub mod spool;
pub mod state;
pub mod sysctl;
pub mod time;
pub mod tree;
#[cfg(feature = "unpack")]
pub mod unpack;

pub use container::Container;
pub use digest::{Digest, Hasher};
pub use error::{Error, Result};
pub use platform::Platform;
pub use reference::Reference;
pub use root::Store;
