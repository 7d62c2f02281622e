//! `crate-store rm`.

use super::{each, operands_and_force, print, removal};
use std::time::{Duration, Instant};
use store::{Error, Result, Store};

const HELP: &str = "\
usage: crate-store rm [-f] CONTAINER…

Removes containers that do not run, and prints each as it was given. A container is named
by its id, the first digits of it, or its name. Exit code 3: no such container; 4: it runs.
A user whose containers have mapped ids wants: crate-sup unshare crate-store rm CONTAINER…

  -f, --force   one that is not there is no failure; wait a little for one that is just
                ending (crate-sup kill ends it)

  crate-store rm web 4f5c0d";

/// How long another program may take to let go of a container that has ended.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn run(args: lexopt::Parser) -> Result<()> {
    let Some((all, force)) = operands_and_force(args, HELP, "rm", "wants a container")? else {
        return Ok(());
    };
    let store = Store::open()?;
    each(&all, |text| match remove(&store, text, force) {
        Err(Error::NotFound(_)) if force => Ok(()),
        other => other.map_err(removal).and_then(|()| print(text)),
    })
}

fn remove(store: &Store, text: &str, patient: bool) -> Result<()> {
    let container = store.find_container(text)?;
    let begun = Instant::now();
    loop {
        match store.remove_container(&container) {
            // Who has entered the container, or watched it, has a last word to say.
            Err(Error::Busy(_)) if patient && begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}
