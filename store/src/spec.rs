//! The bundle's `config.json` (runtime-spec, `config.md`, `config-linux.md`): what crate writes and runs.

mod json;

use std::collections::BTreeMap;

/// The version of the runtime-spec that bundles are written for.
pub const VERSION: &str = "1.0.2";

/// Annotations that crate writes into `config.json` and reads back.
pub mod annotation {
    /// The layers of the root filesystem: diffids as 64 hexadecimal digits, the top first, with `:` between.
    pub const LAYERS: &str = "run.crate.layers";
    /// The reference or digest that the container was made of, as text for listings.
    pub const IMAGE: &str = "run.crate.image";
    /// The digest of the image's manifest.
    pub const MANIFEST: &str = "run.crate.manifest";
    /// `user[:group]`, to be resolved in the container's own `/etc/passwd` and `/etc/group` at each start.
    pub const USER: &str = "run.crate.user";
    /// `true`: remove the container when it has ended.
    pub const REMOVE: &str = "run.crate.remove";
    /// `true`: keep standard input open.
    pub const INTERACTIVE: &str = "run.crate.interactive";
    /// `true`: crate-init stays as process 1 and reaps.
    pub const INIT: &str = "run.crate.init";
    /// When to start it again: `always`, `on-failure` or `on-failure:N`; without it, never.
    pub const RESTART: &str = "run.crate.restart";
    /// How many seconds it is given to end after the stop signal.
    pub const STOP_TIMEOUT: &str = "run.crate.stop-timeout";
    /// The file that gets the process id of the program, an absolute path.
    pub const PIDFILE: &str = "run.crate.pidfile";
    /// The largest size of a log file in bytes; 0: no log is kept.
    pub const LOG_SIZE: &str = "run.crate.log.size";
    /// `true`: nothing of the host's devices and kernel settings is kept from the program.
    pub const PRIVILEGED: &str = "run.crate.privileged";
    /// Which ids the container has: `private` (without it, too), `ranges`, `keep-id` or `host`.
    pub const USERNS: &str = "run.crate.userns";
    /// `false`: where one id is mapped, changes of owner and identity fail as the kernel has it.
    pub const ROOT_EMULATION: &str = "run.crate.root-emulation";
    /// How many log files are kept.
    pub const LOG_FILES: &str = "run.crate.log.files";
    /// When the container was made, RFC 3339 in UTC.
    pub const CREATED: &str = "org.opencontainers.image.created";
    /// The signal that asks the program to end, such as `SIGTERM` (image-spec, `conversion.md`).
    pub const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";
}

/// `config.json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spec {
    /// The version of the runtime-spec.
    pub oci_version: String,
    /// What to run.
    pub process: Process,
    /// The root filesystem.
    pub root: Root,
    /// The host name inside.
    pub hostname: Option<String>,
    /// Further mounts, in order.
    pub mounts: Vec<Mount>,
    /// Namespaces and confinement.
    pub linux: Linux,
    /// Arbitrary metadata, labels and [`annotation`]s among them.
    pub annotations: BTreeMap<String, String>,
}

impl Spec {
    /// An annotation's text.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// Is the annotation `true`?
    pub fn flag(&self, key: &str) -> bool {
        self.annotation(key) == Some("true")
    }

    /// Has the container its own namespace of this type (`network`, `user`, …)?
    pub fn has_namespace(&self, kind: &str) -> bool {
        self.linux.namespaces.iter().any(|namespace| namespace.kind == kind)
    }
}

/// The program (runtime-spec, `config.md#process`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// Give it a terminal.
    pub terminal: bool,
    /// Who it runs as.
    pub user: User,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value` each.
    pub env: Vec<String>,
    /// The directory to start in.
    pub cwd: String,
    /// The capabilities it has.
    pub capabilities: Option<Capabilities>,
    /// Deny it all gain of privilege through execve (prctl(2), `PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
    /// Its resource limits; those that are not named are the caller's.
    pub rlimits: Vec<Rlimit>,
}

/// A resource limit (getrlimit(2)); `u64::MAX` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rlimit {
    /// A name such as `RLIMIT_NOFILE`.
    pub kind: String,
    /// What it may raise the soft limit to.
    pub hard: u64,
    /// What is enforced.
    pub soft: u64,
}

/// Numeric identity inside the container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub additional_gids: Vec<u32>,
}

/// Capability sets, each a list of names such as `CAP_CHOWN`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Capabilities {
    /// The most that any program inside can gain.
    pub bounding: Vec<String>,
    /// In force.
    pub effective: Vec<String>,
    /// Allowed to be in force.
    pub permitted: Vec<String>,
    /// Kept through execve by files that ask for them.
    pub inheritable: Vec<String>,
    /// Kept through execve.
    pub ambient: Vec<String>,
}

impl Capabilities {
    /// These to have and to gain, and none that are kept through execve by others than root.
    pub fn of(names: Vec<String>) -> Self {
        Self { bounding: names.clone(), effective: names.clone(), permitted: names, ..Self::default() }
    }
}

/// The root filesystem.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Root {
    /// A directory, relative to the bundle.
    pub path: String,
    /// Mount it read-only.
    pub readonly: bool,
}

/// One mount (runtime-spec, `config.md#mounts`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mount {
    /// An absolute path inside the container.
    pub destination: String,
    /// The type of the filesystem; `bind` for a bind mount.
    pub kind: String,
    /// A device, name, or the directory or file to bind; relative to the bundle.
    pub source: String,
    /// Options of mount(8).
    pub options: Vec<String>,
}

/// Namespaces and confinement (runtime-spec, `config-linux.md`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Linux {
    /// The namespaces that the container has of its own.
    pub namespaces: Vec<Namespace>,
    /// Paths that nothing inside can read.
    pub masked_paths: Vec<String>,
    /// Paths that nothing inside can write.
    pub readonly_paths: Vec<String>,
    /// Kernel settings of its namespaces: names as in sysctl(8), with dots.
    pub sysctl: BTreeMap<String, String>,
    /// The seccomp profile (runtime-spec, `config-linux.md#seccomp`) as JSON; see [`crate::seccomp::Profile`].
    pub seccomp: Option<Box<str>>,
    /// Limits of its cgroup.
    pub resources: Option<Resources>,
}

/// Limits of the container's cgroup (runtime-spec, `config-linux.md#control-groups`); what is none is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together, in bytes; -1: as much swap as there is.
    pub swap: Option<i64>,
    /// Processor time in microseconds of each `cpu_period`.
    pub cpu_quota: Option<i64>,
    /// In microseconds.
    pub cpu_period: Option<u64>,
    /// Relative weight, from 2 to 262144; 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// Processes and threads; -1: any number.
    pub pids: Option<i64>,
}

/// A namespace of the container's own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Namespace {
    /// `pid`, `network`, `mount`, `ipc`, `uts`, `user` or `cgroup`.
    pub kind: String,
    /// A namespace to join instead of making one.
    pub path: Option<String>,
}
