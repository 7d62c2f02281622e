//! What went wrong, as one line and an exit code.

use crate::sys::Errno;
use alloc::string::String;
use core::ffi::CStr;

/// An error on its way to whoever started the container.
#[derive(Debug)]
pub struct Error {
    /// 125: crate failed; 126: the program cannot be executed; 127: it was not found; 1: the overlay is refused.
    pub code: u8,
    /// One line, and perhaps a hint below.
    pub text: String,
}

/// A result of a step.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// crate's own failure, exit code 125. What parts quote of an image cannot begin a line of its own.
    #[cold]
    #[inline(never)]
    pub fn new(parts: &[&str]) -> Self {
        Self { code: 125, text: parts.concat().replace('\n', "?") }
    }

    /// Says below what may help.
    pub fn hint(mut self, hint: &str) -> Self {
        self.text.push_str("\nhint: ");
        self.text.push_str(hint);
        self
    }

    /// Likewise, about what the plan names.
    #[cold]
    #[inline(never)]
    pub fn about(before: &str, object: &CStr, after: &str) -> Self {
        Self::new(&[before, &object.to_string_lossy(), after])
    }
}

/// Says what was being done when the system refused.
pub trait Doing<T> {
    /// `doing` and `object` make a phrase such as `mounting proc on ` and `/proc`.
    fn doing(self, doing: &str, object: &CStr) -> Result<T>;
}

impl<T> Doing<T> for core::result::Result<T, Errno> {
    fn doing(self, doing: &str, object: &CStr) -> Result<T> {
        self.map_err(|errno| because(errno, doing, object))
    }
}

/// Once rather than at each place: the program's size counts.
#[cold]
#[inline(never)]
fn because(errno: Errno, doing: &str, object: &CStr) -> Error {
    Error::about(doing, object, &[": ", errno.text()].concat())
}
