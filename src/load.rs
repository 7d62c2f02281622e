//! `crate load`: `crate-store load --layers … | crate-sup unshare crate-store unpack -`.

use crate::program::{self, Failure, Outcome};
use crate::pull;
use lexopt::prelude::*;
use std::ffi::OsString;
use std::io::IsTerminal;

pub const HELP: &str = "\
usage: crate load [-i FILE] [--force] [-q]

Brings the images of an archive, as docker save, podman save and crate save write them, from
FILE or standard input, ready to run; prints the digest of each. They keep the references that
they carry; one that means another image here, which did not come from this very FILE, stays
as it is, and the archive is refused.

  -i, --input FILE   read FILE; - is standard input
      --force        let references come to mean the images of the archive
  -q, --quiet        tell nothing on standard error but errors

  ssh host docker save app:1 | crate load";

pub fn run(mut args: lexopt::Parser) -> Outcome {
    let mut input = OsString::from("-");
    let mut load = program::sibling("crate-store")?;
    load.args(["load", "--layers"]);
    while let Some(argument) = args.next()? {
        match argument {
            Short('i') | Long("input") => input = args.value()?,
            Short('q') | Long("quiet") => drop(load.arg("--quiet")),
            Long("force") => drop(load.arg("--force")),
            other => return Err(other.unexpected().into()),
        }
    }
    if input == "-" && std::io::stdin().is_terminal() {
        return Err(Failure::usage("an archive does not come from a terminal\nhint: name its file with -i".into()));
    }
    if input != "-" {
        // By a path, so that no name is taken for another kind of source.
        let file = std::path::Path::new(&input);
        input = std::path::absolute(file).map_err(|error| Failure::system("finding the archive", &error))?.into();
    }
    load.arg("--").arg(input);
    program::print(&pull::bring(load)?)
}
