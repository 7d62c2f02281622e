//! What a layer is only on top of others: directories that its archive implies without an entry, and whiteouts.

use super::names;
use super::place::{Tree, describe};
use crate::at::{copy_metadata, is, is_opaque, is_whiteout, open_dir_in, status, times};
use crate::error::{Doing, Error, Result};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, fstat, futimens, openat, readlinkat, renameat_with,
    unlinkat,
};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// The most directories that turn out to be symbolic links below.
const LINKS: usize = 1000;

/// What the layers below have at a path.
enum Below {
    Directory(OwnedFd),
    Symlink(Vec<u8>),
    Nothing,
}

/// Settles every implied directory, outer ones first.
pub fn settle(tree: &mut Tree, below: &[PathBuf]) -> Result<()> {
    let mut links = 0;
    while let Some(path) = tree.implied.pop_first() {
        // What is within an opaque directory has nothing below it.
        if is_hidden(tree, &path) {
            continue;
        }
        match look(below, &path).doing(|| describe("looking below", &path))? {
            Below::Directory(lower) => {
                let own = tree.open(&path, OFlags::RDONLY);
                own.and_then(|own| copy_metadata(&lower, &own)).doing(|| describe("finishing", &path))?;
            }
            Below::Symlink(target) => {
                links += 1;
                if links > LINKS {
                    return Err(Error::Refused(format!("{}: too many symbolic links", describe("settling", &path))));
                }
                redirect(tree, &path, &target)?;
            }
            Below::Nothing => {}
        }
    }
    let mut known: Option<(Vec<u8>, bool)> = None;
    remove_whiteouts(tree, |tree, path| {
        let parent = names::split(path).0;
        if let Some((_, hides)) = known.as_ref().filter(|(known, _)| known == parent) {
            return Ok(*hides);
        }
        let opaque = is_hidden(tree, path);
        let merged = look(below, parent).doing(|| describe("looking below", parent))?;
        let hides = !opaque && matches!(merged, Below::Directory(_));
        known = Some((parent.to_owned(), hides));
        Ok(hides)
    })
}

/// Removes whiteouts within opaque directories, which hide all there is already.
pub fn drop_needless(tree: &mut Tree) -> Result<()> {
    remove_whiteouts(tree, |tree, path| Ok(!is_hidden(tree, path)))
}

/// Does the layer hide everything that lower layers have where this is?
fn is_hidden(tree: &Tree, path: &[u8]) -> bool {
    names::parents(path).any(|parent| tree.opaque.contains(parent))
}

/// Removes the whiteouts that hide nothing. Overlay does not look for whiteouts in a directory that no other layer
/// has: there they would be listed, and could be neither opened nor removed.
fn remove_whiteouts(tree: &mut Tree, mut hides: impl FnMut(&Tree, &[u8]) -> Result<bool>) -> Result<()> {
    for path in std::mem::take(&mut tree.whiteouts) {
        if hides(tree, &path)? {
            tree.whiteouts.insert(path);
            continue;
        }
        let doing = || describe("removing a whiteout at", &path);
        let (parent, name) = names::split(&path);
        let parent = tree.open(parent, OFlags::RDONLY).doing(doing)?;
        let before = times(&fstat(&parent).doing(doing)?);
        unlinkat(&parent, name, AtFlags::empty()).and_then(|()| futimens(&parent, &before)).doing(doing)?;
    }
    Ok(())
}

/// Finds what an overlay of these layers, the top first, would show at a clean path.
fn look(below: &[PathBuf], path: &[u8]) -> rustix::io::Result<Below> {
    let (parents, name) = names::split(path);
    'layers: for layer in below {
        let mut here = openat(CWD, layer, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        if path.is_empty() {
            return Ok(Below::Directory(here));
        }
        let mut hides = is_opaque(here.as_fd());
        for parent in parents.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            here = match open_dir_in(here.as_fd(), parent) {
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
                return open_dir_in(here.as_fd(), name).map(Below::Directory);
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

/// Moves what is in a directory to where the symbolic link leads that the layers below have in its place.
fn redirect(tree: &mut Tree, path: &[u8], target: &[u8]) -> Result<()> {
    let doing = || describe("following a link of a lower layer at", path);
    let (parent, name) = names::split(path);
    let outer = tree.open(parent, OFlags::RDONLY).doing(doing)?;
    let outer_times = times(&fstat(&outer).doing(doing)?);
    let from = tree.open(path, OFlags::RDONLY).doing(doing)?;
    let to = tree.walk(parent, target, true)?.ok_or_else(|| Error::Refused(doing()))?;
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
        let follow = |known: &Vec<u8>| {
            if names::is_below(known, path) { names::join(&to.path, &known[path.len() + 1..]) } else { known.clone() }
        };
        set.iter().map(follow).collect()
    };
    (tree.implied, tree.opaque) = (moved(&tree.implied), moved(&tree.opaque));
    tree.whiteouts = moved(&tree.whiteouts);
    futimens(&inner, &inner_times).and_then(|()| futimens(&outer, &outer_times)).doing(doing)
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
        let directory = |parent| open_dir_in(parent, name);
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
