//! `crate-store fsck`.

use super::{misused, operands_and, print, removal, tell};
use lexopt::Arg::Long;
use std::path::Path;
use store::confine::{Allowed, confine};
use store::{Result, Store, fsck};

const HELP: &str = "\
usage: crate-store fsck [--layers] [--repair]

Reads every blob and compares it with its digest; checks that each image has all its parts
and each container its bundle and layers. Changes nothing. Prints a line for each fault,
which begins with the image or container it belongs to. Exit code 6: there are faults, or
were before --repair.

  --layers   also unpack each layer once more, and compare it with the one that is in use;
             a user whose layers have mapped ids wants crate-sup unshare in front
  --repair   remove the blobs and layers that are damaged, so that pulling the image again
             brings them anew; wants that no other program uses the store";

pub fn run(args: lexopt::Parser) -> Result<()> {
    let (mut layers, mut repair) = (false, false);
    let flag = |argument: &lexopt::Arg<'_>| match argument {
        Long("layers") => {
            layers = true;
            true
        }
        Long("repair") => {
            repair = true;
            true
        }
        _ => false,
    };
    match operands_and(args, HELP, flag)? {
        None => return Ok(()),
        Some(all) if all.is_empty() => {}
        Some(_) => return Err(misused("fsck", "takes no arguments")),
    }
    let store = Store::open()?;
    if repair {
        store.lock_exclusively()?;
        if store.repair_index()? {
            tell(
                "index.json was damaged: it is kept as index.json.damaged, and a new one names no image\n\
                 hint: pull or load the images again; until then, gc would remove them",
            );
        }
    } else {
        // A repair moves layers to where more may be done with them, which Landlock allows nobody.
        let read = ["/dev/urandom", "/proc/self/uid_map", "/proc/self/gid_map"].map(Path::new);
        confine(&store, &Allowed { read: &read, ..Allowed::default() })?;
    }
    let mut found = store.check()?;
    if layers {
        store.check_layers(&mut found).map_err(removal)?;
    }
    for fault in &found.faults {
        print(fault)?;
    }
    if repair && !found.faults.is_empty() {
        let freed = store.repair(&found).map_err(removal)?;
        let (blobs, layers) = (freed.blobs, freed.layers);
        let done = match blobs + layers {
            0 => "there is nothing damaged to remove".to_owned(),
            _ => format!("removed what was damaged (blobs: {blobs}, layers: {layers})"),
        };
        if blobs + layers > 0 || freed.failed.is_empty() {
            tell(&format!("{done}\nhint: pull those images again"));
        }
        super::gc::warn(freed.failed.get(1..).unwrap_or_default());
        freed.failed.into_iter().next().map_or(Ok(()), |error| Err(removal(error)))?;
    }
    fsck::verdict(&found.faults)
}
