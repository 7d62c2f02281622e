//! Making containers and starting them.

use crate::flags::{self, Policy, Wanted};
use crate::program::{self, Failure, NOT_FOUND, Outcome};
use crate::pull;
use std::io::{IsTerminal, Write};
use std::process::Output;

/// `crate run`.
pub fn run(args: lexopt::Parser) -> Outcome {
    let start = || {
        let mut wanted = flags::read(args, "run")?;
        // Who sits at a terminal, and says nothing about it, wants to be in the container.
        if !wanted.attached && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            wanted.create.extend(["--interactive".into(), "--tty".into()]);
        }
        let flags = std::mem::take(&mut wanted.start);
        let verb = if wanted.detach { "start" } else { "run" };
        let id = made(wanted)?;
        Err(program::exec(program::sibling("crate-sup")?.arg(verb).args(flags).arg(id)))
    };
    start().map_err(Failure::not_run)
}

/// `crate create`.
pub fn create(args: lexopt::Parser) -> Outcome {
    let id = flags::read(args, "create").and_then(made).map_err(Failure::not_run)?;
    program::print(&id)
}

/// Makes the container, after bringing the image where that is wanted or needed; hands back its id.
fn made(mut wanted: Wanted) -> Outcome<String> {
    if pull::is_source(&wanted.image) {
        wanted.image = pull::pull(&wanted.fetch, &wanted.image)?.into();
    } else if wanted.locking || matches!(wanted.policy, Policy::Always | Policy::Newer) {
        bring(&wanted, wanted.policy)?;
    }
    let first = attempt(&wanted)?;
    let code = program::code(first.status);
    if code != NOT_FOUND {
        return id(&first);
    }
    // What it said on standard error is what is now put right.
    match wanted.policy {
        Policy::Never => pull::unpack_held(&wanted.image)?,
        _ => bring(&wanted, Policy::Missing)?,
    }
    id(&attempt(&wanted)?)
}

fn bring(wanted: &Wanted, policy: Policy) -> Outcome {
    let policy = match policy {
        Policy::Missing => "missing",
        Policy::Always => "always",
        Policy::Newer => "newer",
        Policy::Never => "never",
    };
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
