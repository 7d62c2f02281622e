//! The supervisor's ends of a program's standard input and outputs: three pipes, or the master of its terminal.

use crate::channel::{CHUNK, Size, Stream};
use crate::child;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{LocalModes, SpecialCodeIndex, Winsize, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetwinsize};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use store::Result;
use store::error::Doing;

/// What ends the input of a terminal, as typed (termios(3), `VEOF`).
const END_OF_FILE: u8 = 4;

/// The supervisor's ends.
#[derive(Default)]
pub struct Streams {
    outputs: [Option<File>; 2],
    input: Option<File>,
    waiting: Vec<u8>,
    input_ends: bool,
    /// The input does not end with a whole line.
    within_line: bool,
    console: Option<OwnedFd>,
    terminal: bool,
    slave: Option<OwnedFd>,
}

/// The program's ends, as far as it does not have a terminal: what its descriptors 0, 1 and 2 become.
#[derive(Default)]
pub struct Inner {
    /// Standard input; none is the null device.
    pub input: Option<OwnedFd>,
    /// Standard output and standard error.
    pub outputs: Option<[OwnedFd; 2]>,
}

impl Streams {
    /// Three pipes, or two where the program gets no input. Reading never waits: a program can open its own output for
    /// reading (proc_pid_fd(5)), and take away what was there.
    pub fn pipes(input: bool) -> Result<(Self, Inner)> {
        let ((out, program_out), (err, program_err)) = (child::pipe()?, child::pipe()?);
        let outputs = [Some(never_blocking(out)?), Some(never_blocking(err)?)];
        let mut own = Self { outputs, ..Self::default() };
        let mut inner = Inner { input: None, outputs: Some([program_out, program_err]) };
        if input {
            let (program_in, pipe) = child::pipe()?;
            own.input = Some(never_blocking(pipe)?);
            inner.input = Some(program_in);
        }
        Ok((own, inner))
    }

    /// A terminal, whose master comes through `console` (runtime-spec, `config.md#process`; runc's console socket).
    pub fn terminal(console: OwnedFd) -> Self {
        Self { console: Some(console), terminal: true, ..Self::default() }
    }

