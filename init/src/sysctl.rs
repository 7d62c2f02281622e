//! Kernel settings of the container's namespaces (`linux.sysctl` of the runtime-spec), written through a procfs that is
//! certainly one: a file of that name somewhere else would take the value, and nothing would be set (CVE-2025-52881).

use crate::error::{Doing, Error, Result};
use crate::sys::{self, Errno, Fd};
use alloc::ffi::CString;
use core::ffi::CStr;

/// Sets `net.ipv4.ip_forward` and the like.
pub fn set(name: &CStr, value: &CStr) -> Result<()> {
    let path = path(name)?;
    let file = sys::open_beneath(&procfs()?, &path, libc::O_WRONLY).doing("opening the kernel setting ", name)?;
    sys::write_all(&file, value.to_bytes()).doing("setting ", name)
}

/// The path in a procfs. A name that has more to it than words and dots is none.
fn path(name: &CStr) -> Result<CString> {
    let bytes = name.to_bytes();
    if bytes.contains(&b'/') || bytes.split(|byte| *byte == b'.').any(<[u8]>::is_empty) {
        return Err(Error::about("not a kernel setting: ", name, ""));
    }
    let words = bytes.iter().map(|byte| if *byte == b'.' { b'/' } else { *byte });
    Ok(CString::new(b"sys/".iter().copied().chain(words).collect::<alloc::vec::Vec<u8>>()).unwrap_or_default())
}

/// A procfs of our own, attached nowhere. Within a container, whose procfs is covered in part, the kernel makes no other:
/// then it is the one that is there.
fn procfs() -> Result<Fd> {
    match sys::fsopen(c"proc").and_then(|fs| sys::fsmount(&fs, 0)) {
        Err(Errno::PERM) => {}
        other => return other.doing("mounting ", c"a procfs"),
    }
    let there = sys::open(c"/proc", libc::O_PATH | libc::O_DIRECTORY).doing("opening ", c"/proc")?;
    if sys::is_on(&there, sys::PROCFS).doing("looking at ", c"/proc")? {
        return Ok(there);
    }
    Err(Error::new(&["/proc is not a procfs"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_with_dots_between() {
        assert_eq!(path(c"net.ipv4.ip_forward").unwrap().as_c_str(), c"sys/net/ipv4/ip_forward");
        for bad in [c"", c".", c"net..a", c".net", c"net.", c"net/ipv4", c"../a", c"net.../a"] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }
}
