//! A program that has been started, and how it went.

use crate::channel::Size;
use crate::streams::Streams;
use crate::{child, signals, sys};
use rustix::event::PollFlags;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use store::error::Doing;
use store::{Error, Result};

/// How it went.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The program ran, and ended with this code.
    Ended(u8),
    /// It never ran: the exit code, and the line that says why.
    Failed(u8, String),
}

impl Outcome {
    /// The exit code, and the line that says why it never ran.
    pub fn told(self) -> (u8, Option<String>) {
        match self {
            Self::Ended(code) => (code, None),
            Self::Failed(code, line) => (code, Some(line)),
        }
    }
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Self {
        Self::Failed(125, error.to_string())
    }
}

/// The longest error line of crate-init that is read, in bytes.
const LINE_LIMIT: u64 = 4096;

/// A program that has been started.
pub struct Program {
    /// Its process.
    pub child: sys::Child,
    /// Its standard input and outputs.
    pub streams: Streams,
    ready: Option<File>,
    listener: Option<OwnedFd>,
    first: bool,
    failure: Vec<u8>,
    killed_by: Option<i32>,
    code: Option<u8>,
}

impl Program {
    /// Process 1 of a container. `ready` is the pipe of crate-init: its end without a word means that the program
    /// runs. `listener` hears of those who signal process 1.
    pub fn first(child: sys::Child, streams: Streams, ready: OwnedFd, listener: Option<OwnedFd>) -> Self {
        Self { first: true, listener, ..Self::further(child, streams, ready) }
    }

    /// Another process of a container.
    pub fn further(child: sys::Child, streams: Streams, ready: OwnedFd) -> Self {
        let (ready, failure) = (Some(ready.into()), Vec::new());
        Self { child, streams, ready, listener: None, first: false, failure, killed_by: None, code: None }
    }

    /// The descriptor that tells of its end, until that is known.
    pub fn ended(&self) -> Option<BorrowedFd<'_>> {
        self.code.is_none().then(|| self.child.pidfd.as_fd())
    }

    /// The pipe of crate-init, as long as it has it.
    pub fn ready(&self) -> Option<BorrowedFd<'_>> {
        self.ready.as_ref().map(AsFd::as_fd)
    }

    /// The descriptor that hears of those who signal process 1.
    pub fn kills(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// Does the program itself run, or has it run?
    pub fn runs(&self) -> bool {
        self.ready.is_none() && self.failure.is_empty()
    }

    /// Has it ended?
    pub fn has_ended(&self) -> bool {
        self.code.is_some()
    }

    /// Hears crate-init out; if there is a terminal, it has this size from the beginning.
    pub fn hear(&mut self, size: Size) -> Result<()> {
        if let Some(pipe) = self.ready.take() {
            self.failure = words(pipe)?;
            self.streams.take_master()?;
            if size != Size::default() {
                self.streams.resize(size);
            }
        }
        Ok(())
    }

    /// Takes note of its end.
    pub fn end(&mut self) -> Result<()> {
        let code = child::wait_for(&self.child)?;
        self.code = Some(code);
        self.listener = None;
        // It may have said why before it ended.
        self.hear(Size::default())?;
        self.streams.program_ended();
        Ok(())
    }

    /// Answers a process that signals process 1.
    pub fn answer(&mut self, events: PollFlags) {
        let Some(listener) = self.listener.as_ref().filter(|_| events.contains(PollFlags::IN)) else {
            self.listener = None; // Nobody is left who could call, though the kernel is still clearing up.
            return;
        };
        self.killed_by = signals::answer(&self.child, listener).or(self.killed_by);
    }

    /// Gives it input. ^C at its terminal ends a process 1 as it ends others, which the kernel would not do.
    pub fn give(&mut self, bytes: &[u8]) {
        let signal = self.streams.typed_signal(bytes, self.child.pid).filter(|_| self.first);
        self.streams.give(bytes);
        if let Some(signal) = signal.filter(|signal| signals::would_be_dropped(&self.child, *signal, || {})) {
            let _ = sys::send_signal(self.child.pidfd.as_fd(), libc::SIGKILL); // It has ended, if this fails.
            self.killed_by = Some(signal);
        }
    }

    /// Sends it a signal that means the whole program.
    pub fn signal(&mut self, signal: i32) {
        if self.has_ended() {
            return;
        }
        if !self.first {
            // An error means that it has ended, which the loop is told.
            let _ = sys::send_signal(self.child.pidfd.as_fd(), signal);
        } else if signals::forward(&self.child, signal, self.ready.is_none()) {
            self.killed_by = Some(signal);
        }
    }

    /// Stops all its processes, or lets them go on.
    pub fn freeze(&self, stop: bool) {
        if !self.has_ended() {
            signals::freeze(&self.child, self.first, stop);
        }
    }

    /// How it went, once it has ended.
    pub fn outcome(&self) -> Outcome {
        let code = self.code.unwrap_or(125);
        let Some((first, text)) = self.failure.split_first() else {
            // What killed it in place of its default action is not what it is said to have died of.
            let as_sent = self.killed_by.filter(|_| code == 137).and_then(|signal| u8::try_from(128 + signal).ok());
            return Outcome::Ended(as_sent.unwrap_or(code));
        };
        Outcome::Failed(*first, String::from_utf8_lossy(text).into_owned())
    }
}

/// What crate-init, or the child that was to become it, said before there was anything to watch.
pub fn last_words(ready: OwnedFd) -> Option<Outcome> {
    let failure = words(ready.into()).unwrap_or_default();
    let (code, text) = failure.split_first()?;
    Some(Outcome::Failed(*code, String::from_utf8_lossy(text).into_owned()))
}

fn words(pipe: File) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    pipe.take(LINE_LIMIT).read_to_end(&mut line).doing(|| "hearing from crate-init".into())?;
    Ok(line)
}
