//! What this program may still read once it talks to strangers: how hosts are found, and certificates for single hosts.
//! All else, credentials and the system's certificates among it, has been read by then.

use crate::{file, trust};
use std::path::{Path, PathBuf};
use store::confine::{Allowed, confine};
use store::{Result, Store};

/// Read by getaddrinfo(3). Links are followed to where they lead today; what writes resolv.conf puts new files into its
/// own directory, as a network comes or goes.
const HOSTS: [&str; 6] = [
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/services",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
];

/// Confines this program for as long as it lives: before the first byte from a network. The files in `replaced` can be
/// read and written anew.
pub fn confine_to(store: &Store, replaced: &[Option<&Path>]) -> Result<()> {
    let certificates = trust::readable();
    let known = HOSTS.iter().chain(&["/dev/urandom"]).map(Path::new);
    let read: Vec<&Path> = known.chain(certificates.iter().map(PathBuf::as_path)).collect();
    let replaced: Vec<PathBuf> = replaced.iter().copied().flatten().map(file::target).collect();
    let replace: Vec<&Path> = replaced.iter().map(|path| file::directory(path)).collect();
    confine(store, &Allowed { publish: true, network: true, read: &read, replace: &replace })
}
