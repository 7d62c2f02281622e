//! What is wanted of the user's account and of files: ranges of ids, the store, the programs, certificates.

use super::Finding;
use crate::idmap::{IdMaps, Lack};
use rustix::fs::{XattrFlags, fsetxattr};
use std::fs::{self, File};
use std::path::Path;
use store::space::free;
use store::{Result, Store};

/// Less free space than this is worth a word.
const ROOM: u64 = 1 << 30;

/// Where the certificates of authorities are, on the distributions that have them in one file.
const CERTIFICATES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub fn findings(maps: &IdMaps) -> Vec<Finding> {
    vec![ranges(maps), store(), programs(), certificates()]
}

fn ranges(maps: &IdMaps) -> Finding {
    const NAME: &str = "id-ranges";
    let one = "all files of containers belong to one id, and chown does nothing";
    match maps {
        IdMaps::Root => Finding::works(NAME, "root needs none"),
        IdMaps::Ranges(..) => match super::attempt(0, maps, || Ok(())) {
            Ok(_) => Finding::works(NAME, "of /etc/subuid and /etc/subgid"),
            Err(error) => {
                let text = error.to_string();
                let (detail, fix) = text.split_once("\nhint: ").unwrap_or((&text, "see newuidmap(1)"));
                Finding::fails(NAME, detail, fix)
            }
        },
        IdMaps::Single(..) => {
            let Lack { detail, fix } = IdMaps::lack().unwrap_or(Lack { detail: "none".into(), fix: String::new() });
            Finding::degraded(NAME, format!("{detail}: {one}"), fix)
        }
    }
}

fn store() -> Finding {
    const NAME: &str = "store";
    match try_store() {
        Ok((root, Some(free))) if free < ROOM => {
            let fix = "crate prune, or set CRATE_ROOT to a directory with more room";
            Finding::degraded(NAME, format!("{root}: {} MiB are free", free >> 20), fix)
        }
        Ok((root, Some(free))) => Finding::works(NAME, format!("{root}: {} GiB are free", free >> 30)),
        Ok((root, None)) => Finding::works(NAME, root),
        Err(error) => {
            let text = error.to_string();
            let (detail, fix) =
                text.split_once("\nhint: ").unwrap_or((&text, "set CRATE_ROOT to a directory of your own"));
            Finding::fails(NAME, detail, fix)
        }
    }
}

/// Writes a file in the store, with an extended attribute as layers need them; the store's path and how many bytes are
/// free there, where the file system tells.
fn try_store() -> Result<(String, Option<u64>)> {
    use store::error::Doing;
    let store = Store::open()?;
    let path = store.ingest_path("check")?;
    let doing = || format!("writing {}", path.display());
    let file = File::create_new(&path).doing(doing)?;
    let tried = fs::remove_file(&path)
        .doing(doing)
        .and_then(|()| fsetxattr(&file, "user.overlay.opaque", b"y", XattrFlags::empty()).doing(doing));
    tried.map_err(|error| error.about("extended attributes"))?;
    store.run_dir()?;
    Ok((store.root().display().to_string(), free(store.root())))
}

fn programs() -> Finding {
    const NAME: &str = "programs";
    let own = fs::read_link("/proc/self/exe").unwrap_or_default();
    let all = ["crate", "crate-fetch", "crate-init", "crate-store"];
    let missing: Vec<&str> = all.into_iter().filter(|name| !own.with_file_name(name).exists()).collect();
    let place = own.parent().unwrap_or(Path::new("/")).display().to_string();
    if missing.is_empty() {
        return Finding::works(NAME, format!("all five in {place}"));
    }
    Finding::fails(NAME, format!("not in {place}: {}", missing.join(", ")), "install all five in one directory")
}

fn certificates() -> Finding {
    const NAME: &str = "certificates";
    let given = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os).into_iter().flatten();
    let mut places = given.map(Into::into).chain(CERTIFICATES.iter().map(|path| Path::new(path).to_path_buf()));
    match places.find(|path| path.exists()) {
        Some(path) => Finding::works(NAME, path.display().to_string()),
        None => Finding::degraded(
            NAME,
            "no authority is trusted: registries with https cannot be asked",
            "apt-get install ca-certificates, or give --cacert FILE",
        ),
    }
}
