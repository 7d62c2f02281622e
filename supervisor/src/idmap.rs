//! Id maps: which ids of the host a user namespace has (user_namespaces(7), subuid(5), newuidmap(1)).

use crate::child;
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use std::fs;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use store::error::Doing;
use store::spec::{Spec, annotation};
use store::{Error, Result};

/// A run of consecutive ids of the host.
#[derive(Debug, PartialEq)]
struct Range {
    start: u32,
    count: u32,
}

/// A line of an id map: the first id inside, the first id outside, and how many.
type Line = [u32; 3];

/// How the ids of a new user namespace are mapped.
#[derive(Debug, PartialEq)]
pub enum IdMaps {
    /// No user namespace: the caller is root.
    Root,
    /// One user and one group, who are the caller outside: these inside.
    Single(u32, u32),
    /// The caller and the ranges that the caller may use: the user ids, and the group ids.
    Ranges(Vec<Line>, Vec<Line>),
}

/// Why a user has no ranges of ids, and a way to have some.
pub struct Lack {
    /// The reason.
    pub detail: String,
    /// The way.
    pub fix: String,
}

impl IdMaps {
    /// Root alone, who is the caller.
    pub const ONE: Self = Self::Single(0, 0);

    /// What the caller can have: ranges where `/etc/subuid`, `/etc/subgid` and newuidmap(1) give them, from 1 on.
    pub fn of_caller() -> Self {
        if geteuid().is_root() { Self::Root } else { Self::ranges().unwrap_or(Self::ONE) }
    }

    /// What a container is to have, by its annotation [`annotation::USERNS`].
    pub fn of(spec: &Spec) -> Result<Self> {
        let asked = spec.annotation(annotation::USERNS);
        let refused = |why: &str| Err(Error::Failed(format!("--userns={}: {why}", asked.unwrap_or_default())));
        match (asked, geteuid().is_root()) {
            (None, _) | (Some("private"), false) | (Some("host"), true) => Ok(Self::of_caller()),
            (Some("ranges"), false) => Self::ranges()
                .map_err(|Lack { detail, fix }| Error::Failed(format!("--userns=ranges: {detail}\nhint: {fix}"))),
            (Some("keep-id"), false) => Ok(Self::of_caller().keeping(geteuid().as_raw(), getegid().as_raw())),
            (Some("host"), false) => refused("only root can do without a user namespace\nhint: leave it out"),
            (Some("private" | "ranges" | "keep-id"), true) => refused(
                "root's containers have no user namespace\n\
                 hint: leave it out, or run the container as an ordinary user",
            ),
            (Some(_), _) => refused("it is private, ranges, keep-id or host"),
        }
    }

