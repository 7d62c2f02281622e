//! `crate export`: `crate-sup visit --bare ID -- crate-store tar .`

use crate::program::{self, Failure, Outcome};
use lexopt::prelude::*;
use std::fs::{self, File, OpenOptions};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn run(mut args: lexopt::Parser) -> Outcome {
    let (mut container, mut output) = (None, None);
    while let Some(argument) = args.next()? {
        match argument {
            Short('o') | Long("output") => output = Some(PathBuf::from(args.value()?)),
            Value(text) if container.is_none() => container = Some(text),
            other => return Err(other.unexpected().into()),
        }
    }
    let container =
        container.ok_or_else(|| Failure::usage("export wants a container\nhint: see crate export --help".into()))?;
    let mut pack = program::sibling("crate-sup")?;
    pack.args(["visit", "--bare"]).arg(container).arg("--").arg(program::path("crate-store")?).args(["tar", "."]);
    match output {
        Some(path) => into(&path, &mut pack),
        None if std::io::stdout().is_terminal() => {
            Err(Failure::usage("an archive is not for a terminal\nhint: write it to a file with -o".into()))
        }
        None => Err(program::exec(&mut pack)),
    }
}

/// Writes what the program writes to a file, which is there only when it is whole.
fn into(path: &Path, command: &mut Command) -> Outcome {
    let failed = |error| Failure::system(&format!("writing {}", path.display()), &error);
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        // A device or a pipe: nothing takes its place.
        let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
        return Err(program::exec(command.stdout(file)));
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    command.stdout(File::create(&beside).map_err(failed)?);
    let ended = command.status().map_err(|error| program::failed(command, &error));
    match ended.map(program::code) {
        Ok(0) => fs::rename(&beside, path).map_err(failed),
        other => {
            let _ = fs::remove_file(&beside); // What matters is the error that came first.
            Err(other.map_or_else(|failure| failure, Failure::told))
        }
    }
}
