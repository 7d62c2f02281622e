//! The supervisor's own standard input and outputs, where the container is run in the foreground.

use crate::channel::{CHUNK, Stream};
use crate::outlet::{Outlet, reopened};
use rustix::fs::OFlags;
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Its ends: what the program writes goes on to them, and the program waits for those who read there.
pub struct Own {
    outputs: [Output; 2],
    input: bool,
    /// Standard input, opened once more: somebody else who reads it may take away what was there.
    reopened: Option<OwnedFd>,
}

struct Output {
    outlet: Outlet<'static>,
    waiting: Vec<u8>,
}

impl Own {
    /// Standard output and standard error, and standard input where it is wanted.
    pub fn new(input: bool) -> Self {
        let output = |fd: BorrowedFd<'static>| Output { outlet: Outlet::of(fd), waiting: Vec::new() };
        let outputs = [output(rustix::stdio::stdout()), output(rustix::stdio::stderr())];
        let reopened = input.then(|| reopened(rustix::stdio::stdin(), OFlags::RDONLY)).flatten();
        Self { outputs, input, reopened }
    }

    /// Does an output wait for its reader?
    pub fn is_behind(&self, stream: Stream) -> bool {
        !self.outputs[stream as usize].waiting.is_empty()
    }

    /// The descriptor to wait on while an output waits for its reader.
    pub fn output(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        self.is_behind(stream).then(|| self.outputs[stream as usize].outlet.fd())
    }

    /// Passes on what the program wrote. An error means that nobody takes it any more.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        self.outputs[stream as usize].waiting.extend_from_slice(bytes);
        self.push(stream)
    }

    /// Writes as much of what waits as there is room for.
    pub fn push(&mut self, stream: Stream) -> Result<()> {
        let Output { outlet, waiting } = &mut self.outputs[stream as usize];
        while !waiting.is_empty() {
            match outlet.try_write(waiting) {
                Ok(count) => drop(waiting.drain(..count)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => {
                    waiting.clear();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Gives up what nobody has read.
    pub fn give_up(&mut self) {
        self.outputs.iter_mut().for_each(|output| output.waiting.clear());
    }

    /// Standard input, where it is wanted and has not ended.
    pub fn input(&self) -> Option<BorrowedFd<'_>> {
        self.input.then(|| self.reopened.as_ref().map_or(rustix::stdio::stdin(), AsFd::as_fd))
    }

    /// Reads standard input; nothing at its end, which comes once.
    pub fn read(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; CHUNK];
        let count = match rustix::io::read(self.input()?, bytes.as_mut_slice()) {
            Err(Errno::AGAIN | Errno::INTR) => return None,
            other => other.unwrap_or(0),
        };
        self.input &= count > 0;
        bytes.truncate(count);
        Some(bytes)
    }
}
