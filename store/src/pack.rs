//! Writing files as a tar archive, by descriptors: a tree that changes meanwhile can hide things, but lead nowhere else.

use crate::archive::{Entry, Kind, PATH_LIMIT, Writer, shown};
use crate::at::{is, names, status, xattr, xattr_names};
use crate::error::{Doing, Error, Result};
use rustix::fs::{
    AtFlags, CWD, FileType, FsWord, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, Stat, fstat, fstatfs, major, minor,
    openat2, readlinkat, statat,
};
use rustix::io::{Errno, read, retry_on_intr};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::vec;

/// The most files with several names that are known again; of more, each name becomes a file.
const LINKS: usize = 1 << 20;

/// What is read of a file at once, in bytes.
const PIECE: usize = 128 << 10;

/// The types of file systems (statfs(2)) of `/sys` and of the control groups below it.
const SYSFS_MAGIC: FsWord = 0x6265_6572;
const CGROUP2_SUPER_MAGIC: FsWord = 0x6367_7270;

/// What to write, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Follow a symbolic link at the path itself.
    pub follow: bool,
    /// Leave out what is mounted below the path.
    pub one_file_system: bool,
}

/// An archive being made of files.
pub struct Pack<'a> {
    writer: Writer<'a>,
    rules: Rules,
    /// The name under which a file with several was written first, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    /// Sockets, which mean nothing elsewhere.
    sockets: u64,
    /// Files that became shorter while they were read, or went or became something else before.
    changed: u64,
}

/// What is at a place, and how to open it.
struct Found<'a> {
    parent: BorrowedFd<'a>,
    name: &'a [u8],
    stat: Stat,
    /// Its path in the archive.
    path: Vec<u8>,
    resolve: ResolveFlags,
}

/// A directory that is being read.
struct Level {
    dir: OwnedFd,
    names: vec::IntoIter<Vec<u8>>,
    path: Vec<u8>,
}

impl<'a> Pack<'a> {
    /// Writes the archive to `output`.
    pub fn new(output: &'a mut dyn Write, rules: Rules) -> Self {
        Self { writer: Writer::new(output), rules, links: HashMap::new(), sockets: 0, changed: 0 }
    }

