//! `crate-store path`.

use super::{misused, operands, print};
use std::path::PathBuf;
use store::platform::Platform;
use store::{Digest, Error, Result, Store};

const HELP: &str = "\
usage: crate-store path [IMAGE | CONTAINER | DIGEST]

Prints where the store is; or a container's bundle, a blob, an unpacked layer (by its
diffid), or the manifest of an image.

  skopeo inspect oci:\"$(crate-store path)\":docker.io/library/alpine:latest";

pub fn run(args: lexopt::Parser) -> Result<()> {
    let Some(all) = operands(args, HELP)? else {
        return Ok(());
    };
    let path = match &all[..] {
        [] => Store::open()?.root().to_owned(),
        [text] => find(&Store::open()?, text)?,
        _ => return Err(misused("path", "wants one argument at most")),
    };
    print(&path.display().to_string())
}

fn find(store: &Store, text: &str) -> Result<PathBuf> {
    if let Ok(digest) = text.parse::<Digest>() {
        let places = [store.blob_path(&digest), store.layer_path(&digest)];
        let found = places.into_iter().find(|path| path.exists());
        return found.ok_or_else(|| Error::NotFound(format!("the store holds neither blob nor layer {digest}")));
    }
    match store.find_container(text) {
        Err(Error::NotFound(_)) => {
            let image = store.find_image(text, &Platform::host())?;
            Ok(store.blob_path(&image.descriptor.digest))
        }
        other => other.map(|container| container.dir),
    }
}
