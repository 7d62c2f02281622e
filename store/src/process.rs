//! `RUN/ID/pid`: which process a running container's first is. A number alone would come to mean another process.

use crate::container::Container;
use crate::error::{Doing, Result};
use crate::json::{self, Fields, FromJson, Value, Wrong};
use crate::root::Store;
use nanoserde::SerJson;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The first process of a container, told from every other that has had or will have its number.
#[derive(Debug, Clone, PartialEq, Eq, SerJson)]
pub struct Process {
    /// Its process id, as its supervisor sees it.
    pub pid: u32,
    /// When it began, in clock ticks since the system did (proc_pid_stat(5), field 22).
    pub start: u64,
    /// The run of the system that it belongs to (random(4), `boot_id`).
    pub boot: String,
    /// The process id of its supervisor.
    pub supervisor: u32,
    /// Does the program itself run? Until then the process is at work on the namespaces, and still sees the host's files.
    pub runs: bool,
}

impl FromJson for Process {
    fn from_json(value: Value) -> std::result::Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            pid: fields.take("pid")?,
            start: fields.take("start")?,
            boot: fields.take("boot")?,
            supervisor: fields.take("supervisor")?,
            runs: fields.take("runs")?,
        })
    }
}

impl Process {
    /// The child of this process that has this number now; none where it has ended, or is ending: a process 1 does so for
    /// as long as there are zombies in its namespace that somebody outside is to reap.
    pub fn now(pid: u32) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let start = field(&line, 22).filter(|_| field(&line, 9).is_some_and(|flags| flags & EXITING == 0))?;
        // Where /proc/sys is hidden, as in a container, the number and the time have to do.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        Some(Self { pid, start, boot, supervisor: std::process::id(), runs: false })
    }

    /// A descriptor that names this process and no other (pidfd_open(2), since Linux 5.3); none where it has ended.
    pub fn open(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid.cast_signed())?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // What has the number now, when the descriptor is there already, is what the descriptor names.
        let now = Self::now(self.pid)?;
        let same = now.start == self.start && now.boot == self.boot;
        (same && !ends_within(&descriptor, Duration::ZERO)).then_some(descriptor)
    }
}

/// Does the process end within this time (pidfd_open(2), `POLLIN`)? One that nobody has waited for yet has ended too.
pub fn ends_within(process: &impl AsFd, time: Duration) -> bool {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    let time = Timespec::try_from(time).ok();
    loop {
        match poll(&mut polled, time.as_ref()) {
            Err(Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
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

    /// What was written down when the container last started, whether or not that process still is.
    pub fn recorded_process(&self, store: &Store) -> Result<Option<Process>> {
        let path = store.run_dir()?.join(&self.id).join("pid");
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing(|| format!("reading {}", path.display())),
            Ok(bytes) => json::read(&bytes, &path.display().to_string()).map(Some),
        }
    }
}

/// The process is in exit(2) (`PF_EXITING`).
const EXITING: u64 = 4;

/// A numeric field of a line of proc_pid_stat(5), from the fourth on; the second is a name that may hold anything.
pub fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_more_than_its_number() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!((field(stat, 22), field(stat, 9), field("7 (a", 22)), (Some(4242), Some(4), None));
        let own = Process::now(std::process::id()).unwrap();
        assert_eq!(json::read::<Process>(own.serialize_json().as_bytes(), "own").unwrap(), own);
        assert!(own.open().is_some());
        assert!(Process { start: own.start + 1, ..own.clone() }.open().is_none());
        assert!(Process { boot: "another".into(), ..own }.open().is_none());
        assert_eq!(Process::now(u32::MAX), None);
    }

    #[test]
    fn one_that_nobody_has_waited_for_has_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let descriptor = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        assert!(ends_within(&descriptor, Duration::from_secs(60)));
        assert_eq!(Process::now(child.id()), None);
        child.wait().unwrap();
    }
}
