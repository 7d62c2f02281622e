//! `crate-store create`.

use super::{confinement, print, value};
use lexopt::ValueExt;
use lexopt::prelude::*;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use store::create::{Network, Request};
use store::error::Doing;
use store::spec::annotation;
use store::{Error, Result, Store, environment, limits, mounts, signal};

const HELP: &str = "\
usage: crate-store create [FLAG…] IMAGE [--] [COMMAND…]

Makes a container, an OCI bundle, of an image whose layers are unpacked, and prints its id.
What follows IMAGE belongs to the command. Exit code 3: the image, or a layer, is not here.

  -e, --env NAME[=VALUE]      set a variable; without a value, the caller's
  --env-file FILE             set variables, one a line; -e comes after it
  -w, --workdir PATH          the directory to start in
  -u, --user USER[:GROUP]     names or numbers of the image
  --entrypoint PROGRAM        in place of the image's entrypoint and command
  --name NAME                 a name for the container
  -h, --hostname NAME         the host name inside
  -v, --volume SRC:DST[:ro]   mount a directory or file of the host
  --mount type=bind|tmpfs,src=…,dst=…[,ro]
  --tmpfs DST[:OPTION,…]      mount an empty file system in memory
  --read-only                 mount the root file system read-only
  --network private|none|host its own network with loopback alone (default), or the host's
  --cap-add CAP[,…], --cap-drop CAP[,…]
                              change docker's default set of capabilities; ALL for all
  --privileged                all capabilities and system calls, the host's devices
  --security-opt OPTION       no-new-privileges[=false], seccomp=FILE|unconfined,
                              mask=PATH[:…], unmask=ALL|PATH[:…], systempaths=unconfined
  --userns private|ranges|keep-id|host
                              which ids of the host it has
  --root-emulation on|off     where one id is mapped, pretend that owners change (default)
  --ulimit NAME=SOFT[:HARD]   limit a resource of its processes, such as nofile
  --sysctl NAME=VALUE         a kernel setting of its namespaces, such as net.ipv4.ip_forward
  --device HOST[:DST][:rwm]   let it use a device of the host
  --shm-size SIZE             the size of /dev/shm; the default is 64m
  -m, --memory SIZE, --memory-swap SIZE
                              limit memory; and memory and swap together, -1 for any
  --cpus N                    limit processor time to that of N processors, such as 1.5
  -c, --cpu-shares N, --cpu-period MICROSECONDS, --cpu-quota MICROSECONDS
                              weight and limit of processor time, as the kernel has them
  --pids-limit N              limit processes and threads
  --cgroupns private, --ipc private, --pid private, --uts private
                              so it is in any case, and nothing else is to be had
  --platform OS/ARCH[/VAR]    choose, or insist on, the platform of the image
  -l, --label NAME=VALUE      annotate the container
  --cidfile FILE              write the id to a new file too
  -i, --interactive           keep standard input open
  -t, --tty                   give the program a terminal
  --rm                        remove the container when it has ended
  --init                      a first process that reaps; the program is its child
  --restart POLICY            start it again when it has ended: no (default), on-failure[:N], always
  --stop-signal SIGNAL        ask it to end with this one, in place of the image's or TERM
  --stop-timeout SECONDS      kill it so long after that; the default is 10
  --pidfile FILE              write the process id to this file at each start
  --log-driver k8s-file|none  keep what it writes (default), or nothing
  --log-opt max-size=10m, --log-opt max-file=3
                              how much of it is kept at most

  crate-store create --rm -v \"$PWD\":/src -w /src debian:12 make";

/// What the command line says.
#[derive(Default)]
struct Given {
    request: Request,
    env_files: Vec<PathBuf>,
    env: Vec<String>,
    cidfile: Option<PathBuf>,
    init: bool,
    unlogged: bool,
}

pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let mut given = Given::default();
    loop {
        let Some(argument) = args.next()? else {
            return Err(Error::Usage("create wants an image\nhint: see crate-store create --help".into()));
        };
        match argument {
            Value(image) => {
                given.request.image = image.string()?;
                break;
            }
            Long("help") => return print(HELP),
            Short(letter) => match long(letter) {
                Some(name) => flag(&mut given, name, true, &mut args)?,
                None => return Err(unsupported(&format!("-{letter}"))),
            },
            Long(name) => {
                let name = name.to_owned();
                flag(&mut given, &name, false, &mut args)?;
            }
        }
    }
    let mut command = args.raw_args()?.peekable();
    command.next_if(|first| first == "--");
    given.request.command = command.map(ValueExt::string).collect::<std::result::Result<_, _>>()?;
    make(given)
}

