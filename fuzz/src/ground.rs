//! A directory to unpack into, with a canary beside it that nothing may touch.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A fresh directory; it goes with this value.
pub struct Ground {
    root: PathBuf,
    before: Vec<Seen>,
}

/// What is seen of one file: any change to it or to what it holds changes one of these.
type Seen = (PathBuf, u64, u32, u32, u64, i64, i64);

impl Ground {
    /// Makes one, in memory if it can be. From here on the umask is 0, as unpacking wants it.
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        rustix::process::umask(rustix::fs::Mode::empty());
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = base.join(format!("crate-fuzz-{}-{count}", std::process::id()));
        let _ = store::tree::remove(&root); // Of an earlier run, whose process id comes again.
        fs::create_dir(&root).expect("the directory for fuzzing can be written");
        fs::create_dir(root.join("canary")).expect("it is empty");
        fs::write(root.join("canary/file"), "canary").expect("it is empty");
        let mut ground = Self { root, before: Vec::new() };
        ground.before = ground.look();
        ground
    }

    /// A new directory in it, and that directory opened.
    pub fn directory(&self, name: &str) -> (PathBuf, OwnedFd) {
        let path = self.root.join(name);
        fs::create_dir(&path).expect("each name is used once");
        let opened = File::open(&path).expect("it is there").into();
        (path, opened)
    }

    /// The absolute path of the canary's directory, for those who try to reach it.
    pub fn canary(&self) -> PathBuf {
        self.root.join("canary")
    }

    /// Panics unless the canary is as it was, and nothing lies beside it but the named directories.
    pub fn check(&self, names: &[&str]) {
        assert_eq!(self.look(), self.before, "what lies outside has been changed");
        let mut found: Vec<String> = fs::read_dir(&self.root)
            .expect("it is there")
            .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
            .filter(|name| name != "canary")
            .collect();
        found.sort();
        assert_eq!(found, names, "something has been put outside");
    }

    fn look(&self) -> Vec<Seen> {
        let see = |path: PathBuf| {
            let seen = fs::symlink_metadata(&path).expect("the canary is there");
            (path, seen.ino(), seen.mode(), seen.uid(), seen.nlink(), seen.ctime(), seen.ctime_nsec())
        };
        [self.canary(), self.canary().join("file")].map(see).into()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(error) = store::tree::remove(&self.root)
            && !std::thread::panicking()
        {
            panic!("what was unpacked cannot be removed: {error}");
        }
    }
}

/// Is this directory still what its descriptor says?
pub fn is_same(path: &Path, opened: &OwnedFd) -> bool {
    let inode = rustix::fs::fstat(opened).map(|stat| stat.st_ino).ok();
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir() && Some(metadata.ino()) == inode)
}
