//! `crate-store gc`.

use super::{misused, operands, removal, tell};
use store::gc::Freed;
use store::{Error, Result, Store};

const HELP: &str = "\
usage: crate-store gc

Removes the blobs and layers that no image and no container uses, what was left half made
or half removed, and names of containers that are gone. What has come of an unfinished pull
stays for a day, so that it can go on. Waits until no other program uses the store; after 10 s
it is busy (exit code 4).
A user whose layers have mapped ids wants: crate-sup unshare crate-store gc";

pub fn run(args: lexopt::Parser) -> Result<()> {
    match operands(args, HELP)? {
        None => return Ok(()),
        Some(all) if all.is_empty() => {}
        Some(_) => return Err(misused("gc", "takes no arguments")),
    }
    report(Store::open()?.collect()?)
}

/// Says what was removed, and what could not be.
pub fn report(freed: Freed) -> Result<()> {
    warn(freed.failed.get(1..).unwrap_or_default());
    tell(&format!(
        "removed {} blobs ({}), {} layers, {} remains",
        freed.blobs,
        store::space::size(freed.bytes),
        freed.layers,
        freed.remains
    ));
    freed.failed.into_iter().next().map_or(Ok(()), |error| Err(removal(error)))
}

/// Says what could not be removed.
pub fn warn(failed: &[Error]) {
    for error in failed {
        tell(&error.to_string());
    }
}
