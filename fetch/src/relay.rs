//! Takes one request from minreq to a host and the head of the answer back: minreq speaks plain HTTP to a socket of
//! this process.
//!
//! So that it need not know addresses, proxies, TLS, time-outs and what hosts get up to: it sees a head that was checked.
//! The content does not take this way, on which it would be copied twice more, but is read from the connection itself.

use crate::content::Content;
use crate::failure::Failure;
use crate::head::{HEAD_LIMIT, Head};
use crate::route::Route;
use crate::wire::{Socket, Wire, is_head, read_until};
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use store::error::Doing;
use store::root::random_hex;

/// The header that tells minreq's connection from those of strangers on this machine.
pub const KEY_HEADER: &str = "Crate-Fetch-Key";
/// How long whoever connects may take to say what minreq says at once.
const GREETING: Duration = Duration::from_secs(2);
/// How many interim answers (1xx) are passed over.
const INTERIM_LIMIT: usize = 16;

/// A socket on 127.0.0.1 that takes one request. No secret passes it: those are added on the way to the host.
pub struct Relay {
    /// The port.
    pub port: u16,
    /// What the request's `KEY_HEADER` has to say.
    pub key: String,
    /// The reason phrase of the answer's head; nobody else on this machine knows it.
    pub word: String,
    /// The content, or why there is none: told before minreq sees the head, or an end without one.
    pub content: Receiver<Result<Content, Failure>>,
}

impl Relay {
    /// Waits for one request, to take it along `route`; `only_head`: it is a HEAD request.
    pub fn start(route: Route, only_head: bool) -> store::Result<Self> {
        let doing = || "opening a socket on loopback".into();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing(doing)?;
        let port = listener.local_addr().doing(doing)?.port();
        let (sender, content) = mpsc::channel();
        let relay = Self { port, key: random_hex(16)?, word: random_hex(16)?, content };
        let (key, word) = (relay.key.clone(), relay.word.clone());
        let serve = move || {
            let (mut asker, request) = match accept(&listener, &key) {
                Ok(found) => found,
                Err(error) => {
                    let _ = sender.send(Err(Failure::passing(format!("nothing came over loopback: {error}"))));
                    return; // Only now is the port another's to have.
                }
            };
            // Whoever asked has gone, where it cannot be told.
            match carry(&route, &request, only_head) {
                Ok((head, content)) => {
                    drop(sender.send(Ok(content)));
                    drop(asker.write_all(head.plain(&word).as_bytes()));
                }
                Err(failure) => drop(sender.send(Err(failure))),
            }
        };
        thread::Builder::new().spawn(serve).doing(|| "starting a thread".into())?;
        Ok(relay)
    }
}

/// The connection that knows the key, and its request without it.
fn accept(listener: &TcpListener, key: &str) -> io::Result<(TcpStream, String)> {
    let expected = format!("{KEY_HEADER}: {key}");
    loop {
        let (mut stream, _) = listener.accept()?;
        if let Some(request) = greeting(&mut stream, &expected) {
            return Ok((stream, request));
        }
    }
}

fn greeting(stream: &mut TcpStream, expected: &str) -> Option<String> {
    let deadline = Instant::now() + GREETING;
    let mut socket = Socket::new(stream.try_clone().ok()?, deadline);
    let head = String::from_utf8(read_until(&mut socket, HEAD_LIMIT, is_head).ok()??).ok()?;
    let others: Vec<&str> = head.split("\r\n").filter(|line| *line != expected).collect();
    stream.set_nodelay(true).ok()?;
    (others.len() + 1 == head.split("\r\n").count()).then(|| others.join("\r\n"))
}

/// Sends the request, and reads the head of its answer.
fn carry(route: &Route, request: &str, only_head: bool) -> Result<(Head, Content), Failure> {
    let host = route.url.authority();
    let mut wire = route.connect(Instant::now() + Duration::from_secs(route.timeout))?;
    let sent = wire.write_all(route.address(request).as_bytes()).and_then(|()| wire.flush());
    sent.map_err(|error| Failure::awaiting(&error, &host, route.timeout))?;
    let head = final_head(&mut *wire, route)?;
    let malformed = |reason| Failure::refused(format!("{host} gave a malformed answer: {reason}"));
    let framing = head.framing(only_head).map_err(malformed)?;
    Ok((head, Content::new(wire, framing, host, route.timeout)?))
}

/// Reads heads up to the one that is final.
fn final_head(wire: &mut dyn Wire, route: &Route) -> Result<Head, Failure> {
    let host = route.url.authority();
    let mut room = HEAD_LIMIT;
    for _ in 0..=INTERIM_LIMIT {
        let (head, size) = read_head(wire, &host, room, route.timeout)?;
        room -= size;
        match head.status {
            101 => return Err(Failure::refused(format!("{host} wants to speak something other than HTTP (101)"))),
            100..=199 => {}
            407 => return Err(route.wants_credentials()),
            _ => return Ok(head),
        }
    }
    Err(Failure::refused(format!("{host} gives more than {INTERIM_LIMIT} interim answers")))
}

/// Reads one head of at most `limit` bytes; with its size in bytes.
pub fn read_head(wire: &mut dyn Wire, host: &str, limit: usize, timeout: u64) -> Result<(Head, usize), Failure> {
    let bytes = match read_until(wire, limit, is_head) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(Failure::passing(format!("{host} gave no HTTP answer"))),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            return Err(Failure::refused(format!("{host} sends more than {HEAD_LIMIT} bytes of headers")));
        }
        Err(error) => return Err(Failure::awaiting(&error, host, timeout)),
    };
    if !bytes.starts_with(b"HTTP/") {
        return Err(Failure::passing(format!("{host} gave no HTTP answer")));
    }
    let head = Head::parse(&bytes);
    let head = head.map_err(|reason| Failure::refused(format!("{host} gave a malformed answer: {reason}")))?;
    Ok((head, bytes.len()))
}