    /// Takes the master of the terminal over, which has been sent when the program runs.
    pub fn take_master(&mut self) -> Result<()> {
        let Some(console) = self.console.take() else {
            return Ok(());
        };
        if let Some(master) = child::take_over(&console) {
            let master = never_blocking(master)?;
            self.input = Some(master.try_clone().doing(|| "taking the terminal over".into())?);
            // While nobody inside has it open, as between two programs, the terminal is not at its end.
            self.slave =
                ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).ok();
            self.outputs[0] = Some(master);
        }
        Ok(())
    }

    /// The descriptor to read an output from.
    pub fn output(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        self.outputs[stream as usize].as_ref().map(AsFd::as_fd)
    }

    /// Reads what the program has written; nothing at the end of it.
    pub fn read(&mut self, stream: Stream) -> Vec<u8> {
        let place = &mut self.outputs[stream as usize];
        let mut bytes = vec![0; CHUNK];
        let count = match place.as_ref().map(|file| rustix::io::read(file, bytes.as_mut_slice())) {
            Some(Err(Errno::AGAIN | Errno::INTR)) => return Vec::new(),
            // A terminal that nobody has open any more fails.
            Some(Ok(count)) => count,
            _ => 0,
        };
        if count == 0 {
            *place = None;
        }
        bytes.truncate(count);
        bytes
    }

    /// Reads no more of an output: the program is told as it would be by any pipe whose reader has gone.
    pub fn close_output(&mut self, stream: Stream) {
        self.outputs[stream as usize] = None;
    }

    /// The program has ended: what other processes have open is read no longer than they have.
    pub fn program_ended(&mut self) {
        self.slave = None;
    }

    /// Reads nothing more.
    pub fn close(&mut self) {
        self.outputs = [None, None];
    }

    /// Has everything been read that the program wrote?
    pub fn are_read(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }

    /// The descriptor to wait on while input waits for the program to read.
    pub fn input(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().filter(|_| !self.waiting.is_empty()).map(AsFd::as_fd)
    }

    /// Is there room for more input?
    pub fn has_room(&self) -> bool {
        self.waiting.len() < CHUNK
    }

    /// Can the program be given input?
    pub fn takes_input(&self) -> bool {
        self.input.is_some() && !self.input_ends
    }

    /// Gives the program input; what it does not read at once waits.
    pub fn give(&mut self, bytes: &[u8]) {
        if self.takes_input() {
            self.waiting.extend_from_slice(bytes);
            self.within_line = bytes.last().map_or(self.within_line, |last| *last != b'\n');
            self.push();
        }
    }

    /// Ends the input, as soon as what waits has been read.
    pub fn end_input(&mut self) {
        if self.takes_input() {
            if self.terminal {
                // Within a line the first one only hands over what there is of it.
                self.waiting.extend(if self.within_line { [END_OF_FILE; 2].as_slice() } else { &[END_OF_FILE] });
                self.within_line = false;
            } else {
                self.input_ends = true;
            }
            self.push();
        }
    }

    /// Writes as much of what waits as there is room for.
    pub fn push(&mut self) {
        while let Some(input) = self.input.as_ref().filter(|_| !self.waiting.is_empty()) {
            match rustix::io::write(input, &self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The program has closed it.
                Err(_) => {
                    self.waiting = Vec::new();
                    self.input = None;
                }
            }
        }
        if self.input_ends {
            self.input = None;
        }
    }

    /// The signal that these bytes are at the terminal (termios(3), `ISIG`), if process `first` gets it.
    pub fn typed_signal(&self, bytes: &[u8], first: i32) -> Option<i32> {
        let master = self.outputs[0].as_ref().filter(|_| self.terminal)?;
        let modes = tcgetattr(master).ok().filter(|modes| modes.local_modes.contains(LocalModes::ISIG))?;
        let keys = [(SpecialCodeIndex::VINTR, libc::SIGINT), (SpecialCodeIndex::VQUIT, libc::SIGQUIT)];
        // 0 (_POSIX_VDISABLE) stands for no key.
        let typed = |key| modes.special_codes[key] != 0 && bytes.contains(&modes.special_codes[key]);
        let (_, signal) = keys.into_iter().find(|(key, _)| typed(*key))?;
        // A job that a shell inside has in the foreground gets it in place of the shell.
        tcgetpgrp(master).is_ok_and(|group| group.as_raw_nonzero().get() == first).then_some(signal)
    }

    /// Tells the terminal its size, and with it the program (tty_ioctl(4), `TIOCSWINSZ`).
    pub fn resize(&self, Size { rows, columns }: Size) {
        if let Some(master) = self.outputs[0].as_ref().filter(|_| self.terminal) {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = tcsetwinsize(master, size); // It fails for a terminal that is going away.
        }
    }

    /// Has the program draw anew: the kernel tells it of a size only when that changes.
    pub fn redraw(&self) {
        let master = self.outputs[0].as_ref().filter(|_| self.terminal);
        if let Some(Ok(size)) = master.map(tcgetwinsize) {
            for rows in [size.ws_row ^ 1, size.ws_row] {
                self.resize(Size { rows, columns: size.ws_col });
            }
        }
    }
}

fn never_blocking(fd: OwnedFd) -> Result<File> {
    let set = fcntl_getfl(&fd).and_then(|flags| fcntl_setfl(&fd, flags | OFlags::NONBLOCK));
    set.doing(|| "preparing the program's streams".into()).map(|()| fd.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_the_program_reads_itself_is_not_waited_for() {
        let (mut own, inner) = Streams::pipes(false).unwrap();
        assert_eq!(own.read(Stream::Out), b"");
        assert!(!own.are_read());
        let [out, err] = inner.outputs.unwrap();
        assert_eq!(rustix::io::write(&out, b"x"), Ok(1));
        assert_eq!(own.read(Stream::Out), b"x");
        drop((out, err));
        assert_eq!((own.read(Stream::Out), own.read(Stream::Err)), (Vec::new(), Vec::new()));
        assert!(own.are_read());
    }
}
