//! Unpacking one layer into a directory of its own, which then serves as a lowerdir of overlay mounts.

pub(crate) mod names;
mod owners;
mod place;
pub(crate) mod room;
mod settle;

pub use owners::{LeftOut, Owners};

use crate::archive::{Archive, Entry, Kind, Segment, shown};
use crate::at::{is, is_private, is_whiteout, open_dir_in, status};
use crate::error::{Doing, Error, Result};
use names::Meaning;
use place::{Directory, Tree, describe};
use room::Room;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, futimens, linkat, lsetxattr, makedev, mkdirat, mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

/// A layer being unpacked.
pub struct Layer {
    tree: Tree,
    owners: Rc<Owners>,
    left_out: LeftOut,
    room: Room,
    /// What is to be set on directories when nothing more is put into them.
    directories: BTreeMap<Vec<u8>, Metadata>,
    /// Devices that were not made.
    skipped: BTreeSet<Vec<u8>>,
}

/// What is set on a file besides its content.
#[derive(Debug)]
struct Metadata {
    mode: u32,
    owner: Option<(u32, u32)>,
    times: Timestamps,
}

impl Layer {
    /// A layer to be unpacked into this empty directory; the umask must be 0.
    pub fn new(root: OwnedFd, owners: Rc<Owners>) -> Self {
        Self {
            tree: Tree::new(root),
            owners,
            left_out: LeftOut::default(),
            room: Room::default(),
            directories: BTreeMap::new(),
            skipped: BTreeSet::new(),
        }
    }

    /// Unpacks the archive to its end.
    pub fn unpack(&mut self, archive: &mut Archive<'_>) -> Result<()> {
        while let Some(entry) = archive.next_entry()? {
            self.entry(&entry, archive).map_err(|error| error.about(&shown(&entry.path)))?;
        }
        settle::drop_needless(&mut self.tree)?;
        self.finish_directories()
    }

    /// What could not be kept.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// Is the layer what it is whatever lies below? The root that no entry is for is the same everywhere.
    pub fn is_settled(&self) -> bool {
        self.tree.whiteouts.is_empty() && self.tree.implied.iter().all(Vec::is_empty)
    }

    /// Gives directories that the archive only implied what the layers below have there, the top first, and removes
    /// whiteouts where they have nothing to hide.
    ///
    /// An overlay shows the topmost layer's directory, so without this a `/tmp` that only leads to an entry would
    /// lose its mode, and a `/lib` that is a link in the base would become a directory. A whiteout in a directory that
    /// only one layer has would be listed. All this is as the first image has it that brings the layer; another
    /// image with the same layer on another base would see the first one's.
    pub fn settle(&mut self, below: &[PathBuf]) -> Result<()> {
        settle::settle(&mut self.tree, below)
    }

    fn entry(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<()> {
        let path = names::clean(&entry.path)?;
        if let Kind::File { size, .. } = entry.kind {
            self.room.take(self.tree.root(), size)?;
        }
        match names::meaning(&path)? {
            Meaning::Plain => {}
            Meaning::Whiteout(hidden) => return self.whiteout(names::split(&path).0, hidden),
            Meaning::Opaque if self.is_gone(names::split(&path).0) => return Ok(()),
            Meaning::Opaque => {
                let directory = self.tree.enter(names::split(&path).0)?;
                return self.tree.mark_opaque(&directory.path);
            }
            Meaning::Ignored => return Ok(()),
        }
        let metadata = self.metadata(entry)?;
        if path.is_empty() {
            if entry.kind != Kind::Directory {
                return Err(Error::Refused("the layer's root is not a directory".into()));
            }
            self.tree.implied.remove(&path);
            self.directories.insert(path, metadata);
            return Ok(());
        }
        let (parent, name) = names::split(&path);
        let place = Place { parent: self.tree.enter(parent)?, name };
        match &entry.kind {
            Kind::File { size, map } => self.file(&place, entry, &metadata, (*size, map.as_deref()), archive),
            Kind::Directory => self.directory(&place, entry, metadata),
            Kind::HardLink(target) => self.hard_link(&place, &path, target),
            Kind::Symlink(target) => {
                self.make(&place, |parent, name| symlinkat(&target[..], parent, name))?;
                self.finish(&place, entry, &metadata)
            }
            Kind::Fifo => self.node(&place, entry, &metadata, FileType::Fifo, (0, 0)),
            Kind::Character(major, minor) => {
                self.node(&place, entry, &metadata, FileType::CharacterDevice, (*major, *minor))
            }
            Kind::Block(major, minor) => self.node(&place, entry, &metadata, FileType::BlockDevice, (*major, *minor)),
        }
    }

    fn metadata(&mut self, entry: &Entry) -> Result<Metadata> {
        if self.owners.is_single() && (entry.uid, entry.gid) != (0, 0) {
            self.left_out.owners += 1;
        }
        let (seconds, nanoseconds) = entry.mtime;
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
        };
        Ok(Metadata { mode: entry.mode, owner: self.owners.of(entry.uid, entry.gid)?, times })
    }

