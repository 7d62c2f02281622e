//! The flags of `run` and `create`: which are for `crate-store create`, and which for `crate-fetch`.

use crate::program::{Failure, Outcome};
use lexopt::prelude::*;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// When to ask the registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// If the image is not here.
    #[default]
    Missing,
    /// Each time.
    Always,
    /// Each time, and what is here will do where that fails.
    Newer,
    /// Not at all.
    Never,
}

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Flags for `crate-store create`.
    pub create: Vec<OsString>,
    /// Flags for `crate-fetch`.
    pub fetch: Vec<OsString>,
    /// The image.
    pub image: OsString,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// When to ask the registry.
    pub policy: Policy,
    /// Is there a lock file to go by or to write?
    pub locking: bool,
    /// Flags for `crate-sup run` and `crate-sup start`.
    pub start: Vec<OsString>,
    /// Do not stay with the container.
    pub detach: bool,
    /// Was anything said about how the caller's terminal and the container are to go together?
    pub attached: bool,
}

/// Flags with a value that `crate-store create` takes.
const VALUES: [(&str, &str); 39] = [
    ("e", "env"),
    ("", "env-file"),
    ("w", "workdir"),
    ("u", "user"),
    ("", "entrypoint"),
    ("", "name"),
    ("h", "hostname"),
    ("v", "volume"),
    ("", "mount"),
    ("", "tmpfs"),
    ("", "network"),
    ("", "cidfile"),
    ("l", "label"),
    ("", "restart"),
    ("", "stop-signal"),
    ("", "stop-timeout"),
    ("", "pidfile"),
    ("", "log-driver"),
    ("", "log-opt"),
    ("", "cap-add"),
    ("", "cap-drop"),
    ("", "security-opt"),
    ("", "userns"),
    ("", "root-emulation"),
    ("", "ulimit"),
    ("", "sysctl"),
    ("", "device"),
    ("", "shm-size"),
    ("m", "memory"),
    ("", "memory-swap"),
    ("", "cpus"),
    ("c", "cpu-shares"),
    ("", "cpu-period"),
    ("", "cpu-quota"),
    ("", "pids-limit"),
    ("", "cgroupns"),
    ("", "ipc"),
    ("", "pid"),
    ("", "uts"),
];

/// Switches that `crate-store create` takes.
const SWITCHES: [(&str, &str); 6] =
    [("i", "interactive"), ("t", "tty"), ("", "rm"), ("", "read-only"), ("", "init"), ("", "privileged")];

/// Reads the arguments of `run` and `create`; `verb` is named in messages.
pub fn read(mut args: lexopt::Parser, verb: &str) -> Outcome<Wanted> {
    let mut wanted = Wanted::default();
    loop {
        let (short, name) = match args.next()? {
            Some(Short(letter)) => (true, letter.to_string()),
            Some(Long(name)) => (false, name.to_owned()),
            Some(Value(image)) => {
                wanted.image = image;
                break;
            }
            None => {
                return Err(Failure::usage(format!("{verb} wants an image\nhint: see crate {verb} --help")));
            }
        };
        flag(&mut wanted, &mut args, short, &name, verb)?;
    }
    wanted.command = args.raw_args()?.collect();
    Ok(wanted)
}

