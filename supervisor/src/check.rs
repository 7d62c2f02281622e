//! `crate-sup check`: tries what the programs want of this system, and says how to get what is missing.

mod kernel;
mod limits;
mod places;

use crate::child;
use crate::idmap::IdMaps;
use crate::sys;
use lexopt::{Arg, Parser, ValueExt};
use nanoserde::SerJson;
use rustix::io::Errno;
use store::{Error, Result};

/// How something fares on this system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All of it.
    Works,
    /// Something else is done in its place, or something is left out.
    Degraded,
    /// What needs it cannot be done.
    Fails,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Degraded => "degraded",
            Self::Fails => "fails",
        }
    }
}

/// What was tried, and what came of it.
#[derive(Debug, PartialEq)]
struct Finding {
    name: &'static str,
    state: State,
    /// What was seen, or what comes of its lack.
    detail: String,
    /// What to do about it, as a command where one line does it.
    fix: Option<String>,
}

impl Finding {
    fn works(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Works, detail: detail.into(), fix: None }
    }

    fn degraded(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, state: State::Degraded, detail: detail.into(), fix: Some(fix.into()) }
    }

    fn fails(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, state: State::Fails, detail: detail.into(), fix: Some(fix.into()) }
    }
}

/// One finding, as JSON has it.
#[derive(SerJson)]
struct Shown {
    name: String,
    state: String,
    detail: String,
    fix: Option<String>,
}

/// Tries everything and prints what came of it; exit code 1 where something fails.
pub fn check(parser: &mut Parser) -> Result<u8> {
    let mut json = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("format") => {
                json = match parser.value()?.string()?.as_str() {
                    "json" => true,
                    "table" => false,
                    other => return Err(Error::Usage(format!("--format is table or json, not {other:?}"))),
                }
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let maps = IdMaps::of_caller();
    let mut findings = kernel::findings(&maps);
    findings.extend(limits::findings());
    findings.extend(places::findings(&maps));
    crate::say(&if json { as_json(&findings) } else { as_table(&findings) })?;
    Ok(u8::from(findings.iter().any(|finding| finding.state == State::Fails)))
}

fn as_json(findings: &[Finding]) -> String {
    let shown = |finding: &Finding| Shown {
        name: finding.name.to_owned(),
        state: finding.state.word().to_owned(),
        detail: finding.detail.clone(),
        fix: finding.fix.clone(),
    };
    findings.iter().map(shown).collect::<Vec<_>>().serialize_json() + "\n"
}

/// `STATE NAME DETAIL` in columns, and each fix in a line of its own below.
fn as_table(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { name, state, detail, fix } in findings {
        text.extend([format!("{:<9} {name:<16} {detail}\n", state.word())]);
        text.extend(fix.iter().map(|fix| format!("{:<9} fix: {fix}\n", "")));
    }
    text
}

/// What came of a trial in a child of its own.
type Trial = std::result::Result<(), Errno>;

/// Runs `work` as root of a new user namespace, in new namespaces `flags` of the kinds that a process has from its
/// beginning. What a trial leaves behind in them ends with the child.
fn attempt(flags: u64, maps: &IdMaps, work: impl FnOnce() -> Trial) -> Result<Trial> {
    // Every errno is below 134, and 125 and above are the child's other ends.
    let code = |trial: Trial| trial.map_or_else(|errno| u8::try_from(errno.raw_os_error()).unwrap_or(u8::MAX), |()| 0);
    let started = child::start(flags, maps, || None, |_| Ok(()), || code(work()))?;
    Ok(match child::wait_for(&started.child)? {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno.into())),
    })
}

/// Does a system call of `sys` that has no result of its own.
fn trial(result: std::io::Result<()>) -> Trial {
    result.map_err(|error| Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// The namespaces that a process makes for itself, by the names that the manual pages have.
const NAMESPACES: [(&str, u64); 6] = [
    ("mount", sys::NEW_MOUNT),
    ("pid", sys::NEW_PID),
    ("network", sys::NEW_NET),
    ("ipc", sys::NEW_IPC),
    ("uts", sys::NEW_UTS),
    ("cgroup", sys::NEW_CGROUP),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_findings_for_people_and_programs() {
        let findings = [Finding::works("a", "1"), Finding::fails("b", "no \"b\"", "get b")];
        assert_eq!(
            as_table(&findings),
            "works     a                1\nfails     b                no \"b\"\n          fix: get b\n"
        );
        assert_eq!(
            as_json(&findings),
            "[{\"name\":\"a\",\"state\":\"works\",\"detail\":\"1\"},\
             {\"name\":\"b\",\"state\":\"fails\",\"detail\":\"no \\\"b\\\"\",\"fix\":\"get b\"}]\n"
        );
    }

    #[test]
    fn a_trial_tells_the_system_s_reason() {
        let tried = |trial: Trial| attempt(0, &IdMaps::Root, || trial).unwrap();
        assert_eq!(tried(Ok(())), Ok(()));
        assert_eq!(tried(Err(Errno::PERM)), Err(Errno::PERM));
        assert_eq!(tried(Err(Errno::OPNOTSUPP)), Err(Errno::OPNOTSUPP));
    }
}
