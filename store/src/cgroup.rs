//! `RUN/ID/cgroup`: the control groups that a container's supervisor has made for it, a directory a line. They outlast a
//! supervisor that is killed, and who clears up after it need not be in the cgroup that it was in (cgroups(7)).

use crate::container::Container;
use crate::error::{Doing, Result};
use crate::root::Store;
use rustix::io::Errno;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long processes that have been killed may take to be gone: until then the kernel keeps their cgroup.
const GOES: Duration = Duration::from_secs(2);

impl Container {
    /// Writes down which cgroups the container is about to have.
    pub fn record_cgroups(&self, store: &Store, dirs: &[PathBuf]) -> Result<()> {
        let path = self.run_dir(store)?.join("cgroup");
        let lines: Vec<String> = dirs.iter().map(|dir| format!("{}\n", dir.display())).collect();
        fs::write(&path, lines.concat()).doing(|| format!("writing {}", path.display()))
    }

    /// The cgroups of the container; none where nothing limits it.
    pub fn cgroups(&self, store: &Store) -> Result<Vec<PathBuf>> {
        recorded(&store.run_dir()?.join(&self.id), &self.id)
    }

    /// Removes the cgroups of the container, whose lock the caller holds, and in which nothing runs any more.
    pub fn remove_cgroups(&self, store: &Store) -> Result<()> {
        remove_recorded(&store.run_dir()?.join(&self.id), &self.id)
    }
}

/// Removes the cgroups that are written down in the runtime directory `run` of container `id`, and the record.
pub(crate) fn remove_recorded(run: &Path, id: &str) -> Result<()> {
    let dirs = recorded(run, id)?;
    for dir in &dirs {
        let begun = Instant::now();
        while let Err(error) = remove(dir) {
            if begun.elapsed() > GOES || error.raw_os_error() != Some(Errno::BUSY.raw_os_error()) {
                return Err(error).doing(|| format!("removing the cgroup {}", dir.display()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let path = run.join("cgroup");
    if dirs.is_empty() { Ok(()) } else { fs::remove_file(&path).doing(|| format!("removing {}", path.display())) }
}

fn recorded(run: &Path, id: &str) -> Result<Vec<PathBuf>> {
    let path = run.join("cgroup");
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        // Nothing else is joined or removed, whatever a damaged file says.
        Ok(text) => Ok(text.lines().map(PathBuf::from).filter(|dir| is_of(dir, id)).collect()),
        Err(error) => Err(error).doing(|| format!("reading {}", path.display())),
    }
}

/// What the directory of container `id` is called in every hierarchy.
pub fn name(id: &str) -> String {
    format!("crate-{id}")
}

fn is_of(dir: &Path, id: &str) -> bool {
    dir.is_absolute() && dir.file_name().is_some_and(|last| last.to_str() == Some(&name(id)))
}

/// Removes a cgroup with those below it, which what ran inside may have made. Their files go with them.
fn remove(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries.filter_map(io::Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path())?;
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_cgroups_are_a_container_s() {
        for (dir, own) in
            [("/c/crate-aa", true), ("/c/crate-bb", false), ("/c", false), ("crate-aa", false), ("", false)]
        {
            assert_eq!(is_of(Path::new(dir), "aa"), own, "{dir}");
        }
    }
}
