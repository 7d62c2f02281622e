//! What limits and networks of containers want: control groups (cgroups(7)) and pasta(1).

use super::Finding;
use crate::idmap::find;
use rustix::fs::{Access, CWD, access, statfs};
use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The file system type of version 2 (`linux/magic.h`).
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// The controllers that `--memory`, `--cpus` and `--pids-limit` need.
const WANTED: [&str; 3] = ["cpu", "memory", "pids"];

pub fn findings() -> Vec<Finding> {
    vec![cgroups(), pasta()]
}

fn cgroups() -> Finding {
    const NAME: &str = "cgroups";
    let none = "containers cannot be limited";
    #[allow(clippy::unnecessary_cast)] // Its type differs between architectures.
    let is_v2 = statfs(CGROUPS).is_ok_and(|found| found.f_type as i64 == CGROUP2_MAGIC);
    if !is_v2 {
        return if Path::new(CGROUPS).join("memory").exists() || Path::new(CGROUPS).join("unified").exists() {
            Finding::degraded(NAME, format!("version 1: {none}"), "boot with systemd.unified_cgroup_hierarchy=1")
        } else {
            Finding::degraded(NAME, format!("not mounted: {none}"), format!("mount -t cgroup2 none {CGROUPS}"))
        };
    }
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(dir) = own_group(&own) else {
        return Finding::degraded(
            NAME,
            format!("this process is in no group: {none}"),
            "start it from a login session",
        );
    };
    let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    let missing: Vec<&str> =
        WANTED.into_iter().filter(|name| !controllers.split_whitespace().any(|own| own == *name)).collect();
    let writable = |name: &str| access(dir.join(name), Access::WRITE_OK).is_ok();
    if !(writable("") && writable("cgroup.procs") && writable("cgroup.subtree_control")) {
        let fix = "systemd-run --user --scope -p Delegate=yes -- crate run …";
        return Finding::degraded(NAME, format!("version 2, {} is not delegated: {none}", dir.display()), fix);
    }
    if missing.is_empty() {
        return Finding::works(NAME, format!("version 2, {} with {}", dir.display(), WANTED.join(", ")));
    }
    let fix = "mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' \
               >/etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload";
    Finding::degraded(NAME, format!("version 2, without {}", missing.join(", ")), fix)
}

/// The directory of this process's group of version 2, from proc_pid_cgroup(5).
fn own_group(text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(CGROUPS).join(path))
}

fn pasta() -> Finding {
    const NAME: &str = "pasta";
    let without = "containers have loopback alone, or the host's network";
    let Some(program) = find("pasta") else {
        return Finding::degraded(
            NAME,
            format!("not found: {without}"),
            "apt-get install passt (or your system's package)",
        );
    };
    if access_tun() {
        return Finding::works(NAME, program.display().to_string());
    }
    Finding::degraded(
        NAME,
        format!("/dev/net/tun cannot be opened: {without}"),
        "modprobe tun && chmod 0666 /dev/net/tun",
    )
}

fn access_tun() -> bool {
    rustix::fs::accessat(CWD, "/dev/net/tun", Access::READ_OK | Access::WRITE_OK, rustix::fs::AtFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_own_group() {
        let text = "12:pids:/user.slice\n0::/user.slice/user-1.slice/a.scope\n";
        assert_eq!(own_group(text).unwrap(), Path::new("/sys/fs/cgroup/user.slice/user-1.slice/a.scope"));
        assert_eq!(own_group("12:pids:/user.slice\n"), None);
    }
}
