//! What a container's program is kept from, as the flags of docker and podman change it, for `config.json`.

use crate::capability;
use crate::create::Network;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::mounts;
use crate::seccomp;
use crate::spec::{Linux, Mount, Rlimit, annotation};
use crate::sysctl;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Docker's default list of what nothing inside can read; see [`of_this_machine`].
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Docker's default list of what nothing inside can write.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Which system calls the program may make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// Those of the default profile; all, where the container is privileged.
    #[default]
    Usual,
    /// All.
    Unconfined,
    /// Those of the profile in this file.
    File(PathBuf),
}

/// The values of `--userns`; what they mean is crate-sup's to say.
const USER_NAMESPACES: [&str; 4] = ["private", "ranges", "keep-id", "host"];

/// What the flags say; the default is docker's.
#[derive(Debug, Clone, Default)]
pub struct Confinement {
    /// `--cap-add` and `--cap-drop`.
    pub capabilities: capability::Changes,
    /// `--privileged`: the host's devices, and nothing of this file but what is asked for by other flags.
    pub privileged: bool,
    /// `--security-opt no-new-privileges`.
    pub no_new_privileges: Option<bool>,
    /// `--security-opt seccomp`.
    pub seccomp: Seccomp,
    /// `--security-opt systempaths=unconfined` and `unmask=ALL`: of the default lists, nothing.
    pub unmasked_all: bool,
    /// `--security-opt unmask`: these paths of the default lists not.
    pub unmasked: Vec<String>,
    /// `--security-opt mask`: these paths too.
    pub masked: Vec<String>,
    /// `--userns`.
    pub user_namespace: Option<&'static str>,
    /// `--root-emulation=off`.
    pub no_root_emulation: bool,
    /// `--ulimit`.
    pub rlimits: Vec<Rlimit>,
    /// `--sysctl`.
    pub sysctl: BTreeMap<String, String>,
    /// `--device`; see [`crate::device::find`].
    pub devices: Vec<Mount>,
    /// `--shm-size`, in bytes.
    pub shm_size: Option<u64>,
    /// `--memory` and the like.
    pub limits: Limits,
}

impl Confinement {
    /// Reads `--security-opt`.
    pub fn security_opt(&mut self, text: &str) -> Result<()> {
        let (key, value) = text.split_once(['=', ':']).map_or((text, None), |(key, value)| (key, Some(value)));
        match (key, value) {
            ("no-new-privileges", None | Some("true")) => self.no_new_privileges = Some(true),
            ("no-new-privileges", Some("false")) => self.no_new_privileges = Some(false),
            ("seccomp", Some("unconfined")) => self.seccomp = Seccomp::Unconfined,
            ("seccomp", Some("builtin")) => self.seccomp = Seccomp::Usual,
            ("seccomp", Some(file)) if !file.is_empty() => self.seccomp = Seccomp::File(file.into()),
            ("systempaths", Some("unconfined")) | ("unmask", Some("ALL" | "all")) => self.unmasked_all = true,
            ("unmask", Some(paths)) => self.unmasked.extend(cleaned(text, paths)?),
            ("mask", Some(paths)) => self.masked.extend(cleaned(text, paths)?),
            // So it is in any case.
            ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {}
            ("apparmor", _) => return Err(refused(text, "crate knows no profiles of AppArmor")),
            ("label", _) => return Err(refused(text, "crate sets no labels of SELinux")),
            _ => return Err(refused(text, "there is no such option")),
        }
        Ok(())
    }

