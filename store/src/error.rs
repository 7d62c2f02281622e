//! The one error type, and the exit code that each kind of error means to the program that called.

use crate::root::Store;
use crate::space::free_in_words;
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// What went wrong, told in one line; a second line `hint: …` may follow where the user can act. Shown, it holds no
/// control characters: names that images and registries bring must not steer the terminal.
#[derive(Debug)]
pub enum Error {
    /// The arguments do not fit: exit code 2.
    Usage(String),
    /// No such reference, layer or container: exit code 3.
    NotFound(String),
    /// A name is in use, a container runs, a lock is held: exit code 4.
    Busy(String),
    /// The registry or the network failed; trying again may help: exit code 5.
    Network(String),
    /// Bytes do not match their digest, or input is malformed or hostile: exit code 6.
    Refused(String),
    /// The system refused something: exit code 1.
    Io {
        /// What was being done, and to which file.
        doing: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Anything else: exit code 1.
    Failed(String),
}

/// A result whose error carries its exit code.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The exit code that tells a calling program what to do next: 1 to 6.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. } | Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Busy(_) => 4,
            Self::Network(_) => 5,
            Self::Refused(_) => 6,
        }
    }

    /// The same error, with what it is about in front.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        let (Self::Usage(text)
        | Self::NotFound(text)
        | Self::Busy(text)
        | Self::Network(text)
        | Self::Refused(text)
        | Self::Failed(text)
        | Self::Io { doing: text, .. }) = &mut self;
        text.insert_str(0, &format!("{what}: "));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Usage(text)
            | Self::NotFound(text)
            | Self::Busy(text)
            | Self::Network(text)
            | Self::Refused(text)
            | Self::Failed(text) => text,
            Self::Io { doing, source } => &format!("{doing}: {}{}", reason(source), limit(doing, source)),
        };
        f.write_str(&text.replace(|c: char| c.is_control() && c != '\n', "?"))
    }
}

/// The system's reason in words, without its number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Which limit the system's reason is about, where it does not say so itself; what was done names a path or a blob.
fn limit(doing: &str, error: &io::Error) -> String {
    let hint = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => Some("the limit on open files is reached: see ulimit -n".to_owned()),
        // An archive is written to wherever the caller has sent it.
        Some(Errno::NOSPC | Errno::DQUOT) if doing.ends_with("archive") => None,
        Some(Errno::NOSPC | Errno::DQUOT) => {
            let named = doing.find(" /").map(|at| PathBuf::from(&doing[at + 1..]));
            let store = Store::default_path().ok();
            let store = store.filter(|store| named.as_ref().is_none_or(|path| path.starts_with(store)));
            store.or(named).and_then(|path| path.ancestors().find_map(free_in_words))
        }
        _ => None,
    };
    hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
}

impl std::error::Error for Error {}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Says what was being done when the system refused.
pub trait Doing<T> {
    /// Turns a system error into [`Error::Io`]; `doing` is a phrase such as `opening /etc/passwd`.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Io { doing: doing(), source: error.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_free_where_it_was_wanted() {
        let told = |doing: &str| limit(doing, &Errno::NOSPC.into());
        assert!(told("writing /none-such/x").ends_with(" are free in /"));
        assert!(told("writing blob sha256:0").contains(" are free in /"));
        assert_eq!(told("writing the archive"), "");
        assert_eq!(limit("writing /x", &Errno::IO.into()), "");
    }
}
