//! HTTP/1.1 requests: the only file that knows minreq, which is given one checked URL at a time.
//!
//! minreq would follow redirects with every header to any host, takes a body that is cut short for a whole one, and
//! has one deadline for headers and body together. So redirects are followed here, callers check every length, and
//! a body that outlasts its deadline is asked for again from where it stopped.

use crate::header::{rate_limit, retry_after};
use crate::progress::Progress;
use crate::url::Url;
use minreq::ResponseLazy;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, SystemTime};
use store::{Error, Result};

/// The most redirects that are followed.
const HOPS: usize = 10;
/// How often a request is sent before its failure is believed.
const TRIES: u32 = 4;
/// The longest that a registry may ask to wait, in seconds.
const WAIT_LIMIT: u64 = 60;
/// The most bytes of headers.
const HEADER_LIMIT: usize = 64 << 10;

/// How requests are sent.
#[derive(Clone)]
pub struct Http {
    /// How many seconds one request may take, its body included.
    pub timeout: u64,
    /// Allow plain http to other machines.
    pub insecure: bool,
    /// Told of waits.
    pub progress: Arc<Progress>,
}

/// A GET or HEAD request.
#[derive(Clone)]
pub struct Get<'a> {
    /// Only the headers are wanted: HEAD.
    pub head: bool,
    /// What to get.
    pub url: Url,
    /// The `Accept` header.
    pub accept: &'a str,
    /// The `Authorization` header; sent to the URL's own origin only.
    pub authorization: Option<&'a str>,
    /// The first byte that is wanted.
    pub from: u64,
    /// The deadline in seconds.
    pub timeout: u64,
}

/// An answer whose body is still to be read.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Where it came from, after redirects.
    pub url: Url,
    response: ResponseLazy,
}

/// Why there is no answer, and whether the same request may succeed soon.
pub struct Failure {
    /// The error to report.
    pub error: Error,
    again: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, again: false }
    }
}

impl Http {
    /// Sends a request, again after a while where the failure looks passing (lost connection, 429, 5xx).
    pub fn get(&self, get: &Get) -> Result<Answer> {
        let mut pause = Duration::from_millis(500);
        for left in (0..TRIES).rev() {
            let (error, asked) = match self.follow(get) {
                Ok(answer) if matches!(answer.status, 429 | 500 | 502 | 503 | 504) => {
                    let asked = answer.header("retry-after").and_then(|text| retry_after(text, SystemTime::now()));
                    (answer.unavailable(asked), asked)
                }
                Ok(answer) => return Ok(answer),
                Err(failure) if failure.again => (failure.error, None),
                Err(failure) => return Err(failure.error),
            };
            if left == 0 || asked.is_some_and(|seconds| seconds > WAIT_LIMIT) {
                return Err(error);
            }
            let wait = asked.map_or(pause, Duration::from_secs);
            if wait >= Duration::from_secs(2) {
                self.progress.say(&format!("{error}; trying again in {} s", wait.as_secs()));
            }
            sleep(wait);
            pause *= 2;
        }
        Err(Error::Network(format!("{} cannot be reached", get.url.authority())))
    }

    /// Sends a request once, and follows where its answer leads.
    pub fn follow(&self, get: &Get) -> std::result::Result<Answer, Failure> {
        self.check(&get.url)?;
        let mut hop = get.clone();
        for _ in 0..=HOPS {
            let answer = send(&hop)?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let next = redirect(&hop.url, answer.header("location"))?;
            self.check(&next)?;
            if !next.same_origin(&hop.url) {
                hop.authorization = None; // For good: coming back does not bring it back.
            }
            hop.url = next;
        }
        Err(Error::Refused(format!("{} redirects more than {HOPS} times", get.url.authority())).into())
    }

    /// Plain http stays on this machine, unless it was allowed.
    fn check(&self, url: &Url) -> Result<()> {
        if url.secure || self.insecure || url.is_loopback() {
            return Ok(());
        }
        Err(Error::Refused(format!("{} would be asked in plain http\nhint: --insecure allows it", url.authority())))
    }
}

/// Where an answer at `from` leads; never from https to http.
fn redirect(from: &Url, location: Option<&str>) -> Result<Url> {
    let host = from.authority();
    let location = location.ok_or_else(|| Error::Refused(format!("{host} redirects to nowhere")))?;
    let next = from.join(location.trim())?;
    if from.secure && !next.secure {
        return Err(Error::Refused(format!("{host} redirects from https to plain http at {}", next.authority())));
    }
    Ok(next)
}

fn send(get: &Get) -> std::result::Result<Answer, Failure> {
    let method = if get.head { minreq::Method::Head } else { minreq::Method::Get };
    let mut request = minreq::Request::new(method, get.url.to_string())
        .with_header("User-Agent", concat!("crate-fetch/", env!("CARGO_PKG_VERSION")))
        .with_header("Accept", get.accept)
        .with_header("Accept-Encoding", "identity")
        .with_header("Connection", "close")
        .with_follow_redirects(false)
        .with_max_headers_size(HEADER_LIMIT)
        .with_max_status_line_length(4096)
        .with_timeout(get.timeout);
    if let Some(authorization) = get.authorization {
        request = request.with_header("Authorization", authorization);
    }
    if get.from > 0 {
        request = request.with_header("Range", format!("bytes={}-", get.from));
    }
    let response = request.send_lazy().map_err(|error| explain(error, get))?;
    let status = response.status_code;
    // minreq makes up a 503 where the connection ends before a status line, or begins with something else.
    if response.reason_phrase == "Server did not provide a status line" || !(200..600).contains(&status) {
        let error = Error::Network(format!("{} gave no HTTP answer", get.url.authority()));
        return Err(Failure { error, again: true });
    }
    Ok(Answer { status, url: get.url.clone(), response })
}

