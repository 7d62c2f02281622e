//! Confinement: who the program is, what it may do, and which system calls it may make.

use crate::error::{Doing, Error, Result};
use crate::identity::Identity;
use crate::sys::{self, Errno, Fd};
use alloc::vec::Vec;

/// The five capability sets, as masks.
#[derive(Default)]
pub struct Capabilities {
    /// The most that any program inside can gain.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// Allowed to be in force.
    pub permitted: u64,
    /// Kept through execve by files that ask for them.
    pub inheritable: u64,
    /// Kept through execve.
    pub ambient: u64,
}

/// `CAP_SYS_ADMIN`, which loads a filter where `no_new_privs` is off.
const SYS_ADMIN: u64 = 1 << 21;

/// `CAP_SETGID`, without which there is no setgroups(2).
const SETGID: u32 = 1 << 6;

/// A filter of system calls in classic BPF (seccomp(2)).
pub struct Filter(Vec<u8>);

impl Filter {
    /// The size of an instruction (`struct sock_filter`), in bytes.
    const INSTRUCTION: usize = 8;
    /// The most instructions that the kernel takes (`BPF_MAXINSNS`).
    const MOST: usize = 4096;

    /// Reads the instructions that an open file consists of.
    pub fn read(file: &Fd) -> Result<Self> {
        let bytes = sys::read(file, Self::MOST * Self::INSTRUCTION).doing("reading ", c"the seccomp filter")?;
        if bytes.is_empty() || bytes.len() % Self::INSTRUCTION != 0 || bytes.len() > Self::MOST * Self::INSTRUCTION {
            return Err(Error::new(&["the seccomp filter is not of 1 to 4096 instructions"]));
        }
        Ok(Self(bytes))
    }
}

/// What the program is kept from.
#[derive(Default)]
pub struct Confinement {
    /// Left alone where none is given.
    pub capabilities: Option<Capabilities>,
    /// It can gain none by execve(2).
    pub no_new_privs: bool,
    /// The system calls that it may make.
    pub filter: Option<Filter>,
}

impl Confinement {
    /// Becomes `identity`, with the capabilities, and without a way to gain more if so asked.
    pub fn confine(&self, identity: &Identity) -> Result<()> {
        if let Some(sets) = &self.capabilities {
            // Newer kernels may know more than have a name here: they are dropped too.
            for number in (0..64).filter(|number| sets.bounding >> number & 1 == 0) {
                match sys::prctl(libc::PR_CAPBSET_DROP, number, 0) {
                    Err(Errno::INVAL) => break, // This kernel does not know so many.
                    other => other.doing("dropping ", c"capabilities")?,
                }
            }
            sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0).doing("keeping ", c"capabilities")?;
        }
        become_user(identity)?;
        if let Some(sets) = &self.capabilities {
            sets.set(if self.privileged().is_some() { SYS_ADMIN } else { 0 })?;
            for number in (0..64).filter(|number| sets.ambient >> number & 1 == 1) {
                sys::prctl(libc::PR_CAP_AMBIENT, 2, number).doing("raising ambient ", c"capabilities")?;
            }
        }
        if self.no_new_privs { no_new_privs() } else { Ok(()) }
    }

    /// Loads the filter, if there is one: the last act before the program.
    ///
    /// The filter may deny capset(2), or answer it and do nothing. Hence the capability that loads it stays, where it is
    /// needed: execve(2) takes no account of what was permitted before, unless `no_new_privs` is on.
    pub fn load(&self) -> Result<()> {
        self.filter.as_ref().map_or(Ok(()), |filter| sys::seccomp(&filter.0)).doing("loading ", c"the seccomp filter")
    }

    /// Likewise for a process that can be traced before it is the program: it keeps nothing that the program has not.
    pub fn load_early(&self) -> Result<()> {
        self.load()?;
        self.privileged().map_or(Ok(()), |sets| sets.set(0))
    }

    /// Likewise for a process that executes nothing any more.
    pub fn load_for_good(&self) -> Result<()> {
        if let Some(sets) = self.privileged() {
            no_new_privs()?;
            sets.set(0)?;
        }
        self.load()
    }

    /// The sets, where they do without the capability that loads the filter.
    fn privileged(&self) -> Option<&Capabilities> {
        self.capabilities.as_ref().filter(|_| self.filter.is_some() && !self.no_new_privs)
    }
}

impl Capabilities {
    fn set(&self, more: u64) -> Result<()> {
        sys::capset(self.effective | more, self.permitted | more, self.inheritable).doing("setting ", c"capabilities")
    }
}

fn no_new_privs() -> Result<()> {
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).doing("setting ", c"no_new_privs")
}

fn become_user(identity: &Identity) -> Result<()> {
    let mapped = |result: core::result::Result<(), Errno>, what: &str, id: u32| match result {
        Err(Errno::INVAL) => {
            let id = alloc::format!("{what} {id} is not mapped into this container");
            Err(Error::new(&[&id]).hint(
                "ids need a range in /etc/subuid and /etc/subgid, but the caller's own, which --userns keep-id gives",
            ))
        }
        other => other.doing("becoming ", c"the user"),
    };
    match sys::setgroups(&identity.groups) {
        // Where only one id is mapped the kernel denies it to everybody (user_namespaces(7)): the process keeps what groups
        // it has, none of which is mapped either. Who merely lacks the capability would keep real ones.
        Err(Errno::PERM) if sys::capabilities().is_ok_and(|effective| effective & SETGID != 0) => {}
        other => mapped(other, "group", identity.groups.first().copied().unwrap_or(identity.gid))?,
    }
    mapped(sys::setgid(identity.gid), "group", identity.gid)?;
    mapped(sys::setuid(identity.uid), "user", identity.uid)
}
