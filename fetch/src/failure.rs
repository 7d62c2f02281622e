//! Why a request failed, in words that name the host, and whether trying again may help.

use std::io::{self, ErrorKind};
use store::Error;

/// Why there is no answer, or no whole one.
#[derive(Debug)]
pub struct Failure {
    /// The error to report.
    pub error: Error,
    /// May the same request succeed soon?
    pub again: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, again: false }
    }
}

impl Failure {
    /// The network or the other side failed, in a way that lasts.
    pub fn lasting(text: String) -> Self {
        Self { error: Error::Network(text), again: false }
    }

    /// The network or the other side failed, in a way that may pass.
    pub fn passing(text: String) -> Self {
        Self { error: Error::Network(text), again: true }
    }

    /// The other side sent what is not to be believed.
    pub fn refused(text: String) -> Self {
        Error::Refused(text).into()
    }

    /// No connection to `host` could be made.
    pub fn connecting(error: &io::Error, host: &str, timeout: u64) -> Self {
        let reason = reason(error);
        match error.kind() {
            ErrorKind::TimedOut => Self::passing(format!("{host} did not answer within {timeout} s")),
            // What getaddrinfo(3) says follows the last colon.
            _ if reason.starts_with("failed to lookup") => {
                let reason = reason.rsplit(": ").next().unwrap_or_default();
                Self::lasting(format!("cannot find the host {host}: {reason}"))
            }
            _ => Self::lasting(format!("cannot connect to {host}: {reason}")),
        }
    }

    /// A connection to `host` failed while something was awaited from it.
    pub fn awaiting(error: &io::Error, host: &str, timeout: u64) -> Self {
        match error.kind() {
            ErrorKind::TimedOut => Self::passing(format!("{host} did not answer within {timeout} s")),
            _ => Self::reading(error, host, timeout),
        }
    }

    /// A connection to `host` failed in the middle of an answer.
    pub fn reading(error: &io::Error, host: &str, timeout: u64) -> Self {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::tls(error, host);
        }
        match error.kind() {
            ErrorKind::TimedOut => Self::passing(format!("{host} has sent next to nothing for {timeout} s")),
            _ => Self::passing(format!("the connection to {host} was lost: {}", reason(error))),
        }
    }

    fn tls(error: &rustls::Error, host: &str) -> Self {
        match error {
            rustls::Error::InvalidCertificate(_) => {
                let hint = "hint: --cacert FILE or SSL_CERT_FILE names further certificates to trust";
                Self::refused(format!("the certificate of {host} is not to be trusted: {error}\n{hint}"))
            }
            rustls::Error::AlertReceived(_) => {
                let hint = "hint: a client's certificate is taken from certs.d: see crate-fetch(1)";
                Self::refused(format!("{host} broke off TLS: {error}\n{hint}"))
            }
            error => {
                let hint = "hint: if it speaks plain http, --insecure allows that";
                Self::refused(format!("{host} does not speak TLS: {error}\n{hint}"))
            }
        }
    }
}

fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
