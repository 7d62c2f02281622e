//! `crate-store rm`.

use super::{each, operands, print, removal};
use store::{Error, Result, Store};

const HELP: &str = "\
usage: crate-store rm CONTAINER…

Removes containers that do not run, and prints each as it was given. A container is named
by its id, the first digits of it, or its name. Exit code 3: no such container; 4: it runs.
A user whose containers have mapped ids wants: crate-sup unshare crate-store rm CONTAINER…

  crate-store rm web 4f5c0d";

pub fn run(args: lexopt::Parser) -> Result<()> {
    let Some(all) = operands(args, HELP)? else {
        return Ok(());
    };
    if all.is_empty() {
        return Err(Error::Usage(format!("rm wants a container\n{HELP}")));
    }
    let store = Store::open()?;
    each(&all, |text| {
        let container = store.find_container(text)?;
        store.remove_container(&container).map_err(removal)?;
        print(text)
    })
}
