//! Finding places within a layer by descriptors: nothing that a layer holds can lead outside of it.

use super::names;
use crate::archive::{PATH_LIMIT, shown};
use crate::at::{OPAQUE, is, is_whiteout, status};
use crate::error::{Doing, Error, Result};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat2, readlinkat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

/// The most symbolic links that are followed for one path, as in the kernel (`path_resolution(7)`).
const LINKS: usize = 40;

/// About how many bytes the paths may take that are remembered until a layer's end: those of 200,000 directories.
const KEPT_LIMIT: usize = 40 << 20;

/// A directory of the layer.
#[derive(Debug)]
pub struct Directory {
    /// Its clean path, through no symbolic link.
    pub path: Vec<u8>,
    /// Its descriptor; only to find what is in it.
    pub fd: OwnedFd,
}

/// A layer's tree.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    /// The directory that was used last, and the path by which it was asked for.
    last: Option<(Vec<u8>, Rc<Directory>)>,
    /// Directories that no entry was for, but that lead to one.
    pub implied: BTreeSet<Vec<u8>>,
    /// Directories that hide those of lower layers.
    pub opaque: BTreeSet<Vec<u8>>,
    /// What is hidden of lower layers.
    pub whiteouts: BTreeSet<Vec<u8>>,
    /// About how many bytes all this takes.
    kept: usize,
}

impl Tree {
    /// The tree whose root is this directory.
    pub fn new(root: OwnedFd) -> Self {
        Self {
            root,
            last: None,
            // Until an entry says more of it, the root too is only implied.
            implied: BTreeSet::from([Vec::new()]),
            opaque: BTreeSet::new(),
            whiteouts: BTreeSet::new(),
            kept: 0,
        }
    }

    /// Counts a path that is about to be remembered, so that no layer takes memory without bounds.
    pub fn keep(&mut self, path: &[u8]) -> Result<()> {
        self.kept += path.len() + 128;
        let many = || Error::Refused("the layer has too many directories and whiteouts".into());
        if self.kept <= KEPT_LIMIT { Ok(()) } else { Err(many()) }
    }

    /// The root's descriptor.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens a directory of the tree by its clean path; symbolic links are refused (`ELOOP`).
    pub fn open(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        open_beneath(self.root(), path, flags | OFlags::DIRECTORY)
    }

    /// The directory at a clean path; directories that are missing are made.
    ///
    /// A symbolic link on the way that this very layer brought is followed within the layer, as builders that
    /// unpack in place do. Links and directories of lower layers are seen only when all layers are here: `settle`.
    pub fn enter(&mut self, path: &[u8]) -> Result<Rc<Directory>> {
        if let Some((known, directory)) = &self.last
            && known == path
        {
            return Ok(Rc::clone(directory));
        }
        let directory = match self.open(path, OFlags::PATH) {
            Ok(fd) => Directory { path: path.to_owned(), fd },
            Err(_) => self.walk(&[], path, true)?.ok_or_else(|| Error::Refused("its path leads nowhere".into()))?,
        };
        let directory = Rc::new(directory);
        self.last = Some((path.to_owned(), Rc::clone(&directory)));
        Ok(directory)
    }

    /// The directory at a clean path, if it is there.
    pub fn find(&mut self, path: &[u8]) -> Result<Option<Rc<Directory>>> {
        if let Some((known, directory)) = &self.last
            && known == path
        {
            return Ok(Some(Rc::clone(directory)));
        }
        match self.open(path, OFlags::PATH) {
            Ok(fd) => Ok(Some(Rc::new(Directory { path: path.to_owned(), fd }))),
            Err(_) => Ok(self.walk(&[], path, false)?.map(Rc::new)),
        }
    }

    /// Goes name by name from the directory at `from` along `path`, which may be a symbolic link's text.
    pub fn walk(&mut self, from: &[u8], path: &[u8], make: bool) -> Result<Option<Directory>> {
        let mut here = from.to_owned();
        let mut pending = vec![path.to_owned()];
        let mut links = 0;
        while let Some(path) = pending.pop() {
            let (name, rest) = match path.iter().position(|byte| *byte == b'/') {
                Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
                None => (&path[..], None),
            };
            if path.starts_with(b"/") {
                here.clear(); // Only the beginning of a link's text: what follows a name has lost its slash.
            }
            let slashes = |rest: &[u8]| rest.iter().take_while(|byte| **byte == b'/').count();
            pending.extend(rest.map(|rest| rest[slashes(rest)..].to_owned()));
            match name {
                b"" | b"." => continue,
                b".." => here.truncate(names::split(&here).0.len()),
                _ => match self.step(&here, name, make)? {
                    Step::Into(path) => here = path,
                    Step::Link(text) => {
                        links += 1;
                        pending.push(text);
                    }
                    Step::Missing => return Ok(None),
                },
            }
            if links > LINKS || here.len() > PATH_LIMIT {
                return Err(Error::Refused("its path leads through too many symbolic links".into()));
            }
        }
        let fd = self.open(&here, OFlags::PATH).doing(|| describe("opening", &here))?;
        Ok(Some(Directory { path: here, fd }))
    }

