//! Certificates for single hosts (containers-certs.d(5)).

use crate::registries::api_host;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use store::error::Doing;
use store::{Error, Result};

/// What certs.d says of one host.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Files of certificates that vouch for this host: `*.crt`.
    pub roots: Vec<PathBuf>,
    /// What this side shows of itself: `*.cert` and its `*.key`.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// The directories that have one for each host.
fn roots() -> impl Iterator<Item = PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let own = home.map(|home| PathBuf::from(home).join(".config/containers/certs.d"));
    own.into_iter().chain(["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()])
}

/// All that `trust` may ever read, each file by its own name too: links may lead anywhere.
pub fn readable() -> Vec<PathBuf> {
    let within = |dir: &PathBuf| {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut paths: Vec<PathBuf> = roots().collect();
    let hosts: Vec<PathBuf> = paths.iter().flat_map(within).collect();
    let files: Vec<PathBuf> = hosts.iter().flat_map(within).collect();
    paths.extend(hosts);
    paths.extend(files);
    paths
}

/// What is said of `authority`, `HOST[:PORT]`, in the first directory that has an entry for it.
pub fn trust(authority: &str) -> Result<Trust> {
    // The name that docker.io goes by is not that of its API.
    let name = if authority == api_host("docker.io") { "docker.io" } else { authority };
    for root in roots() {
        if let Some(trust) = read(&root.join(name))? {
            return Ok(trust);
        }
    }
    Ok(Trust::default())
}

/// `None`: there is no such directory, or it is closed to this user.
fn read(directory: &Path) -> Result<Option<Trust>> {
    let doing = || format!("reading {}", directory.display());
    let entries = match std::fs::read_dir(directory) {
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied) =>
        {
            return Ok(None);
        }
        other => other.doing(doing)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.doing(doing)?.path());
    }
    paths.sort();
    let mut trust = Trust::default();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("cert") if trust.client.is_none() => {
                let key = path.with_extension("key");
                if !key.exists() {
                    return Err(Error::Failed(format!("{} has no key beside it: {}", path.display(), key.display())));
                }
                trust.client = Some((path, key));
            }
            Some("crt") => trust.roots.push(path),
            _ => {}
        }
    }
    Ok(Some(trust))
}
