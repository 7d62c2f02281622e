//! `crate-store tag`.

use super::{misused, operands};
use store::platform::Platform;
use store::{Error, Reference, Result, Store};

const HELP: &str = "\
usage: crate-store tag IMAGE REFERENCE

Gives an image another reference; one that named another image is moved.
IMAGE is a reference, or the digest of a manifest or its first digits.

  crate-store tag alpine:3.20 localhost:5000/base:1";

pub fn run(args: lexopt::Parser) -> Result<()> {
    let Some(all) = operands(args, HELP)? else {
        return Ok(());
    };
    let [source, target] = &all[..] else {
        return Err(misused("tag", "wants IMAGE and REFERENCE"));
    };
    let target: Reference = target.parse()?;
    if target.digest.is_some() {
        return Err(Error::Usage(format!("tag: {target}: a new reference has a tag, not a digest")));
    }
    let store = Store::open()?;
    let image = store.find_image(source, &Platform::host())?;
    let mut manifest = image.descriptor;
    manifest.platform = manifest.platform.or_else(|| Some(image.config.platform()));
    store.set_reference(&target.to_string(), &manifest)
}
