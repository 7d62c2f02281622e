//! Brings an image from a registry into the store, every byte verified. See `crate-fetch --help`.
#![forbid(unsafe_code)]

mod args;
mod auth;
mod authfile;
mod base64;
mod body;
mod confined;
mod content;
mod credentials;
mod dial;
mod endpoint;
mod failure;
mod file;
mod head;
mod header;
mod http;
mod keychain;
mod lock;
mod login;
mod progress;
mod prompt;
mod proxy;
mod pull;
mod registries;
mod registry;
mod relay;
mod retry;
mod route;
mod tls;
mod trust;
mod url;
mod wire;

use std::io::Write;
use std::process::ExitCode;
use store::Error;

fn main() -> ExitCode {
    let pulled = || args::parse().and_then(|request| request.as_ref().map_or(Ok(()), pull::run));
    match login::run().unwrap_or_else(pulled) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string();
            let again = matches!(error, Error::Network(_)) && !text.contains("\nhint: ");
            tell(&(text + if again { "\nhint: trying again may help; a pull goes on where it stopped" } else { "" }));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints a line on standard error. Nobody reads it, if this fails.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "crate-fetch: {text}");
}
