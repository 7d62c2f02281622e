//! The cgroup of a container, made only where limits are asked for: they are in force before its program runs, or it does
//! not run (runtime-spec, `config-linux.md#control-groups`).

mod find;
mod limits;

use crate::events::kills_in;
use find::{Hierarchy, LEAF, has_word};
pub use find::{Place, place};
use limits::{Limit, limits};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use store::spec::Spec;
use store::{Container, Error, Result, Store, cgroup};

/// The controllers that limits are asked of.
pub const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// How often processes are moved out of the way of a cgroup, which may start others meanwhile.
const ROUNDS: usize = 20;

/// The cgroup of a container that is being run: a directory in each hierarchy that is needed. It is removed when this is
/// dropped.
pub struct Cgroup<'a> {
    store: &'a Store,
    container: &'a Container,
    dirs: Vec<PathBuf>,
    /// The file that counts what the kernel has killed for want of memory.
    kills: Option<PathBuf>,
}

/// Are there limits, so that the container has a cgroup of its own?
pub fn is_wanted(spec: &Spec) -> Result<bool> {
    Ok(!wanted(spec)?.is_empty())
}

/// Can the container see the files of its cgroup? In a cgroup that is not its own, or in version 1, where the topmost is
/// never its own, there is nothing for it to see.
pub fn is_shown(spec: &Spec) -> Result<bool> {
    let limits = wanted(spec)?;
    let unified = |limit: &Limit| Hierarchy::of(limit.controller).is_some_and(|hierarchy| hierarchy.unified);
    Ok(!limits.is_empty() && limits.iter().all(unified))
}

fn wanted(spec: &Spec) -> Result<Vec<Limit>> {
    spec.linux.resources.as_ref().map_or(Ok(Vec::new()), limits)
}

impl<'a> Cgroup<'a> {
    /// Makes the cgroup and sets its limits; none where none are asked for.
    ///
    /// In version 2 a cgroup but the topmost that hands controllers on has no processes of its own (`cgroup-v2.rst`, "No
    /// Internal Process Constraint"). Where those of this session are in the way, they are moved into a cgroup below.
    pub fn make(store: &'a Store, container: &'a Container, spec: &Spec) -> Result<Option<Self>> {
        let limits = wanted(spec)?;
        if limits.is_empty() {
            return Ok(None);
        }
        // What a supervisor that was killed has left.
        container.remove_cgroups(store)?;
        let mut places = Vec::new();
        for limit in limits {
            let place = place(limit.controller).map_err(|error| of(&limit, &error))?;
            places.push((limit, place));
        }
        let name = cgroup::name(&container.id);
        let mut dirs: Vec<PathBuf> = Vec::new();
        for (_, place) in &places {
            let dir = place.base.join(&name);
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        container.record_cgroups(store, &dirs)?;
        let mut own = Self { store, container, dirs, kills: None };
        for (limit, place) in &places {
            own.set(limit, place, &place.base.join(&name)).map_err(|error| of(limit, &error))?;
        }
        Ok(Some(own))
    }

    /// Sets one limit, in the cgroup `dir`, which is made where it is missing.
    fn set(&mut self, limit: &Limit, place: &Place, dir: &Path) -> Result<()> {
        let refused = |error: io::Error| place.refused(&place.base, &error);
        if place.unified {
            hand_on(&place.base, limit.controller).map_err(refused)?;
        }
        match fs::create_dir(dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other.map_err(refused)?,
        }
        if limit.controller == "memory" {
            self.kills = Some(dir.join(if place.unified { "memory.events" } else { "memory.oom_control" }));
        }
        let (file, value) = if place.unified { &limit.v2 } else { &limit.v1 };
        let path = dir.join(file);
        match write(&path, value) {
            Err(error) if error.kind() == ErrorKind::NotFound && limit.default => {
                crate::tell(
                    &"this kernel does not limit swap: the container's memory is limited, what it swaps is not",
                );
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::Failed(format!(
                "the kernel has no {}\nhint: for limits of swap, boot with swapaccount=1",
                path.display()
            ))),
            other => other.map_err(|error| place.refused(&path, &error)),
        }
    }

    /// Moves a process into the cgroup.
    pub fn take(&self, pid: i32) -> Result<()> {
        enter(&self.dirs, pid)
    }

    /// How often the kernel has killed in it for want of memory; none where its memory is not limited.
    pub fn kills(&self) -> Option<u64> {
        kills_in(&fs::read_to_string(self.kills.as_ref()?).ok()?)
    }
}

impl Drop for Cgroup<'_> {
    fn drop(&mut self) {
        self.container.remove_cgroups(self.store).unwrap_or_else(|error| crate::tell(&error));
    }
}

/// An error that names the flag of what could not be had.
fn of(limit: &Limit, error: &Error) -> Error {
    Error::Failed(format!("{}: {error}", limit.flag))
}

/// Moves a process, or for 0 this one, into cgroups.
pub fn enter(dirs: &[PathBuf], pid: i32) -> Result<()> {
    dirs.iter().try_for_each(|dir| {
        write(&dir.join("cgroup.procs"), &pid.to_string()).map_err(|error| {
            let reason = crate::child::reason(&error);
            let hint = if error.raw_os_error() == Some(libc::EACCES) {
                // Who moves a process must be allowed to do so in the cgroup above both (cgroup-v2.rst, "Delegation").
                "\nhint: from another session than the container's: systemd-run --user --scope -- crate …"
            } else {
                ""
            };
            Error::Failed(format!("entering the cgroup {}: {reason}{hint}", dir.display()))
        })
    })
}

/// Has a cgroup of version 2 hand a controller on to those below it.
fn hand_on(base: &Path, controller: &str) -> io::Result<()> {
    let control = base.join("cgroup.subtree_control");
    // The topmost may have processes too. For pids and cpu the kernel does not mind them elsewhere either, but takes those
    // below for parts of one threaded domain then, which nothing can be moved to (`cgroup-v2.rst`, "Threads").
    if base.join("cgroup.type").exists() {
        clear(base)?;
    }
    if has_word(&control, controller) { Ok(()) } else { write(&control, &format!("+{controller}")) }
}

/// Moves all processes of a cgroup into one below it.
fn clear(base: &Path) -> io::Result<()> {
    let leaf = base.join(LEAF);
    for _ in 0..ROUNDS {
        let processes = fs::read_to_string(base.join("cgroup.procs"))?;
        if processes.is_empty() {
            return Ok(());
        }
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other?,
        }
        for pid in processes.lines() {
            match write(&leaf.join("cgroup.procs"), pid) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {} // It has ended.
                other => other?,
            }
        }
    }
    Ok(()) // If there is still one, the kernel says so.
}

/// Writes a file of a cgroup, which the kernel has made.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}
