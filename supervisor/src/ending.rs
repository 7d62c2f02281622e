//! Sending signals to containers, and waiting until they have ended: many at once, in one loop.

use crate::channel::{self, Reply, Request};
use crate::signals;
use crate::sys::{self, Child};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use store::process::ends_within;
use store::state::State;
use store::{Container, Error, Result, Store};

/// How long a supervisor may take to answer before its container is signalled without it.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a killed container may take to go; it takes long only where the kernel itself is stuck.
const GOES: Duration = Duration::from_secs(10);
/// How often what no descriptor tells is looked at.
const TICK: Duration = Duration::from_millis(25);
/// How many containers are ended at once: each takes two descriptors, of which a process may have 1024.
const AT_ONCE: usize = 256;

/// Who keeps a container going.
pub struct Keeper {
    /// The process id of its supervisor, or of the one that was killed; of another pid namespace, what it is there.
    supervisor: u32,
    /// Is there only the program itself, its supervisor having been killed?
    orphaned: bool,
    /// The supervisor, or the orphaned program; none where it is of another pid namespace.
    pidfd: Option<OwnedFd>,
}

impl Keeper {
    /// Who keeps the container going now, if anybody does. Nothing is locked by asking.
    pub fn of(container: &Container, store: &Store) -> Result<Option<Self>> {
        loop {
            let record = container.recorded_process(store)?;
            let Some(holder) = container.lock_holder(store)? else {
                let orphan = record.and_then(|process| Some((process.supervisor, process.open()?)));
                return Ok(orphan.map(|(supervisor, pidfd)| Self { supervisor, orphaned: true, pidfd: Some(pidfd) }));
            };
            let recorded = record.filter(|process| holder == 0 || holder == process.supervisor);
            // Who holds the lock and has not begun to run it may as well be removing it.
            if recorded.is_none() && (container.exit_code().is_some() || container.started().is_none()) {
                return Ok(None);
            }
            if holder == 0 {
                let supervisor = recorded.map_or(0, |process| process.supervisor);
                return Ok(Some(Self { supervisor, orphaned: false, pidfd: None }));
            }
            let pidfd = Pid::from_raw(holder.cast_signed()).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
            // The number has not come to mean another process if that process is the holder.
            if let Some(Ok(pidfd)) = pidfd
                && container.lock_holder(store)? == Some(holder)
            {
                return Ok(Some(Self { supervisor: holder, orphaned: false, pidfd: Some(pidfd) }));
            }
        }
    }

    /// Waits until it has ended, or for as long as it is worth while to wait before asking again.
    pub fn wait(&self) {
        match &self.pidfd {
            Some(pidfd) => _ = ends_within(pidfd, Duration::MAX),
            None => std::thread::sleep(TICK),
        }
    }

    /// What it is called when it does not end.
    fn name(&self) -> String {
        let what = if self.orphaned { "its program" } else { "its supervisor" };
        format!("{what}, process {},", self.supervisor)
    }

    /// Lets a supervisor go on that job control has stopped: it could do nothing of what it is asked for.
    fn wake(&self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.supervisor)).unwrap_or_default();
        if let Some(pidfd) = &self.pidfd
            && status.contains("\nState:\tT")
        {
            let _ = sys::send_signal(pidfd.as_fd(), libc::SIGCONT); // It fails if it has ended.
        }
    }
}

/// When an order is carried out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Until {
    /// When the signal has been sent.
    Sent,
    /// When the container has ended. After this time it is killed; without, it is waited for as long as it takes.
    Ended(Option<Duration>),
}

/// How far the sending of the signal has come.
enum Sending {
    NotYet,
    /// The supervisor has been asked on this channel, and may answer until then.
    Asked(OwnedFd, Instant),
    Done,
}

/// A container that is sent a signal.
pub struct Order {
    /// The container, as it was named.
    pub given: String,
    container: Container,
    signal: i32,
    /// May its restart policy start it again afterwards?
    restarts: bool,
    /// Is it a failure if the container does not run?
    must_run: bool,
    until: Until,
    /// How long to wait before going further; none: as long as it takes.
    time: Option<Duration>,
    /// When that time is over; none before the order is begun, too.
    deadline: Option<Instant>,
    /// Is there nothing left to try after the deadline?
    last: bool,
    keeper: Option<Keeper>,
    sending: Sending,
}

