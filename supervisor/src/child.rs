//! The process that becomes a container, or that works on files as root of the user's namespace.

use crate::idmap::IdMaps;
use crate::sys;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, geteuid, waitid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set, set_capabilities,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use store::error::Doing;
use store::{Error, Result};

/// A pipe, close-on-exec: its reading and its writing end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).doing(|| "making a pipe".into())
}

/// A child that runs, and what it has handed over.
pub struct Started {
    /// The process.
    pub child: sys::Child,
    /// What `prepare` made.
    pub handed: Option<OwnedFd>,
}

/// Clones a child with `flags`, maps its ids, and only then lets it run `work`, whose result is its exit code.
///
/// Two closures run in the child: `prepare` at once, for a descriptor that the parent gets; `work` with the ids of the
/// new user namespace, if there is one. `meanwhile` runs in the parent, while the ids are being mapped.
pub fn start(
    flags: u64,
    maps: &IdMaps,
    prepare: impl FnOnce() -> Option<OwnedFd>,
    meanwhile: impl FnOnce(&sys::Child) -> Result<()>,
    work: impl FnOnce() -> u8,
) -> Result<Started> {
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (own, other) = socketpair(kind.0, kind.1, kind.2, None).doing(|| "making a pair of sockets".into())?;
    let flags = flags | if maps.has_namespace() { sys::NEW_USER } else { 0 };
    let Some(child) = sys::clone(flags).map_err(|error| explain(error, maps))? else {
        drop(own);
        hand_over(&other, prepare().as_ref().map(AsFd::as_fd));
        released(&other, maps);
        drop(other);
        std::process::exit(work().into())
    };
    drop(other);
    let mapped = maps.begin(child.pid).and_then(|mapping| meanwhile(&child).and(mapping.finish()));
    if let Err(error) = mapped {
        drop(own); // The child ends by itself where nobody is left to release it.
        wait_for(&child)?;
        return Err(error);
    }
    let handed = take_over(&own);
    // The child may have been killed already; waiting for it tells.
    let _ = send(&own, b"g", SendFlags::NOSIGNAL);
    Ok(Started { child, handed })
}

/// In the child: waits until the ids are mapped. If the parent gives up, so does the child.
fn released(parent: &OwnedFd, maps: &IdMaps) {
    let released = recv(parent, &mut [0; 1], RecvFlags::empty()).is_ok_and(|(count, _)| count == 1);
    if !released || maps.has_namespace() && take_ids().is_err() {
        std::process::exit(125);
    }
}

/// Takes the ids that the user namespace has for this process: root's, who is the caller, or where the container keeps
/// the caller's id that. Who is not root keeps what capabilities it has there through execve(2), as ambient ones.
pub fn take_ids() -> std::io::Result<()> {
    sys::become_own()?;
    if geteuid().is_root() {
        return Ok(());
    }
    let sets = capabilities(None)?;
    set_capabilities(None, CapabilitySets { inheritable: sets.permitted, ..sets })?;
    let all = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
    let mut had = all.filter(|one| sets.permitted.contains(*one));
    Ok(had.try_for_each(|one| configure_capability_in_ambient_set(one, true))?)
}

