//! `crate-store create`.

use super::print;
use lexopt::ValueExt;
use lexopt::prelude::*;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use store::create::{Network, Request};
use store::error::Doing;
use store::{Error, Result, Store, environment, mounts};

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
  --platform OS/ARCH[/VAR]    choose, or insist on, the platform of the image
  -l, --label NAME=VALUE      annotate the container
  --cidfile FILE              write the id to a new file too
  -i, --interactive           keep standard input open
  -t, --tty                   ask for a terminal in config.json, for runtimes that give one
  --rm                        remove the container when it has ended

  crate-store create --rm -v \"$PWD\":/src -w /src debian:12 make";

/// What the command line says.
#[derive(Default)]
struct Given {
    request: Request,
    env_files: Vec<PathBuf>,
    env: Vec<String>,
    cidfile: Option<PathBuf>,
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
        _ => return None,
    })
}

/// Takes one flag. The value of a switch is only looked for in the long form: in `-it`, `t` is no value.
fn flag(given: &mut Given, name: &str, short: bool, args: &mut lexopt::Parser) -> Result<()> {
    let request = &mut given.request;
    match name {
        "interactive" => request.interactive = switch(name, short, args)?,
        "tty" => request.terminal = switch(name, short, args)?,
        "rm" => request.remove = switch(name, short, args)?,
        "read-only" => request.read_only = switch(name, short, args)?,
        "env" => given.env.push(args.value()?.string()?),
        "env-file" => given.env_files.push(args.value()?.into()),
        "workdir" => request.workdir = Some(args.value()?.string()?),
        "user" => request.user = Some(args.value()?.string()?),
        "name" => request.name = Some(args.value()?.string()?),
        "hostname" => request.hostname = Some(hostname(args.value()?.string()?)?),
        "entrypoint" => request.entrypoint = Some(args.value()?.string()?),
        "volume" => request.mounts.push(mounts::volume(&args.value()?.string()?)?),
        "mount" => request.mounts.push(mounts::mount(&args.value()?.string()?)?),
        "tmpfs" => request.mounts.push(mounts::tmpfs(&args.value()?.string()?)?),
        "network" | "net" => request.network = network(&args.value()?.string()?)?,
        "platform" => request.platform = Some(args.value()?.string()?.parse()?),
        "label" => request.labels.push(label(&args.value()?.string()?)?),
        "cidfile" => given.cidfile = Some(args.value()?.into()),
        _ => return Err(unsupported(&format!("--{name}"))),
    }
    Ok(())
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
