//! Joining the namespaces of a container that runs.

use crate::{child, sys};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::io::Result;
use std::os::fd::BorrowedFd;
use store::spec::Spec;

/// The namespaces that a container has of its own, as flags of setns(2).
pub fn namespaces(spec: &Spec) -> u64 {
    let own = |kind: &str, flag: u64| if spec.has_namespace(kind) { flag } else { 0 };
    files(spec) | own("pid", sys::NEW_PID) | own("network", sys::NEW_NET) | sys::OTHER_NAMESPACES
}

/// Those of them that decide what its files and ids are.
fn files(spec: &Spec) -> u64 {
    let own = |kind: &str, flag: u64| if spec.has_namespace(kind) { flag } else { 0 };
    own("user", sys::NEW_USER) | own("mount", sys::NEW_MOUNT)
}

/// Moves this process to the files and ids of a container's first process.
///
/// The descriptor must come of [`store::process::Process::open`], which names no process but the one that was written
/// down: a number that has come to mean a stranger is never joined, and a process that has ended since then has nothing
/// to be joined (`ESRCH`). Since Linux 5.8 (setns(2)).
pub fn join(first: BorrowedFd, spec: &Spec) -> Result<()> {
    // What the container can see of this process before it executes crate-init it must not trace or read (CVE-2016-9962).
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    sys::join(first, files(spec))?;
    if spec.has_namespace("user") { child::take_ids() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::os::fd::AsFd;

    #[test]
    fn a_process_that_has_ended_is_not_joined() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let first = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        let error = sys::join(first.as_fd(), sys::NEW_MOUNT | sys::NEW_USER).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
}