    /// Makes something new; what an earlier entry of this layer put there is removed first.
    fn make<T>(
        &mut self,
        place: &Place,
        call: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<(T, bool)> {
        let parent = place.parent.fd.as_fd();
        match call(parent, place.name) {
            Err(Errno::EXIST) => {
                self.tree.remove(parent, &place.path())?;
                call(parent, place.name).map(|new| (new, true))
            }
            other => other.map(|new| (new, false)),
        }
        .doing(|| describe("making", &place.path()))
    }

    fn file(
        &mut self,
        place: &Place,
        entry: &Entry,
        metadata: &Metadata,
        (size, map): (u64, Option<&[Segment]>),
        archive: &mut Archive<'_>,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(metadata.mode & 0o777);
        let (file, _) = self.make(place, |parent, name| openat(parent, name, flags, mode))?;
        let doing = || describe("writing", &place.path());
        archive.write_file(&file, size, map)?.doing(doing)?;
        // Changing the owner drops setuid, setgid and capabilities, so they come after.
        if let Some((uid, gid)) = metadata.owner {
            fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).doing(doing)?;
        }
        if metadata.mode & 0o7000 != 0 {
            fchmod(&file, Mode::from_raw_mode(metadata.mode)).doing(doing)?;
        }
        self.xattrs(entry, |name, value| fsetxattr(&file, name, value, XattrFlags::empty())).doing(doing)?;
        futimens(&file, &metadata.times).doing(doing)
    }

    fn directory(&mut self, place: &Place, entry: &Entry, metadata: Metadata) -> Result<()> {
        let path = place.path();
        let parent = place.parent.fd.as_fd();
        let found = status(parent, place.name).doing(|| describe("looking at", &path))?;
        if !found.is_some_and(|stat| is(&stat, FileType::Directory)) {
            // Closed while it is being filled; its own mode comes at the end.
            let ((), replaced) = self.make(place, |parent, name| mkdirat(parent, name, Mode::RWXU))?;
            if replaced {
                // Something else had taken the place of what lower layers have here.
                self.tree.mark_opaque(&path)?;
            }
        }
        self.tree.implied.remove(&path);
        if !entry.xattrs.is_empty() {
            let doing = || describe("opening", &path);
            let fd = open_dir_in(parent, place.name).doing(doing)?;
            self.xattrs(entry, |name, value| fsetxattr(&fd, name, value, XattrFlags::empty())).doing(doing)?;
        }
        self.tree.keep(&path)?;
        self.directories.insert(path, metadata);
        Ok(())
    }

    fn hard_link(&mut self, place: &Place, path: &[u8], target: &[u8]) -> Result<()> {
        let target = names::clean(target)?;
        if self.skipped.contains(&target) {
            self.tree.keep(path)?;
            self.skipped.insert(path.to_owned());
            return Ok(());
        }
        let (directory, name) = names::split(&target);
        let missing =
            || Error::Refused(format!("it is a hard link to {}, which is not a file of this layer", shown(&target)));
        let found = self.tree.find(directory)?.ok_or_else(missing)?;
        let stat = status(found.fd.as_fd(), name).doing(|| describe("looking at", &target))?.ok_or_else(missing)?;
        if target == path || is(&stat, FileType::Directory) || is_whiteout(&stat) {
            return Err(missing());
        }
        let made = self.make(place, |parent, new| linkat(&found.fd, name, parent, new, AtFlags::empty()));
        made.map(|_| ()).map_err(|error| match error {
            // What it was linked to has just been replaced by it.
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => missing(),
            other => other,
        })
    }

