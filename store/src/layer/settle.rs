//! Directories that a layer's archive implies without an entry: what they are is up to the layers below.

use super::names;
use super::place::{OPAQUE, Tree, describe, is, is_whiteout, open_in, status};
use crate::error::{Doing, Error, Result};
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod,
    fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, readlinkat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most directories that turn out to be symbolic links below.
const LINKS: usize = 1000;

/// What the layers below have at a path.
enum Below {
    Directory(OwnedFd),
    Symlink(Vec<u8>),
    Nothing,
}

/// Settles every implied directory, outer ones first.
pub fn settle(tree: &mut Tree, below: &[OwnedFd]) -> Result<()> {
    let mut links = 0;
    while let Some(path) = tree.implied.pop_first() {
        // What is within an opaque directory has nothing below it.
        if tree.opaque.iter().any(|hiding| names::is_below(&path, hiding)) {
            continue;
        }
        match look(below, &path).doing(|| describe("looking below", &path))? {
            Below::Directory(lower) => {
                let own = tree.open(&path, OFlags::RDONLY);
                own.and_then(|own| copy_metadata(&lower, &own))
                    .doing(|| describe("finishing", &path))?;
            }
            Below::Symlink(target) => {
                links += 1;
                if links > LINKS {
                    return Err(Error::Refused(format!(
                        "{}: too many symbolic links",
                        describe("settling", &path)
                    )));
                }
                redirect(tree, &path, &target)?;
            }
            Below::Nothing => {}
        }
    }
    Ok(())
}

/// Finds what an overlay of these layers, the top first, would show at a clean path.
fn look(below: &[OwnedFd], path: &[u8]) -> rustix::io::Result<Below> {
    let (parents, name) = names::split(path);
    'layers: for layer in below {
        let mut here = open_in(layer.as_fd(), b".", OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut hides = is_opaque(here.as_fd());
        for parent in parents.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            here = match open_in(here.as_fd(), parent, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(fd) => fd,
                Err(Errno::NOENT) if hides => return Ok(Below::Nothing),
                Err(Errno::NOENT) => continue 'layers,
                // Something else hides what may be further below.
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Below::Nothing),
                Err(error) => return Err(error),
            };
            hides |= is_opaque(here.as_fd());
        }
        match status(here.as_fd(), name)? {
            Some(stat) if is(&stat, FileType::Directory) => {
                return open_in(here.as_fd(), name, OFlags::RDONLY | OFlags::DIRECTORY).map(Below::Directory);
            }
            Some(stat) if is(&stat, FileType::Symlink) => {
                return Ok(Below::Symlink(readlinkat(&here, name, Vec::new())?.into_bytes()));
            }
            Some(_) => return Ok(Below::Nothing),
            None if hides => return Ok(Below::Nothing),
            None => {}
        }
    }
    Ok(Below::Nothing)
}

fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut value = [0; 8];
    fgetxattr(directory, OPAQUE, &mut value).is_ok_and(|length| value[..length] == *b"y")
}

/// Copies owner, mode, attributes and times of a directory.
fn copy_metadata(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    let stat = fstat(from)?;
    fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mut list = vec![0; 1 << 16];
    let length = match flistxattr(from, &mut list) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0; 1 << 16];
        if let Ok(length) = fgetxattr(from, name, &mut value) {
            // Those that cannot be set were not kept below either.
            let _ = fsetxattr(to, name, &value[..length], XattrFlags::empty());
        }
    }
    futimens(to, &times(&stat))
}

fn times(stat: &Stat) -> Timestamps {
    // The kernel's nanoseconds are below a thousand million.
    let spec = |tv_sec, tv_nsec: u64| Timespec {
        tv_sec,
        tv_nsec: tv_nsec.cast_signed(),
    };
    Timestamps {
        last_access: spec(stat.st_atime, stat.st_atime_nsec),
        last_modification: spec(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Moves what is in a directory to where the symbolic link leads that the layers below have in its place.
fn redirect(tree: &mut Tree, path: &[u8], target: &[u8]) -> Result<()> {
    let doing = || describe("following a link of a lower layer at", path);
    let (parent, name) = names::split(path);
    let outer = tree.open(parent, OFlags::RDONLY).doing(doing)?;
    let outer_times = times(&fstat(&outer).doing(doing)?);
    let from = tree.open(path, OFlags::RDONLY).doing(doing)?;
    let to = tree
        .walk(parent, target, true)?
        .ok_or_else(|| Error::Refused(doing()))?;
    if to.path == path || names::is_below(&to.path, path) {
        return Err(Error::Refused(format!("{}: it leads to itself", doing())));
    }
    let inner = tree.open(&to.path, OFlags::RDONLY).doing(doing)?;
    let inner_times = times(&fstat(&inner).doing(doing)?);
    merge(from.as_fd(), inner.as_fd()).doing(doing)?;
    unlinkat(&outer, name, AtFlags::REMOVEDIR).doing(doing)?;
    if tree.opaque.remove(path) {
        tree.mark_opaque(&to.path)?;
    }
    let moved = |set: &BTreeSet<Vec<u8>>| {
        let follow = |known: &Vec<u8>| match names::is_below(known, path) {
            true => names::join(&to.path, &known[path.len() + 1..]),
            false => known.clone(),
        };
        set.iter().map(follow).collect()
    };
    (tree.implied, tree.opaque) = (moved(&tree.implied), moved(&tree.opaque));
    futimens(&inner, &inner_times)
        .and_then(|()| futimens(&outer, &outer_times))
        .doing(doing)
}

/// Moves everything from one directory into another. Directories become one; of other things the moved one stays.
fn merge(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    for entry in Dir::read_from(from)?.collect::<rustix::io::Result<Vec<_>>>()? {
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        match renameat_with(from, name, to, name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            other => {
                other?;
                continue;
            }
        }
        let directory = |parent| open_in(parent, name, OFlags::RDONLY | OFlags::DIRECTORY);
        match (directory(from), directory(to)) {
            (Ok(inner), Ok(outer)) => {
                merge(inner.as_fd(), outer.as_fd())?;
                copy_metadata(&inner, &outer)?;
                unlinkat(from, name, AtFlags::REMOVEDIR)?;
            }
            // A whiteout in one place and a file in the other: the file is what the layer brings.
            _ if status(from, name)?.is_some_and(|stat| is_whiteout(&stat)) => unlinkat(from, name, AtFlags::empty())?,
            _ => renameat_with(from, name, to, name, RenameFlags::empty())?,
        }
    }
    Ok(())
}
