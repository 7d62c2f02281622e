//! `crate rm`.

use crate::program::{self, Failure, Outcome, USAGE};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::process::Stdio;

/// With `-f`, what runs is ended first; the store removes what does not run.
pub fn run(mut args: lexopt::Parser) -> Outcome {
    let (mut force, mut every, mut all) = (false, false, Vec::new());
    while let Some(argument) = args.next()? {
        match argument {
            Short('f') | Long("force") => force = true,
            Short('a') | Long("all") => every = true,
            // A container has no volumes that are nobody else's.
            Short('v') | Long("volumes") => {}
            Value(container) => all.push(container),
            other => return Err(other.unexpected().into()),
        }
    }
    if every && !all.is_empty() {
        return Err(Failure::usage("rm wants containers or --all, not both".into()));
    }
    if every {
        all = ids()?;
        if all.is_empty() {
            return Ok(());
        }
    }
    if all.is_empty() {
        return Err(Failure::usage("rm wants a container\nhint: see crate rm --help".into()));
    }
    let mut remove = program::mapped(&["crate-store", "rm"])?;
    if force {
        let mut kill = program::sibling("crate-sup")?;
        kill.args(["kill", "--wait", "--quiet", "--"]).args(&all).stdout(Stdio::null());
        let killed = kill.status().map_err(|error| program::failed(&kill, &error))?;
        // Whatever else went wrong there, who removes will meet it.
        if program::code(killed) == USAGE {
            return Err(Failure::told(USAGE));
        }
        remove.arg("--force");
    }
    Err(program::exec(remove.arg("--").args(all)))
}

/// The ids of all containers.
fn ids() -> Outcome<Vec<OsString>> {
    let mut list = program::sibling("crate-store")?;
    list.args(["ps", "--all", "--quiet", "--no-trunc"]).stderr(Stdio::inherit());
    let output = list.output().map_err(|error| program::failed(&list, &error))?;
    match program::code(output.status) {
        0 => Ok(String::from_utf8_lossy(&output.stdout).lines().map(OsString::from).collect()),
        code => Err(Failure::told(code)),
    }
}
