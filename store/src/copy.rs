//! A private copy of all layers as one tree: what an overlay would show, where the kernel or filesystem refuses one.

use crate::at::{copy_metadata, is, is_opaque, is_whiteout, names, open_dir_in, open_in, status, times};
use crate::error::{Doing, Result};
use crate::tree;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Uid, chmodat, chownat, copy_file_range, fstat,
    ftruncate, ioctl_ficlone, linkat, mkdirat, mknodat, openat, readlinkat, seek, symlinkat, utimensat,
};
use rustix::io::{Errno, pread, pwrite};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Copies layers, the top first, into the directory `target`, which is made where it is missing.
///
/// Content is shared with the layers where the filesystem can (`FICLONE`, `ioctl_ficlonerange(2)`). It must be run where
/// the owners of the files are mapped.
pub fn copy_layers(layers: &[&Path], target: &Path) -> Result<()> {
    match mkdirat(CWD, target, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => {}
        other => other.doing(|| format!("making {}", target.display()))?,
    }
    let open = |path: &Path| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty()).doing(|| format!("opening {}", path.display()))
    };
    let to = open(target)?;
    let mut clone = true;
    for layer in layers.iter().rev() {
        let mut copy = Copy { target, root: &to, links: HashMap::new(), clone };
        copy.directory(&open(layer)?, &to, Path::new(""))?;
        clone = copy.clone;
    }
    Ok(())
}

/// One layer on its way into the copy.
struct Copy<'a> {
    target: &'a Path,
    root: &'a OwnedFd,
    /// Files with several names, by device and inode: the first of them, which leads through what was just made.
    links: HashMap<(u64, u64), PathBuf>,
    /// Has nothing yet told that content cannot be shared?
    clone: bool,
}

impl Copy<'_> {
    /// Puts one directory of the layer over the same directory of the copy. Layers are at most 256 deep.
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, path: &Path) -> Result<()> {
        let place = self.target.join(path);
        let doing = || format!("copying {}", place.display());
        if is_opaque(from.as_fd()) {
            for name in names(to).doing(doing)? {
                self.clear(to, &name, path)?;
            }
        }
        for name in names(from).doing(doing)? {
            let within = path.join(OsStr::from_bytes(&name));
            let Some(stat) = status(from.as_fd(), &name).doing(doing)? else {
                continue;
            };
            self.entry(from, to, &name, &stat, &within)?;
        }
        copy_metadata(from, to).doing(doing)
    }

    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &[u8], stat: &Stat, path: &Path) -> Result<()> {
        let place = self.target.join(path);
        let doing = || format!("copying {}", place.display());
        let there = status(to.as_fd(), name).doing(doing)?;
        let directory = is(stat, FileType::Directory);
        let merge = directory && there.as_ref().is_some_and(|there| is(there, FileType::Directory));
        if there.is_some() && !merge {
            self.clear(to, name, path.parent().unwrap_or(Path::new("")))?;
        }
        if is_whiteout(stat) {
            return Ok(());
        }
        if directory {
            if !merge {
                mkdirat(to, name, Mode::RWXU).doing(doing)?;
            }
            let (from, to) = (open_dir_in(from.as_fd(), name), open_dir_in(to.as_fd(), name));
            return self.directory(&from.doing(doing)?, &to.doing(doing)?, path);
        }
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&key) {
            return linkat(self.root, first, to, name, AtFlags::empty()).doing(doing);
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(from.as_fd(), to.as_fd(), name).doing(doing)?,
            _ => other(from.as_fd(), to.as_fd(), name, stat).doing(doing)?,
        }
        if stat.st_nlink > 1 {
            self.links.insert(key, path.to_owned());
        }
        Ok(())
    }

    fn file(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
        let from = open_in(from, name, OFlags::RDONLY)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        if !(self.clone && ioctl_ficlone(&to, &from).is_ok()) {
            self.clone = false;
            content(&from, &to)?;
        }
        copy_metadata(&from, &to)
    }

    fn clear(&self, parent: &OwnedFd, name: &[u8], path: &Path) -> Result<()> {
        let name = OsStr::from_bytes(name);
        let place: PathBuf = self.target.join(path).join(name);
        tree::remove_at(parent.as_fd(), name, &place)
    }
}

