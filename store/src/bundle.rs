//! The `config.json` of a new container: what the image says, as changed by the request, with docker's defaults.

use crate::create::{Network, Request};
use crate::environment;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::mounts;
use crate::oci::Execution;
use crate::spec::{Capabilities, Linux, Mount, Namespace, Process, Root, Spec, User, VERSION, annotation};
use std::collections::BTreeMap;

/// What runtimes and systemd obey when they find it among the annotations: an image must not say it by a label.
const OBEYED: [&str; 5] = ["run.", "io.kubernetes.", "module.wasm.", "org.criu.", "org.systemd.property."];

/// What the outcome depends on besides the image and the request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Is the caller root, so that there is no user namespace?
    pub root: bool,
    /// The caller's user and group id.
    pub ids: (u32, u32),
    /// Is group 5, by custom `tty`, mapped where the container will run, so that its terminals can belong to it?
    pub tty_group: bool,
    /// All capabilities that a container can have, where [all are wanted](capability::Changes::wants_all); else unused.
    pub capabilities: u64,
    /// What is masked on this machine besides [the usual](confinement::of_this_machine).
    pub hidden: Vec<String>,
    /// The caller's `TERM`.
    pub term: Option<String>,
    /// When the container is made.
    pub now: String,
}

/// Makes the `config.json` of container `id`; `layers` is the text of [`annotation::LAYERS`].
pub fn spec(request: &Request, image: &Image, layers: &str, id: &str, caller: &Caller) -> Result<Spec> {
    let default = Execution::default();
    let execution = image.config.config.as_ref().unwrap_or(&default);
    let hostname = request.hostname.clone().unwrap_or_else(|| id[..12].to_owned());
    let own = |user: &&String| !user.is_empty();
    let confinement = &request.confinement;
    // Whose id is kept is who the program is for, whatever the image says.
    let kept = confinement.keeps_id().then(|| format!("{}:{}", caller.ids.0, caller.ids.1));
    let user = request.user.as_ref().filter(own).or(kept.as_ref()).or(execution.user.as_ref().filter(own));
    let capabilities = confinement.capability_names(caller.capabilities);
    let linux = confinement.linux(&caller.hidden, &capabilities)?;
    let process = Process {
        terminal: request.terminal,
        user: user.and_then(|user| numeric(user)).unwrap_or_default(),
        args: args(request, execution)?,
        env: env(request, execution, &hostname, caller),
        cwd: cwd(request, execution)?,
        capabilities: Some(Capabilities::of(capabilities)),
        no_new_privileges: confinement.no_new_privileges.unwrap_or(!confinement.privileged),
        rlimits: confinement.rlimits.clone(),
    };
    let texts = process.args.iter().chain(&process.env).chain(user).chain([&process.cwd]);
    let texts = texts.chain(&execution.volumes);
    if texts.into_iter().any(|text| text.contains('\0')) {
        // Programs take such text as ended at the NUL: what was checked would not be what is used.
        return Err(Error::Refused(format!("image {}: its config holds a NUL byte", image.descriptor.digest)));
    }
    Ok(Spec {
        oci_version: VERSION.into(),
        process,
        root: Root { path: "rootfs".into(), readonly: request.read_only },
        hostname: Some(hostname),
        mounts: all_mounts(request, execution, caller)?,
        linux: Linux { namespaces: namespaces(request, caller), ..linux },
        annotations: annotations(request, image, execution, layers, user, caller),
    })
}

/// Docker's rules: an entrypoint of the caller's drops the image's `Cmd` too; an empty one only drops.
fn args(request: &Request, execution: &Execution) -> Result<Vec<String>> {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let mut args = match &request.entrypoint {
        Some(entrypoint) if entrypoint.is_empty() => Vec::new(),
        Some(entrypoint) => vec![entrypoint.clone()],
        None => list(&execution.entrypoint),
    };
    match (&request.entrypoint, request.command.as_slice()) {
        (None, []) => args.extend(list(&execution.cmd)),
        (_, command) => args.extend_from_slice(command),
    }
    if args.is_empty() {
        return Err(Error::Usage(format!(
            "the image names no program to run, nor did you\nhint: give one after the image: {} PROGRAM",
            request.image
        )));
    }
    Ok(args)
}

