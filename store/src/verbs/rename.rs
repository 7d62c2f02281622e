//! `crate-store rename`.

use super::{misused, operands};
use store::{Result, Store};

const HELP: &str = "\
usage: crate-store rename CONTAINER NAME

Gives a container another name, also while it runs. Exit code 3: no such container; 4: the
name is in use.

  crate-store rename 4f5c0d web";

pub fn run(args: lexopt::Parser) -> Result<()> {
    let Some(all) = operands(args, HELP)? else {
        return Ok(());
    };
    let [container, name] = &all[..] else {
        return Err(misused("rename", "wants CONTAINER and NAME"));
    };
    let store = Store::look()?;
    store.rename_container(&store.find_container(container)?, name)
}
