//! Making containers and starting them.

use crate::flags::{self, Policy, Wanted};
use crate::program::{self, Failure, NOT_FOUND, Outcome};
use crate::pull;
use lexopt::prelude::*;
use std::ffi::OsString;
use std::io::Write;
use std::process::Output;

/// `crate run`.
pub fn run(args: lexopt::Parser) -> Outcome {
    let start = || {
        let id = made(flags::read(args, "run")?)?;
        Err(program::exec(program::sibling("crate-sup")?.arg("run").arg(id)))
    };
    start().map_err(Failure::not_run)
}

/// `crate create`.
pub fn create(args: lexopt::Parser) -> Outcome {
    let id = flags::read(args, "create").and_then(made).map_err(Failure::not_run)?;
    program::print(&id)
}

/// `crate start`.
pub fn start(mut args: lexopt::Parser) -> Outcome {
    let mut container: Option<OsString> = None;
    while let Some(argument) = args.next()? {
        match argument {
            Value(text) if container.is_none() => container = Some(text),
            // It runs in the foreground, with the standard input it was made with.
            Short('a' | 'i') | Long("attach" | "interactive") => {}
            other => return Err(other.unexpected().into()),
        }
    }
    let Some(container) = container else {
        return Err(Failure::usage("start wants a container\nhint: see crate start --help".into()));
    };
    Err(program::exec(program::sibling("crate-sup")?.arg("run").arg(container)).not_run())
}

/// Makes the container, after bringing the image where that is wanted or needed; hands back its id.
fn made(mut wanted: Wanted) -> Outcome<String> {
    if pull::is_source(&wanted.image) {
        wanted.image = pull::pull(&wanted.fetch, &wanted.image)?.into();
    } else if let Some(policy) = eager(wanted.policy) {
        bring(&wanted, policy)?;
    }
    let first = attempt(&wanted)?;
    let code = program::code(first.status);
    if code != NOT_FOUND {
        return id(&first);
    }
    // What it said on standard error is what is now put right.
    match wanted.policy {
        Policy::Never => pull::unpack_held(&wanted.image)?,
        _ => bring(&wanted, "missing")?,
    }
    id(&attempt(&wanted)?)
}

/// The policies that ask the registry in any case.
fn eager(policy: Policy) -> Option<&'static str> {
    match policy {
        Policy::Always => Some("always"),
        Policy::Newer => Some("newer"),
        Policy::Missing | Policy::Never => None,
    }
}

fn bring(wanted: &Wanted, policy: &str) -> Outcome {
    let mut fetch = vec!["--pull".into(), policy.into()];
    fetch.extend_from_slice(&wanted.fetch);
    pull::pull(&fetch, &wanted.image).map(drop)
}

/// `crate-store create`, with what it says.
fn attempt(wanted: &Wanted) -> Outcome<Output> {
    let mut create = program::sibling("crate-store")?;
    create.arg("create").args(&wanted.create).arg("--").arg(&wanted.image).args(&wanted.command);
    // Standard input is the container's: nothing of it may be read here.
    create.stdin(std::process::Stdio::null());
    create.output().map_err(|error| program::failed(&create, &error))
}

/// The id that it printed; or passes on why there is none.
fn id(output: &Output) -> Outcome<String> {
    let _ = std::io::stderr().write_all(&output.stderr); // Nobody reads it, if this fails.
    match program::code(output.status) {
        0 => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
        code => Err(Failure::told(code)),
    }
}