/// In the child: sends one message, with a descriptor or without (unix(7), `SCM_RIGHTS`).
pub fn hand_over(parent: &OwnedFd, descriptor: Option<BorrowedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut extra = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptor.into_iter().collect();
    if !descriptors.is_empty() {
        extra.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    // If it does not arrive, the parent does without.
    let _ = sendmsg(parent, &[IoSlice::new(b"h")], &mut extra, SendFlags::NOSIGNAL);
}

/// Receives the descriptor that [`hand_over`] sends, or crate-init; none comes from a child that has been killed.
pub fn take_over(child: &OwnedFd) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut extra = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    recvmsg(child, &mut [IoSliceMut::new(&mut byte)], &mut extra, RecvFlags::CMSG_CLOEXEC).ok()?;
    extra.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

/// fork(2), for what `doing` says: `None` in the child.
pub fn fork(doing: &str) -> Result<Option<sys::Child>> {
    sys::clone(0).map_err(|error| no_process(doing, error))
}

/// Explains why there is no new process.
pub fn no_process(doing: &str, error: std::io::Error) -> Error {
    if error.raw_os_error() == Some(libc::EAGAIN) {
        return Error::Failed(format!("{doing}: {}{NO_PROCESSES}", reason(&error)));
    }
    Error::Io { doing: doing.into(), source: error }
}

/// What `EAGAIN` means of fork(2).
const NO_PROCESSES: &str = "\nhint: a limit on processes is reached: see ulimit -u, and pids.max of the cgroup";

/// Explains why the kernel makes no namespaces, as far as its error tells.
pub fn explain(error: std::io::Error, maps: &IdMaps) -> Error {
    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let hint = match errno {
        Errno::AGAIN => NO_PROCESSES.into(),
        Errno::NOSYS => "\nhint: use Linux 5.12 or newer, or let the container around this allow clone3(2)".into(),
        Errno::NOSPC | Errno::PERM | Errno::INVAL | Errno::USERS | Errno::ACCESS if maps.has_namespace() => {
            format!("\nhint: {}", way_to_namespaces(errno))
        }
        Errno::NOSPC => "\nhint: a limit is reached: see sysctl user.max_*_namespaces".into(),
        Errno::PERM => "\nhint: root without CAP_SYS_ADMIN cannot make namespaces".into(),
        _ => return Error::Io { doing: "making namespaces".into(), source: error },
    };
    Error::Failed(format!("making namespaces: {}{hint}", reason(&error)))
}

/// A setting of the kernel (sysctl(8)): none where this kernel does not have it.
pub fn setting(name: &str) -> Option<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// What to do where user namespaces are refused with this error.
pub fn way_to_namespaces(errno: Errno) -> String {
    way(errno, &setting)
}

fn way(errno: Errno, setting: &dyn Fn(&str) -> Option<String>) -> String {
    let is = |name: &str, value: &str| setting(name).is_some_and(|own| own == value);
    if is("kernel.unprivileged_userns_clone", "0") {
        return "sysctl -w kernel.unprivileged_userns_clone=1".into();
    }
    if is("user.max_user_namespaces", "0") || errno == Errno::NOSPC {
        return "sysctl -w user.max_user_namespaces=15000".into();
    }
    if is("kernel.apparmor_restrict_unprivileged_userns", "1") {
        let own = std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/crate-sup".into());
        return format!(
            "printf 'abi <abi/4.0>,\\nprofile crate-sup {} flags=(unconfined) {{ userns, }}\\n' \
             >/etc/apparmor.d/crate-sup && apparmor_parser -r /etc/apparmor.d/crate-sup",
            own.display()
        );
    }
    match errno {
        Errno::INVAL | Errno::NOSYS => "use a kernel with CONFIG_USER_NS=y".into(),
        Errno::USERS => "user namespaces are nested too deeply: leave some".into(),
        _ => "leave the chroot, or let the container around this allow it \
              (docker, podman: --security-opt seccomp=unconfined --security-opt apparmor=unconfined)"
            .into(),
    }
}

/// Runs `work` to its end as root of the caller's user namespace; as root, in this very process.
pub fn as_mapped_root(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let maps = IdMaps::of_caller();
    if !maps.has_namespace() {
        return work();
    }
    let started = start(
        0,
        &maps,
        || None,
        |_| Ok(()),
        || {
            let report = |error: Error| {
                crate::tell(&error);
                error.exit_code()
            };
            work().map_or_else(report, |()| 0)
        },
    )?;
    match wait_for(&started.child)? {
        0 => Ok(()),
        code => Err(Error::Failed(format!("working in the user namespace ended with code {code}"))),
    }
}

/// What the system says, without its number.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// The number of the process that a pidfd names (pidfd_open(2), `fdinfo`); none where it has been waited for.
pub fn pid_of(pidfd: BorrowedFd) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok()).filter(|pid| *pid > 0)
}

/// Waits for the child's end; its exit code, or 128 and the number of the signal that killed it.
pub fn wait_for(child: &sys::Child) -> Result<u8> {
    loop {
        match waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).doing(|| "waiting for the container".into()),
            Ok(status) => {
                let status =
                    status.and_then(|status| status.exit_status().or(status.terminating_signal().map(|n| n + 128)));
                return Ok(status.and_then(|code| u8::try_from(code & 0xff).ok()).unwrap_or(125));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_refuses_user_namespaces() {
        let with =
            |name: &'static str, value: &'static str| move |asked: &str| (asked == name).then(|| value.to_owned());
        let none = |_: &str| None;
        for (errno, fix, setting) in [
            (
                Errno::PERM,
                "unprivileged_userns_clone=1",
                &with("kernel.unprivileged_userns_clone", "0") as &dyn Fn(&str) -> _,
            ),
            (Errno::PERM, "apparmor_parser", &with("kernel.apparmor_restrict_unprivileged_userns", "1")),
            (Errno::NOSPC, "max_user_namespaces=", &with("user.max_user_namespaces", "0")),
            (Errno::NOSPC, "max_user_namespaces=", &none),
            (Errno::INVAL, "CONFIG_USER_NS", &none),
            (Errno::PERM, "chroot", &none),
            (Errno::USERS, "nested", &none),
        ] {
            let way = way(errno, setting);
            assert!(way.contains(fix), "{way}");
        }
    }
}
