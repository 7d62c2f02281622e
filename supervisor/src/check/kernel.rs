//! What is wanted of the kernel: namespaces, file systems within them, filters and system calls.

use super::{Finding, NAMESPACES, Trial, attempt, trial};
use crate::child::{self, setting};
use crate::idmap::IdMaps;
use crate::{memory, sys};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, unlinkat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag};
use rustix::mount::{fsconfig_set_string, fsmount, fsopen};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use std::os::fd::OwnedFd;
use std::path::Path;
use store::{Result, Store, tree};

pub fn findings(maps: &IdMaps) -> Vec<Finding> {
    let mut all = vec![version(), user_namespaces(maps)];
    // Without them everything else would fail for the same reason.
    if all[1].state != super::State::Fails {
        all.extend([namespaces(maps), filesystems(maps), overlay(maps), calls(maps)]);
    }
    all.extend([memory_files(), seccomp(), landlock()]);
    all
}

fn version() -> Finding {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|text| text.parse::<u32>().ok());
    let known = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if known >= (5, 12) {
        return Finding::works("kernel", format!("Linux {release}"));
    }
    Finding::fails("kernel", format!("Linux {release}: containers need 5.12"), "install a newer kernel")
}

fn user_namespaces(maps: &IdMaps) -> Finding {
    const NAME: &str = "user-namespaces";
    // First alone, for an error that tells more than one of clone3(2) can; then with ids.
    let made = attempt(0, &IdMaps::Root, || trial(sys::unshare(sys::NEW_USER)));
    let mapped = if maps.has_namespace() { attempt(0, &IdMaps::ONE, || Ok(())) } else { Ok(Ok(())) };
    let (detail, errno) = match (made, mapped) {
        (Ok(Ok(())), Ok(_)) => return Finding::works(NAME, "can be made"),
        (Ok(Err(errno)), _) => (format!("cannot be made: {}", words(errno)), errno),
        (Err(error), _) | (_, Err(error)) => (first_line(&error), Errno::PERM),
    };
    // Root's containers have none.
    let finding = if maps.has_namespace() { Finding::fails } else { Finding::degraded };
    finding(NAME, detail, child::way_to_namespaces(errno))
}

fn namespaces(maps: &IdMaps) -> Finding {
    let maps = if maps.has_namespace() { &IdMaps::ONE } else { maps };
    let denied = denied(NAMESPACES, |flag| attempt(0, maps, || trial(sys::unshare(flag))));
    if denied.is_empty() {
        return Finding::works("namespaces", NAMESPACES.map(|(name, _)| name).join(", "));
    }
    let fix = "see sysctl user.max_*_namespaces; or leave the container around this, or let it allow unshare(2)";
    Finding::fails("namespaces", format!("cannot be made: {}", denied.join(", ")), fix)
}

/// The file systems that each container gets (runtime-spec, `config-linux.md#default-filesystems`).
fn filesystems(maps: &IdMaps) -> Finding {
    let kinds = ["proc", "sysfs", "tmpfs", "devpts", "mqueue"].map(|kind| (kind, kind));
    let denied = denied(kinds, |kind| {
        attempt(sys::FIRST_NAMESPACES, maps, || {
            trial(sys::unshare(sys::OTHER_NAMESPACES | sys::NEW_NET))?;
            mount(kind, &[]).map(drop)
        })
    });
    if denied.is_empty() {
        return Finding::works("filesystems", "proc, sysfs, tmpfs, devpts, mqueue");
    }
    let fix = "a /proc or /sys that is masked, as in a container, cannot be mounted again: \
               docker, podman: --security-opt unmask=ALL, or --privileged";
    Finding::fails("filesystems", format!("cannot be mounted: {}", denied.join(", ")), fix)
}

