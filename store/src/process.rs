//! `RUN/ID/pid`: which process a running container's first is. A number alone would come to mean another process.

use crate::container::Container;
use crate::error::{Doing, Error, Result};
use crate::root::{Store, run_dir};
use nanoserde::{DeJson, SerJson};
use std::fs;

/// The first process of a container, told from every other that has had or will have its number.
#[derive(Debug, Clone, PartialEq, Eq, SerJson, DeJson)]
pub struct Process {
    /// Its process id, as its supervisor sees it.
    pub pid: u32,
    /// When it began, in clock ticks since the system did (proc_pid_stat(5), field 22).
    pub start: u64,
    /// The run of the system that it belongs to (random(4), `boot_id`).
    pub boot: String,
}

impl Process {
    /// The process that has this number now; none where it has ended.
    pub fn now(pid: u32) -> Option<Self> {
        let start = start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(Self { pid, start, boot })
    }
}

impl Container {
    /// Writes down which process the container's first is.
    pub fn record_process(&self, store: &Store, process: &Process) -> Result<()> {
        let dir = self.run_dir(store)?;
        let (beside, target) = (dir.join("pid.new"), dir.join("pid"));
        let written = fs::write(&beside, process.serialize_json()).and_then(|()| fs::rename(&beside, &target));
        written.doing(|| format!("writing {}", target.display()))
    }

    /// The first process of the container, if it is still the one that was written down.
    pub fn process(&self, store: &Store) -> Result<Option<Process>> {
        let path = run_dir(store.root())?.join(&self.id).join("pid");
        let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
        let malformed = |_| Error::Refused(format!("{} is malformed", path.display()));
        let recorded = Process::deserialize_json(&text).map_err(malformed)?;
        Ok(Process::now(recorded.pid).filter(|now| *now == recorded))
    }
}

/// Field 22 of a line of proc_pid_stat(5); the second field is a name that may hold anything.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_more_than_its_number() {
        assert_eq!(start_time("7 (a) b) c) S 1 7 7 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0"), Some(4242));
        assert_eq!(start_time("7 (a"), None);
        let own = Process::now(std::process::id()).unwrap();
        assert_eq!(Process::deserialize_json(&own.serialize_json()).unwrap(), own);
        assert_eq!(Process::now(own.pid), Some(own));
        assert_eq!(Process::now(u32::MAX), None);
    }
}
