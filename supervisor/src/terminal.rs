//! The caller's terminal: its size, its raw mode, and the way back from that whatever happens.

use crate::channel::Size;
use crate::{child, sys};
use rustix::io::{read, retry_on_intr};
use rustix::process::{Pid, getpgrp, setpgid};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The size of a terminal; none of anything else.
pub fn size(fd: BorrowedFd) -> Option<Size> {
    let size = tcgetwinsize(fd).ok()?;
    Some(Size { rows: size.ws_row, columns: size.ws_col })
}

/// The terminal that the caller types at. It is restored when this is dropped.
pub struct Terminal<'a> {
    fd: BorrowedFd<'a>,
    raw: Option<Raw>,
}

/// What was changed, while it is changed.
struct Raw {
    before: Termios,
    now: Termios,
    /// Without it (no process could be started) only a kill -9 leaves the terminal raw.
    _guard: Option<Guard>,
}

impl<'a> Terminal<'a> {
    /// The terminal of this descriptor; none of anything else.
    pub fn of(fd: BorrowedFd<'a>) -> Option<Self> {
        tcgetattr(fd).is_ok().then_some(Self { fd, raw: None })
    }

    /// Is this process one of those that may read it (credentials(7), "foreground process group")? Where nobody keeps
    /// order at this terminal, everybody may.
    pub fn is_ours(&self) -> bool {
        tcgetpgrp(self.fd).map_or(true, |group| group == getpgrp())
    }

    /// Has every byte passed on as it is, both ways (cfmakeraw(3)). To be repeated when this process was continued.
    pub fn make_raw(&mut self) -> rustix::io::Result<()> {
        let before = tcgetattr(self.fd)?;
        if self.raw.as_ref().is_some_and(|raw| same(&raw.now, &before)) {
            return Ok(());
        }
        let mut now = before.clone();
        now.make_raw();
        self.raw = None; // A shell has set it otherwise meanwhile, and that is what is to be restored.
        let guard = Guard::start(self.fd, &before, &now);
        tcsetattr(self.fd, OptionalActions::Now, &now)?;
        self.raw = Some(Raw { before, now, _guard: guard });
        Ok(())
    }

    /// Sets it back as it was. In the background it is left alone: it is somebody else's by now.
    pub fn restore(&mut self) {
        if let Some(raw) = self.raw.take()
            && self.is_ours()
        {
            // A terminal that has been hung up needs nothing.
            let _ = tcsetattr(self.fd, OptionalActions::Now, &raw.before);
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.restore();
    }
}

fn same(a: &Termios, b: &Termios) -> bool {
    let modes = |t: &Termios| (t.input_modes, t.output_modes, t.control_modes, t.local_modes);
    modes(a) == modes(b)
}

/// A process that outlives this one, if that is killed, and restores the terminal then.
struct Guard {
    child: sys::Child,
    /// Nothing is written to it: its end is this process's.
    _pipe: OwnedFd,
}

impl Guard {
    fn start(terminal: BorrowedFd, before: &Termios, raw: &Termios) -> Option<Self> {
        let (end, pipe) = child::pipe().ok()?;
        match sys::clone(0).ok()? {
            Some(child) => {
                // From now on a kill of this process's group does not reach it.
                let pid = Pid::from_raw(child.pid);
                setpgid(pid, pid).ok().map(|()| Self { child, _pipe: pipe })
            }
            None => guard(terminal, &end, before, raw),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A killed one cannot hold this process up, not even if somebody has stopped it.
        let _ = sys::send_signal(self.child.pidfd.as_fd(), libc::SIGKILL);
        let _ = child::wait_for(&self.child); // Nobody needs its code.
    }
}

/// The guard itself. It allocates nothing, and what it does it does with signals blocked: neither ^C nor the stop that
/// a background process gets for changing a terminal (`SIGTTOU`) reaches it.
fn guard(terminal: BorrowedFd, end: &OwnedFd, before: &Termios, raw: &Termios) -> ! {
    sys::block_signals();
    sys::close_all_but(&[terminal.as_raw_fd(), end.as_raw_fd()]);
    let _ = retry_on_intr(|| read(end, &mut [0; 1]));
    // If it is not as it was left, a shell has seen to it already.
    if tcgetattr(terminal).is_ok_and(|now| same(&now, raw)) {
        let _ = tcsetattr(terminal, OptionalActions::Now, before);
    }
    sys::leave(0)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::{LocalModes, OutputModes, Winsize, tcsetwinsize};

    /// Both sides of a new terminal: the master and the slave.
    pub fn pty() -> (OwnedFd, OwnedFd) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        (master, slave)
    }

    /// Is it raw, in all that raw is?
    pub fn is_raw(fd: &OwnedFd) -> bool {
        let now = tcgetattr(fd).unwrap();
        let local = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        !now.local_modes.intersects(local) && !now.output_modes.contains(OutputModes::OPOST)
    }

    #[test]
    fn a_terminal_has_a_size_and_nothing_else_has() {
        let (_master, slave) = pty();
        tcsetwinsize(&slave, Winsize { ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        assert_eq!(size(slave.as_fd()), Some(Size { rows: 33, columns: 101 }));
        let (pipe, _) = rustix::pipe::pipe().unwrap();
        assert_eq!(size(pipe.as_fd()), None);
        assert!(Terminal::of(pipe.as_fd()).is_none());
    }

    #[test]
    fn is_raw_until_it_is_restored_or_dropped() {
        let (_master, slave) = pty();
        let before = tcgetattr(&slave).unwrap();
        let mut terminal = Terminal::of(slave.as_fd()).unwrap();
        assert!(terminal.is_ours());
        for _ in 0..2 {
            terminal.make_raw().unwrap();
            terminal.make_raw().unwrap();
            assert!(is_raw(&slave));
            terminal.restore();
            assert!(same(&tcgetattr(&slave).unwrap(), &before));
        }
        terminal.make_raw().unwrap();
        drop(terminal);
        assert!(same(&tcgetattr(&slave).unwrap(), &before));
    }

    #[test]
    fn restores_what_a_shell_has_set_meanwhile() {
        let (_master, slave) = pty();
        let mut terminal = Terminal::of(slave.as_fd()).unwrap();
        terminal.make_raw().unwrap();
        let mut other = tcgetattr(&slave).unwrap();
        other.local_modes |= LocalModes::ICANON;
        tcsetattr(&slave, OptionalActions::Now, &other).unwrap();
        terminal.make_raw().unwrap();
        assert!(is_raw(&slave));
        drop(terminal);
        assert!(same(&tcgetattr(&slave).unwrap(), &other));
    }

    #[test]
    #[allow(clippy::used_underscore_binding)] // Only here does the pipe end before its guard.
    fn the_guard_restores_it_when_this_process_is_gone() {
        let (_master, slave) = pty();
        let before = tcgetattr(&slave).unwrap();
        for raw_still in [true, false] {
            let mut raw = before.clone();
            raw.make_raw();
            let mut guard = Guard::start(slave.as_fd(), &before, &raw).unwrap();
            if !raw_still {
                raw.local_modes |= LocalModes::ECHO; // As a shell might have set it.
            }
            tcsetattr(&slave, OptionalActions::Now, &raw).unwrap();
            guard._pipe = std::fs::File::open("/dev/null").unwrap().into();
            assert_eq!(child::wait_for(&guard.child).unwrap(), 0);
            assert!(same(&tcgetattr(&slave).unwrap(), if raw_still { &before } else { &raw }));
        }
    }
}
