//! JSON from outside: bounded in size, read strictly, with errors that say what was being read.

use crate::error::{Error, Result};
use serde::de::DeserializeOwned;

/// The largest manifest or index that is read, in bytes (distribution-spec: registries accept at least 4 MiB).
pub const MANIFEST_LIMIT: u64 = 4 << 20;

/// The largest image config that is read, in bytes.
pub const CONFIG_LIMIT: u64 = 8 << 20;

/// Reads one JSON document; `what` names it in the error (exit code 6).
pub fn read<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::Refused(format!("reading {what}: {error}")))
}

/// Writes one JSON document, compact.
pub fn write<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Failed(format!("writing JSON: {error}")))
}
