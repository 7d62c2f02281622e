//! `crate-sup logs`: prints what a container has written, as it was written.

use lexopt::{Arg, Parser, ValueExt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::{Errno, read, write};
use std::io::{ErrorKind, stderr, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};
use store::error::Doing;
use store::log::{Kind, Line, Reader, Stream};
use store::state::State;
use store::{Container, Error, Result, Store, time};

/// How long the end of a container can go unnoticed that nothing tells of.
const LOOK: Duration = Duration::from_millis(50);
/// The most bytes of output that are held before they are printed.
const BUFFER: usize = 64 << 10;

/// What is wanted of a log. Times are RFC 3339 in UTC to the nanosecond, which sort as they read.
#[derive(Default)]
struct Wanted {
    container: String,
    follow: bool,
    timestamps: bool,
    tail: Option<u64>,
    since: Option<String>,
    until: Option<String>,
}

/// Prints a container's output.
pub fn logs(parser: &mut Parser) -> Result<u8> {
    let wanted = arguments(parser)?;
    let store = Store::open()?;
    let container = store.find_container(&wanted.container)?;
    store.unlock()?; // Following must not keep others from collecting.
    match print(&store, &container, &wanted) {
        // Nobody wants to read on.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(0),
        other => other.map(|()| 0),
    }
}

fn arguments(parser: &mut Parser) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    let mut container = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('f') | Arg::Long("follow") => wanted.follow = true,
            Arg::Short('t') | Arg::Long("timestamps") => wanted.timestamps = true,
            Arg::Short('n') | Arg::Long("tail") => wanted.tail = lines(&parser.value()?.string()?)?,
            Arg::Long("since") => wanted.since = Some(moment("since", &parser.value()?.string()?)?),
            Arg::Long("until") => wanted.until = Some(moment("until", &parser.value()?.string()?)?),
            Arg::Value(name) if container.is_none() => container = Some(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    wanted.container = container.ok_or_else(|| Error::Usage("a container's id or name is wanted".into()))?;
    Ok(wanted)
}

/// How many lines of the end are wanted; none for all.
fn lines(text: &str) -> Result<Option<u64>> {
    if text == "all" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Error::Usage(format!("--tail: neither a number nor all: {text}")))
}

fn moment(option: &str, text: &str) -> Result<String> {
    let malformed = || {
        Error::Usage(format!(
            "--{option}: not a time: {text}\nhint: a time is 2024-02-29T12:34:56Z, 2024-02-29, 1709210096, or 1h30m ago"
        ))
    };
    time::parse(text, now()).map(time::rfc3339).ok_or_else(malformed)
}

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn print(store: &Store, container: &Container, wanted: &Wanted) -> Result<()> {
    let changes = if wanted.follow { watch(&container.dir) } else { None };
    let mut log = match Reader::open(&container.dir) {
        // It has just been removed.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let skip = wanted.tail.map_or(Ok([0; 2]), |count| log.seek_tail(count, wanted.until.as_deref()))?;
    let mut printer = Printer {
        wanted,
        streams: skip.map(|skip| Progress { skip, within: false, shown: false }),
        output: Output::new(),
    };
    loop {
        // In this order: of a container that has ended before the log was read, all has been read.
        let state = if wanted.follow { container.state(store) } else { Ok(State::Created) };
        log.renew()?;
        log.read(|line| printer.line(line))?;
        printer.output.flush()?;
        let passed = wanted.until.as_ref().is_some_and(|until| *until < time::now());
        if passed || !matches!(state?, State::Starting | State::Running | State::Restarting) {
            break;
        }
        wait(changes.as_ref())?;
    }
    match log.malformed() {
        0 => {}
        count => crate::tell(&format!("logs: {count} malformed lines were left out")),
    }
    Ok(())
}

/// A descriptor that can be read when something has changed in the directory; none where the kernel has no more of
/// them for this user (inotify(7)).
fn watch(dir: &Path) -> Option<OwnedFd> {
    let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    inotify::add_watch(&changes, dir, flags).ok().map(|_| changes)
}

/// Waits for a change, though not for long.
fn wait(changes: Option<&OwnedFd>) -> Result<()> {
    let output = stdout();
    // No event is asked for: that the reader has gone is told all the same.
    let mut polled = vec![PollFd::new(&output, PollFlags::empty())];
    polled.extend(changes.map(|changes| PollFd::new(changes, PollFlags::IN)));
    let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
    match poll(&mut polled, Some(&timeout)) {
        Err(Errno::INTR) => {}
        other => drop(other.doing(|| "waiting for output".into())?),
    }
    if polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
        return Err(Errno::PIPE).doing(printing);
    }
    while changes.is_some_and(|changes| read(changes, &mut [0; 4096]).is_ok()) {}
    Ok(())
}

fn printing() -> String {
    "printing the log".into()
}

/// How far the lines of one stream are printed.
struct Progress {
    /// How many lines are to be left out.
    skip: u64,
    /// Has a line begun that has not ended?
    within: bool,
    /// Is that line printed?
    shown: bool,
}

/// Prints those lines that are wanted.
struct Printer<'a> {
    wanted: &'a Wanted,
    streams: [Progress; 2],
    output: Output,
}

impl Printer<'_> {
    fn line(&mut self, line: &Line) -> Result<()> {
        if line.kind == Kind::Lost {
            return if self.is_in_time(line) {
                self.output.put(Stream::Err, &[b"crate-sup: logs: ", line.text, b"\n"])
            } else {
                Ok(())
            };
        }
        let in_time = self.is_in_time(line);
        let progress = &mut self.streams[line.stream as usize];
        let begins = !progress.within;
        if begins {
            *progress = Progress { within: true, shown: progress.skip == 0 && in_time, ..*progress };
        }
        let shown = progress.shown;
        if line.kind == Kind::Full {
            *progress = Progress { within: false, skip: progress.skip.saturating_sub(1), ..*progress };
        }
        if !shown {
            return Ok(());
        }
        let (time, blank): (&[u8], &[u8]) =
            if begins && self.wanted.timestamps { (line.time, b" ") } else { (b"", b"") };
        let newline: &[u8] = if line.kind == Kind::Full { b"\n" } else { b"" };
        self.output.put(line.stream, &[time, blank, line.text, newline])
    }

    fn is_in_time(&self, line: &Line) -> bool {
        let Wanted { since, until, .. } = self.wanted;
        since.as_ref().is_none_or(|since| line.time >= since.as_bytes())
            && until.as_ref().is_none_or(|until| line.time <= until.as_bytes())
    }
}

/// Standard output and standard error, in the order in which they were written to as far as a reader can tell.
struct Output {
    stream: Stream,
    held: Vec<u8>,
}

impl Output {
    fn new() -> Self {
        Self { stream: Stream::Out, held: Vec::with_capacity(BUFFER) }
    }

    fn put(&mut self, stream: Stream, parts: &[&[u8]]) -> Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if stream != self.stream || self.held.len() + length > BUFFER {
            self.flush()?;
            self.stream = stream;
        }
        for part in parts {
            self.held.extend_from_slice(part);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let (out, err) = (stdout(), stderr());
        let target = if self.stream == Stream::Out { out.as_fd() } else { err.as_fd() };
        let mut rest = &self.held[..];
        while !rest.is_empty() {
            match write(target, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                // Whoever shares it may have made it so.
                Err(Errno::AGAIN) => {
                    let _ = poll(&mut [PollFd::from_borrowed_fd(target, PollFlags::OUT)], None);
                }
                Err(error) => return Err(error).doing(printing),
            }
        }
        self.held.clear();
        Ok(())
    }
}
