//! Copying files: `crate-store tar … | crate-store untar …`, either of them among a container's files where it is to be.

use crate::program::{self, Failure, Outcome};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Stdio};

/// `crate cp --help`.
pub const HELP: &str = "\
usage: crate cp [-a] [-L] [-q] CONTAINER:PATH PATH|-
       crate cp [-a] [-L] [-q] PATH|- CONTAINER:PATH
       crate cp [-a] [-L] [-q] CONTAINER:PATH CONTAINER:PATH

Copies files and directories as cp -r does: into a directory that is there, else to the new
name. Of PATH/. what is in the directory is copied. - is a tar archive on standard output or
input. A path in a container begins at /. A container that runs is seen as its processes see
it, with its volumes, but of / without what /proc and /sys hold; nothing in it is run or
asked. Copies belong to root inside and to you outside, and outside they are not setuid. Exit
code 3: no such container or file; 4: it is just starting or ending, or another copy writes to
it; 6: an archive is malformed.

  -a, --archive       keep owners as far as they may be set, devices, and all attributes
  -L, --follow-link   follow a symbolic link at the end of the source
  -q, --quiet         do not tell what is left out, such as sockets

  crate cp web:/etc/nginx .
  tar -cf - -C site . | crate cp - web:/srv/www";

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// Standard input or output.
    Stream,
    /// A path of the host.
    Host(OsString),
    /// A path of a container.
    Inside(OsString, OsString),
}

impl End {
    /// What the text means: a colon before any slash ends a container's id or name.
    fn of(text: OsString) -> Self {
        let bytes = text.as_bytes();
        let colon = bytes.iter().position(|byte| matches!(byte, b':' | b'/')).filter(|place| bytes[*place] == b':');
        match colon {
            _ if text == "-" => Self::Stream,
            Some(place @ 1..) => {
                let path = if place + 1 == bytes.len() { b"/" } else { &bytes[place + 1..] };
                Self::Inside(part(&bytes[..place]), part(path))
            }
            _ => Self::Host(text),
        }
    }

    /// The program that works at this end, `crate-store VERB FLAG… -- PATH`; none for a stream.
    fn program(&self, verb: &str, flags: &[&str], visit: &[&str]) -> Outcome<Option<Command>> {
        let (mut command, path) = match self {
            Self::Stream => return Ok(None),
            Self::Host(path) => (program::sibling("crate-store")?, path),
            Self::Inside(container, path) => {
                let mut command = program::sibling("crate-sup")?;
                command.arg("visit").args(visit).arg("--").arg(container).arg("crate-store");
                (command, path)
            }
        };
        command.arg(verb).args(flags).arg("--").arg(path);
        Ok(Some(command))
    }
}

fn part(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// `crate cp`.
pub fn run(mut args: lexopt::Parser) -> Outcome {
    let (mut ends, mut archive, mut follow, mut quiet) = (Vec::new(), false, false, false);
    while let Some(argument) = args.next()? {
        match argument {
            Value(text) => ends.push(End::of(text)),
            Short('a') | Long("archive") => archive = true,
            Short('L') | Long("follow-link") => follow = true,
            Short('q') | Long("quiet") => quiet = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let Ok([from, mut to]) = <[End; 2]>::try_from(ends) else {
        return Err(Failure::usage("cp wants a source and a destination\nhint: see crate cp --help".into()));
    };
    if !matches!((&from, &to), (End::Inside(..), _) | (_, End::Inside(..))) {
        let hint = "hint: CONTAINER:PATH is a path of a container";
        return Err(Failure::usage(format!("cp: neither the source nor the destination is in a container\n{hint}")));
    }
    if to == End::Stream && std::io::stdout().is_terminal() {
        return Err(Failure::usage("cp: an archive is not for a terminal".into()));
    }
    if let (End::Stream, End::Inside(_, place)) = (&from, &mut to) {
        place.push("/"); // What is in the archive has names of its own, so this is a directory.
    }
    let outside = matches!(to, End::Host(_));
    let mut keep = Vec::new();
    keep.extend(archive.then_some("--archive"));
    keep.extend((outside && !archive).then_some("--no-setuid"));
    let source = from.program("tar", if follow { &["-L"] } else { &[] }, &[])?;
    let target = to.program("untar", &keep, &["--write"])?;
    match (source, target) {
        (Some(source), Some(target)) => through(source, target, quiet),
        (Some(mut one), None) | (None, Some(mut one)) => {
            let status = one.status().map_err(|error| program::failed(&one, &error))?;
            outcome(program::code(status))
        }
        (None, None) => Ok(()), // Neither is in a container.
    }
}

/// Runs the two programs, the output of one being the input of the other. Both say what is wrong, but of two failures
/// one comes of the other, and is not told.
fn through(mut source: Command, mut target: Command, quiet: bool) -> Outcome {
    source.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut reading = source.spawn().map_err(|error| program::failed(&source, &error))?;
    target.stdin(reading.stdout.take().map_or_else(Stdio::null, Stdio::from));
    target.stdout(Stdio::null()).stderr(Stdio::piped());
    let writing = target.spawn().map_err(|error| program::failed(&target, &error));
    drop(target); // It holds the pipe: the source has to see when nobody reads any more.
    let written = writing.and_then(|child| child.wait_with_output().map_err(|error| lost(&error)));
    let read = reading.wait_with_output().map_err(|error| lost(&error))?;
    let written = written?;
    let codes = (program::code(read.status), program::code(written.status));
    // A source that nobody reads any more ends without a word.
    let (text, code) = match codes {
        (0, 0) if quiet => return Ok(()),
        (0, 0) => ([read.stderr, written.stderr].concat(), 0),
        (code @ 1.., _) if !read.stderr.is_empty() => (read.stderr, code),
        (_, code @ 1..) => (written.stderr, code),
        (code, _) => (format!("crate: copying: the source ended with code {code}\n").into_bytes(), code),
    };
    let _ = std::io::stderr().write_all(&text); // Nobody reads it, if this fails.
    outcome(code)
}

fn lost(error: &std::io::Error) -> Failure {
    Failure::system("waiting for the copy", error)
}

/// The programs' own exit codes mean the same here; any other is a failure.
fn outcome(code: u8) -> Outcome {
    match code {
        0 => Ok(()),
        2..=6 => Err(Failure::told(code)),
        _ => Err(Failure::told(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_containers_from_paths() {
        let inside = |name: &str, path: &str| End::Inside(name.into(), path.into());
        for (text, end) in [
            ("web:/etc/hosts", inside("web", "/etc/hosts")),
            ("web:etc", inside("web", "etc")),
            ("web:", inside("web", "/")),
            ("web:a:b", inside("web", "a:b")),
            ("-", End::Stream),
            ("./web:x", End::Host("./web:x".into())),
            ("/a:b", End::Host("/a:b".into())),
            ("a/b:c", End::Host("a/b:c".into())),
            (":x", End::Host(":x".into())),
            ("file", End::Host("file".into())),
        ] {
            assert_eq!(End::of(text.into()), end, "{text}");
        }
    }
}