impl Order {
    /// An order for [`carry_out`].
    pub fn new(given: &str, container: Container, signal: i32, until: Until) -> Self {
        let last = until == Until::Sent || signal == libc::SIGKILL;
        let time = match until {
            Until::Ended(time) if !last => time,
            _ => Some(GOES),
        };
        Self {
            given: given.to_owned(),
            container,
            signal,
            restarts: false,
            must_run: false,
            until,
            time,
            deadline: None,
            last,
            keeper: None,
            sending: Sending::NotYet,
        }
    }

    /// Leaves its restart policy in force.
    #[must_use]
    pub fn restarting(self, restarts: bool) -> Self {
        Self { restarts, ..self }
    }

    /// Makes it a failure if the container does not run.
    #[must_use]
    pub fn must_run(self, must_run: bool) -> Self {
        Self { must_run, ..self }
    }

    /// Goes on as far as is possible without waiting; whether the order is carried out.
    fn step(&mut self, store: &Store) -> Result<bool> {
        let before = self.keeper.take();
        let same = |keeper: &Keeper| before.as_ref().is_none_or(|before| before.supervisor == keeper.supervisor);
        let Some(keeper) = Keeper::of(&self.container, store)?.filter(same) else {
            // If another keeps it now, it has ended, and somebody has started it anew.
            return self.ended(before.is_some());
        };
        if before.is_some_and(|before| before.orphaned != keeper.orphaned) {
            self.sending = Sending::NotYet;
        }
        self.keeper = Some(keeper);
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if late && self.last {
            return Err(self.stuck());
        }
        if late {
            (self.signal, self.sending) = (libc::SIGKILL, Sending::NotYet);
            (self.time, self.last) = (Some(GOES), true);
        }
        if late || self.deadline.is_none() {
            self.deadline = self.time.and_then(|time| Instant::now().checked_add(time));
        }
        self.send(store)?;
        Ok(self.is_sent() && self.until == Until::Sent)
    }

    fn is_sent(&self) -> bool {
        matches!(self.sending, Sending::Done)
    }

    /// Signals the supervisor, where its socket and record are gone with the directory of what runs: it passes the signal
    /// on, and takes the container along if it is killed itself. Whether it was signalled.
    fn send_to_supervisor(&self, store: &Store) -> Result<bool> {
        let supervisor =
            self.keeper.as_ref().filter(|keeper| !keeper.orphaned).and_then(|keeper| keeper.pidfd.as_ref());
        let cut_off =
            self.container.recorded_process(store)?.is_none() && self.container.state(store)? == State::Running;
        let Some(supervisor) = supervisor.filter(|_| cut_off) else { return Ok(false) };
        let _ = sys::send_signal(supervisor.as_fd(), self.signal); // It has ended meanwhile, if this fails.
        Ok(true)
    }

    /// The container does not run, or not any more.
    fn ended(&self, ran: bool) -> Result<bool> {
        // What the supervisor has answered is read even after its end.
        let told = matches!(&self.sending, Sending::Asked(socket, _) if answer(socket) == Some(true));
        let done = if self.until == Until::Sent { told || self.is_sent() } else { ran };
        if done || !self.must_run {
            return Ok(true);
        }
        Err(Error::Failed(format!("container {} does not run", self.given)))
    }

    fn stuck(&self) -> Error {
        let who = self.keeper.as_ref().map_or_else(String::new, Keeper::name);
        if self.is_sent() {
            return Error::Failed(format!("ending container {}: {who} does not end", self.given));
        }
        Error::Busy(format!("container {} has no program to signal yet, nor does {who} answer", self.given))
    }

    /// Asks the supervisor to send the signal; where it cannot be asked, or does not answer, sends it directly.
    fn send(&mut self, store: &Store) -> Result<()> {
        let Some(keeper) = &self.keeper else { return Ok(()) };
        if matches!(self.sending, Sending::NotYet) && !keeper.orphaned && ![0, libc::SIGSTOP].contains(&self.signal) {
            keeper.wake();
            self.sending = self.ask(store)?;
        }
        let answered = match &self.sending {
            Sending::Done => return Ok(()),
            Sending::Asked(socket, until) => match answer(socket) {
                None if Instant::now() < *until => return Ok(()),
                answered => answered.unwrap_or(false),
            },
            Sending::NotYet => false,
        };
        self.sending = if answered || self.send_directly(store)? { Sending::Done } else { Sending::NotYet };
        Ok(())
    }

    fn ask(&self, store: &Store) -> Result<Sending> {
        let request = if self.restarts { Request::Kill(self.signal) } else { Request::Stop(self.signal) };
        // What keeps it from being asked does not matter: there is another way.
        let connected = channel::connect_in(&store.run_dir()?.join(&self.container.id)).ok().flatten();
        let asked = connected.filter(|socket| channel::try_send_packet(socket, &request.packet()).is_ok());
        Ok(asked.map_or(Sending::NotYet, |socket| Sending::Asked(socket, Instant::now() + ANSWER)))
    }