fn env(request: &Request, execution: &Execution, hostname: &str, caller: &Caller) -> Vec<String> {
    let mut env = vec![environment::PATH.to_owned(), format!("HOSTNAME={hostname}"), "container=crate".to_owned()];
    if request.terminal {
        env.push(format!("TERM={}", caller.term.as_deref().unwrap_or("xterm")));
    }
    let usable = |entry: &&String| !entry.starts_with('=') && entry.contains('=');
    environment::merge(&mut env, execution.env.iter().flatten().filter(usable));
    environment::merge(&mut env, &request.env);
    env
}

fn cwd(request: &Request, execution: &Execution) -> Result<String> {
    match (request.workdir.as_deref(), execution.working_dir.as_deref().unwrap_or_default()) {
        (Some(path), _) | (None, path) if path.starts_with('/') => Ok(path.to_owned()),
        (Some(path), _) => Err(Error::Usage(format!("--workdir {path}: it must be an absolute path"))),
        (None, path) => Ok(format!("/{path}")),
    }
}

/// `uid` or `uid:gid`, where no file of the container need be read.
fn numeric(user: &str) -> Option<User> {
    let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok())?;
    Some(User { uid: number(uid)?, gid: number(gid)?, additional_gids: Vec::new() })
}

fn namespaces(request: &Request, caller: &Caller) -> Vec<Namespace> {
    let mut kinds = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    if request.network == Network::Private {
        kinds.push("network");
    }
    if !caller.root {
        kinds.push("user");
    }
    kinds.into_iter().map(|kind| Namespace { kind: kind.into(), path: None }).collect()
}

fn all_mounts(request: &Request, execution: &Execution, caller: &Caller) -> Result<Vec<Mount>> {
    let mut own = request.mounts.clone();
    if caller.root {
        own.iter_mut().for_each(mounts::harden);
    }
    own.extend(request.confinement.devices.iter().cloned());
    for (place, mount) in own.iter().enumerate() {
        if own[..place].iter().any(|other| other.destination == mount.destination) {
            return Err(Error::Usage(format!("two mounts on {}", mount.destination)));
        }
    }
    // On a read-only root the image's volumes alone stay writable, in place.
    for volume in execution.volumes.iter().filter(|_| request.read_only) {
        let destination =
            mounts::clean(volume).map_err(|error| Error::Refused(format!("the image's volumes: {error}")))?;
        if !own.iter().any(|mount| mount.destination == destination) {
            own.push(entry(&destination, "bind", &format!("rootfs{destination}"), "rbind,rprivate,rw"));
        }
    }
    let mut all = default_mounts(request, caller);
    all.retain(|mount| !own.iter().any(|other| other.destination == mount.destination));
    own.sort_by_key(mounts::depth);
    all.extend(own);
    Ok(all)
}

