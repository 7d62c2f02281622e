//! What a caller is told of through descriptors: that the program runs, and when it starts, ends or runs out of memory.

use nanoserde::SerJson;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{self, File};
use std::io::Write;
use store::time;

/// Where it is told.
#[derive(Default)]
pub struct Events {
    /// Gets a newline once, when the program runs first.
    pub ready: Option<File>,
    /// Gets a line of JSON for each event.
    pub lines: Option<File>,
}

/// One line.
#[derive(SerJson)]
struct Line {
    event: String,
    id: String,
    time: String,
    pid: Option<u32>,
    code: Option<u8>,
}

impl Events {
    /// The program runs, as process `pid`.
    pub fn started(&mut self, id: &str, pid: u32) {
        if let Some(mut ready) = self.ready.take() {
            let _ = ready.write_all(b"\n"); // Who does not wait any more need not be told.
        }
        self.tell("start", id, Some(pid), None);
    }

    /// The program has ended.
    pub fn ended(&mut self, id: &str, code: u8) {
        self.tell("exit", id, None, Some(code));
    }

    /// The kernel has killed something of the container for want of memory.
    pub fn out_of_memory(&mut self, id: &str) {
        self.tell("oom", id, None, None);
    }

    /// A reader that has no room for a line does without: the container never waits for it.
    fn tell(&mut self, event: &str, id: &str, pid: Option<u32>, code: Option<u8>) {
        let Some(file) = &mut self.lines else { return };
        let line = Line { event: event.into(), id: id.into(), time: time::now(), pid, code };
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let room = poll(&mut [PollFd::new(file, PollFlags::OUT)], Some(&now)).is_ok_and(|ready| ready > 0);
        if room && file.write_all(format!("{}\n", line.serialize_json()).as_bytes()).is_err() {
            self.lines = None;
        }
    }
}

/// How often the kernel has killed for want of memory in this process's cgroup, which is the container's too (cgroups(7);
/// `memory.events` in version 2, `memory.oom_control` since Linux 4.13 in version 1). None where it cannot be told.
pub fn out_of_memory_kills() -> Option<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut files = cgroups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "" => Some(format!("/sys/fs/cgroup{path}/memory.events")),
            "memory" => Some(format!("/sys/fs/cgroup/memory{path}/memory.oom_control")),
            _ => None,
        }
    });
    files.find_map(|file| kills_in(&fs::read_to_string(file).ok()?))
}

/// The number of kills that a file of either version tells.
pub fn kills_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_kills_of_both_versions() {
        assert_eq!(kills_in("low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(kills_in("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(kills_in("oom_kill_disable 0\n"), None);
    }
}
