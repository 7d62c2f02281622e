//! Asking a user at the terminal, for a password without showing it.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::{emulate_default_handler, pipe};
use std::io::{IsTerminal, Stdin, Write, stderr, stdin};
use std::os::unix::net::UnixStream;
use store::error::Doing;
use store::{Error, Result};

/// The terminal, which is as before when this is dropped.
struct Hidden {
    terminal: Stdin,
    before: Termios,
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before); // The terminal may be gone.
        let _ = writeln!(stderr());
    }
}

/// Is there anybody to ask?
pub fn possible() -> bool {
    stdin().is_terminal()
}

/// Asks for one line.
pub fn line(question: &str) -> Result<String> {
    show(question)?;
    let mut line = String::new();
    stdin().read_line(&mut line).doing(|| "reading from the terminal".into())?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks for one line that is not shown. Signals that end this program come after the terminal is as before.
pub fn hidden(question: &str) -> Result<String> {
    let doing = || "reading from the terminal".to_owned();
    let mut signals = Vec::new();
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        let (told, tells) = UnixStream::pair().doing(doing)?;
        pipe::register(signal, tells).doing(doing)?;
        signals.push((signal, told));
    }
    show(question)?;
    let terminal = stdin();
    let before = tcgetattr(&terminal).doing(doing)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &silent).doing(doing)?;
    let hidden = Hidden { terminal, before };
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\n") {
        let mut ready: Vec<_> = signals.iter().map(|(_, told)| PollFd::new(told, PollFlags::IN)).collect();
        ready.push(PollFd::new(&hidden.terminal, PollFlags::IN));
        match poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            other => other.doing(doing)?,
        };
        let told = ready.iter().position(|ready| !ready.revents().is_empty());
        if let Some((signal, _)) = told.and_then(|at| signals.get(at)) {
            drop(hidden);
            emulate_default_handler(*signal).doing(doing)?;
            return Err(Error::Failed("interrupted".into()));
        }
        let mut buffer = [0; 4096];
        match read(&hidden.terminal, &mut buffer).doing(doing)? {
            0 => break,
            count => bytes.extend(&buffer[..count]),
        }
    }
    let line = String::from_utf8(bytes).map_err(|_| Error::Usage("the password is not UTF-8".into()))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn show(question: &str) -> Result<()> {
    let mut screen = stderr();
    write!(screen, "{question}").and_then(|()| screen.flush()).doing(|| "writing to the terminal".into())
}