/// Puts minreq's error in words that name the host, and tells whether trying again may help.
fn explain(error: minreq::Error, get: &Get) -> Failure {
    let host = get.url.authority();
    let network = |text: String, again| Failure { error: Error::Network(text), again };
    match error {
        minreq::Error::IoError(error) => explain_io(&error, &host, get.timeout),
        minreq::Error::AddressNotFound => network(format!("cannot find the host {host}"), false),
        minreq::Error::RustlsCreateConnection(error) => {
            let hint = "hint: install the package ca-certificates, or set SSL_CERT_FILE, or give --cacert FILE";
            Error::Failed(format!("cannot begin TLS with {host}: {error}\n{hint}")).into()
        }
        error => Error::Refused(format!("{host} gave a malformed answer: {error}")).into(),
    }
}

fn explain_io(error: &io::Error, host: &str, timeout: u64) -> Failure {
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or_default();
    let network = |text: String, again| Failure { error: Error::Network(text), again };
    match error.kind() {
        ErrorKind::TimedOut => network(format!("{host} did not answer within {timeout} s"), true),
        ErrorKind::ConnectionRefused | ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            network(format!("cannot connect to {host}: {reason}"), false)
        }
        ErrorKind::InvalidData if reason.starts_with("invalid peer certificate") => {
            let hint = "hint: --cacert FILE or SSL_CERT_FILE names further certificates to trust";
            Error::Refused(format!("the certificate of {host} is not to be trusted: {reason}\n{hint}")).into()
        }
        ErrorKind::InvalidData => {
            let hint = "hint: if it speaks plain http, --insecure allows that";
            Error::Refused(format!("{host} does not speak TLS: {reason}\n{hint}")).into()
        }
        _ if reason.starts_with("failed to lookup") => {
            let reason = reason.rsplit(": ").next().unwrap_or_default();
            network(format!("cannot find the host {host}: {reason}"), false)
        }
        _ => network(format!("the connection to {host} was lost: {reason}"), true),
    }
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// All headers of this name.
    pub fn headers<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let named = self.response.headers.iter().filter(move |(key, _)| key.trim().eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim())
    }

    /// How long the body says it is, where it says so.
    pub fn length(&self) -> Option<u64> {
        let chunked = self.header("transfer-encoding").is_some();
        self.header("content-length").filter(|_| !chunked).and_then(|text| text.parse().ok())
    }

    /// Reads some of the body; 0 is its end, which may have come too early.
    pub fn read(&mut self, buffer: &mut [u8], timeout: u64) -> Result<usize> {
        let host = self.url.authority();
        self.response.read(buffer).map_err(|error| explain_io(&error, &host, timeout).error)
    }

    /// Reads the whole body, of at most `limit` bytes.
    pub fn read_all(&mut self, limit: u64, timeout: u64) -> Result<Vec<u8>> {
        let host = self.url.authority();
        let mut bytes = Vec::new();
        let read = (&mut self.response).take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| explain_io(&error, &host, timeout).error)?;
        let length = bytes.len() as u64;
        if length > limit {
            return Err(Error::Refused(format!("{host} answers with more than the {limit} bytes allowed here")));
        }
        if self.length().is_some_and(|promised| promised != length) {
            return Err(Error::Network(format!("the connection to {host} was lost after {length} bytes")));
        }
        Ok(bytes)
    }

    fn unavailable(&self, asked: Option<u64>) -> Error {
        let host = self.url.authority();
        let hint = asked.map_or_else(String::new, |seconds| format!(" and asks to wait {seconds} s"));
        Error::Network(match self.status {
            429 => {
                let left = self.header("ratelimit-remaining").and_then(rate_limit).unwrap_or_default();
                format!("{host} has had too many requests (429){hint}{left}")
            }
            status => format!("{host} failed with status {status}{hint}"),
        })
    }
}

/// A header line that fits minreq's limit to the byte makes it panic: an answer like any other malformed one.
pub fn exit_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(std::panic::Location::file).unwrap_or_default();
        if place.contains("minreq") {
            eprintln!("crate-fetch: the registry gave a malformed answer");
            std::process::exit(6);
        }
        eprintln!("crate-fetch: this is a mistake in crate-fetch: {panic}");
        std::process::exit(1);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_secure() {
        let from = Url::parse("https://q.io/a").unwrap();
        assert_eq!(redirect(&from, Some("/b")).unwrap().to_string(), "https://q.io/b");
        assert_eq!(redirect(&from, Some(" https://r.io/b ")).unwrap().to_string(), "https://r.io/b");
        for bad in
            [None, Some("http://q.io/b"), Some("ftp://q.io/"), Some("https://q.io/\r\nX: y"), Some("https://u@q.io/")]
        {
            assert_eq!(redirect(&from, bad).unwrap_err().exit_code(), 6, "{bad:?}");
        }
        let plain = Url::parse("http://localhost/a").unwrap();
        assert!(redirect(&plain, Some("https://r.io/")).is_ok());
    }

    #[test]
    fn plain_http_stays_here() {
        let progress = Arc::new(Progress::new(true));
        let http = |insecure| Http { timeout: 1, insecure, progress: progress.clone() };
        let remote = Url::parse("http://q.io/").unwrap();
        assert_eq!(http(false).check(&remote).unwrap_err().exit_code(), 6);
        assert!(http(true).check(&remote).is_ok());
        assert!(http(false).check(&Url::parse("http://127.0.0.9/").unwrap()).is_ok());
    }
}
