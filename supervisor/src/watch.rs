//! The loop: waits for the program to run and to end, and passes signals on.

use crate::child;
use crate::signals;
use crate::sys::Child;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
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
pub fn watch(child: &Child, signal_source: &OwnedFd, ready: OwnedFd) -> Result<Outcome> {
    let mut ready = Some(File::from(ready));
    let mut failure = Vec::new();
    let mut killed_by = None;
    loop {
        let mut sources = vec![
            PollFd::new(&child.pidfd, PollFlags::IN),
            PollFd::new(signal_source, PollFlags::IN),
        ];
        sources.extend(ready.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut sources, None) {
            Err(Errno::INTR) => continue,
            other => other.doing(|| "waiting for the container".into())?,
        };
        let happened: Vec<bool> = sources.iter().map(|source| !source.revents().is_empty()).collect();
        if happened[1] {
            while let Some(signal) = next_signal(signal_source) {
                if signals::forward(child, signal) {
                    killed_by = Some(signal);
                }
            }
        }
        if happened.get(2) == Some(&true) {
            if let Some(pipe) = ready.take() {
                pipe.take(LINE_LIMIT)
                    .read_to_end(&mut failure)
                    .doing(|| "hearing from crate-init".into())?;
            }
        }
        if happened[0] {
            return ended(child, killed_by, ready, failure);
        }
    }
}

fn ended(child: &Child, killed_by: Option<i32>, ready: Option<File>, mut failure: Vec<u8>) -> Result<Outcome> {
    let code = child::wait_for(child)?;
    if let Some(pipe) = ready {
        pipe.take(LINE_LIMIT)
            .read_to_end(&mut failure)
            .doing(|| "hearing from crate-init".into())?;
    }
    let Some((first, text)) = failure.split_first() else {
        // What killed it in place of its default action is not what it is said to have died of.
        let as_sent = killed_by
            .filter(|_| code == 137)
            .and_then(|signal| u8::try_from(128 + signal).ok());
        return Ok(Outcome::Ended(as_sent.unwrap_or(code)));
    };
    Ok(Outcome::Failed(*first, String::from_utf8_lossy(text).into_owned()))
}

fn next_signal(source: &OwnedFd) -> Option<i32> {
    let mut record = [0; 128]; // struct signalfd_siginfo (signalfd(2)); its first field is the number.
    match rustix::io::read(source.as_fd(), &mut record) {
        Ok(128) => Some(i32::from_ne_bytes([record[0], record[1], record[2], record[3]])),
        _ => None,
    }
}
