//! `crate-sup wait`: tells the exit codes of containers when they have ended.

use crate::channel::{self, Reply};
use crate::ending::Keeper;
use crate::stop::{some, told};
use lexopt::{Arg, Parser, ValueExt};
use std::os::fd::OwnedFd;
use store::state::State;
use store::{Container, Error, Result, Store};

/// Waits for each container, and prints its exit code, in the order in which they are given. One that ends meanwhile
/// is heard of all the same: all are listened to from the beginning.
pub fn wait(parser: &mut Parser) -> Result<u8> {
    let mut names = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(name) => names.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    some("wait", &names)?;
    let store = Store::open()?;
    store.unlock()?; // Nothing of it is used that could be collected, and this may take long.
    let waits: Vec<_> = names.iter().map(|name| Wait::begin(&store, name)).collect();
    let mut worst = 0;
    for wait in waits {
        let code = wait.and_then(|wait| wait.end(&store)).and_then(|code| crate::say(&format!("{code}\n")));
        worst = worst.max(code.unwrap_or_else(|error| told(&error)));
    }
    Ok(worst)
}

/// A container whose end is waited for.
struct Wait<'a> {
    name: &'a str,
    container: Container,
    /// The channel to its supervisor, which tells the code; none where there is none, or none yet.
    supervisor: Option<OwnedFd>,
}

impl<'a> Wait<'a> {
    fn begin(store: &Store, name: &'a str) -> Result<Self> {
        let container = store.find_container(name)?;
        let supervisor = channel::connect_in(&store.run_dir()?.join(&container.id)).ok().flatten();
        Ok(Self { name, container, supervisor })
    }

    /// Waits for its end; the exit code. One that is to be started again is waited for further.
    fn end(self, store: &Store) -> Result<i32> {
        if let Some(code) = self.supervisor.as_ref().and_then(last_message) {
            return Ok(code);
        }
        // Without a word from the supervisor what it has left behind tells.
        loop {
            match self.container.state(store)? {
                State::Exited(code) => return Ok(code),
                State::Lost => {
                    crate::tell(&format!("container {}: its supervisor was killed, its exit code is lost", self.name));
                    return Ok(State::Lost.code());
                }
                State::Created if self.container.dir.exists() => {
                    return Err(Error::Failed(format!("container {} has never run", self.name)));
                }
                State::Created => {
                    return Err(Error::NotFound(format!("container {} has been removed meanwhile", self.name)));
                }
                State::Starting | State::Running | State::Restarting | State::Orphaned => {
                    if let Some(keeper) = Keeper::of(&self.container, store)? {
                        keeper.wait();
                    }
                }
            }
        }
    }
}

/// The exit code that a supervisor tells with its last message; none if it was killed before.
fn last_message(supervisor: &OwnedFd) -> Option<i32> {
    loop {
        let packet = channel::receive_packet(supervisor).ok().filter(|packet| !packet.is_empty())?;
        if let Some(Reply::Ended(code) | Reply::Failed(code, _)) = Reply::read(&packet) {
            return Some(code.into());
        }
    }
}
