//! The process that becomes a container, or that works on files as root of the user's namespace.

use crate::idmap::IdMaps;
use crate::sys;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use store::error::Doing;
use store::{Error, Result};

/// A pipe, close-on-exec: its reading and its writing end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).doing(|| "making a pipe".into())
}

/// Clones a child with `flags`, maps its ids, and only then lets it run `work`, whose result is its exit code.
///
/// `work` runs in the child, as root of the new user namespace if there is one.
pub fn start(flags: u64, maps: &IdMaps, work: impl FnOnce() -> u8) -> Result<sys::Child> {
    let (wait, go) = pipe()?;
    let flags = if maps.has_namespace() {
        flags | sys::NEW_USER
    } else {
        flags
    };
    let Some(child) = sys::clone(flags).map_err(|error| explain(error, maps))? else {
        drop(go);
        released(wait, maps);
        std::process::exit(work().into())
    };
    if let Err(error) = maps.write(child.pid) {
        drop(go); // The child ends by itself where nobody is left to release it.
        wait_for(&child)?;
        return Err(error);
    }
    // The child may have been killed already; waiting for it tells.
    let _ = File::from(go).write_all(b"g");
    Ok(child)
}

/// In the child: waits until the ids are mapped. If the parent gives up, so does the child.
fn released(wait: OwnedFd, maps: &IdMaps) {
    let read = File::from(wait).read_exact(&mut [0]);
    if read.is_err() || maps.has_namespace() && sys::become_root().is_err() {
        std::process::exit(125);
    }
}

pub fn explain(error: std::io::Error, maps: &IdMaps) -> Error {
    let hint = match error.raw_os_error() {
        Some(libc::ENOSPC) => "\nhint: sysctl user.max_user_namespaces, or a limit of another namespace, is reached",
        Some(libc::EPERM) if maps.has_namespace() => {
            "\nhint: this system denies user namespaces: see sysctl kernel.unprivileged_userns_clone, \
             kernel.apparmor_restrict_unprivileged_userns and user.max_user_namespaces"
        }
        Some(libc::EPERM) => "\nhint: root without CAP_SYS_ADMIN cannot make namespaces",
        _ => "",
    };
    match Err::<(), _>(error).doing(|| "making namespaces".into()) {
        Err(error) => Error::Failed(format!("{error}{hint}")),
        Ok(()) => Error::Failed("making namespaces".into()),
    }
}

/// Runs `work` to its end as root of the caller's user namespace; as root, in this very process.
pub fn as_mapped_root(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let maps = IdMaps::of_caller();
    if !maps.has_namespace() {
        return work();
    }
    let child = start(0, &maps, || {
        let report = |error: Error| {
            eprintln!("crate-sup: {error}");
            error.exit_code()
        };
        work().map_or_else(report, |()| 0)
    })?;
    match wait_for(&child)? {
        0 => Ok(()),
        code => Err(Error::Failed(format!(
            "working in the user namespace ended with code {code}"
        ))),
    }
}

/// Waits for the child's end; its exit code, or 128 and the number of the signal that killed it.
pub fn wait_for(child: &sys::Child) -> Result<u8> {
    loop {
        match waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).doing(|| "waiting for the container".into()),
            Ok(status) => {
                let status =
                    status.and_then(|status| status.exit_status().or(status.terminating_signal().map(|n| n + 128)));
                return Ok(status.and_then(|code| u8::try_from(code & 0xff).ok()).unwrap_or(125));
            }
        }
    }
}
