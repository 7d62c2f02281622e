//! Brings an image from a registry into the store, every byte verified. See `crate-fetch --help`.
#![forbid(unsafe_code)]

mod args;
mod auth;
mod body;
mod credentials;
mod document;
mod endpoint;
mod header;
mod http;
mod progress;
mod pull;
mod registries;
mod registry;
mod url;

use std::process::ExitCode;

fn main() -> ExitCode {
    http::exit_on_panic();
    match args::parse().and_then(|request| request.as_ref().map_or(Ok(()), pull::run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crate-fetch: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
