//! Credential helpers: programs `docker-credential-NAME` that keep secrets (docker-credential-helpers' protocol). What
//! they are told and what they tell goes through pipes, and never through arguments.

use crate::credentials::Login;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use store::error::Doing;
use store::json::{self, Value};
use store::{Error, Result};

/// The longest answer that is read, in bytes.
const LIMIT: u64 = 64 << 10;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One that has been started, and waits for its input. Dropped, it is ended without any.
pub struct Asked {
    program: String,
    child: Child,
}

impl Asked {
    /// Starts the helper of this name, as `file` has it, to `get`, `store` or `erase`.
    pub fn start(name: &str, action: &str, file: &Path) -> Result<Self> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || !name.bytes().all(word) {
            return Err(Error::Refused(format!("{}: {name:?} names no credential helper", file.display())));
        }
        let program = format!("docker-credential-{name}");
        let started = Command::new(&program).arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        match started {
            Ok(child) => Ok(Self { program, child }),
            Err(error) => Err(error).doing(|| format!("starting {program}, which {} names", file.display())),
        }
    }

    /// Gives it its input. What it answers; `None`: it keeps no such thing.
    pub fn finish(mut self, input: &str) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + PATIENCE;
        let late = || Error::Failed(format!("{} did not end within {} s", self.program, PATIENCE.as_secs()));
        let (pipe, output) = (self.child.stdin.take(), self.child.stdout.take());
        let input = input.to_owned();
        let (sender, receiver) = mpsc::channel();
        // In a thread, which may stay behind: whoever inherited the pipes can keep them open for ever.
        let talk = move || {
            let mut bytes = Vec::new();
            // One that does not read its input says why in its output.
            let _ = pipe.map(|mut pipe| pipe.write_all(input.as_bytes()));
            let read = output.map_or(Ok(0), |output| output.take(LIMIT + 1).read_to_end(&mut bytes));
            let _ = sender.send(read.map(|_| bytes)); // Nobody waits any more, if this fails.
        };
        std::thread::Builder::new().spawn(talk).doing(|| "starting a thread".into())?;
        let doing = || format!("asking {}", self.program);
        let bytes = receiver.recv_timeout(PATIENCE).map_err(|_| late())?.doing(doing)?;
        if bytes.len() as u64 > LIMIT {
            return Err(Error::Refused(format!("{} answers with more than {LIMIT} bytes", self.program)));
        }
        let status = loop {
            match self.child.try_wait().doing(doing)? {
                Some(status) => break status,
                None if Instant::now() > end => return Err(late()),
                None => sleep(Duration::from_millis(5)),
            }
        };
        if status.success() {
            return Ok(Some(bytes));
        }
        let said = String::from_utf8_lossy(&bytes);
        if said.contains("credentials not found in native keychain") {
            return Ok(None);
        }
        // Half an answer may hold the secret.
        let said = said.lines().next().filter(|line| !line.contains(['{', '"'])).unwrap_or_default();
        let said: String = said.chars().take(200).collect();
        let said = if said.is_empty() { status.to_string() } else { said };
        Err(Error::Failed(format!("{}: {said}", self.program)))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait()); // It may have ended by itself.
    }
}

/// The login that the helper keeps for `key`.
pub fn get(name: &str, key: &str, file: &Path) -> Result<Option<Login>> {
    let asked = Asked::start(name, "get", file)?;
    let Some(bytes) = asked.finish(key)? else {
        return Ok(None);
    };
    // The reader's reason could quote the secret.
    let malformed = || Error::Refused(format!("docker-credential-{name} gave a malformed answer for {key}"));
    let answer: Value = json::read(&bytes, name).map_err(|_| malformed())?;
    let text = |field: &str| answer[field].as_str().map(str::to_owned).ok_or_else(malformed);
    Ok(Some(Login { user: text("Username")?, secret: text("Secret")? }))
}
