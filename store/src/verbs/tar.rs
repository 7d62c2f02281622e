//! `crate-store tar`.

use super::{misused, print, tell};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::io::{BufWriter, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use store::error::{Doing, Error, Result};
use store::pack::{Pack, Rules};

const HELP: &str = "\
usage: crate-store tar [-L] [--one-file-system] [--] PATH…

Writes files and directories as a tar archive on standard output, each under the last name of
its PATH; of PATH/. and of / what is in it. Links are not followed but on the way to PATH, or
at its end with -L or a slash. Owners are numbers, and names come in a fixed order. Exit code
3: there is no such file.

  -L, --follow-link    follow a symbolic link at the end of PATH
  --one-file-system    leave out what is mounted below PATH

  crate-sup visit web -- crate-store tar /etc | tar -tv";

pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let (mut paths, mut rules): (Vec<OsString>, _) = (Vec::new(), Rules::default());
    while let Some(argument) = args.next()? {
        match argument {
            Value(path) => paths.push(path),
            Short('L') | Long("follow-link") => rules.follow = true,
            Long("one-file-system") => rules.one_file_system = true,
            Long("help") | Short('h') => return print(HELP),
            other => return Err(other.unexpected().into()),
        }
    }
    if paths.is_empty() {
        return Err(misused("tar", "wants a path"));
    }
    // Standard output itself would look for the ends of lines.
    let output = std::io::stdout().as_fd().try_clone_to_owned().doing(|| "opening standard output".into())?;
    let mut output = BufWriter::with_capacity(1 << 16, std::fs::File::from(output));
    let mut pack = Pack::new(&mut output, rules);
    let packed = paths.iter().try_for_each(|path| pack.add(path.as_bytes())).and_then(|()| pack.finish());
    match packed {
        // Whoever reads it has ended, and knows why.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => std::process::exit(1),
        other => other?.iter().for_each(|notice| tell(notice)),
    }
    Ok(())
}