    /// Reads `--userns`; an error is what it should have been.
    pub fn userns(&mut self, text: &str) -> std::result::Result<(), &'static str> {
        let known = USER_NAMESPACES.into_iter().find(|known| *known == text);
        self.user_namespace = Some(known.ok_or("private, ranges, keep-id or host")?);
        Ok(())
    }

    /// Root's containers have no user namespace of their own, and a user's have one.
    pub fn check_userns(&self, root: bool) -> Result<()> {
        let (kind, why) = match self.user_namespace {
            Some("host") if !root => ("host", "only root can do without a user namespace\nhint: leave it out"),
            Some(kind) if root && kind != "host" => {
                let why = "containers of root have no user namespace of their own\n\
                    hint: leave it out, or make the container as an ordinary user";
                (kind, why)
            }
            _ => return Ok(()),
        };
        Err(Error::Usage(format!("--userns {kind}: {why}")))
    }

    /// Has the container the caller's own ids?
    pub fn keeps_id(&self) -> bool {
        self.user_namespace == Some("keep-id")
    }

    /// Adds a limit; the last of a name counts.
    pub fn limit(&mut self, limit: Rlimit) {
        self.rlimits.retain(|other| other.kind != limit.kind);
        self.rlimits.push(limit);
    }

    /// What cannot be meant together is an error.
    pub fn check(&self, network: Network) -> Result<()> {
        self.capabilities.check()?;
        self.limits.resources()?;
        match self.sysctl.keys().find(|name| network == Network::Host && sysctl::is_network(name)) {
            Some(name) => Err(Error::Usage(format!("--sysctl {name}: with --network host it would be the host's"))),
            None => Ok(()),
        }
    }

    /// The names of the capabilities that it has.
    pub fn capability_names(&self, all: u64) -> Vec<String> {
        self.capabilities.names(self.privileged, all)
    }

    /// What `config.json` says of it under `linux`; `hidden` is masked besides the usual paths, and `bounding` are the
    /// capabilities.
    pub fn linux(&self, hidden: &[String], bounding: &[String]) -> Result<Linux> {
        let usual = |list: &[&str], more: &[String]| -> Vec<String> {
            let all = list.iter().map(|path| (*path).to_owned()).chain(more.iter().cloned());
            let kept = |path: &String| !self.privileged && !self.unmasked_all && !self.unmasked.contains(path);
            all.filter(kept).collect()
        };
        let mut masked_paths = usual(&MASKED, hidden);
        masked_paths.extend(self.masked.iter().cloned());
        Ok(Linux {
            masked_paths,
            readonly_paths: usual(&READ_ONLY, &[]),
            sysctl: self.sysctl.clone(),
            seccomp: match &self.seccomp {
                Seccomp::Usual if !self.privileged => Some(seccomp::default(bounding)),
                Seccomp::Usual | Seccomp::Unconfined => None,
                Seccomp::File(file) => Some(seccomp::of_file(file, bounding)?),
            },
            resources: self.limits.resources()?,
            ..Linux::default()
        })
    }

    /// What only annotations tell.
    pub fn annotations(&self) -> Vec<(&'static str, &'static str)> {
        let mut all = Vec::new();
        if self.privileged {
            all.push((annotation::PRIVILEGED, "true"));
        }
        if let Some(kind) = self.user_namespace {
            all.push((annotation::USERNS, kind));
        }
        if self.no_root_emulation {
            all.push((annotation::ROOT_EMULATION, "false"));
        }
        all
    }
}

/// Docker hides too what each processor counts of its heat, which tells what others compute (GHSA-6fw5-f8r9-fgfm):
/// those of these paths that there are.
pub fn of_this_machine() -> Vec<String> {
    let processors = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let paths =
        processors.filter_map(|entry| entry.path().join("thermal_throttle").into_os_string().into_string().ok());
    let mut paths: Vec<String> = paths.filter(|path| fs::exists(path).unwrap_or_default()).collect();
    paths.sort();
    paths
}

/// Absolute paths with colons between.
fn cleaned(text: &str, paths: &str) -> Result<Vec<String>> {
    let one = |path: &str| match mounts::clean(path) {
        Ok(path) if !path.contains(['*', '?', '[']) => Ok(path),
        _ => Err(refused(text, "it wants absolute paths, with colons between and without wildcards")),
    };
    paths.split(':').map(one).collect()
}

