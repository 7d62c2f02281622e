//! Id maps: which ids of the host a user namespace has (user_namespaces(7), subuid(5), newuidmap(1)).

use crate::child;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use store::error::Doing;
use store::{Error, Result};

/// A run of consecutive ids of the host.
#[derive(Debug, PartialEq)]
struct Range {
    start: u32,
    count: u32,
}

/// How the ids of a new user namespace are mapped.
pub enum IdMaps {
    /// No user namespace: the caller is root.
    Root,
    /// Root alone, who is the caller.
    Single,
    /// Root, who is the caller, and from 1 on the ranges that the caller may use.
    Ranges(Vec<String>, Vec<String>),
}

impl IdMaps {
    /// What the caller can have: ranges where `/etc/subuid`, `/etc/subgid` and newuidmap(1) give them.
    pub fn of_caller() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if uid.is_root() {
            return Self::Root;
        }
        let name = user_name(uid.as_raw());
        let owner = [name.unwrap_or_default(), uid.as_raw().to_string()];
        let [uids, gids] = ["/etc/subuid", "/etc/subgid"].map(|file| ranges(&read_small(file), &owner));
        if uids.is_empty() || gids.is_empty() || find("newuidmap").is_none() || find("newgidmap").is_none() {
            return Self::Single;
        }
        Self::Ranges(arguments(uid.as_raw(), &uids), arguments(gid.as_raw(), &gids))
    }

    /// Is there a user namespace at all?
    pub fn has_namespace(&self) -> bool {
        !matches!(self, Self::Root)
    }

    /// Begins to write the maps of process `pid`, which is in a user namespace that has none yet.
    pub fn begin(&self, pid: i32) -> Result<Mapping> {
        match self {
            Self::Root => Ok(Mapping(Vec::new())),
            Self::Single => {
                let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
                let files = [
                    ("setgroups", "deny".into()),
                    ("uid_map", format!("0 {uid} 1")),
                    ("gid_map", format!("0 {gid} 1")),
                ];
                let mut written = files.into_iter().map(|(file, text)| {
                    let path = format!("/proc/{pid}/{file}");
                    fs::write(&path, text).doing(|| format!("writing {path}"))
                });
                written.try_for_each(|result| result).map(|()| Mapping(Vec::new()))
            }
            // Both at once: each is a program to load, and starting a container waits for them.
            Self::Ranges(uids, gids) => {
                Ok(Mapping([start("newuidmap", pid, uids)?, start("newgidmap", pid, gids)?].into()))
            }
        }
    }
}

/// Maps that are being written.
pub struct Mapping(Vec<(&'static str, Child)>);

impl Mapping {
    /// Waits until they are.
    pub fn finish(self) -> Result<()> {
        self.0.into_iter().map(|(program, child)| finish(program, child)).fold(Ok(()), Result::and)
    }
}

fn start(program: &'static str, pid: i32, maps: &[String]) -> Result<(&'static str, Child)> {
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(maps).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
        .spawn()
        .map_err(|error| child::no_process(&format!("starting {program}"), &error))
        .map(|child| (program, child))
}

fn finish(program: &str, mut child: Child) -> Result<()> {
    let mut text = String::new();
    if let Some(errors) = child.stderr.take() {
        // What it says is only for the message; whether it worked is told by its exit status.
        let _ = errors.take(4096).read_to_string(&mut text);
    }
    if child.wait().doing(|| format!("waiting for {program}"))?.success() {
        return Ok(());
    }
    let text = text.trim().replace('\n', "; ");
    Err(Error::Failed(format!(
        "mapping ids: {text}\nhint: {program} must be setuid root (or have CAP_SETUID), and /etc/subuid and /etc/subgid hold free ranges"
    )))
}

/// `0 OWN 1`, and then each range from the next free id inside on: the arguments of newuidmap(1).
fn arguments(own: u32, ranges: &[Range]) -> Vec<String> {
    let mut arguments = ["0".to_owned(), own.to_string(), "1".to_owned()].to_vec();
    let mut inside = 1_u32;
    for Range { start, count } in ranges {
        let Some(next) = inside.checked_add(*count) else { break };
        arguments.extend([inside, *start, *count].map(|number| number.to_string()));
        inside = next;
    }
    arguments
}

/// The ranges of a subuid(5) file that belong to one of the owner's two names.
fn ranges(text: &str, owner: &[String; 2]) -> Vec<Range> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let range = Range { start: fields.next()?.trim().parse().ok()?, count: fields.next()?.trim().parse().ok()? };
        (owner.iter().any(|own| own == name) && range.count > 0).then_some(range)
    };
    text.lines().filter_map(parse).collect()
}

/// The name of a user, as /etc/passwd or the environment has it.
pub fn user_name(uid: u32) -> Option<String> {
    let passwd = read_small("/etc/passwd");
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = entry.into_iter().find(|fields| fields.get(2).is_some_and(|field| field.parse() == Ok(uid)));
    found.map(|fields| fields[0].to_owned()).or_else(|| std::env::var("USER").ok())
}

/// A file that may be missing: then nothing is configured.
fn read_small(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Finds a program along `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| is_program(file))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_ranges_of_a_name_or_number() {
        let owner = ["ann".to_owned(), "1001".to_owned()];
        let text = "# comment\nbob:1:2\nann:100000:65536\n1001:300000:10\nann:x:1\nann:5\nann:7:0\n";
        let found = ranges(text, &owner);
        assert_eq!(found, [Range { start: 100_000, count: 65_536 }, Range { start: 300_000, count: 10 }]);
        assert_eq!(arguments(1001, &found).join(" "), "0 1001 1 1 100000 65536 65537 300000 10");
    }
}
