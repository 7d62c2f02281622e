//! The last step: identity, confinement, and the program itself.

use crate::error::{Doing, Error, Result};
use crate::identity::Identity;
use crate::sys::{self, Errno, Fd};
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::ffi::CStr;
use core::mem::ManuallyDrop;

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

/// Enters the directory that the program starts in.
pub fn enter(path: &CStr) -> Result<()> {
    sys::chdir(path).doing("entering ", path)?;
    if sys::cwd_is_inside() {
        return Ok(());
    }
    Err(Error::new(&["the working directory ", &path.to_string_lossy(), " lies outside of the container"]))
}

/// Gives those of the standard streams that are pipes to `identity`, so that it can open them again by the names that
/// `/dev` has for them. Where the kernel refuses it they still serve as they are.
pub fn own_pipes(identity: &Identity) {
    for number in 0..=2 {
        let stream = ManuallyDrop::new(sys::adopt(number));
        if sys::stat(&stream).is_ok_and(|stat| stat.mode & libc::S_IFMT == libc::S_IFIFO) {
            let _ = sys::chown(&stream, identity.uid, Some(identity.gid));
        }
    }
}

/// Becomes `identity`, with `capabilities` where they are given, and without a way to gain more if so asked.
pub fn confine(identity: &Identity, capabilities: Option<&Capabilities>, no_new_privs: bool) -> Result<()> {
    if let Some(sets) = capabilities {
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
    if let Some(sets) = capabilities {
        sys::capset(sets.effective, sets.permitted, sets.inheritable).doing("setting ", c"capabilities")?;
        for number in (0..64).filter(|number| sets.ambient >> number & 1 == 1) {
            sys::prctl(libc::PR_CAP_AMBIENT, 2, number).doing("raising ambient ", c"capabilities")?;
        }
    }
    if no_new_privs {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).doing("setting ", c"no_new_privs")?;
    }
    Ok(())
}

fn become_user(identity: &Identity) -> Result<()> {
    let mapped = |result: core::result::Result<(), Errno>, what: &str, id: u32| match result {
        Err(Errno::INVAL) => {
            let id = alloc::format!("{what} {id} is not mapped into this container");
            Err(Error::new(&[&id, "\nhint: other ids need a range in /etc/subuid and /etc/subgid"]))
        }
        other => other.doing("becoming ", c"the user"),
    };
    match sys::setgroups(&identity.groups) {
        // Where only one id is mapped the kernel denies it (user_namespaces(7)): the process keeps what groups it has,
        // none of which is mapped either.
        Err(Errno::PERM) => {}
        other => mapped(other, "group", identity.groups.first().copied().unwrap_or(identity.gid))?,
    }
    mapped(sys::setgid(identity.gid), "group", identity.gid)?;
    mapped(sys::setuid(identity.uid), "user", identity.uid)
}

/// Replaces this process by the program: the open file where one is given, else what is found along the `PATH` of its
/// own environment if its name has no slash.
pub fn execute(file: Option<&Fd>, arguments: &[&CStr], environment: &[&CStr]) -> Result<Infallible> {
    let Some(name) = arguments.first() else {
        return Err(Error::new(&["no program is given"]));
    };
    let path = environment.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    let places = candidates(name, path.unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    let mut refusal = Errno::NOENT;
    let mut interpreter_missing = false;
    for place in &places {
        match sys::execute(file, place, arguments, environment) {
            Errno::NOENT => interpreter_missing |= sys::open(place, libc::O_PATH).is_ok(),
            Errno::NOTDIR => {}
            // What may not be executed here may be found further on, as a shell does it.
            Errno::ACCES => refusal = Errno::ACCES,
            errno => {
                refusal = errno;
                break;
            }
        }
    }
    let reason = if refusal != Errno::NOENT {
        refusal.text()
    } else if interpreter_missing {
        "the interpreter or loader that it names is missing"
    } else if name.to_bytes().contains(&b'/') {
        refusal.text()
    } else {
        "not found in PATH"
    };
    let code = if refusal == Errno::NOENT { 127 } else { 126 };
    Err(Error { code, ..Error::new(&["executing ", &name.to_string_lossy(), ": ", reason]) })
}

fn candidates(name: &CStr, path: &[u8]) -> Vec<CString> {
    let bytes = name.to_bytes();
    if bytes.contains(&b'/') || bytes.is_empty() {
        return Vec::from([name.into()]);
    }
    let join = |dir: &[u8]| CString::new([if dir.is_empty() { b"." } else { dir }, b"/", bytes].concat()).ok();
    path.split(|byte| *byte == b':').filter_map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_path_only_for_bare_names() {
        let found = |name: &CStr| candidates(name, b"/a::/b");
        assert_eq!(found(c"x"), [c"/a/x".into(), c"./x".into(), CString::from(c"/b/x")]);
        assert_eq!(found(c"./x"), [CString::from(c"./x")]);
        assert_eq!(found(c""), [CString::from(c"")]);
    }
}