    fn node(
        &mut self,
        place: &Place,
        entry: &Entry,
        metadata: &Metadata,
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> Result<()> {
        let device = makedev(major, minor);
        let mode = Mode::from_raw_mode(metadata.mode & 0o777);
        // A character device 0:0 would be taken for a whiteout.
        let fake = kind == FileType::CharacterDevice && device == 0;
        let make = |parent: BorrowedFd<'_>, name: &[u8]| match mknodat(parent, name, kind, mode, device) {
            Err(Errno::PERM) if kind != FileType::Fifo => Ok(false),
            other => other.map(|()| true),
        };
        if fake {
            self.tree.remove(place.parent.fd.as_fd(), &place.path())?;
        }
        if fake || !self.make(place, make)?.0 {
            self.left_out.devices += 1;
            self.tree.keep(&place.path())?;
            self.skipped.insert(place.path());
            return Ok(());
        }
        self.finish(place, entry, metadata)
    }

    /// Sets owner, attributes and times of what is neither a file nor a directory.
    fn finish(&mut self, place: &Place, entry: &Entry, metadata: &Metadata) -> Result<()> {
        let parent = place.parent.fd.as_fd();
        let doing = || describe("setting the owner of", &place.path());
        if let Some((uid, gid)) = metadata.owner {
            let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(parent, place.name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).doing(doing)?;
        }
        if !entry.xattrs.is_empty() {
            // Links have no descriptors that attributes can be set through.
            let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), place.name].concat();
            self.xattrs(entry, |name, value| lsetxattr(&path[..], name, value, XattrFlags::empty())).doing(doing)?;
        }
        utimensat(parent, place.name, &metadata.times, AtFlags::SYMLINK_NOFOLLOW).doing(doing)
    }

    /// Sets extended attributes; those that the kernel refuses are counted.
    fn xattrs(
        &mut self,
        entry: &Entry,
        set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<()> {
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| !is_private(name)) {
            match set(name, value) {
                Err(Errno::NOSPC | Errno::DQUOT | Errno::IO) => return set(name, value),
                Err(_) => self.left_out.xattrs += 1,
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Is there a whiteout where this is, or around it?
    fn is_gone(&self, path: &[u8]) -> bool {
        let whiteouts = &self.tree.whiteouts;
        whiteouts.contains(path) || names::parents(path).any(|parent| whiteouts.contains(parent))
    }

    fn whiteout(&mut self, directory: &[u8], hidden: &[u8]) -> Result<()> {
        if self.is_gone(directory) {
            return Ok(());
        }
        let parent = self.tree.enter(directory)?;
        let path = names::join(&parent.path, hidden);
        let doing = || describe("making a whiteout at", &path);
        match mknodat(&parent.fd, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            // This very layer has something here, which stays, but nothing of the layers below.
            Err(Errno::EXIST) => match status(parent.fd.as_fd(), hidden).doing(doing)? {
                Some(stat) if is(&stat, FileType::Directory) => {
                    if self.tree.implied.remove(&path) && self.tree.holds_whiteouts_only(&path).doing(doing)? {
                        self.tree.remove(parent.fd.as_fd(), &path)?;
                        return self.whiteout(directory, hidden);
                    }
                    self.tree.mark_opaque(&path)
                }
                _ => Ok(()),
            },
            Ok(()) => {
                self.tree.keep(&path)?;
                self.tree.whiteouts.insert(path);
                Ok(())
            }
            Err(Errno::PERM) => Err(Error::Failed(format!(
                "{}: not permitted\nhint: whiteouts need Linux 5.8, and a store on a file system that can hold them",
                doing()
            ))),
            other => other.doing(doing),
        }
    }

    /// Sets owners, modes and times of directories, now that nothing more is put into them.
    fn finish_directories(&mut self) -> Result<()> {
        for (path, metadata) in &self.directories {
            // A later entry may have taken its place.
            let fd = match self.tree.open(path, OFlags::RDONLY) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                other => other.doing(|| describe("opening", path))?,
            };
            let (uid, gid) = metadata.owner.unwrap_or((0, 0));
            let set = match metadata.owner {
                None if self.owners.is_single() => Ok(()),
                _ => fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))),
            };
            set.and_then(|()| fchmod(&fd, Mode::from_raw_mode(metadata.mode)))
                .and_then(|()| futimens(&fd, &metadata.times))
                .doing(|| describe("finishing", path))?;
        }
        Ok(())
    }
}

/// Where an entry goes.
struct Place<'a> {
    parent: Rc<Directory>,
    name: &'a [u8],
}

impl Place<'_> {
    fn path(&self) -> Vec<u8> {
        names::join(&self.parent.path, self.name)
    }
}
