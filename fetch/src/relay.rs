//! Carries one request and its answer between minreq and a host: minreq speaks plain HTTP to a socket of this process.
//!
//! So that it need not know proxies, TLS, time-outs and what hosts get up to: of an answer it sees a head that was
//! checked, and a body without chunks. Why an answer ends is told beside it, in `Outcome`.

use crate::failure::Failure;
use crate::head::{Body, HEAD_LIMIT, Head, chunk_size};
use crate::route::Route;
use crate::tls::random;
use crate::wire::{Socket, Wire, is_head, read_until};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The header that tells minreq's connection from those of strangers on this machine.
pub const KEY_HEADER: &str = "Crate-Fetch-Key";
/// How long whoever connects may take to say what minreq says at once.
const GREETING: Duration = Duration::from_secs(2);
/// How many interim answers (1xx) are passed over.
const INTERIM_LIMIT: usize = 16;
/// How much of a body is carried at once.
const BUFFER: usize = 256 << 10;

/// Why an answer has ended; nothing before that.
#[derive(Clone, Default)]
pub struct Outcome(Arc<Mutex<Option<Result<(), Failure>>>>);

impl Outcome {
    /// Takes the reason of a failure, if there was one.
    pub fn failure(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().and_then(Result::err)
    }

    fn tell(&self, outcome: Result<(), Failure>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

/// A socket on 127.0.0.1 that carries one request. No secret passes it: those are added on the way to the host.
pub struct Relay {
    /// The port.
    pub port: u16,
    /// What the request's `KEY_HEADER` has to say.
    pub key: String,
    /// The reason phrase of every answer that was carried; nobody else on this machine knows it.
    pub word: String,
    /// Why the answer has ended.
    pub outcome: Outcome,
}

impl Relay {
    /// Waits for one request, to carry it along `route`; `only_head`: it is a HEAD request.
    pub fn start(route: Route, only_head: bool) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let (key, word) = (random()?, random()?);
        let outcome = Outcome::default();
        let relay = Self { port, key: key.clone(), word: word.clone(), outcome: outcome.clone() };
        thread::Builder::new().spawn(move || match accept(&listener, &key) {
            Ok((mut asker, request)) => {
                drop(listener);
                outcome.tell(carry(&route, &request, only_head, &mut asker, &word));
                // Only now is the end seen by who asked.
            }
            Err(error) => outcome.tell(Err(Failure::passing(format!("nothing came over loopback: {error}")))),
        })?;
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

/// Sends the request, and gives its answer to who asked.
fn carry(route: &Route, request: &str, only_head: bool, asker: &mut TcpStream, word: &str) -> Result<(), Failure> {
    let host = route.url.authority();
    let timeout = route.timeout;
    let deadline = Instant::now() + Duration::from_secs(timeout);
    let mut wire = route.connect(deadline)?;
    let sent = wire.write_all(route.address(request).as_bytes()).and_then(|()| wire.flush());
    sent.map_err(|error| Failure::awaiting(&error, &host, timeout))?;
    let head = final_head(&mut *wire, route)?;
    let malformed = |reason| Failure::refused(format!("{host} gave a malformed answer: {reason}"));
    let body = head.body(only_head).map_err(malformed)?;
    wire.steady(Duration::from_secs(timeout)).map_err(|error| Failure::reading(&error, &host, timeout))?;
    let mut carrier = Carrier { wire, asker, host, timeout, buffer: vec![0; BUFFER], count: 0 };
    carrier.give(head.plain(word).as_bytes())?;
    match body {
        Body::Length(length) => carrier.length(length),
        Body::Chunked => carrier.chunks(),
        Body::UntilEnd => {
            while carrier.some(u64::MAX)? > 0 {}
            Ok(())
        }
    }
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

/// A body on its way.
struct Carrier<'a> {
    wire: Box<dyn Wire>,
    asker: &'a mut TcpStream,
    host: String,
    timeout: u64,
    buffer: Vec<u8>,
    /// How many bytes of the body have come.
    count: u64,
}

impl Carrier<'_> {
    fn length(&mut self, mut length: u64) -> Result<(), Failure> {
        while length > 0 {
            match self.some(length)? {
                0 => return Err(self.lost()),
                count => length -= count,
            }
        }
        Ok(())
    }

    /// Undoes the chunked coding (RFC 9112, 7.1); trailers are left out.
    fn chunks(&mut self) -> Result<(), Failure> {
        loop {
            match chunk_size(&self.line()?).ok_or_else(|| self.malformed())? {
                0 => break,
                size => self.length(size)?,
            }
            if !matches!(self.line()?.as_slice(), b"\r\n" | b"\n") {
                return Err(self.malformed());
            }
        }
        for _ in 0..INTERIM_LIMIT {
            if matches!(self.line()?.as_slice(), b"\r\n" | b"\n") {
                return Ok(());
            }
        }
        Err(self.malformed())
    }

    /// One line of the chunked coding.
    fn line(&mut self) -> Result<Vec<u8>, Failure> {
        match read_until(&mut *self.wire, 4096, |_| true) {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(self.lost()),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => Err(self.malformed()),
            Err(error) => Err(Failure::reading(&error, &self.host, self.timeout)),
        }
    }

    /// Carries some bytes, `most` at most; 0 is the end.
    fn some(&mut self, most: u64) -> Result<u64, Failure> {
        let room = usize::try_from(most).unwrap_or(usize::MAX).min(self.buffer.len());
        let read = self.wire.read(&mut self.buffer[..room]);
        let count = read.map_err(|error| Failure::reading(&error, &self.host, self.timeout))?;
        let given = self.asker.write_all(&self.buffer[..count]);
        given.map_err(|_| self.unread())?;
        self.count += count as u64;
        Ok(count as u64)
    }

    fn give(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.asker.write_all(bytes).map_err(|_| self.unread())
    }

    /// Whoever asked has seen enough; nobody reads this.
    fn unread(&self) -> Failure {
        Failure::passing(format!("the answer of {} is not wanted any more", self.host))
    }

    fn lost(&self) -> Failure {
        Failure::passing(format!("the connection to {} was lost after {} bytes", self.host, self.count))
    }

    fn malformed(&self) -> Failure {
        Failure::refused(format!("{} gave a malformed answer: its chunks are not well formed", self.host))
    }
}