/// The long form of a short flag.
fn long(letter: char) -> Option<&'static str> {
    Some(match letter {
        'e' => "env",
        'w' => "workdir",
        'u' => "user",
        'h' => "hostname",
        'v' => "volume",
        'i' => "interactive",
        't' => "tty",
        'd' => "detach",
        'l' => "label",
        'm' => "memory",
        'c' => "cpu-shares",
        _ => return None,
    })
}

/// Takes one flag. The value of a switch is only looked for in the long form: in `-it`, `t` is no value.
fn flag(given: &mut Given, name: &str, short: bool, args: &mut lexopt::Parser) -> Result<()> {
    let request = &mut given.request;
    let wanted = match name {
        "interactive" => &mut request.interactive,
        "tty" => &mut request.terminal,
        "rm" => &mut request.remove,
        "read-only" => &mut request.read_only,
        "privileged" => &mut request.confinement.privileged,
        "init" => &mut given.init,
        "env-file" => {
            given.env_files.push(args.value()?.into());
            return Ok(());
        }
        "cidfile" => {
            given.cidfile = Some(args.value()?.into());
            return Ok(());
        }
        _ => return valued(given, name, value(args)?),
    };
    *wanted = switch(name, short, args)?;
    Ok(())
}

/// Takes one flag that has a value of text.
fn valued(given: &mut Given, name: &str, text: String) -> Result<()> {
    let request = &mut given.request;
    match name {
        "env" => given.env.push(text),
        "workdir" => request.workdir = Some(text),
        "user" => request.user = Some(text),
        "name" => request.name = Some(text),
        "hostname" => request.hostname = Some(hostname(text)?),
        "entrypoint" => request.entrypoint = Some(text),
        "volume" => request.mounts.push(mounts::volume(&text)?),
        "mount" => request.mounts.push(mounts::mount(&text)?),
        "tmpfs" => request.mounts.push(mounts::tmpfs(&text)?),
        "network" | "net" => request.network = network(&text)?,
        "platform" => request.platform = Some(text.parse()?),
        "label" => request.labels.push(label(&text)?),
        "log-driver" => given.unlogged = log_driver(&text)?,
        "restart" => tell(request, name, &text, restart)?,
        "stop-signal" => tell(request, name, &text, stop_signal)?,
        "stop-timeout" => tell(request, name, &text, stop_timeout)?,
        "pidfile" => tell(request, name, &text, pidfile)?,
        "log-opt" => tell(request, name, &text, log_option)?,
        _ if confinement::flag(&mut request.confinement, name, &text)? => {}
        _ => return Err(unsupported(&format!("--{name}"))),
    }
    Ok(())
}

/// What a flag tells, as an annotation; or what its value should have been.
type Told = std::result::Result<(&'static str, String), &'static str>;

fn tell(request: &mut Request, name: &str, text: &str, read: fn(&str) -> Told) -> Result<()> {
    let wrong = |expected| Error::Usage(format!("--{name} {text}: it wants {expected}"));
    let (key, value) = read(text).map_err(wrong)?;
    put(request, key, value);
    Ok(())
}

/// The last flag counts; one that tells nothing takes back what was told.
fn put(request: &mut Request, key: &'static str, value: String) {
    request.told.retain(|(own, _)| *own != key);
    if !value.is_empty() {
        request.told.push((key, value));
    }
}

fn restart(text: &str) -> Told {
    let value = match text.strip_prefix("on-failure:") {
        Some(count) if count.parse::<u32>().is_ok() => text,
        // Without a daemon, that somebody stopped it is remembered nowhere but in its supervisor.
        None if matches!(text, "always" | "unless-stopped") => "always",
        None if text == "on-failure" => text,
        None if text == "no" => "",
        _ => return Err("no, always, unless-stopped, on-failure or on-failure:N"),
    };
    Ok((annotation::RESTART, value.to_owned()))
}

fn stop_signal(text: &str) -> Told {
    let number = signal::parse(text).ok_or("a signal by name or number, as signal(7) has them")?;
    Ok((annotation::STOP_SIGNAL, signal::name(number)))
}

fn stop_timeout(text: &str) -> Told {
    let seconds: u32 = text.parse().map_err(|_| "a number of seconds")?;
    Ok((annotation::STOP_TIMEOUT, seconds.to_string()))
}

fn pidfile(text: &str) -> Told {
    let path = std::path::absolute(text).ok().and_then(|path| path.into_os_string().into_string().ok());
    Ok((annotation::PIDFILE, path.ok_or("the name of a file")?))
}

fn log_option(text: &str) -> Told {
    match text.split_once('=') {
        Some(("max-size", size)) => {
            let bytes = limits::size(size).filter(|bytes| *bytes > 0).ok_or("a size such as 10m; 0 is no size")?;
            Ok((annotation::LOG_SIZE, bytes.to_string()))
        }
        Some(("max-file", files)) => {
            let files = files.parse::<u32>().ok().filter(|files| *files > 0).ok_or("a number of files from 1 on")?;
            Ok((annotation::LOG_FILES, files.to_string()))
        }
        _ => Err("max-size=SIZE or max-file=N"),
    }
}

/// Is no log to be kept? Both formats of docker's and podman's are ours: there is one.
fn log_driver(name: &str) -> Result<bool> {
    match name {
        "none" => Ok(true),
        "k8s-file" | "json-file" => Ok(false),
        other => Err(Error::Usage(format!("--log-driver {other} is not supported: k8s-file, json-file and none are"))),
    }
}

fn switch(name: &str, short: bool, args: &mut lexopt::Parser) -> Result<bool> {
    let value = if short { None } else { args.optional_value() };
    match value.as_deref().map(|value| value.to_string_lossy()).as_deref() {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(Error::Usage(format!("--{name} is true or false, not {other}"))),
    }
}

fn unsupported(flag: &str) -> Error {
    Error::Usage(format!("create: {flag} is not supported yet"))
}

/// At most 64 bytes (`HOST_NAME_MAX`), of which a hosts(5) file can hold each.
fn hostname(name: String) -> Result<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with(['-', '.']) {
        return Ok(name);
    }
    Err(Error::Usage(format!("--hostname {name}: a host name is letters, digits, - and . up to 64 bytes")))
}

