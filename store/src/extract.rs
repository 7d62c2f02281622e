//! Unpacking a tar archive into a tree that is there, as cp(1) would put files: by descriptors, through no symbolic link
//! below the place that was named.

use crate::archive::{Archive, Entry, Kind, Segment, shown};
use crate::at::{is, is_private, open_in, status};
use crate::error::{Doing, Error, Result};
use crate::layer::{LeftOut, names};
use crate::pack;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, ftruncate, futimens, linkat, makedev, mkdirat, mknodat, openat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What is kept of an archive's entries besides content, permissions and time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Owners, as far as they may be set, devices, all extended attributes, and the modes of directories that are there.
    pub archive: bool,
    /// Without it, setuid and setgid bits and file capabilities are dropped.
    pub privileges: bool,
}

/// A tree that is being unpacked into.
struct Extract {
    rules: Rules,
    /// The name of the archive's top, which is to have the other name here. Where it is not known yet it is empty.
    rename: Option<(Vec<u8>, Vec<u8>)>,
    /// The directories from the place that was named to the one of the last entry.
    open: Vec<Open>,
    left_out: LeftOut,
}

/// A directory that is being filled.
struct Open {
    /// Its clean path below the place that was named.
    path: Vec<u8>,
    fd: OwnedFd,
    /// What is to be set when nothing more comes into it.
    finish: Option<Metadata>,
}

#[derive(Clone, Copy)]
struct Metadata {
    mode: u32,
    owner: Option<(Uid, Gid)>,
    mtime: (i64, u32),
}

/// Unpacks the archive to `place`, and says what could not be kept. The umask must be 0.
///
/// Into a directory that is there entries go under their own names; else the archive's top gets the name that `place`
/// ends with, in a directory that must be there. An archive whose first entry is `./` becomes the directory `place`
/// itself. A directory never takes the place of something else, nor something else that of a directory.
pub fn extract(archive: &mut Archive<'_>, place: &[u8], rules: Rules) -> Result<LeftOut> {
    let mut tree = Extract::at(place, rules)?;
    while let Some(entry) = archive.next_entry()? {
        tree.entry(&entry, archive).map_err(|error| error.about(&shown(&entry.path)))?;
    }
    tree.leave(|_| false)?;
    Ok(tree.left_out)
}

impl Extract {
    fn at(place: &[u8], rules: Rules) -> Result<Self> {
        let (fd, rename) = match pack::open(place, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(fd) => (fd, None),
            Err(error) => {
                let start = place.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                let (parent, name) = place.split_at(start);
                if matches!(name, b"" | b"." | b"..") {
                    return Err(error);
                }
                let parent = if parent.is_empty() { b"." } else { parent };
                let parent = pack::open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
                (parent, Some((Vec::new(), name.to_owned())))
            }
        };
        let open = vec![Open { path: Vec::new(), fd, finish: None }];
        Ok(Self { rules, rename, open, left_out: LeftOut::default() })
    }

    fn entry(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<()> {
        let path = names::clean(&entry.path)?;
        let metadata = self.metadata(entry);
        if path.is_empty() {
            return self.top(entry, metadata);
        }
        let path = self.renamed(&path)?;
        let (parent, name) = names::split(&path);
        self.enter(parent)?;
        let here = self.here();
        let found = status(here, name).doing(|| doing("looking at", &path))?;
        if entry.kind == Kind::Directory {
            let there = found.map(|stat| is(&stat, FileType::Directory));
            return self.directory(name, there, &path, entry, metadata);
        }
        if found.is_some_and(|stat| is(&stat, FileType::Directory)) {
            return Err(Error::Failed(format!("{} is a directory, which it cannot replace", shown(&path))));
        }
        match &entry.kind {
            Kind::File { size, map } => self.file(name, &path, entry, metadata, (*size, map.as_deref()), archive),
            Kind::HardLink(target) => {
                let target = self.renamed(&names::clean(target)?)?;
                self.hard_link(name, &path, &target)
            }
            Kind::Symlink(target) => {
                self.make(name, &path, |here, name| symlinkat(&target[..], here, name))?;
                self.finish(name, &path, metadata)
            }
            Kind::Fifo => self.node(name, &path, metadata, FileType::Fifo, 0),
            Kind::Character(major, minor) => {
                self.node(name, &path, metadata, FileType::CharacterDevice, makedev(*major, *minor))
            }
            Kind::Block(major, minor) => {
                self.node(name, &path, metadata, FileType::BlockDevice, makedev(*major, *minor))
            }
            Kind::Directory => Ok(()),
        }
    }

    fn metadata(&self, entry: &Entry) -> Metadata {
        let safe = self.rules.privileges || entry.kind == Kind::Directory;
        let owner = self.rules.archive.then(|| (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid)));
        Metadata { mode: if safe { entry.mode } else { entry.mode & 0o1777 }, owner, mtime: entry.mtime }
    }

