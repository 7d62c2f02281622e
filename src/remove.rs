//! `crate rm`.

use crate::program::{self, Failure, Outcome, USAGE};
use lexopt::prelude::*;
use std::process::Stdio;

/// With `-f`, what runs is ended first; the store removes what does not run.
pub fn run(mut args: lexopt::Parser) -> Outcome {
    let (mut force, mut all) = (false, Vec::new());
    while let Some(argument) = args.next()? {
        match argument {
            Short('f') | Long("force") => force = true,
            // A container has no volumes that are nobody else's.
            Short('v') | Long("volumes") => {}
            Value(container) => all.push(container),
            other => return Err(other.unexpected().into()),
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