fn flag(wanted: &mut Wanted, args: &mut lexopt::Parser, short: bool, name: &str, verb: &str) -> Outcome {
    let find = |table: &[(&str, &'static str)]| {
        let found = table.iter().find(|(letter, long)| if short { *letter == name } else { *long == name });
        found.map(|(_, long)| *long)
    };
    if let Some(long) = find(&VALUES) {
        wanted.create.push(joined(long, &args.value()?));
    } else if let Some(long) = find(&SWITCHES) {
        // In `-it`, `t` is no value of `-i`.
        let value = if short { None } else { args.optional_value() };
        wanted.attached |= matches!(long, "interactive" | "tty");
        wanted.create.push(value.map_or_else(|| format!("--{long}").into(), |value| joined(long, &value)));
    } else if verb == "run" && (name == "detach" || short && name == "d") {
        let value = if short { None } else { args.optional_value() };
        wanted.detach = switch("detach", value.as_deref())?;
        wanted.attached = true;
    } else {
        let name = if short { format!("-{name}") } else { format!("--{name}") };
        other(wanted, args, &name, verb)?;
    }
    Ok(())
}

/// Flags that are not, or not only, for `crate-store create`.
fn other(wanted: &mut Wanted, args: &mut lexopt::Parser, name: &str, verb: &str) -> Outcome {
    match name {
        "-q" | "--quiet" => wanted.fetch.push("--quiet".into()),
        "--insecure" => wanted.fetch.push("--insecure".into()),
        "--tls-verify" => wanted.fetch.extend(tls_verify(args.optional_value().as_deref())?),
        "--cacert" => wanted.fetch.push(joined("cacert", &args.value()?)),
        "--jobs" => wanted.fetch.push(joined("jobs", &args.value()?)),
        "--lock" | "--locked" => {
            wanted.fetch.push(joined(&name[2..], &args.value()?));
            wanted.locking = true;
        }
        "--net" => wanted.create.push(joined("network", &args.value()?)),
        "--platform" => {
            let flag = joined("platform", &args.value()?);
            wanted.create.push(flag.clone());
            wanted.fetch.push(flag);
        }
        "--ready-fd" | "--events-fd" if verb == "run" => {
            wanted.start.extend([name.into(), descriptor(name, args.value()?)?]);
        }
        "--detach-keys" if verb == "run" => wanted.start.extend([name.into(), args.value()?]),
        // Signals are always passed on.
        "--sig-proxy" if verb == "run" && switch("sig-proxy", args.optional_value().as_deref())? => {}
        "--pull" => wanted.policy = policy(&args.value()?)?,
        _ => return Err(unsupported(verb, name)),
    }
    Ok(())
}

/// Refuses, before there is a container that would be left behind, what the supervisor could not use.
fn descriptor(name: &str, value: OsString) -> Outcome<OsString> {
    let number = value.to_str().and_then(|text| text.parse::<u32>().ok()).filter(|number| *number > 2);
    let is_open = |number| Path::new("/proc/self/fd").join(format!("{number}")).symlink_metadata().is_ok();
    if number.is_some_and(is_open) {
        return Ok(value);
    }
    Err(Failure::usage(format!("{name} {}: no descriptor that is open, other than the first three", value.display())))
}

fn policy(text: &OsStr) -> Outcome<Policy> {
    match text.to_str() {
        Some("missing") => Ok(Policy::Missing),
        Some("always") => Ok(Policy::Always),
        Some("newer") => Ok(Policy::Newer),
        Some("never") => Ok(Policy::Never),
        _ => Err(Failure::usage(format!("--pull is missing, always, newer or never, not {}", text.display()))),
    }
}

/// `--tls-verify=false` is podman's word for `--insecure`.
pub fn tls_verify(value: Option<&OsStr>) -> Outcome<Option<OsString>> {
    Ok((!switch("tls-verify", value)?).then(|| "--insecure".into()))
}

fn switch(name: &str, value: Option<&OsStr>) -> Outcome<bool> {
    match value.map(OsStr::to_str) {
        None | Some(Some("true" | "1")) => Ok(true),
        Some(Some("false" | "0")) => Ok(false),
        _ => Err(Failure::usage(format!("--{name} is true or false"))),
    }
}

/// Flags that docker or podman have: who gives one of them has not mistyped it.
const OTHERS: &str = "-P -a -p add-host annotation attach blkio-weight cgroup-conf cgroup-parent cpuset-cpus \
    cpuset-mems device-cgroup-rule dns dns-option dns-search domainname expose gidmap gpus group-add health-cmd \
    health-interval health-retries health-start-period health-timeout image-volume ip isolation label-file link \
    mac-address memory-reservation memory-swappiness network-alias no-healthcheck no-hosts oom-kill-disable \
    oom-score-adj passwd pod preserve-fds publish publish-all replace rmi runtime secret sig-proxy storage-opt \
    systemd timeout tz uidmap umask variant volume-driver volumes-from";

fn unsupported(verb: &str, flag: &str) -> Failure {
    let name = flag.strip_prefix("--").unwrap_or(flag);
    if OTHERS.split_whitespace().any(|other| other == name) {
        return Failure::usage(format!("{verb}: {flag} is not supported yet{}", instead(name)));
    }
    Failure::usage(format!("{verb}: there is no flag {flag}\nhint: see crate {verb} --help"))
}

/// What serves in place of a flag that is asked for often.
fn instead(name: &str) -> &'static str {
    match name {
        "-p" | "-P" | "publish" | "publish-all" => "\nhint: with --network host what listens inside is reached at once",
        "add-host" => "\nhint: mount a file of your own, as in --volume ./hosts:/etc/hosts",
        "dns" | "dns-option" | "dns-search" => {
            "\nhint: mount a file of your own, as in --volume ./dns:/etc/resolv.conf"
        }
        _ => "",
    }
}

