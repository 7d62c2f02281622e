//! Paths inside the container's root filesystem, resolved to descriptors that cannot lie outside of it.

use crate::error::{Doing, Error, Result};
use crate::sys::{self, Errno, Fd};
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;

/// The largest file of an image that is read, in bytes.
const FILE_LIMIT: usize = 1 << 20;

/// How many symbolic links one path may lead through, as in the kernel.
const LINKS: usize = 40;

/// What to make where a mount point is missing.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// The root filesystem of the container.
pub struct Root {
    /// Its directory.
    pub dir: Fd,
}

impl Root {
    /// Opens the directory that is to become the root.
    pub fn open(path: &CStr) -> Result<Self> {
        let dir = sys::open(path, libc::O_PATH | libc::O_DIRECTORY).doing("opening the root filesystem ", path)?;
        Ok(Self { dir })
    }

    /// Opens `path` for its place only, or makes it, with its parents, where it is missing. `resolve` restricts
    /// how (openat2(2)).
    pub fn place(&self, path: &CStr, kind: Kind, resolve: u64) -> Result<Fd> {
        let flags = match kind {
            Kind::Directory => libc::O_PATH | libc::O_DIRECTORY,
            Kind::File => libc::O_PATH,
        };
        match sys::open_in_root(&self.dir, path, flags, resolve) {
            Err(Errno::NOENT) => self.make(path.to_bytes(), kind, LINKS).doing("making ", path)?,
            other => return other.doing("opening ", path),
        }
        sys::open_in_root(&self.dir, path, flags, resolve).doing("opening ", path)
    }

    /// Makes what is missing of `path`, through at most so many links that lead nowhere yet.
    fn make(&self, path: &[u8], kind: Kind, links: usize) -> core::result::Result<(), Errno> {
        let mut ends: Vec<usize> = (1..path.len()).filter(|i| path[*i] == b'/' && path[i - 1] != b'/').collect();
        ends.push(path.len());
        let mut parent = sys::open_in_root(&self.dir, c".", libc::O_PATH, 0)?;
        for (place, end) in ends.iter().enumerate() {
            let whole = CString::new(&path[..*end]).unwrap_or_default();
            match sys::open_in_root(&self.dir, &whole, libc::O_PATH, 0) {
                Ok(found) => parent = found,
                Err(Errno::NOENT) => {
                    let start = path[..*end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                    let name = CString::new(&path[start..*end]).unwrap_or_default();
                    let made = if kind == Kind::File && place + 1 == ends.len() {
                        sys::openat(&parent, &name, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY, 0o644).map(drop)
                    } else {
                        sys::mkdirat(&parent, &name, 0o755)
                    };
                    if made == Err(Errno::EXIST) {
                        // A symbolic link: what it leads to is made, within the root.
                        let target = sys::readlinkat(&parent, &name)?;
                        let before = if target.starts_with(b"/") { &[] } else { &path[..start] };
                        let whole = [before, &target, &path[*end..]].concat();
                        return self.make(&whole, kind, links.checked_sub(1).ok_or(Errno::LOOP)?);
                    }
                    made?;
                    parent = sys::open_in_root(&self.dir, &whole, libc::O_PATH, 0)?;
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Reads a small regular file of the image; empty where there is none. Never waits, never reads a device.
    pub fn read(&self, path: &CStr) -> Result<Vec<u8>> {
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = match sys::open_in_root(&self.dir, path, flags, 0) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            other => other.doing("opening ", path)?,
        };
        let stat = sys::stat(&file).doing("reading ", path)?;
        let fits = usize::try_from(stat.size).is_ok_and(|size| size <= FILE_LIMIT);
        if stat.mode & libc::S_IFMT != libc::S_IFREG || !fits {
            return Err(Error::about("the image's ", path, " is not a file of at most 1 MiB"));
        }
        // The files of procfs tell no size, and some give what they hold to one reader only (/proc/kmsg).
        if stat.size == 0 {
            return Ok(Vec::new());
        }
        sys::read(&file, FILE_LIMIT).doing("reading ", path)
    }
}