    /// The archive's root: the place that was named, made where it is missing. One that is there stays as it is.
    fn top(&mut self, entry: &Entry, metadata: Metadata) -> Result<()> {
        if entry.kind != Kind::Directory {
            return Err(Error::Refused("the archive's root is not a directory".into()));
        }
        let Some((top, name)) = self.rename.take() else { return Ok(()) };
        if !top.is_empty() {
            return Err(several(&name));
        }
        let found = status(self.here(), &name).doing(|| doing("looking at", &name))?;
        self.directory(&name, found.map(|stat| is(&stat, FileType::Directory)), b"", entry, metadata)?;
        self.open.remove(0);
        Ok(())
    }

    /// A path of the archive as it is to be here.
    fn renamed(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        let Some((top, name)) = &mut self.rename else { return Ok(path.to_owned()) };
        let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
        if top.is_empty() {
            path[..end].clone_into(top);
        }
        if path[..end] != top[..] {
            return Err(several(name));
        }
        Ok([name, &path[end..]].concat())
    }

    /// The directory of the last entry.
    fn here(&self) -> BorrowedFd<'_> {
        // The first one is never left.
        self.open.last().map_or(rustix::fs::CWD, |open| open.fd.as_fd())
    }

    /// Goes to the directory at a clean path; those that are missing on the way are made.
    fn enter(&mut self, path: &[u8]) -> Result<()> {
        self.leave(|open| open == path || names::is_below(path, open))?;
        let known = self.open.last().map_or(0, |open| open.path.len());
        let mut ends: Vec<usize> = (known + 1..path.len()).filter(|end| path[*end] == b'/').collect();
        ends.extend((path.len() > known).then_some(path.len()));
        for end in ends {
            let path = &path[..end];
            let name = names::split(path).1;
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let fd = match open_in(self.here(), name, flags) {
                Err(Errno::NOENT) => {
                    mkdirat(self.here(), name, Mode::from_raw_mode(0o755)).doing(|| doing("making", path))?;
                    open_in(self.here(), name, flags).doing(|| doing("opening", path))?
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    return Err(Error::Refused(format!("{} is not a directory", shown(path))));
                }
                other => other.doing(|| doing("opening", path))?,
            };
            self.open.push(Open { path: path.to_owned(), fd, finish: None });
        }
        Ok(())
    }

    /// Leaves directories up to the first whose path is to `stay`, setting what they are to have.
    ///
    /// What is entered again after that, as no tar writes it of itself, has the time of that.
    fn leave(&mut self, stay: impl Fn(&[u8]) -> bool) -> Result<()> {
        while let Some(open) = self.open.pop_if(|open| !stay(&open.path)) {
            if let Some(metadata) = open.finish {
                metadata
                    .own(&open.fd)
                    .and_then(|()| metadata.set(&open.fd))
                    .doing(|| doing("finishing", &open.path))?;
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        name: &[u8],
        there: Option<bool>,
        path: &[u8],
        entry: &Entry,
        metadata: Metadata,
    ) -> Result<()> {
        match there {
            Some(false) => {
                return Err(Error::Failed(format!("{} is there, and is not a directory", shown(name))));
            }
            Some(true) => {}
            // Closed while it is being filled; its own mode comes at the end.
            None => mkdirat(self.here(), name, Mode::RWXU).doing(|| doing("making", path))?,
        }
        let ours = there.is_none() || self.rules.archive;
        let flags = OFlags::DIRECTORY | if ours { OFlags::RDONLY } else { OFlags::PATH };
        let fd = open_in(self.here(), name, flags).doing(|| doing("opening", path))?;
        if ours {
            self.xattrs(&fd, entry).doing(|| doing("writing", path))?;
        }
        self.open.push(Open { path: path.to_owned(), fd, finish: ours.then_some(metadata) });
        Ok(())
    }

    /// Makes something new, in the place of what is there.
    fn make<T>(
        &self,
        name: &[u8],
        path: &[u8],
        call: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let made = match call(self.here(), name) {
            Err(Errno::EXIST) => unlinkat(self.here(), name, AtFlags::empty()).and_then(|()| call(self.here(), name)),
            other => other,
        };
        made.doing(|| doing("making", path))
    }

    fn file(
        &mut self,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        metadata: Metadata,
        (size, map): (u64, Option<&[Segment]>),
        archive: &mut Archive<'_>,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = self.make(name, path, |here, name| {
            openat(here, name, flags | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)
        });
        let file = match made {
            // A file is mounted there, such as a volume: it stays, with what is written into it.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::ResourceBusy => {
                let file = open_in(self.here(), name, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY);
                let file = file.doing(|| doing("opening", path))?;
                ftruncate(&file, 0).doing(|| doing("writing", path))?;
                return archive.write_file(&file, size, map)?.doing(|| doing("writing", path));
            }
            other => other?,
        };
        let doing = || doing("writing", path);
        archive.write_file(&file, size, map)?.doing(doing)?;
        // A change of the owner takes setuid, setgid and capabilities away; the mode may deny a change of attributes.
        metadata.own(&file).and_then(|()| self.xattrs(&file, entry)).and_then(|()| metadata.set(&file)).doing(doing)
    }

    fn hard_link(&mut self, name: &[u8], path: &[u8], target: &[u8]) -> Result<()> {
        let missing = || Error::Refused(format!("it is a hard link to {}, which is not there", shown(target)));
        let (directory, first) = names::split(target);
        if target == path {
            return Err(missing());
        }
        let top = self.open.first().map_or(rustix::fs::CWD, |open| open.fd.as_fd());
        let mut found = None;
        for name in directory.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let parent = found.as_ref().map_or(top, OwnedFd::as_fd);
            found = Some(open_in(parent, name, OFlags::PATH | OFlags::DIRECTORY).map_err(|_| missing())?);
        }
        let found = found.as_ref().map_or(top, OwnedFd::as_fd);
        match status(found, first).doing(|| doing("looking at", target))? {
            Some(stat) if !is(&stat, FileType::Directory) => {}
            _ => return Err(missing()),
        }
        self.make(name, path, |here, name| linkat(found, first, here, name, AtFlags::empty()))
    }

    fn node(&mut self, name: &[u8], path: &[u8], metadata: Metadata, kind: FileType, device: u64) -> Result<()> {
        let mode = Mode::from_raw_mode(metadata.mode & 0o777);
        // A device is a right: only who asks for all there is gets it.
        let allowed = kind == FileType::Fifo || self.rules.archive;
        let make = |here: BorrowedFd<'_>, name: &[u8]| match mknodat(here, name, kind, mode, device) {
            Err(Errno::PERM) if kind != FileType::Fifo => Ok(false),
            other => other.map(|()| true),
        };
        if !allowed || !self.make(name, path, make)? {
            self.left_out.devices += 1;
            return Ok(());
        }
        self.finish(name, path, metadata)
    }

    /// Sets owner and times of what has no descriptor to set them by.
    fn finish(&self, name: &[u8], path: &[u8], metadata: Metadata) -> Result<()> {
        let (here, flags) = (self.here(), AtFlags::SYMLINK_NOFOLLOW);
        if let Some((uid, gid)) = metadata.owner {
            tolerate(chownat(here, name, Some(uid), Some(gid), flags)).doing(|| doing("finishing", path))?;
        }
        utimensat(here, name, &metadata.times(), flags).doing(|| doing("finishing", path))
    }

    /// Sets extended attributes; those that the kernel refuses are counted.
    fn xattrs(&mut self, file: &OwnedFd, entry: &Entry) -> rustix::io::Result<()> {
        let Rules { archive, privileges } = self.rules;
        let wanted = |name: &[u8]| {
            let capability = name == b"security.capability" && privileges;
            !is_private(name) && (archive || name.starts_with(b"user.") || capability)
        };
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| wanted(name)) {
            match fsetxattr(file, &name[..], value, XattrFlags::empty()) {
                Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => return Err(error),
                Err(_) => self.left_out.xattrs += 1,
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

impl Metadata {
    fn own(&self, file: &OwnedFd) -> rustix::io::Result<()> {
        self.owner.map_or(Ok(()), |(uid, gid)| tolerate(fchown(file, Some(uid), Some(gid))))
    }

    fn set(&self, file: &OwnedFd) -> rustix::io::Result<()> {
        fchmod(file, Mode::from_raw_mode(self.mode))?;
        futimens(file, &self.times())
    }

    fn times(&self) -> Timestamps {
        Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: self.mtime.0, tv_nsec: self.mtime.1.into() },
        }
    }
}

/// An owner that may not be set, or is not mapped here, is done without.
fn tolerate(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::PERM | Errno::INVAL) => Ok(()),
        other => other,
    }
}

fn several(name: &[u8]) -> Error {
    Error::Refused(format!("{} is not there, and cannot become several things", shown(name)))
}

fn doing(what: &str, path: &[u8]) -> String {
    format!("{what} {}", shown(path))
}
