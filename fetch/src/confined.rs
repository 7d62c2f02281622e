//! What this program may still read once it talks to strangers: how hosts are found, and which certificates are trusted.

use crate::file;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use store::confine::{Allowed, confine};
use store::{Result, Store};

/// Read by getaddrinfo(3); links are followed to where they lead today.
const HOSTS: [&str; 4] = ["/etc/hosts", "/etc/resolv.conf", "/etc/services", "/run/systemd/resolve"];

/// Where distributions keep certificates.
const CERTIFICATES: [&str; 14] = [
    "/etc/ca-certificates",
    "/etc/certs",
    "/etc/containers/certs.d",
    "/etc/docker/certs.d",
    "/etc/openssl",
    "/etc/pki",
    "/etc/ssl",
    "/usr/lib/ssl",
    "/usr/local/share/ca-certificates",
    "/usr/local/share/certs",
    "/usr/share/ca-certificates",
    "/usr/share/pki",
    "/usr/share/ssl",
    "/var/lib/ca-certificates",
];

/// Confines this program for as long as it lives: before the first byte from a network. The files in `replaced` can be
/// read and written anew.
pub fn confine_to(store: &Store, replaced: &[Option<&Path>]) -> Result<()> {
    let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    let own = variable("HOME").map(|home| home.join(".config/containers/certs.d"));
    let given = [variable("SSL_CERT_FILE"), variable("SSL_CERT_DIR"), own];
    let known = HOSTS.iter().chain(&CERTIFICATES).chain(&["/dev/urandom"]).map(PathBuf::from);
    let mut read: Vec<PathBuf> = known.chain(given.into_iter().flatten()).collect();
    // Files of a link's directory may lead elsewhere, as those of Nix do.
    let bundle = fs::canonicalize("/etc/ssl/certs/ca-certificates.crt");
    read.extend(bundle.ok().and_then(|path| path.parent().map(Path::to_path_buf)));
    let read: Vec<&Path> = read.iter().map(PathBuf::as_path).collect();
    let replaced: Vec<PathBuf> = replaced.iter().copied().flatten().map(file::target).collect();
    let replace: Vec<&Path> = replaced.iter().map(|path| file::directory(path)).collect();
    confine(store, &Allowed { publish: true, network: true, read: &read, replace: &replace })
}
