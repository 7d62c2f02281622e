//! The host's devices, which a privileged container has too.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// What every container has of its own in `/dev`.
const OWN: [&str; 11] = ["console", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "tty", "urandom", "zero"];

/// The paths of all device nodes below the host's `/dev`, sorted, without those that the container has of its own. Links
/// are left out, and what cannot be looked at.
pub fn of_host() -> Vec<String> {
    let mut found = below(Path::new("/dev"), &OWN);
    found.sort_unstable();
    found
}

fn below(dev: &Path, own: &[&str]) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![dev.to_owned()]);
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let wanted = |path: &PathBuf| !own.iter().any(|name| *path == dev.join(name));
        for path in entries.filter(wanted) {
            // Not what readdir(3) says: a node may be a bind mount on a file.
            let Ok(kind) = fs::symlink_metadata(&path).map(|metadata| metadata.file_type()) else { continue };
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_char_device() || kind.is_block_device() {
                found.extend(path.into_os_string().into_string());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_nodes_alone() {
        let all = below(Path::new("/dev"), &[]);
        assert!(all.iter().any(|path| path == "/dev/null"), "{all:?}");
        assert!(!all.iter().any(|path| path == "/dev/stdin" || path == "/dev" || path == "/dev/shm"), "{all:?}");
        let further = of_host();
        assert!(!further.iter().any(|path| path == "/dev/null" || path.starts_with("/dev/pts/")), "{further:?}");
        assert!(further.is_sorted());
        assert!(below(Path::new("/nonexistent"), &[]).is_empty());
    }
}