    fn step(&mut self, here: &[u8], name: &[u8], make: bool) -> Result<Step> {
        let path = names::join(here, name);
        let parent = self.open(here, OFlags::PATH).doing(|| describe("opening", here))?;
        match status(parent.as_fd(), name).doing(|| describe("looking at", &path))? {
            Some(stat) if is(&stat, FileType::Directory) => Ok(Step::Into(path)),
            Some(stat) if is(&stat, FileType::Symlink) => {
                let text = readlinkat(&parent, name, Vec::new()).doing(|| describe("reading", &path))?;
                Ok(Step::Link(text.into_bytes()))
            }
            Some(stat) if !is_whiteout(&stat) => Err(Error::Refused(format!("{} is not a directory", shown(&path)))),
            Some(_) | None if !make => Ok(Step::Missing),
            found => {
                if found.is_some() {
                    self.remove(parent.as_fd(), &path)?;
                }
                mkdirat(&parent, name, Mode::from_raw_mode(0o755)).doing(|| describe("making", &path))?;
                self.keep(&path)?;
                self.implied.insert(path.clone());
                if found.is_some() {
                    // The layer said that nothing of lower layers is here.
                    self.implied.remove(&path);
                    self.mark_opaque(&path)?;
                }
                Ok(Step::Into(path))
            }
        }
    }

    /// Removes what is at a clean path, in this directory.
    pub fn remove(&mut self, parent: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let name = OsStr::from_bytes(names::split(path).1);
        crate::tree::remove_at(parent, name, Path::new(OsStr::from_bytes(path)))?;
        self.last = None;
        // What is below sorts after the path and a slash, and before the byte after the slash.
        let (first, end) = (names::join(path, b""), [path, b"0"].concat());
        for set in [&mut self.implied, &mut self.opaque, &mut self.whiteouts] {
            set.remove(path);
            let below: Vec<Vec<u8>> = set.range(first.clone()..end.clone()).cloned().collect();
            for path in below {
                set.remove(&path);
            }
        }
        Ok(())
    }

    /// Is nothing in this directory but whiteouts?
    pub fn holds_whiteouts_only(&self, path: &[u8]) -> rustix::io::Result<bool> {
        let directory = self.open(path, OFlags::RDONLY)?;
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let own = matches!(name, b"." | b"..");
            if !own && !status(directory.as_fd(), name)?.is_some_and(|stat| is_whiteout(&stat)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Marks a directory as one that hides those of lower layers.
    pub fn mark_opaque(&mut self, path: &[u8]) -> Result<()> {
        let marked = self
            .open(path, OFlags::RDONLY)
            .and_then(|fd| rustix::fs::fsetxattr(&fd, OPAQUE, b"y", rustix::fs::XattrFlags::empty()));
        match marked {
            Err(Errno::OPNOTSUPP | Errno::PERM) => Err(Error::Failed(format!(
                "{}: the file system of the store has no user extended attributes\nhint: keep the store on ext4, xfs or btrfs",
                describe("marking as opaque", path)
            ))),
            other => {
                self.keep(path)?;
                self.opaque.insert(path.to_owned());
                other.doing(|| describe("marking as opaque", path))
            }
        }
    }
}

enum Step {
    Into(Vec<u8>),
    Link(Vec<u8>),
    Missing,
}

/// Opens what is at a clean path below a directory, through no symbolic link (openat2(2), since Linux 5.6).
pub fn open_beneath(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    if path.len() < 4096 {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        return openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    }
    // Longer than the kernel takes at once: in two parts.
    let slash = path[..4095].iter().rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?;
    let half = open_beneath(root, &path[..slash], OFlags::PATH | OFlags::DIRECTORY)?;
    open_beneath(half.as_fd(), &path[slash + 1..], flags)
}

/// `doing` and a path, for errors.
pub fn describe(doing: &str, path: &[u8]) -> String {
    format!("{doing} /{}", shown(path))
}
