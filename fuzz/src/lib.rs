//! Fuzz targets: one function for each parser that reads bytes from strangers. A target may refuse its input, but must
//! neither panic, nor hang, nor take memory without bound; and it panics where what it accepted breaks a promise.
//!
//! `make fuzz` runs them under libFuzzer; `tests/replay.rs` feeds each with the corpus in `corpus/TARGET/` and with
//! changed copies of that.
#![allow(clippy::panic, clippy::expect_used, clippy::missing_panics_doc)] // A panic is how a target tells of a defect.
#![allow(dead_code)] // The files of crate-fetch hold more than what is fed.

mod calls;
mod ground;
mod listing;
mod stream;
mod text;
mod tree;
mod wire;

// The files of crate-fetch that only parse; it is no library.
#[allow(dead_code)]
#[path = "../../fetch/src/authfile.rs"]
mod authfile;
#[path = "../../fetch/src/base64.rs"]
mod base64;
#[path = "../../fetch/src/body.rs"]
mod body;
#[path = "../../fetch/src/credentials.rs"]
mod credentials;
#[path = "../../fetch/src/file.rs"]
mod file;
#[path = "../../fetch/src/head.rs"]
mod head;
#[path = "../../fetch/src/header.rs"]
mod header;
#[path = "../../fetch/src/keychain.rs"]
mod keychain;
#[path = "../../fetch/src/url.rs"]
mod url;

// The compiler of crate-sup, which is no library either.
#[path = "../../supervisor/src"]
mod supervisor {
    pub mod seccomp;
}

/// Feeds a parser; `true` if it accepted the input.
pub type Target = fn(&[u8]) -> bool;

/// All targets by name, sorted.
pub const TARGETS: &[(&str, Target)] = &[
    ("body", wire::body),
    ("credentials", wire::credentials),
    ("digest", text::digest),
    ("document", wire::document),
    ("extract", tree::extract),
    ("gzip", stream::gzip),
    ("head", wire::head),
    ("header", wire::header),
    ("json", text::json),
    ("layer", tree::layer),
    ("load", tree::load),
    ("reference", text::reference),
    ("seccomp", calls::seccomp),
    ("spec", text::spec),
    ("tar", stream::tar),
    ("url", wire::url),
    ("zstd", stream::zstd),
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
