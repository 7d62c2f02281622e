//! The state of a container, told by facts: who holds its lock, which process was written down, and what it left.

use crate::container::Container;
use crate::error::Result;
use crate::process::{Process, ends_within};
use crate::root::Store;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long a process is given to end whose supervisor has been killed: the kernel sends it the parent-death signal
/// only after it has let go of the supervisor's locks.
const FALLS: Duration = Duration::from_millis(300);

/// How many milliseconds a start may take to record its process.
const MOMENT: usize = 50;

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has never been started.
    Created,
    /// It is being started.
    Starting,
    /// Its program runs.
    Running,
    /// Its program has ended, and its supervisor will start it again.
    Restarting,
    /// Its program runs, but its supervisor has been killed.
    Orphaned,
    /// Its program has ended, with this code.
    Exited(i32),
    /// Its program has ended, but its supervisor was killed before it could tell the code.
    Lost,
}

impl State {
    /// The word for it, as `ps` shows it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Orphaned => "orphaned",
            Self::Exited(_) => "exited",
            Self::Lost => "lost",
        }
    }

    /// Is there a process, or will there be one by itself?
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Restarting | Self::Orphaned)
    }

    /// The exit code as a number: 0 where nothing has ended, 255 where the code is lost.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Lost => 255,
            _ => 0,
        }
    }
}

/// Does the process stay, now that its supervisor is gone?
fn outlives(process: &Process) -> bool {
    process.open().is_some_and(|descriptor| !ends_within(&descriptor, FALLS))
}

impl Container {
    /// What the container is doing now.
    pub fn state(&self, store: &Store) -> Result<State> {
        for _ in 0..MOMENT {
            // In this order: a holder that comes after the record was read shows as a record of another.
            let record = self.recorded_process(store)?;
            let holder = self.lock_holder(store)?;
            if let (Some(holder), Some(process)) = (holder, &record)
                && (holder == 0 || holder == process.supervisor)
            {
                return Ok(match self.exit_code() {
                    Some(_) => State::Restarting,
                    None if process.runs => State::Running,
                    None => State::Starting,
                });
            }
            if holder.is_none() && record.is_some_and(|process| outlives(&process)) {
                return Ok(State::Orphaned);
            }
            let started = self.started().is_some();
            if let Some(code) = self.exit_code() {
                return Ok(State::Exited(code));
            }
            if !started {
                return Ok(State::Created);
            }
            // A start between these lines leaves neither code nor record for a moment, and is no loss.
            if self.lock_holder(store)?.is_none() && self.exit_code().is_none() {
                return Ok(State::Lost);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // Its record has gone with the directory of what runs.
        Ok(State::Running)
    }

    /// Has its program outlived its supervisor? To be asked by who holds the lock.
    pub fn is_orphaned(&self, store: &Store) -> Result<bool> {
        Ok(self.recorded_process(store)?.is_some_and(|process| outlives(&process)))
    }

    /// When it was started last, RFC 3339 in UTC; none where it never was.
    pub fn started(&self) -> Option<String> {
        fs::read_to_string(self.dir.join("started")).ok().map(|text| text.trim_end().to_owned())
    }

    /// The code with which its program ended last; none while it runs, and where nobody could tell.
    pub fn exit_code(&self) -> Option<i32> {
        fs::read_to_string(self.dir.join("exit")).ok()?.trim_end().parse().ok()
    }

    /// Has the kernel killed in it for want of memory, when it ran last?
    pub fn ran_out_of_memory(&self) -> bool {
        self.dir.join("oom").exists()
    }

    /// The first process of the container, if it still is: its record, and the descriptor that names it and no other.
    pub fn process(&self, store: &Store) -> Result<Option<(Process, OwnedFd)>> {
        let record = self.recorded_process(store)?;
        Ok(record.and_then(|process| process.open().map(|descriptor| (process, descriptor))))
    }

    /// The program of the container, if it runs: the record of its first process, and the descriptor that names it.
    pub fn program(&self, store: &Store) -> Result<Option<(Process, OwnedFd)>> {
        Ok(self.process(store)?.filter(|(process, _)| process.runs))
    }
}
