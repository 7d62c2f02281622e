//! A client of a supervisor. What passes input on comes with the next change.

use crate::channel::{Reply, receive_packet};
use std::io::Write;
use std::os::fd::OwnedFd;
use store::Result;
use store::error::Doing;

/// What became of a conversation.
pub enum Ended {
    Code(u8),
    Detached,
    Failed(u8, String),
    Lost,
}

/// How to converse.
pub struct How {
    pub terminal: bool,
    pub input: bool,
    pub keys: Vec<u8>,
    pub proxy: bool,
}

/// Reads keys.
pub fn parse_keys(_: &str) -> Result<Vec<u8>> {
    Ok(Vec::new())
}

/// Passes output on to the end.
pub fn converse(channel: OwnedFd, _: &How) -> Result<Ended> {
    loop {
        let packet = receive_packet(&channel).doing(|| "hearing from the supervisor".into())?;
        match Reply::read(&packet) {
            Some(Reply::Output(_, bytes)) => std::io::stdout().write_all(&bytes).doing(|| "writing".into())?,
            Some(Reply::Ended(code)) => return Ok(Ended::Code(code)),
            Some(Reply::Failed(code, line)) => return Ok(Ended::Failed(code, line)),
            None => return Ok(Ended::Lost),
            _ => {}
        }
    }
}