/// Copies a file's content; holes stay holes (lseek(2), `SEEK_DATA`).
fn content(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    let size = u64::try_from(fstat(from)?.st_size).unwrap_or(0);
    ftruncate(to, size)?;
    let mut offset = 0;
    while offset < size {
        let begin = match seek(from, SeekFrom::Data(offset)) {
            Err(Errno::NXIO) => break,
            other => other?,
        };
        let end = seek(from, SeekFrom::Hole(begin))?;
        range(from, to, begin, end)?;
        offset = end;
    }
    Ok(())
}

fn range(from: &OwnedFd, to: &OwnedFd, begin: u64, end: u64) -> rustix::io::Result<()> {
    let (mut source, mut target) = (begin, begin);
    while source < end {
        let length = usize::try_from(end - source).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), length) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {
                return by_hand(from, to, source, end);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn by_hand(from: &OwnedFd, to: &OwnedFd, mut offset: u64, end: u64) -> rustix::io::Result<()> {
    let mut buffer = vec![0; 1 << 18];
    while offset < end {
        let length = usize::try_from(end - offset).unwrap_or(usize::MAX).min(buffer.len());
        let count = pread(from, &mut buffer[..length], offset)?;
        if count == 0 {
            break;
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let written = pwrite(to, rest, offset)?;
            (rest, offset) = (&rest[written..], offset + written as u64);
        }
    }
    Ok(())
}

/// Copies what is neither a file nor a directory.
fn other(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> rustix::io::Result<()> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if kind == FileType::Symlink {
        symlinkat(&readlinkat(from, name, Vec::new())?, to, name)?;
    } else {
        mknodat(to, name, kind, mode, stat.st_rdev)?;
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind != FileType::Symlink {
        // The umask has cut the mode, and nobody else changes this tree: it is no link.
        chmodat(to, name, mode, AtFlags::empty())?;
    }
    utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{XattrFlags, setxattr};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn shows_what_an_overlay_would() {
        let top = std::env::temp_dir().join(format!("crate-copy-{}", std::process::id()));
        tree::remove(&top).unwrap();
        let (base, upper, copy) = (top.join("base"), top.join("upper"), top.join("copy"));
        for path in ["base/kept", "base/opaque/lower", "base/dir-to-file", "upper/opaque", "upper/file-to-dir/in"] {
            fs::create_dir_all(top.join(path)).unwrap();
        }
        for file in ["kept/a", "opaque/hidden", "file-to-dir", "gone", "dir-to-file/x"] {
            fs::write(base.join(file), file).unwrap();
        }
        fs::write(upper.join("dir-to-file"), "now a file").unwrap();
        fs::hard_link(upper.join("dir-to-file"), upper.join("opaque/second")).unwrap();
        symlink("kept/a", upper.join("link")).unwrap();
        fs::set_permissions(base.join("kept"), fs::Permissions::from_mode(0o1750)).unwrap();
        fs::File::create(upper.join("sparse")).unwrap().set_len(1 << 30).unwrap();
        let device = mknodat(CWD, upper.join("gone"), FileType::CharacterDevice, Mode::empty(), 0);
        let marked = setxattr(upper.join("opaque"), crate::at::OPAQUE, b"y", XattrFlags::empty());
        if device.is_err() || marked.is_err() {
            return tree::remove(&top).unwrap(); // Not a filesystem that layers can be kept on.
        }
        copy_layers(&[&upper, &base], &copy).unwrap();
        assert_eq!(fs::read_to_string(copy.join("kept/a")).unwrap(), "kept/a");
        assert_eq!(fs::metadata(copy.join("kept")).unwrap().mode() & 0o7777, 0o1750);
        assert!(!copy.join("gone").exists() && !copy.join("opaque/hidden").exists());
        assert!(!copy.join("opaque/lower").exists() && copy.join("file-to-dir/in").is_dir());
        let (first, second) = (copy.join("dir-to-file"), copy.join("opaque/second"));
        assert_eq!(fs::metadata(first).unwrap().ino(), fs::metadata(second).unwrap().ino());
        assert_eq!(fs::read_link(copy.join("link")).unwrap(), Path::new("kept/a"));
        let sparse = fs::metadata(copy.join("sparse")).unwrap();
        assert!(sparse.len() == 1 << 30 && sparse.blocks() < 100);
        tree::remove(&top).unwrap();
    }
}