fn joined(name: &str, value: &OsStr) -> OsString {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(value);
    flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn wanted(text: &str) -> Outcome<Wanted> {
        read(lexopt::Parser::from_args(text.split(' ')), "run")
    }

    #[test]
    fn sorts_flags_by_program() {
        let wanted = wanted("-i --rm=false -eA=B -w /x --pull=never --platform linux/arm64 -q img -i --rm").unwrap();
        assert_eq!(
            wanted.create,
            ["--interactive", "--rm=false", "--env=A=B", "--workdir=/x", "--platform=linux/arm64"]
        );
        assert_eq!(wanted.fetch, ["--platform=linux/arm64", "--quiet"]);
        assert_eq!((wanted.image.to_str(), wanted.policy), (Some("img"), Policy::Never));
        assert_eq!(wanted.command, ["-i", "--rm"]);
    }

    #[test]
    fn lock_files_are_for_the_fetch() {
        let given = wanted("--locked f --pull=never x").unwrap();
        assert!(given.locking && given.create.is_empty() && given.fetch == ["--locked=f"]);
        assert!(wanted("--lock=f x").unwrap().locking && !wanted("x").unwrap().locking);
    }

    #[test]
    fn refuses_by_name_what_does_not_work_yet() {
        for (text, name) in [("--sig-proxy=false x", "--sig-proxy"), ("--gpus A x", "--gpus"), ("-p 1 x", "-p")] {
            let message = wanted(text).unwrap_err().message;
            assert_eq!(message.lines().next(), Some(format!("run: {name} is not supported yet").as_str()));
        }
        for bad in ["--rm", "--pull=sometimes x", "-e", "--detach=x y"] {
            assert_eq!(wanted(bad).unwrap_err().code, 2, "{bad}");
        }
        let create = read(lexopt::Parser::from_args(["-d", "x"]), "create");
        assert_eq!(create.unwrap_err().message, "create: there is no flag -d\nhint: see crate create --help");
        for slip in ["--it x", "--workdirr / x", "-Z x"] {
            let message = wanted(slip).unwrap_err().message;
            assert!(message.starts_with("run: there is no flag -"), "{message}");
        }
    }

    #[test]
    fn tells_what_is_for_the_supervisor() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let open = file.as_raw_fd();
        let given = wanted(&format!("-dit --ready-fd {open} --detach-keys=ctrl-a --sig-proxy --restart=always x"));
        let given = given.unwrap();
        assert_eq!(given.create, ["--interactive", "--tty", "--restart=always"]);
        assert_eq!(given.start, ["--ready-fd", &open.to_string(), "--detach-keys", "ctrl-a"]);
        for bad in ["1", "x", "-1", "1000000", "3/../4"] {
            assert_eq!(wanted(&format!("--events-fd {bad} x")).unwrap_err().code, 2, "{bad}");
        }
        assert!(given.detach && given.attached);
        assert!(!wanted("--rm x").unwrap().attached);
        for text in ["-i x", "-t x", "-d x", "--tty=false x", "--detach=false x"] {
            assert!(wanted(text).unwrap().attached, "{text}");
        }
        assert!(!wanted("--detach=false x").unwrap().detach);
    }
}
