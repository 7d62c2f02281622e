//! `crate-store untar`.

use super::{misused, print, tell};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::io::BufReader;
use std::os::unix::ffi::OsStrExt;
use store::archive::Archive;
use store::error::Result;
use store::extract::{Rules, extract};
use store::inflate::{self, CHUNK, refusal};

const HELP: &str = "\
usage: crate-store untar [-a] [--no-setuid] [--] PLACE

Unpacks the tar archive on standard input, plain or compressed by gzip or zstd, as cp(1) would
copy: into the directory PLACE, if there is one; else what is in the archive becomes PLACE. An
archive that begins with ./ becomes the directory PLACE itself, or is merged into it. Nothing
is written through a symbolic link below PLACE. Everything belongs to the caller. Exit code 3:
there is no such directory; 6: the archive is malformed, or leads out of PLACE.

  -a, --archive    keep owners as far as they may be set, devices and all attributes
  --no-setuid      drop setuid and setgid bits and capabilities of files

  tar -cf - -C site . | crate-sup visit -w web -- crate-store untar /srv/www";

pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let (mut place, mut rules): (Option<OsString>, _) = (None, Rules { archive: false, privileges: true });
    while let Some(argument) = args.next()? {
        match argument {
            Value(path) if place.is_none() => place = Some(path),
            Short('a') | Long("archive") => rules.archive = true,
            Long("no-setuid") => rules.privileges = false,
            Long("help") | Short('h') => return print(HELP),
            other => return Err(other.unexpected().into()),
        }
    }
    let place = place.ok_or_else(|| misused("untar", "wants a place"))?;
    rustix::process::umask(rustix::fs::Mode::empty());
    let content =
        inflate::open(Box::new(std::io::stdin())).map_err(|error| refusal(error, "reading standard input"))?;
    let mut content = BufReader::with_capacity(CHUNK, content);
    let left_out = extract(&mut Archive::new(&mut content), place.as_bytes(), rules)?;
    left_out.lines().iter().for_each(|notice| tell(notice));
    Ok(())
}