    /// Signals the first process of the container, if there is one of this very run; whether there is.
    fn send_directly(&self, store: &Store) -> Result<bool> {
        let keeper = self.keeper.as_ref().map(|keeper| keeper.supervisor);
        let process = self.container.process(store)?.filter(|(process, _)| Some(process.supervisor) == keeper);
        let Some((process, pidfd)) = process else { return self.send_to_supervisor(store) };
        let child = Child { pid: process.pid.cast_signed(), pidfd };
        match self.signal {
            0 => {}
            // Even a process 1 is stopped by it; it fails if the process has ended meanwhile.
            libc::SIGSTOP => _ = sys::send_signal(child.pidfd.as_fd(), libc::SIGSTOP),
            signal => _ = signals::forward(&child, signal, true),
        }
        Ok(true)
    }

    /// What tells that it can go on.
    fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let keeper = self.keeper.as_ref().and_then(|keeper| keeper.pidfd.as_ref());
        let channel = if let Sending::Asked(socket, _) = &self.sending { Some(socket) } else { None };
        keeper.into_iter().chain(channel).map(AsFd::as_fd)
    }

    /// When it goes on even if nothing is told: of another pid namespace nothing is, and a supervisor may let go of the
    /// container before it ends itself.
    fn next(&self) -> Option<Instant> {
        let soon = match self.sending {
            Sending::Asked(_, until) => until,
            Sending::NotYet => Instant::now() + TICK,
            Sending::Done => Instant::now() + 4 * TICK,
        };
        self.deadline.into_iter().chain([soon]).min()
    }
}

/// Has the supervisor done what it was asked for? None: it has not answered yet.
fn answer(socket: &OwnedFd) -> Option<bool> {
    loop {
        match channel::try_receive_packet(socket) {
            Ok(packet) if packet.is_empty() => return Some(false),
            Ok(packet) if Reply::read(&packet) == Some(Reply::Done) => return Some(true),
            Ok(_) => {}
            Err(Errno::AGAIN) => return None,
            Err(_) => return Some(false),
        }
    }
}

/// Carries out all orders at once, and reports on each as soon as it is done.
pub fn carry_out(store: &Store, mut orders: Vec<Order>, mut report: impl FnMut(&str, Result<()>)) {
    while !orders.is_empty() {
        let now = orders.len().min(AT_ONCE);
        let mut left = Vec::new();
        for mut order in orders.drain(..now) {
            match order.step(store) {
                Ok(false) => left.push(order),
                result => report(&order.given, result.map(drop)),
            }
        }
        if !left.is_empty() && left.len() == now {
            wait_for_news(&left);
        }
        orders.splice(0..0, left);
    }
}

fn wait_for_news(orders: &[Order]) {
    let mut polled: Vec<_> =
        orders.iter().flat_map(Order::sources).map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)).collect();
    let next = orders.iter().filter_map(Order::next).min();
    let time = next.map(|next| next.saturating_duration_since(Instant::now()));
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    match poll(&mut polled, time.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(_) => std::thread::sleep(TICK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(signal: i32, until: Until) -> Order {
        Order::new("x", Container { id: "0".repeat(64), dir: "/no/such".into() }, signal, until)
    }

    #[test]
    fn nothing_is_waited_for_without_end_unless_that_was_asked_for() {
        let minute = Some(Duration::from_secs(60));
        for (signal, until, last, bounded) in [
            (libc::SIGKILL, Until::Ended(None), true, true),
            (libc::SIGTERM, Until::Sent, true, true),
            (libc::SIGTERM, Until::Ended(minute), false, true),
            (libc::SIGTERM, Until::Ended(None), false, false),
        ] {
            let order = order(signal, until);
            assert_eq!((order.last, order.time.is_some()), (last, bounded), "{signal} {until:?}");
        }
    }

    #[test]
    fn what_does_not_run_has_ended_but_cannot_be_signalled() {
        let missing = |error: Result<bool>| error.unwrap_err().to_string() == "container x does not run";
        assert!(order(15, Until::Ended(None)).ended(false).unwrap());
        assert!(missing(order(15, Until::Ended(None)).must_run(true).ended(false)));
        assert!(order(15, Until::Ended(None)).must_run(true).ended(true).unwrap());
        // It ended before the signal was sent.
        assert!(missing(order(15, Until::Sent).must_run(true).ended(true)));
    }
}
