//! `crate-store`: keeps images, their unpacked layers and containers on the disk. See `crate-store --help`.

mod verbs;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match verbs::run(lexopt::Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "crate-store: {error}"); // Nobody reads it, if this fails.
            ExitCode::from(error.exit_code())
        }
    }
}