fn network(name: &str) -> Result<Network> {
    match name {
        "none" | "private" => Ok(Network::Private),
        "host" => Ok(Network::Host),
        other => Err(Error::Usage(format!("--network {other} is not supported yet: private, none and host are"))),
    }
}

fn label(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() || key.starts_with("run.crate.") {
        return Err(Error::Usage(format!("--label {text}: it wants NAME=VALUE; names in run.crate. are crate's own")));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn make(mut given: Given) -> Result<()> {
    let request = &mut given.request;
    if request.remove && request.told.iter().any(|(key, _)| *key == annotation::RESTART) {
        return Err(Error::Usage("--restart and --rm: a container that is started again is not removed".into()));
    }
    request.confinement.check(request.network)?;
    if given.init {
        put(request, annotation::INIT, "true".into());
    }
    if given.unlogged {
        put(request, annotation::LOG_SIZE, "0".into());
    }
    let caller = |name: &str| std::env::var(name).ok();
    for path in &given.env_files {
        let text = fs::read_to_string(path).doing(|| format!("reading {}", path.display()))?;
        given.request.env.extend(environment::file(&text, &path.display().to_string(), caller)?);
    }
    for text in &given.env {
        given.request.env.push(environment::change(text, caller)?);
    }
    // Made first of all: a file that is there already means that the caller mistook it for a new one.
    let mut cidfile = match &given.cidfile {
        Some(path) => Some(OpenOptions::new().write(true).create_new(true).open(path).doing(|| made(path))?),
        None => None,
    };
    let id = Store::open().and_then(|store| store.create(&given.request));
    if let (Some(file), Some(path)) = (&mut cidfile, &given.cidfile) {
        match &id {
            Ok(id) => file.write_all(id.as_bytes()).doing(|| made(path))?,
            Err(_) => drop(fs::remove_file(path)), // What matters is the error that came first.
        }
    }
    print(&id?)
}

fn made(path: &Path) -> String {
    format!("making the cidfile {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_becomes_annotations() {
        let value = |read: fn(&str) -> Told, text: &str| read(text).map(|(_, value)| value);
        for text in ["always", "on-failure", "on-failure:3"] {
            assert_eq!(value(restart, text).unwrap(), text);
        }
        assert_eq!(value(restart, "unless-stopped").unwrap(), "always");
        assert_eq!(value(restart, "no").unwrap(), "");
        for text in ["", "never", "always:3", "on-failure:", "on-failure:-1", "on-failure:x"] {
            assert!(restart(text).is_err(), "{text}");
        }
        assert_eq!(value(stop_signal, "rtmin+3").unwrap(), "SIGRTMIN+3");
        assert!(stop_signal("NONE").is_err() && stop_timeout("-1").is_err() && pidfile("").is_err());
        assert_eq!(value(pidfile, "/a/./b").unwrap(), "/a/b");
        assert_eq!(value(log_option, "max-size=10m").unwrap(), "10485760");
        assert_eq!(log_option("max-file=3").unwrap(), (annotation::LOG_FILES, "3".into()));
        for text in ["max-size=0", "max-size=-1", "max-size=1x", "max-size=99999999999t", "max-file=0", "tag=x", "x"] {
            assert!(log_option(text).is_err(), "{text}");
        }
    }
}