    /// Adds what is at a path, under the path's last name; a path that ends with `.` or `..`, and the root, give what
    /// is in the directory, after an entry `./` for itself. Names come in the order of their bytes.
    pub fn add(&mut self, path: &[u8]) -> Result<()> {
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let name = &path[start..end];
        let before = self.sockets + self.changed;
        let first = if matches!(name, b"" | b"." | b"..") {
            Some(self.directory(open(path, OFlags::RDONLY | OFlags::DIRECTORY)?, Vec::new())?)
        } else if end < path.len() {
            Some(self.directory(open(path, OFlags::RDONLY | OFlags::DIRECTORY)?, name.to_owned())?)
        } else if self.rules.follow {
            let file = open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
            self.opened(file, name.to_owned())?
        } else {
            let parent = if start == 0 { b"." } else { &path[..start] };
            let parent = open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
            let found = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| missing(error, path))?;
            let (parent, path, resolve) = (parent.as_fd(), name.to_owned(), ResolveFlags::empty());
            self.entry(Found { parent, name, stat: found, path, resolve })?
        };
        if first.is_none() && self.sockets + self.changed > before {
            let path = shown(path);
            return Err(Error::Failed(format!("{path} cannot be archived, or changed while it was looked at")));
        }
        let mut levels: Vec<Level> = first.into_iter().collect();
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                levels.pop();
                continue;
            };
            let path = if level.path.is_empty() { name.clone() } else { [&level.path[..], b"/", &name].concat() };
            let below = self.below(level.dir.as_fd(), &name, path)?;
            let below = below.filter(|below| !is_kernels(&below.dir) || is_kernels(&level.dir));
            levels.extend(below);
        }
        Ok(())
    }

    /// Ends the archive; what is not in it, in one line for each kind.
    pub fn finish(self) -> Result<Vec<String>> {
        written(self.writer.finish())?;
        let lines =
            [(self.sockets, "sockets left out"), (self.changed, "files that changed or went while they were read")];
        Ok(lines.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{what}: {count}")).collect())
    }

    /// Adds what has this name in a directory; what is gone by now is left out.
    fn below(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: Vec<u8>) -> Result<Option<Level>> {
        if path.len() > PATH_LIMIT {
            return Err(Error::Failed(format!("{}: its path is longer than {PATH_LIMIT} bytes", shown(&path))));
        }
        let resolve = if self.rules.one_file_system { ResolveFlags::NO_XDEV } else { ResolveFlags::empty() };
        let Some(stat) = status(parent, name).doing(|| format!("looking at {}", shown(&path)))? else {
            return Ok(self.gone());
        };
        self.entry(Found { parent, name, stat, path, resolve })
    }

    fn gone(&mut self) -> Option<Level> {
        self.changed += 1;
        None
    }

    /// Adds one entry. A directory is handed back, for what is in it.
    fn entry(&mut self, found: Found<'_>) -> Result<Option<Level>> {
        let Found { parent, name, stat, .. } = found;
        let device = || (major(stat.st_rdev), minor(stat.st_rdev));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Directory => return self.open(found),
            FileType::Symlink => match readlinkat(parent, name, Vec::new()) {
                Err(Errno::NOENT | Errno::INVAL) => return Ok(self.gone()),
                other => Kind::Symlink(other.doing(|| format!("reading {}", shown(&found.path)))?.into_bytes()),
            },
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::Character(device().0, device().1),
            FileType::BlockDevice => Kind::Block(device().0, device().1),
            _ => {
                self.sockets += 1;
                return Ok(None);
            }
        };
        written(self.writer.entry(&entry(found.path, kind, &stat)))?;
        Ok(None)
    }

    /// Adds a file or directory, which may have become something else since it was looked at.
    fn open(&mut self, found: Found<'_>) -> Result<Option<Level>> {
        let Found { parent, name, stat, path, resolve } = found;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match openat2(parent, name, flags, Mode::empty(), resolve | ResolveFlags::BENEATH) {
            Ok(file) => self.opened(file, path),
            // Something is mounted there: of a directory the place itself is kept.
            Err(Errno::XDEV) if is(&stat, FileType::Directory) => {
                written(self.writer.entry(&entry([&path[..], b"/"].concat(), Kind::Directory, &stat)))?;
                Ok(None)
            }
            Err(Errno::XDEV) => Ok(None),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(self.gone()),
            Err(error) => Err(error).doing(|| format!("opening {}", shown(&path))),
        }
    }

    fn opened(&mut self, file: OwnedFd, path: Vec<u8>) -> Result<Option<Level>> {
        let stat = fstat(&file).doing(|| format!("looking at {}", shown(&path)))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.directory(file, path).map(Some),
            FileType::RegularFile => self.file(&file, &stat, path).map(|()| None),
            _ => Ok(self.gone()),
        }
    }

    fn directory(&mut self, dir: OwnedFd, path: Vec<u8>) -> Result<Level> {
        let doing = || format!("reading {}", shown(&path));
        let stat = fstat(&dir).doing(doing)?;
        let shown_path = if path.is_empty() { b"./".to_vec() } else { [&path[..], b"/"].concat() };
        let mut own = entry(shown_path, Kind::Directory, &stat);
        own.xattrs = xattrs(&dir).doing(doing)?;
        written(self.writer.entry(&own))?;
        let mut names = names(&dir).doing(doing)?;
        names.sort_unstable();
        Ok(Level { dir, names: names.into_iter(), path })
    }

    fn file(&mut self, file: &OwnedFd, stat: &Stat, path: Vec<u8>) -> Result<()> {
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&key) {
                let first = first.as_os_str().as_bytes().to_vec();
                return written(self.writer.entry(&entry(path, Kind::HardLink(first), stat)));
            }
            if self.links.len() < LINKS {
                self.links.insert(key, PathBuf::from(OsStr::from_bytes(&path)));
            }
        }
        let doing = || format!("reading {}", shown(&path));
        let mut size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut piece = vec![0; PIECE];
        let mut ahead = 0;
        if size == 0 {
            // A file of the kernel's tells no size, whatever it holds. What cannot be read of it, or is more, is left out.
            while let Ok(count @ 1..) = retry_on_intr(|| read(file, &mut piece[ahead..])) {
                ahead += count;
            }
            self.changed += u64::from(ahead == PIECE);
            size = ahead as u64;
        }
        let mut own = entry(path.clone(), Kind::File { size, map: None }, stat);
        own.xattrs = xattrs(file).doing(doing)?;
        written(self.writer.entry(&own))?;
        let (mut left, mut cut) = (size, false);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
            let mut count =
                if cut || ahead > 0 { most } else { retry_on_intr(|| read(file, &mut piece[..most])).doing(doing)? };
            if count == 0 {
                // The header has told its size, so zeros take the place of what is no more.
                self.changed += 1;
                (cut, count) = (true, most);
                piece.fill(0);
            }
            written(self.writer.data(&piece[..count]))?;
            left -= count as u64;
        }
        Ok(())
    }
}

/// Is it one of the directories in which the kernel shows itself? Where such a file system is mounted below a path, it
/// is no part of what was asked for.
fn is_kernels(dir: &OwnedFd) -> bool {
    fstatfs(dir).is_ok_and(|found| [PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP2_SUPER_MAGIC].contains(&found.f_type))
}

/// An entry with the owner, mode and time of a file.
fn entry(path: Vec<u8>, kind: Kind, stat: &Stat) -> Entry {
    Entry {
        path,
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        xattrs: Vec::new(),
    }
}

fn xattrs(file: &OwnedFd) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = xattr_names(file)?.into_iter();
    Ok(names.filter_map(|name| xattr(file, &name).map(|value| (name, value))).collect())
}

/// Opens what is at a path; not by way of another process's files (proc(5), `/proc/PID/root` and the like).
pub fn open(path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let opened = openat2(CWD, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    opened.map_err(|error| missing(error, path))
}

fn missing(error: Errno, path: &[u8]) -> Error {
    let path = shown(path);
    match error {
        Errno::NOENT => Error::NotFound(format!("no such file or directory: {path}")),
        error => Error::Io { doing: format!("opening {path}"), source: error.into() },
    }
}

fn written(result: std::io::Result<()>) -> Result<()> {
    result.doing(|| "writing the archive".into())
}