fn refused(option: &str, why: &str) -> Error {
    Error::Usage(format!("--security-opt {option}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(options: &[&str]) -> Confinement {
        let mut confinement = Confinement::default();
        for option in options {
            confinement.security_opt(option).unwrap();
        }
        confinement
    }

    #[test]
    fn reads_security_options() {
        for (option, wanted) in [
            ("no-new-privileges", true),
            ("no-new-privileges=true", true),
            ("no-new-privileges:true", true),
            ("no-new-privileges=false", false),
            ("no-new-privileges:false", false),
        ] {
            assert_eq!(with(&[option]).no_new_privileges, Some(wanted), "{option}");
        }
        for (option, wanted) in [
            ("seccomp=unconfined", Seccomp::Unconfined),
            ("seccomp:unconfined", Seccomp::Unconfined),
            ("seccomp=builtin", Seccomp::Usual),
            ("seccomp=/a=b:c", Seccomp::File("/a=b:c".into())),
        ] {
            assert_eq!(with(&[option]).seccomp, wanted, "{option}");
        }
        with(&["apparmor=unconfined", "apparmor:unconfined", "label=disable", "label:disable"]);
        for bad in [
            "",
            "x",
            "x=y",
            "no-new-privileges=",
            "no-new-privileges=1",
            "seccomp",
            "seccomp=",
            "apparmor",
            "apparmor=docker-default",
            "label=type:x",
            "systempaths",
            "systempaths=x",
            "mask",
            "mask=",
            "mask=x",
            "mask=/a:",
            "mask=/a/../b",
            "unmask=/proc/*",
            "unmask=all:/x",
            "proc-opts=hidepid=2",
        ] {
            assert_eq!(Confinement::default().security_opt(bad).unwrap_err().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn system_calls_are_filtered_unless_it_is_told_otherwise() {
        let filter = |options: &[&str], privileged| {
            let linux = Confinement { privileged, ..with(options) }.linux(&[], &[]);
            linux.map(|linux| linux.seccomp.is_some())
        };
        assert!(filter(&[], false).unwrap() && filter(&["seccomp=unconfined", "seccomp=builtin"], false).unwrap());
        assert!(!filter(&["seccomp=unconfined"], false).unwrap() && !filter(&[], true).unwrap());
        // Never is a profile that is asked for left out.
        for privileged in [false, true] {
            assert_eq!(filter(&["seccomp=/no-such-file"], privileged).unwrap_err().exit_code(), 1);
        }
    }

    #[test]
    fn masks_what_it_is_told() {
        let lists = |options: &[&str]| {
            let linux = with(options).linux(&["/sys/more".into()], &[]).unwrap();
            (linux.masked_paths, linux.readonly_paths)
        };
        let (masked, read_only) = lists(&[]);
        assert_eq!((masked.len(), read_only.len(), masked[12].as_str()), (13, 5, "/sys/more"));
        for option in ["systempaths=unconfined", "unmask=ALL", "unmask=all"] {
            assert_eq!(lists(&[option]), (vec![], vec![]), "{option}");
        }
        let (masked, read_only) =
            lists(&["unmask=/proc/kcore:/proc/sys/", "mask=/etc/x:/proc/meminfo", "unmask=/sys/more"]);
        assert!(masked.len() == 13 && !masked.contains(&"/proc/kcore".into()), "{masked:?}");
        assert_eq!(masked[11..], ["/etc/x", "/proc/meminfo"]);
        assert_eq!(read_only, ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"]);
        assert_eq!(lists(&["mask=/a", "unmask=ALL"]).0, ["/a"]);
        let linux = Confinement { privileged: true, ..with(&["mask=/a"]) }.linux(&["/b".into()], &[]).unwrap();
        assert_eq!((linux.masked_paths, linux.readonly_paths.len()), (vec!["/a".to_owned()], 0));
    }

    #[test]
    fn tells_by_annotations() {
        let mut confinement = Confinement::default();
        assert_eq!(confinement.annotations(), []);
        for value in USER_NAMESPACES {
            confinement.userns(value).unwrap();
            assert_eq!(confinement.annotations(), [("run.crate.userns", value)]);
            assert_eq!(confinement.check_userns(true).is_ok(), value == "host");
            assert_eq!(confinement.check_userns(false).is_ok(), value != "host");
            assert_eq!(confinement.keeps_id(), value == "keep-id");
        }
        for bad in ["", "auto", "keep-id:uid=5", "nomap", "container:x", "Host"] {
            assert!(confinement.userns(bad).is_err(), "{bad}");
        }
        let confinement = Confinement { privileged: true, no_root_emulation: true, ..Confinement::default() };
        assert_eq!(
            confinement.annotations(),
            [("run.crate.privileged", "true"), ("run.crate.root-emulation", "false")]
        );
    }

    #[test]
    fn settings_of_the_hosts_network_are_refused() {
        let mut confinement = Confinement::default();
        confinement.sysctl.insert("kernel.shmmax".into(), "1".into());
        confinement.check(Network::Host).unwrap();
        confinement.sysctl.insert("net.ipv4.ip_forward".into(), "1".into());
        confinement.check(Network::Private).unwrap();
        assert_eq!(confinement.check(Network::Host).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn the_last_limit_of_a_name_counts() {
        let mut confinement = Confinement::default();
        for text in ["nofile=5", "core=0", "nofile=9"] {
            confinement.limit(crate::limits::ulimit(text).unwrap());
        }
        let limits: Vec<(&str, u64)> =
            confinement.rlimits.iter().map(|limit| (limit.kind.as_str(), limit.soft)).collect();
        assert_eq!(limits, [("RLIMIT_CORE", 0), ("RLIMIT_NOFILE", 9)]);
    }
}
