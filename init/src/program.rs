//! The program: where it starts, what its streams are, and how this process becomes it.

use crate::error::{Doing, Error, Result};
use crate::identity::Identity;
use crate::root::Root;
use crate::sys::{self, Errno, Fd};
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::ffi::CStr;
use core::mem::ManuallyDrop;

/// Enters the directory that the program starts in.
///
/// Neither a magic link (`/proc/self/fd/7`, CVE-2024-21626) nor a directory that is being moved away leads out.
pub fn enter(root: &Root, path: &CStr) -> Result<()> {
    let place = sys::open_in_root(&root.dir, path, libc::O_PATH | libc::O_DIRECTORY, 0).doing("entering ", path)?;
    sys::fchdir(&place).doing("entering ", path)?;
    if sys::cwd_is_inside() {
        return Ok(());
    }
    Err(Error::about("the working directory ", path, " lies outside of the container"))
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
    Err(Error { code, ..Error::about("executing ", name, &[": ", reason].concat()) })
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