/// Those of `all` that are refused, each with the reason.
fn denied<T, const N: usize>(all: [(&'static str, T); N], mut attempt: impl FnMut(T) -> Result<Trial>) -> Vec<String> {
    let tried = all.into_iter().map(|(name, one)| (name, attempt(one)));
    tried
        .filter_map(|(name, tried)| match tried {
            Ok(Ok(())) => None,
            Ok(Err(errno)) => Some(format!("{name} ({})", words(errno))),
            Err(error) => Some(format!("{name} ({})", first_line(&error))),
        })
        .collect()
}

/// The system's reason.
fn words(errno: Errno) -> String {
    child::reason(&errno.into())
}

fn first_line(error: &store::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Mounts a file system that is attached nowhere, and goes with its descriptor (fsopen(2), since Linux 5.2).
fn mount(kind: &str, options: &[(&str, &Path)]) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if kind == "overlay" {
        fsconfig_set_flag(&fs, "userxattr")?;
    }
    options.iter().try_for_each(|(key, value)| fsconfig_set_string(&fs, *key, *value))?;
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn overlay(maps: &IdMaps) -> Finding {
    const NAME: &str = "overlay";
    let tried = Store::open().and_then(|store| {
        let dir = store.ingest_path("check")?;
        let tried = attempt(sys::NEW_MOUNT, maps, || {
            let tried = overlay_in(&dir);
            // What is left is garbage that gc removes.
            let _ = tree::remove(&dir);
            tried
        })?;
        Ok((tried, store.root().display().to_string()))
    });
    let without = "each container gets a copy of its root file system";
    match tried {
        Ok((Ok(()), root)) => Finding::works(NAME, format!("in {root}")),
        Ok((Err(errno), root)) => Finding::degraded(
            NAME,
            format!("refused in {root} ({}): {without}", words(errno)),
            "put the store on ext4, xfs, btrfs or tmpfs: set CRATE_ROOT to a directory there",
        ),
        Err(error) => Finding::degraded(NAME, format!("{}: {without}", first_line(&error)), "see store"),
    }
}

/// Mounts an overlay whose upper directory is in `dir`, and removes a file of the lower one: that makes a whiteout.
fn overlay_in(dir: &Path) -> Trial {
    let made = ["", "lower", "upper", "work"].map(|name| dir.join(name));
    made.iter().try_for_each(|path| mkdirat(CWD, path, Mode::from_raw_mode(0o700)))?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(CWD, made[1].join("file"), flags, Mode::from_raw_mode(0o600))?;
    let merged = mount("overlay", &[("lowerdir", &made[1]), ("upperdir", &made[2]), ("workdir", &made[3])])?;
    unlinkat(&merged, "file", AtFlags::empty())
}

/// One call.
type Call = fn() -> Trial;

/// System calls that the seccomp filters of old container runtimes do not know; tried as they are used.
fn calls(maps: &IdMaps) -> Finding {
    const CALLS: [(&str, Call); 4] = [
        ("openat2", || {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::IN_ROOT).map(drop)
        }),
        ("pidfd_open", || pidfd_open(getpid(), PidfdFlags::empty()).map(drop)),
        ("close_range", || trial(sys::try_close_range())),
        ("mount_setattr", || trial(sys::try_mount_setattr())),
    ];
    let denied = denied(CALLS, |call| attempt(sys::NEW_MOUNT, maps, call));
    if denied.is_empty() {
        return Finding::works("system-calls", CALLS.map(|(name, _)| name).join(", "));
    }
    let fix = "use a newer kernel, or let the container around this allow them (--security-opt seccomp=unconfined)";
    Finding::fails("system-calls", format!("refused: {}", denied.join(", ")), fix)
}

/// crate-init is executed from a sealed file in memory.
fn memory_files() -> Finding {
    const NAME: &str = "memory-files";
    let made: Result<()> = memory::file("check").and_then(|file| memory::fill(&file, &mut &b"x"[..]));
    match (made, setting("vm.memfd_noexec").as_deref()) {
        (Ok(()), Some("2")) => {
            Finding::fails(NAME, "may not be executed, as crate-init must be", "sysctl -w vm.memfd_noexec=1")
        }
        (Ok(()), _) => Finding::works(NAME, "can be sealed and executed"),
        (Err(error), _) => Finding::fails(NAME, error.to_string(), "use a kernel with CONFIG_MEMFD_CREATE=y"),
    }
}

fn seccomp() -> Finding {
    const NAME: &str = "seccomp";
    let fix = "use a kernel with CONFIG_SECCOMP_FILTER=y";
    let (errno, notify) = (libc::SECCOMP_RET_ERRNO, libc::SECCOMP_RET_USER_NOTIF);
    match (sys::seccomp_has(errno), sys::seccomp_has(notify)) {
        (Ok(()), Ok(())) => Finding::works(NAME, "filters, and calls handed to a supervisor"),
        (Ok(()), Err(_)) => Finding::degraded(
            NAME,
            "a program that kills itself as process 1 is not told apart",
            "use Linux 5.5 or newer",
        ),
        (Err(error), _) => Finding::degraded(
            NAME,
            format!("no filters ({}): what reads foreign bytes may execute", child::reason(&error)),
            fix,
        ),
    }
}

fn landlock() -> Finding {
    const NAME: &str = "landlock";
    let unconfined = "what reads foreign bytes may write wherever its user may";
    match sys::landlock_version() {
        Ok(version) => Finding::works(NAME, format!("version {version}")),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Finding::degraded(
            NAME,
            format!("switched off: {unconfined}"),
            "boot with lsm=landlock,… in front of what /sys/kernel/security/lsm lists",
        ),
        Err(error) => Finding::degraded(
            NAME,
            format!("refused ({}): {unconfined}", child::reason(&error)),
            "use Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK=y",
        ),
    }
}
