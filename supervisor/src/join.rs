//! Joining the namespaces of a container that runs.

use crate::sys;
use std::io::Result;
use std::os::fd::BorrowedFd;
use store::spec::Spec;

/// Moves this process into the namespaces of a container's first process: those that decide what its files and ids are,
/// or `all` that it has of its own. A pid namespace is that of the children made from then on (pid_namespaces(7)).
///
/// The descriptor must come of [`store::process::Process::open`], which names no process but the one that was written
/// down: a number that has come to mean a stranger is never joined. Since Linux 5.8 (setns(2)).
pub fn join(first: BorrowedFd, spec: &Spec, all: bool) -> Result<()> {
    let own = |kind: &str, flag: u64| if spec.has_namespace(kind) { flag } else { 0 };
    let mut namespaces = own("user", sys::NEW_USER) | own("mount", sys::NEW_MOUNT);
    if all {
        namespaces |= own("pid", sys::NEW_PID) | own("network", sys::NEW_NET) | sys::OTHER_NAMESPACES;
    }
    sys::join(first, namespaces)?;
    if spec.has_namespace("user") { sys::become_root() } else { Ok(()) }
}
