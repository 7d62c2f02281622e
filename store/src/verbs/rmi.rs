//! `crate-store rmi`.

use super::{each, operands_and_force, print, tell};
use store::{Result, Store};

const HELP: &str = "\
usage: crate-store rmi [-f] IMAGE…

Removes references; with the last reference of an image go its manifest, config and layers
that nothing else uses. Prints each reference removed, and the digest of each image removed.
IMAGE is a reference, or the digest of a manifest or its first digits. Exit code 4: a
container uses it, or it was given by its digest and has several references.

  -f, --force   remove it all the same, with all its references if given by digest;
                what containers need stays until they are removed

  crate-store rmi alpine:3.20 debian:12";

/// Told where what was removed cannot be swept.
pub const IN_USE: &str = "the store is in use: what the image took is left for crate-store gc";

pub fn run(args: lexopt::Parser) -> Result<()> {
    let Some((all, force)) = operands_and_force(args, HELP, "rmi", "wants an image")? else {
        return Ok(());
    };
    each(&all, |text| {
        // Opened anew for each: sweeping leaves the store locked exclusively.
        let removed = Store::open()?.remove_image(text, force)?;
        for name in &removed.names {
            print(name)?;
        }
        let Some(digest) = removed.digest else { return Ok(()) };
        match removed.freed {
            Some(freed) => super::gc::warn(&freed.failed),
            None => tell(IN_USE),
        }
        print(digest.as_str())
    })
}
