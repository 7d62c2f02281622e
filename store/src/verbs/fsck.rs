//! `crate-store fsck`.

use super::{misused, operands, print};
use store::{Result, Store, fsck};

const HELP: &str = "\
usage: crate-store fsck

Reads every blob and compares it with its digest; checks that each image has all its parts
and each container its bundle and layers. Changes nothing. Prints a line for each fault,
which begins with the image or container it belongs to. Exit code 6: there are faults.
An image is mended by pulling it again, after: crate rmi -f IMAGE";

pub fn run(args: lexopt::Parser) -> Result<()> {
    match operands(args, HELP)? {
        None => return Ok(()),
        Some(all) if all.is_empty() => {}
        Some(_) => return Err(misused("fsck", "takes no arguments")),
    }
    let faults = Store::open()?.check()?;
    for fault in &faults {
        print(fault)?;
    }
    fsck::verdict(&faults)
}
