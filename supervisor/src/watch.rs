//! The loop: waits for the program to run and to end, and passes signals on.

use crate::child::{self, Started};
use crate::signals;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use store::Result;
use store::error::Doing;

/// How it went.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The program ran, and ended with this code.
    Ended(u8),
    /// It never ran: the code and the line of crate-init.
    Failed(u8, String),
}

/// The longest error line of crate-init that is read, in bytes.
const LINE_LIMIT: u64 = 4096;

/// Watches the container until it has ended. `ready` is the pipe of crate-init: its end without a word means that
/// the program runs.
pub fn watch(started: &Started, signal_source: &OwnedFd, ready: OwnedFd) -> Result<Outcome> {
    let child = &started.child;
    let mut ready = Some(File::from(ready));
    let mut failure = Vec::new();
    let mut killed_by = None;
    let mut listener = started.handed.as_ref();
    loop {
        let [ended, signalled, spoken, kills] = happened([
            Some(child.pidfd.as_fd()),
            Some(signal_source.as_fd()),
            ready.as_ref().map(AsFd::as_fd),
            listener.map(AsFd::as_fd),
        ])?;
        if !spoken.is_empty()
            && let Some(pipe) = ready.take()
        {
            failure = hear(pipe)?;
        }
        if !signalled.is_empty() {
            while let Some(signal) = next_signal(signal_source) {
                let killed = signals::forward(child, signal, ready.is_none());
                killed_by = killed.then_some(signal).or(killed_by);
            }
        }
        if !ended.is_empty() {
            let code = child::wait_for(child)?;
            return Ok(outcome(code, killed_by, &failure));
        }
        if kills.contains(PollFlags::IN)
            && let Some(listener) = listener
        {
            killed_by = signals::answer(child, listener).or(killed_by);
        } else if !kills.is_empty() {
            listener = None; // Nobody is left who could call, though the kernel is still clearing up.
        }
    }
}

/// Waits until something can be read from one of the sources; what happened on each.
fn happened<const N: usize>(sources: [Option<BorrowedFd>; N]) -> Result<[PollFlags; N]> {
    let mut polled: Vec<_> =
        sources.iter().flatten().map(|source| PollFd::from_borrowed_fd(*source, PollFlags::IN)).collect();
    while let Err(errno) = poll(&mut polled, None) {
        if errno != Errno::INTR {
            return Err(errno).doing(|| "waiting for the container".into());
        }
    }
    let mut events = polled.iter().map(PollFd::revents);
    Ok(sources.map(|source| source.and_then(|_| events.next()).unwrap_or(PollFlags::empty())))
}

/// What was told before there was anything to watch.
pub fn last_words(ready: OwnedFd) -> Option<Outcome> {
    let failure = hear(ready.into()).unwrap_or_default();
    (!failure.is_empty()).then(|| outcome(125, None, &failure))
}

fn hear(pipe: File) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    pipe.take(LINE_LIMIT).read_to_end(&mut line).doing(|| "hearing from crate-init".into())?;
    Ok(line)
}

fn outcome(code: u8, killed_by: Option<i32>, failure: &[u8]) -> Outcome {
    let Some((first, text)) = failure.split_first() else {
        // What killed it in place of its default action is not what it is said to have died of.
        let as_sent = killed_by.filter(|_| code == 137).and_then(|signal| u8::try_from(128 + signal).ok());
        return Outcome::Ended(as_sent.unwrap_or(code));
    };
    Outcome::Failed(*first, String::from_utf8_lossy(text).into_owned())
}

fn next_signal(source: &OwnedFd) -> Option<i32> {
    let mut record = [0; 128]; // struct signalfd_siginfo (signalfd(2)); its first field is the number.
    match rustix::io::read(source.as_fd(), &mut record) {
        Ok(128) => Some(i32::from_ne_bytes([record[0], record[1], record[2], record[3]])),
        _ => None,
    }
}
