//! The state of a container, told by facts: who holds its lock, and whether an exit code is there.

use crate::container::Container;
use crate::error::{Doing, Result};
use crate::root::{Store, run_dir};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::ErrorKind;

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has never been started.
    Created,
    /// Its program runs.
    Running,
    /// Its program has ended, with this code.
    Exited(i32),
}

impl State {
    /// The word for it: `created`, `running` or `exited`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited(_) => "exited",
        }
    }
}

impl Container {
    /// What the container is doing now.
    pub fn state(&self, store: &Store) -> Result<State> {
        let lock = run_dir(store.root())?.join(&self.id).join("lock");
        match File::open(&lock) {
            Ok(file) => match flock(&file, FlockOperation::NonBlockingLockShared) {
                Err(Errno::WOULDBLOCK) => return Ok(State::Running),
                other => other.doing(|| format!("locking {}", lock.display()))?,
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).doing(|| format!("opening {}", lock.display())),
        }
        let code = fs::read_to_string(self.dir.join("exit")).ok().and_then(|text| text.trim().parse().ok());
        Ok(code.map_or(State::Created, State::Exited))
    }
}
