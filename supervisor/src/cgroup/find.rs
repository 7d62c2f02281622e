//! Where the controllers of this system are, and where below them a cgroup can be made (cgroups(7)).

use crate::child::reason;
use rustix::fs::{Access, access};
use std::fs;
use std::path::{Path, PathBuf};
use store::{Error, Result};

/// The cgroup of version 2 that processes are moved into which are in the way of others (see [`super::Cgroup::make`]).
pub const LEAF: &str = "crate-supervisors";

/// The hierarchy that a controller is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Is it of version 2, with all its controllers in one tree?
    pub unified: bool,
    /// Where its topmost directory is mounted that can be seen here.
    pub mount: PathBuf,
    /// The directory of this process's own cgroup.
    pub own: PathBuf,
}

impl Hierarchy {
    /// Finds the hierarchy of a controller; none where the controller is in none that is mounted here.
    pub fn of(controller: &str) -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let first = || find(&groups, &mounts, Some(controller));
        first().or_else(|| find(&groups, &mounts, None).filter(|found| found.has(controller)))
    }

    /// The cgroup in which one for a container is made. In version 1 it is the own one. In version 2 it is the topmost for
    /// root, as docker's is: what systemd has not delegated it may change at any time. For others it is the own one, or the
    /// one above, where this process has been moved out of the way.
    pub fn base(&self, root: bool) -> PathBuf {
        if self.unified && root {
            return self.mount.clone();
        }
        let moved = self.unified && self.own.file_name().is_some_and(|last| last == LEAF);
        self.own.parent().filter(|_| moved).unwrap_or(&self.own).to_path_buf()
    }

    /// Has the hierarchy of version 2 this controller?
    fn has(&self, controller: &str) -> bool {
        has_word(&self.mount.join("cgroup.controllers"), controller)
    }
}

/// Is this one of the words of a file?
pub fn has_word(file: &Path, word: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|other| other == word))
}

/// Finds the hierarchy of version 1 with this controller, or that of version 2, in the texts of proc_pid_cgroup(5) and
/// proc_pid_mountinfo(5).
fn find(groups: &str, mounts: &str, controller: Option<&str>) -> Option<Hierarchy> {
    let group = groups.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let fits = match controller {
            None => number == "0" && controllers.is_empty(),
            Some(wanted) => controllers.split(',').any(|own| own == wanted),
        };
        fits.then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (place, rest) = line.split_once(" - ")?;
        let [kind, _, options] = rest.splitn(3, ' ').collect::<Vec<_>>()[..] else { return None };
        let fits = match controller {
            None => kind == "cgroup2",
            Some(wanted) => kind == "cgroup" && options.split(',').any(|own| own == wanted),
        };
        let [root, mount] = place.split(' ').skip(3).take(2).collect::<Vec<_>>()[..] else { return None };
        // Where only a part of the tree is mounted, the own cgroup may not be in it.
        let below = Path::new(group).strip_prefix(root).ok().filter(|_| fits)?;
        let mount = PathBuf::from(mount);
        let own = if below.as_os_str().is_empty() { mount.clone() } else { mount.join(below) };
        Some(Hierarchy { unified: controller.is_none(), mount, own })
    })
}

/// Where a cgroup can be made.
pub struct Place {
    /// In version 2?
    pub unified: bool,
    /// The cgroup above.
    pub base: PathBuf,
}

/// What gets a user a cgroup of version 2 to make others in.
const RECIPE: &str = "systemd-run --user --scope -p Delegate=yes -- crate …";

/// Where a cgroup with this controller can be made; why it cannot, and what mends that.
pub fn place(controller: &str) -> Result<Place> {
    let hierarchy = Hierarchy::of(controller).ok_or_else(|| absent(controller))?;
    let place = Place { unified: hierarchy.unified, base: hierarchy.base(rustix::process::geteuid().is_root()) };
    let written: &[&str] = if place.unified { &["", "cgroup.procs", "cgroup.subtree_control"] } else { &[""] };
    for name in written {
        access(place.base.join(name), Access::WRITE_OK).map_err(|errno| place.refused(&place.base, &errno.into()))?;
    }
    if place.unified && !has_word(&place.base.join("cgroup.controllers"), controller) {
        let base = place.base.display();
        return Err(Error::Failed(format!(
            "the cgroup {base} has no controller {controller}\nhint: mkdir -p /etc/systemd/system/user@.service.d && printf \
             '[Service]\\nDelegate=cpu cpuset io memory pids\\n' >/etc/systemd/system/user@.service.d/delegate.conf && \
             systemctl daemon-reload; then {RECIPE}"
        )));
    }
    Ok(place)
}

/// Why there is no limit by this controller, which is in no hierarchy that is mounted.
fn absent(controller: &str) -> Error {
    let kernel = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let known = kernel.lines().any(|line| line.split_whitespace().next() == Some(controller));
    Error::Failed(if known {
        format!("no cgroups with the controller {controller} are mounted\nhint: mount -t cgroup2 none /sys/fs/cgroup")
    } else {
        format!("the kernel has no cgroup controller {controller}\nhint: boot with cgroup_enable={controller}")
    })
}

impl Place {
    /// Explains why something could not be done in `dir`.
    pub fn refused(&self, dir: &Path, error: &std::io::Error) -> Error {
        let hint = match error.raw_os_error() {
            Some(libc::EROFS) => "the cgroups are mounted read-only here: mount -o remount,rw them".to_owned(),
            Some(libc::EACCES | libc::EPERM) if self.unified => format!("the cgroup is not delegated to you: {RECIPE}"),
            Some(libc::EACCES | libc::EPERM) => {
                "in cgroups of version 1 only root can: boot with systemd.unified_cgroup_hierarchy=1".to_owned()
            }
            Some(libc::EINVAL | libc::ERANGE) => {
                "the number is out of bounds, or the cgroup above allows less".to_owned()
            }
            _ => "see crate check".to_owned(),
        };
        Error::Failed(format!("{}: {}\nhint: {hint}", dir.display(), reason(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 /docker/1 /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn found(groups: &str, controller: Option<&str>) -> Option<String> {
        find(groups, MOUNTS, controller).map(|found| found.own.display().to_string())
    }

    #[test]
    fn finds_the_own_cgroup_in_each_hierarchy() {
        let groups = "4:memory:/docker/1/a\n2:cpu,cpuacct:/\n1:pids:/x\n0::/user.slice/a.scope\n";
        assert_eq!(found(groups, Some("memory")).unwrap(), "/sys/fs/cgroup/memory/a");
        assert_eq!(found(groups, Some("cpu")).unwrap(), "/sys/fs/cgroup/cpu");
        assert_eq!(found(groups, None).unwrap(), "/sys/fs/cgroup/unified/user.slice/a.scope");
        // Not mounted; not known; mounted, but another part of it.
        assert_eq!((found(groups, Some("pids")), found(groups, Some("io"))), (None, None));
        assert_eq!(found("4:memory:/docker/2\n", Some("memory")), None);
        assert_eq!(found("", None), None);
    }

    #[test]
    fn containers_are_below_the_own_cgroup_or_beside_it() {
        let of = |unified, own: &str| Hierarchy { unified, mount: "/c".into(), own: own.into() };
        assert_eq!(of(true, "/c/a").base(true), Path::new("/c"));
        assert_eq!(of(true, "/c/a").base(false), Path::new("/c/a"));
        assert_eq!(of(true, "/c/a/crate-supervisors").base(false), Path::new("/c/a"));
        assert_eq!(of(false, "/c/a").base(true), Path::new("/c/a"));
    }
}