    /// The caller and the caller's ranges, or why there are none.
    fn ranges() -> std::result::Result<Self, Lack> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let name = user_name(uid).unwrap_or_default();
        let owner = [name, uid.to_string()];
        if let Some(missing) = ["newuidmap", "newgidmap"].into_iter().find(|program| find(program).is_none()) {
            let fix = "apt-get install uidmap (shadow-utils, shadow)".into();
            return Err(Lack { detail: format!("{missing} is missing"), fix });
        }
        let found = |file: &str, own: u32| lines(own, &ranges(&read_small(file), &owner));
        match (found("/etc/subuid", uid), found("/etc/subgid", gid)) {
            (uids, gids) if uids.len() > 1 && gids.len() > 1 => Ok(Self::Ranges(uids, gids)),
            (uids, _) => {
                let file = if uids.len() > 1 { "/etc/subgid" } else { "/etc/subuid" };
                let [name, number] = owner;
                let name = if name.is_empty() { number } else { name };
                let (first, last) = (first_free(), first_free() + 65535);
                let fix = format!("usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {name}");
                Err(Lack { detail: format!("{file} has no range of ids for {name}"), fix })
            }
        }
    }

    /// Why the caller has no ranges of ids; none where there are some.
    pub fn lack() -> Option<Lack> {
        Self::ranges().err()
    }

    /// The same ids outside, but 0 and the caller's own inside in each other's place.
    fn keeping(self, uid: u32, gid: u32) -> Self {
        match self {
            Self::Root => Self::Root,
            Self::Single(..) => Self::Single(uid, gid),
            Self::Ranges(uids, gids) => Self::Ranges(exchanged(&uids, uid), exchanged(&gids, gid)),
        }
    }

    /// Why these ids cannot be mapped; none where they can.
    pub fn tried(&self) -> Option<Error> {
        let tried = child::start(0, self, || None, |_| Ok(()), || 0);
        tried.and_then(|started| child::wait_for(&started.child)).err()
    }

    /// What serves in place of ranges that newuidmap(1) refused to map, for this reason, which is told. A want of processes or
    /// descriptors is none: it passes, and the container would have other ids than its files.
    pub fn instead(&self, error: &Error) -> Option<Self> {
        let (Self::Ranges(uids, gids), Error::Refused(reason)) = (self, error) else { return None };
        let (reason, hint) = reason.split_once('\n').unwrap_or((reason, ""));
        crate::tell(&format!("{reason}: only one id is mapped\n{hint}").trim_end());
        Some(Self::Single(uids.first()?[0], gids.first()?[0]))
    }

    /// Are changes of owner and of identity only to seem made? So it is where root is the only id, unless the container
    /// is to see them fail.
    pub fn emulates_root(&self, spec: &Spec) -> bool {
        *self == Self::ONE && spec.annotation(annotation::ROOT_EMULATION) != Some("false")
    }

    /// The ids that a process has of the user namespace that it is in, as far as [`Self::emulates_root`] asks.
    pub fn of_process(process: BorrowedFd) -> Self {
        let alone = |file: &str| {
            let pid = child::pid_of(process).unwrap_or(0);
            let text = read_small(&format!("/proc/{pid}/{file}"));
            let mut numbers = text.split_whitespace();
            numbers.next() == Some("0") && numbers.nth(1) == Some("1") && numbers.next().is_none()
        };
        if alone("uid_map") && alone("gid_map") { Self::ONE } else { Self::Root }
    }

    /// Is there a user namespace at all?
    pub fn has_namespace(&self) -> bool {
        !matches!(self, Self::Root)
    }

    /// Begins to write the maps of process `pid`, which is in a user namespace that has none yet.
    pub fn begin(&self, pid: i32) -> Result<Mapping> {
        match self {
            Self::Root => Ok(Mapping(Vec::new())),
            Self::Single(uid, gid) => {
                let files = [
                    ("setgroups", "deny".into()),
                    ("uid_map", format!("{uid} {} 1", geteuid().as_raw())),
                    ("gid_map", format!("{gid} {} 1", getegid().as_raw())),
                ];
                let mut written = files.into_iter().map(|(file, text)| {
                    let path = format!("/proc/{pid}/{file}");
                    fs::write(&path, text).map_err(|error| {
                        let errno = Errno::from_io_error(&error).unwrap_or(Errno::PERM);
                        let (reason, way) = (child::reason(&error), child::way_to_namespaces(errno));
                        Error::Failed(format!("writing {path}: {reason}\nhint: {way}"))
                    })
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

fn start(program: &'static str, pid: i32, map: &[Line]) -> Result<(&'static str, Child)> {
    let mut command = Command::new(program);
    let numbers = map.iter().flatten().map(u32::to_string);
    command.arg(pid.to_string()).args(numbers).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
        .spawn()
        .map_err(|error| child::no_process(&format!("starting {program}"), error))
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
    Err(Error::Refused(format!(
        "mapping ids: {text}\nhint: {program} must be setuid root (or have CAP_SETUID), and /etc/subuid and /etc/subgid hold free ranges"
    )))
}

/// The caller's own id as 0, and then each range from the next free id inside on.
fn lines(own: u32, ranges: &[Range]) -> Vec<Line> {
    let mut lines = vec![[0, own, 1]];
    let mut inside = 1_u32;
    for Range { start, count } in ranges {
        let Some(next) = inside.checked_add(*count) else { break };
        // The kernel maps no id twice: a range that is there already, or overlaps one, is left out.
        if lines.iter().all(|[_, first, many]| start + (count - 1) < *first || first + (many - 1) < *start) {
            lines.push([inside, *start, *count]);
            inside = next;
        }
    }
    lines
}

/// The map with 0 and `own` inside in each other's place. Where `own` is not mapped, 0 is not either.
fn exchanged(map: &[Line], own: u32) -> Vec<Line> {
    let mut changed = Vec::new();
    for [inside, outside, count] in map.iter().copied() {
        match own.checked_sub(inside).filter(|before| *before < count) {
            _ if inside == 0 => changed.push([own, outside, 1]),
            Some(before) => changed.extend([
                [inside, outside, before],
                [0, outside + before, 1],
                [own + 1, outside + before + 1, count - before - 1],
            ]),
            None => changed.push([inside, outside, count]),
        }
    }
    changed.retain(|[_, _, count]| *count > 0);
    changed
}

/// The ranges of a subuid(5) file that belong to one of the owner's two names.
fn ranges(text: &str, owner: &[String; 2]) -> Vec<Range> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let range = Range { start: fields.next()?.trim().parse().ok()?, count: fields.next()?.trim().parse().ok()? };
        let fits = range.count > 0 && range.start.checked_add(range.count).is_some();
        (owner.iter().any(|own| own == name) && fits).then_some(range)
    };
    text.lines().filter_map(parse).collect()
}

/// The first id above all ranges that somebody has, from 100,000 on, as useradd(8) gives them.
fn first_free() -> u64 {
    let files = ["/etc/subuid", "/etc/subgid"].map(read_small);
    files.iter().flat_map(|text| text.lines()).filter_map(end).fold(100_000, u64::max)
}

/// The end of a range of subuid(5): `NAME:START:COUNT`.
fn end(line: &str) -> Option<u64> {
    let mut numbers = line.split(':').skip(1).map_while(|field| field.trim().parse::<u64>().ok());
    numbers.next()?.checked_add(numbers.next()?)
}

/// The name of a user, as /etc/passwd or the environment has it.
fn user_name(uid: u32) -> Option<String> {
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
        let text = "# comment\nbob:1:2\nann:100000:65536\n1001:300000:10\nann:x:1\nann:5\nann:7:0\nann:4294967295:2\n";
        let found = ranges(text, &owner);
        assert_eq!(found, [Range { start: 100_000, count: 65_536 }, Range { start: 300_000, count: 10 }]);
        assert_eq!(lines(1001, &found), [[0, 1001, 1], [1, 100_000, 65_536], [65_537, 300_000, 10]]);
    }

    #[test]
    fn maps_no_id_twice() {
        let range = |start, count| Range { start, count };
        let found =
            [range(5000, 10), range(5009, 10), range(5000, 10), range(999, 3), range(5010, 1), range(4000, 1000)];
        assert_eq!(lines(1001, &found), [[0, 1001, 1], [1, 5000, 10], [11, 5010, 1], [12, 4000, 1000]]);
    }

    #[test]
    fn keeps_the_caller_s_id() {
        let map = [[0, 1001, 1], [1, 100_000, 65_536], [65_537, 300_000, 10]];
        let kept =
            [[1001, 1001, 1], [1, 100_000, 1000], [0, 101_000, 1], [1002, 101_001, 64_535], [65_537, 300_000, 10]];
        assert_eq!(exchanged(&map, 1001), kept);
        assert_eq!(exchanged(&map, 1)[..2], [[1, 1001, 1], [0, 100_000, 1]]);
        assert_eq!(exchanged(&map, 70_000), [[70_000, 1001, 1], [1, 100_000, 65_536], [65_537, 300_000, 10]]);
        assert_eq!(IdMaps::ONE.keeping(7, 8), IdMaps::Single(7, 8));
    }

    #[test]
    fn reads_where_ranges_end() {
        assert_eq!(end("ann:100000:65536"), Some(165_536));
        for bad in ["", "ann", "ann:1", "ann:x:1", "ann:18446744073709551615:1"] {
            assert_eq!(end(bad), None, "{bad}");
        }
    }
}
