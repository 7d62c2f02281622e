//! The other programs, which lie beside this one, and what comes of running them.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

/// The exit code when `run` fails before the program runs.
pub const NOT_RUN: u8 = 125;

/// The exit code for wrong usage.
pub const USAGE: u8 = 2;

/// The exit code with which a program says that there is no such thing.
pub const NOT_FOUND: u8 = 3;

/// Why the front ends without having done what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What to say; empty where another program has said it.
    pub message: String,
    /// The exit code.
    pub code: u8,
}

/// What comes of a verb.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// The arguments do not fit.
    pub fn usage(message: String) -> Self {
        Self { message, code: USAGE }
    }

    /// The system refused something.
    pub fn system(doing: &str, error: &std::io::Error) -> Self {
        let reason = error.to_string();
        let reason = reason.split(" (os error").next().unwrap_or_default();
        Self { message: format!("{doing}: {reason}"), code: 1 }
    }

    /// Another program failed, and said why.
    pub fn told(code: u8) -> Self {
        Self { message: String::new(), code }
    }

    /// The same failure where any of ours is 125, so that it is not taken for the program's.
    pub fn not_run(self) -> Self {
        Self { code: NOT_RUN, ..self }
    }

    /// Says it on standard error, and hands back the exit code.
    pub fn tell(&self) -> ExitCode {
        if !self.message.is_empty() {
            // What it quotes must not steer a terminal.
            let message = self.message.replace(|c: char| c.is_control() && c != '\n', "?");
            let _ = writeln!(std::io::stderr(), "crate: {message}"); // Nobody reads it, if this fails.
        }
        ExitCode::from(self.code)
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::usage(error.to_string())
    }
}

/// Prints on standard output. Whoever has stopped reading it wants no more.
pub fn print(text: &str) -> Outcome {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::system("writing to standard output", &error))
        }
        _ => Ok(()),
    }
}

/// The program `name` that lies beside this one.
pub fn sibling(name: &str) -> Outcome<Command> {
    path(name).map(Command::new)
}

/// A program of ours to run as root of the caller's id-mapped user namespace.
pub fn mapped(words: &[&str]) -> Outcome<Command> {
    let (program, rest) = words.split_first().unwrap_or((&"crate-store", &[]));
    let supervisor = path("crate-sup")?;
    // Without the supervisor nothing runs, but images can be kept all the same.
    let mut command = if supervisor.exists() {
        let mut command = Command::new(supervisor);
        command.arg("unshare").arg(path(program)?);
        command
    } else {
        sibling(program)?
    };
    command.args(rest);
    Ok(command)
}

/// Where the program `name` is.
pub fn path(name: &str) -> Outcome<PathBuf> {
    let own = std::env::current_exe().map_err(|error| Failure::system("finding the programs of crate", &error))?;
    Ok(own.with_file_name(name))
}

/// Becomes the program; comes back only if that fails.
pub fn exec(command: &mut Command) -> Failure {
    let error = command.exec();
    failed(command, &error)
}

/// A program that could not be run.
pub fn failed(command: &Command, error: &std::io::Error) -> Failure {
    Failure::system(&format!("running {}", OsStr::display(command.get_program())), error)
}

/// The exit code as a shell has it: 128+n for signal n.
pub fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(1)
}
