//! `crate-sup top`: the processes of a container, as ps(1) shows them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use store::error::Doing;
use store::process::ends_within;
use store::{Error, Result, Store};

/// Clock ticks in a second, as the kernel tells them to programs (proc_pid_stat(5)): the same everywhere.
const TICKS: u64 = 100;

const TITLES: [&str; 7] = ["PID", "HOST-PID", "PPID", "USER", "STATE", "TIME", "COMMAND"];

/// Prints the processes of the container's pid namespace, by their ids.
pub fn top(name: &str) -> Result<u8> {
    let store = Store::open()?;
    let container = store.find_container(name)?;
    let running = || Error::Failed(format!("container {name} does not run"));
    let (first, descriptor) = container.program(&store)?.ok_or_else(running)?;
    let namespace = namespace(first.pid).ok_or_else(running)?;
    // The link was that of this very process only if it has not ended.
    if ends_within(&descriptor, std::time::Duration::ZERO) {
        return Err(running());
    }
    crate::say(&table(&processes(&namespace)?))
}

/// What is shown of a process.
#[derive(Debug, Default, PartialEq)]
struct Shown {
    /// Its id in its own pid namespace.
    pid: u32,
    host_pid: u32,
    /// The parent's id in the caller's pid namespace.
    host_parent: u32,
    /// The effective user id in its own user namespace; none where it is not mapped there.
    user: Option<u32>,
    state: char,
    /// Processor time used, in seconds.
    time: u64,
    command: String,
}

/// `pid:[NUMBER]`: the pid namespace of a process; none of one that has ended or may not be looked at.
fn namespace(pid: u32) -> Option<String> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?.into_os_string().into_string().ok()
}

/// All processes of a pid namespace, by their ids there.
fn processes(wanted: &str) -> Result<Vec<Shown>> {
    let entries = fs::read_dir("/proc").doing(|| "reading /proc".into())?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut all: Vec<Shown> =
        pids.filter(|pid| namespace(*pid).as_deref() == Some(wanted)).filter_map(process).collect();
    all.sort_by_key(|process| process.pid);
    Ok(all)
}

/// What is shown of a process; nothing of one that ends meanwhile.
fn process(host_pid: u32) -> Option<Shown> {
    let dir = Path::new("/proc").join(host_pid.to_string());
    let read = |name| fs::read(dir.join(name)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut shown = of_status(&read("status")?, &read("uid_map")?)?;
    shown.host_pid = host_pid;
    shown.time = processor_time(&read("stat")?)? / TICKS;
    let arguments = read("cmdline")?;
    if !arguments.is_empty() {
        let arguments: Vec<String> = arguments.trim_end_matches('\0').split('\0').map(harmless).collect();
        shown.command = arguments.join(" ");
    }
    Some(shown)
}

/// The fields of proc_pid_status(5); the command is the program's name, for a process that has no arguments any more.
fn of_status(status: &str, uid_map: &str) -> Option<Shown> {
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    let number = |text: Option<&str>| text?.parse::<u32>().ok();
    Some(Shown {
        pid: number(field("NSpid")?.split_whitespace().last())?,
        host_pid: 0,
        host_parent: number(field("PPid"))?,
        user: inside(number(field("Uid")?.split_whitespace().nth(1))?, uid_map),
        state: field("State")?.chars().next()?,
        time: 0,
        command: format!("[{}]", harmless(field("Name")?)),
    })
}

/// Fields 14 and 15 of proc_pid_stat(5), in clock ticks.
fn processor_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    fields.next()?.parse::<u64>().ok()?.checked_add(fields.next()?.parse().ok()?)
}

/// The id inside of an id outside, by the text of a map (user_namespaces(7)).
fn inside(outside: u32, map: &str) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().ok());
        let (first, lower, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let offset = outside.checked_sub(lower).filter(|offset| *offset < count)?;
        first.checked_add(offset)
    })
}

/// Text of the container's that cannot steer a terminal.
fn harmless(text: &str) -> String {
    text.replace(char::is_control, "?")
}

fn table(processes: &[Shown]) -> String {
    let parents: BTreeMap<u32, u32> = processes.iter().map(|process| (process.host_pid, process.pid)).collect();
    let rows = processes.iter().map(|process| {
        [
            process.pid.to_string(),
            process.host_pid.to_string(),
            // What was brought in from outside has its parent there.
            parents.get(&process.host_parent).unwrap_or(&0).to_string(),
            process.user.map_or_else(|| "-".to_owned(), |user| user.to_string()),
            process.state.to_string(),
            format!("{:02}:{:02}:{:02}", process.time / 3600, process.time / 60 % 60, process.time % 60),
            process.command.clone(),
        ]
    });
    let rows: Vec<[String; 7]> = [TITLES.map(str::to_owned)].into_iter().chain(rows).collect();
    let widths: [usize; 7] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default());
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_ids_as_they_are_inside() {
        let status = "Name:\tsh\nState:\tS (sleeping)\nPPid:\t70\nUid:\t0\t100999\t0\t0\nNSpid:\t80\t7\n";
        let shown = of_status(status, "0 1000 1\n1 100000 65536\n").unwrap();
        let expected = Shown { pid: 7, host_parent: 70, user: Some(1000), state: 'S', ..Shown::default() };
        assert_eq!(shown, Shown { command: "[sh]".into(), ..expected });
        assert_eq!(inside(1000, "0 1000 1\n"), Some(0));
        assert_eq!(inside(999, "0 1000 1\n"), None);
        assert_eq!(inside(5, "0 0 4294967295\n"), Some(5));
    }

    #[test]
    fn reads_processor_time_whatever_the_name() {
        assert_eq!(processor_time("7 (a) b) S 1 7 7 0 -1 4 1 0 0 0 150 51 0 0 20 0 1 0 4242"), Some(201));
        assert_eq!(processor_time("7 (a"), None);
    }

    #[test]
    fn prints_columns() {
        let first = Shown { pid: 1, host_pid: 500, host_parent: 400, user: Some(0), state: 'S', ..Shown::default() };
        let second = Shown { pid: 12, host_pid: 600, host_parent: 500, state: 'R', time: 3725, ..Shown::default() };
        let first = Shown { command: harmless("a\x1b[2J"), ..first };
        assert_eq!(
            table(&[first, second]),
            "PID  HOST-PID  PPID  USER  STATE  TIME      COMMAND\n\
             1    500       0     0     S      00:00:00  a?[2J\n\
             12   600       1     -     R      01:02:05\n"
        );
    }
}