fn default_mounts(request: &Request, caller: &Caller) -> Vec<Mount> {
    let pts = "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620";
    let confinement = &request.confinement;
    let shm = confinement.shm_size.map_or_else(|| "65536k".to_owned(), |bytes| bytes.to_string());
    let sys = if confinement.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        entry("/proc", "proc", "proc", "nosuid,noexec,nodev"),
        entry("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        // Group 5, tty, is not mapped for everyone, and the kernel refuses an unmapped one.
        entry("/dev/pts", "devpts", "devpts", &if caller.tty_group { format!("{pts},gid=5") } else { pts.into() }),
        entry("/dev/shm", "tmpfs", "shm", &format!("nosuid,noexec,nodev,mode=1777,size={shm}")),
        entry("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        // Only who owns a network namespace may mount a sysfs of it.
        if request.network == Network::Host && !caller.root {
            entry("/sys", "bind", "/sys", &format!("rbind,rprivate,nosuid,noexec,nodev,{sys}"))
        } else {
            entry("/sys", "sysfs", "sysfs", &format!("nosuid,noexec,nodev,{sys}"))
        },
        entry("/run", "tmpfs", "tmpfs", "nosuid,nodev,mode=755"),
    ];
    // What limits it can be read where it can be shown: in cgroups of version 2. Never written (CVE-2023-25809).
    if confinement.limits.resources().is_ok_and(|resources| resources.is_some()) {
        mounts.push(entry("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,ro"));
    }
    let access = if request.read_only { "ro" } else { "rw" };
    for name in ["hosts", "hostname", "resolv.conf"] {
        mounts.push(entry(&format!("/etc/{name}"), "bind", name, &format!("bind,{access},nosuid,nodev,noexec")));
    }
    mounts
}

fn entry(destination: &str, kind: &str, source: &str, options: &str) -> Mount {
    let options = options.split(',').map(str::to_owned).collect();
    Mount { destination: destination.into(), kind: kind.into(), source: source.into(), options }
}

fn annotations(
    request: &Request,
    image: &Image,
    execution: &Execution,
    layers: &str,
    user: Option<&String>,
    caller: &Caller,
) -> BTreeMap<String, String> {
    let labels = execution.labels.iter().flatten();
    let labels = labels.chain(request.labels.iter().map(|(key, value)| (key, value)));
    let obeyed = |key: &str| OBEYED.iter().any(|prefix| key.starts_with(prefix));
    let mut all: BTreeMap<String, String> =
        labels.filter(|(key, _)| !obeyed(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut set = |key: &str, value: &str| drop(all.insert(key.to_owned(), value.to_owned()));
    set(annotation::LAYERS, layers);
    set(annotation::IMAGE, image.reference.as_deref().unwrap_or(&request.image));
    set(annotation::MANIFEST, image.descriptor.digest.as_str());
    set(annotation::CREATED, &caller.now);
    if let Some(user) = user {
        set(annotation::USER, user);
    }
    if let Some(signal) = &execution.stop_signal {
        set(annotation::STOP_SIGNAL, signal);
    }
    for (key, wanted) in [(annotation::REMOVE, request.remove), (annotation::INTERACTIVE, request.interactive)] {
        if wanted {
            set(key, "true");
        }
    }
    request.confinement.annotations().into_iter().for_each(|(key, value)| set(key, value));
    request.told.iter().for_each(|(key, value)| set(key, value));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::json;
    use crate::oci::{Descriptor, ImageConfig, Manifest};

    fn image(config: &str) -> Image {
        let descriptor = Descriptor::new("", Digest::of(b""), 0);
        let manifest = Manifest { schema_version: 2, media_type: None, config: descriptor.clone(), layers: Vec::new() };
        let execution = json::read(config.as_bytes(), "config").unwrap();
        let config = ImageConfig { config: Some(execution), ..ImageConfig::default() };
        Image { reference: Some("docker.io/library/x:latest".into()), descriptor, manifest, config }
    }

    fn made(config: &str, request: &Request) -> Result<Spec> {
        let caller = Caller {
            root: false,
            ids: (7, 8),
            tty_group: false,
            capabilities: 3,
            hidden: Vec::new(),
            term: None,
            now: "now".into(),
        };
        spec(request, &image(config), "aa:bb", &"0".repeat(64), &caller)
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn combines_entrypoint_and_command_as_docker_does() {
        let both = r#"{"Entrypoint":["e","1"],"Cmd":["c","2"]}"#;
        let only = r#"{"Cmd":["c","2"]}"#;
        for (config, entrypoint, command, args) in [
            (both, None, "", "e 1 c 2"),
            (both, None, "x y", "e 1 x y"),
            (both, Some("s"), "", "s"),
            (both, Some("s"), "x", "s x"),
            (both, Some(""), "x", "x"),
            (only, None, "", "c 2"),
            (only, None, "x", "x"),
        ] {
            let entrypoint = entrypoint.map(str::to_owned);
            let request = Request { entrypoint, command: words(command), ..Request::default() };
            assert_eq!(made(config, &request).unwrap().process.args, words(args));
        }
        assert_eq!(made("{}", &Request::default()).unwrap_err().exit_code(), 2);
        let request = Request { entrypoint: Some(String::new()), ..Request::default() };
        assert_eq!(made(both, &request).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn takes_numeric_users_and_passes_on_names() {
        for (user, uid, gid) in [("7", 7, 0), ("7:8", 7, 8), ("me", 0, 0), ("7:staff", 0, 0), ("", 0, 0), ("-1", 0, 0)]
        {
            let config = format!(r#"{{"User":"{user}","Cmd":["x"]}}"#);
            let spec = made(&config, &Request::default()).unwrap();
            assert_eq!((spec.process.user.uid, spec.process.user.gid), (uid, gid), "{user}");
            assert_eq!(spec.annotation(annotation::USER).unwrap_or_default(), user);
        }
        let request = Request { user: Some("1:2".into()), ..Request::default() };
        assert_eq!(made(r#"{"User":"me","Cmd":["x"]}"#, &request).unwrap().process.user.gid, 2);
        let mut request = Request::default();
        request.confinement.userns("keep-id").unwrap();
        assert_eq!(made(r#"{"User":"me","Cmd":["x"]}"#, &request).unwrap().annotation(annotation::USER), Some("7:8"));
        request.user = Some("you".into());
        assert_eq!(made(r#"{"User":"me","Cmd":["x"]}"#, &request).unwrap().annotation(annotation::USER), Some("you"));
    }

    #[test]
    fn lets_the_request_win_over_the_image() {
        let config = r#"{"Cmd":["x"],"Env":["A=1","B=2"],"WorkingDir":"w","StopSignal":"SIGINT",
            "Labels":{"a":"1","run.crate.layers":"evil","org.systemd.property.X":"1"}}"#;
        let spec = made(config, &Request::default()).unwrap();
        assert_eq!(spec.process.cwd, "/w");
        assert_eq!(spec.process.env[0], environment::PATH);
        assert!(!spec.process.env.iter().any(|entry| entry.starts_with("TERM=")));
        assert_eq!(spec.annotation(annotation::LAYERS), Some("aa:bb"));
        assert_eq!(spec.annotation(annotation::STOP_SIGNAL), Some("SIGINT"));
        assert_eq!((spec.annotation("a"), spec.annotation("org.systemd.property.X")), (Some("1"), None));
        let env = words("A=9 PATH=/p B");
        let request = Request { env, workdir: Some("/v".into()), terminal: true, ..Request::default() };
        let spec = made(config, &request).unwrap();
        assert_eq!(spec.process.cwd, "/v");
        assert_eq!(spec.process.env, words("PATH=/p HOSTNAME=000000000000 container=crate TERM=xterm A=9"));
        let request = Request { workdir: Some("v".into()), ..Request::default() };
        assert_eq!(made(config, &request).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn refuses_a_nul_byte() {
        for config in
            [r#"{"Cmd":["a\u0000"]}"#, r#"{"Cmd":["a"],"User":"\u0000"}"#, r#"{"Cmd":["a"],"WorkingDir":"/\u0000"}"#]
        {
            assert_eq!(made(config, &Request::default()).unwrap_err().exit_code(), 6);
        }
    }

    #[test]
    fn mounts_from_the_root_downwards_and_in_place_of_defaults() {
        let mounts = ["/a/b/c", "/run", "/a"].map(|path| mounts::tmpfs(path).unwrap());
        let request = Request { mounts: mounts.into(), read_only: true, ..Request::default() };
        let config = r#"{"Cmd":["x"],"Volumes":{"/data":{},"/a":{}}}"#;
        let spec = made(config, &request).unwrap();
        let last: Vec<&str> = spec.mounts.iter().rev().take(4).map(|mount| mount.destination.as_str()).collect();
        assert_eq!(last, ["/a/b/c", "/data", "/a", "/run"]);
        assert_eq!(spec.mounts.iter().filter(|mount| mount.destination == "/run").count(), 1);
        assert!(spec.mounts.iter().any(|mount| mount.source == "rootfs/data"));
        let twice =
            Request { mounts: ["/a", "/a/"].map(|path| mounts::tmpfs(path).unwrap()).into(), ..Request::default() };
        assert_eq!(made(config, &twice).unwrap_err().exit_code(), 2);
    }
}
