//! Resource limits by name (getrlimit(2)).

use crate::error::{Doing, Error, Result};
use crate::plan::number;
use crate::sys::{self, Errno};
use alloc::string::{String, ToString};
use core::ffi::CStr;

/// The names in the order of their numbers, without `RLIMIT_`.
const NAMES: &str =
    "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME";

const HINT: &str = "only CAP_SYS_RESOURCE can raise it, and RLIMIT_NOFILE no further than sysctl fs.nr_open";

/// A limit that the program is to have.
#[derive(Debug, PartialEq)]
pub struct Limit {
    name: &'static CStr,
    resource: u32,
    soft: u64,
    hard: u64,
}

impl Limit {
    /// Reads `RLIMIT_NOFILE`, and its two values: numbers, or `unlimited`.
    pub fn read(name: &'static CStr, soft: &CStr, hard: &CStr) -> Result<Self> {
        let short = name.to_bytes().strip_prefix(b"RLIMIT_");
        let known = NAMES.split(' ').zip(0..).find(|(known, _)| Some(known.as_bytes()) == short);
        let (_, resource) = known.ok_or_else(|| Error::about("no such limit: ", name, ""))?;
        Ok(Self { name, resource, soft: value(soft)?, hard: value(hard)? })
    }

    /// Sets it for this process and what it becomes.
    pub fn set(&self) -> Result<()> {
        match sys::set_limit(self.resource, self.soft, self.hard) {
            Err(Errno::PERM) => {
                let (_, most) = sys::limit(self.resource).unwrap_or_default();
                let after =
                    [" to ", &text(self.soft), ":", &text(self.hard), ": the caller's hard limit is ", &text(most)];
                Err(Error::about("setting ", self.name, &after.concat()).hint(HINT))
            }
            other => other.doing("setting ", self.name),
        }
    }
}

fn value(word: &CStr) -> Result<u64> {
    if word == c"unlimited" { Ok(u64::MAX) } else { number(word) }
}

fn text(value: u64) -> String {
    if value == u64::MAX { "unlimited".to_string() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernel_s_numbers() {
        let numbers = [
            (c"RLIMIT_CPU", 0),
            (c"RLIMIT_NPROC", 6),
            (c"RLIMIT_NOFILE", 7),
            (c"RLIMIT_AS", 9),
            (c"RLIMIT_RTTIME", 15),
        ];
        for (name, resource) in numbers {
            let limit = Limit { name, resource, soft: 7, hard: u64::MAX };
            assert_eq!(Limit::read(name, c"7", c"unlimited").unwrap(), limit);
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        let refused = [(c"NOFILE", c"1"), (c"RLIMIT_", c"1"), (c"RLIMIT_nofile", c"1"), (c"RLIMIT_CPU", c"-1")];
        for (name, value) in
            [refused.as_slice(), &[(c"RLIMIT_CPU", c""), (c"RLIMIT_CPU", c"99999999999999999999")]].concat()
        {
            assert!(Limit::read(name, value, value).is_err(), "{name:?} {value:?}");
        }
    }
}
