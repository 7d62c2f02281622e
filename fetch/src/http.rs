//! HTTP/1.1 requests: the only file that knows minreq, which is given one socket of this process at a time (relay.rs).
//!
//! minreq would follow redirects with every header to any host, takes content that is cut short for all of it, and has
//! one deadline for everything. So redirects are followed here, and content is read beside it (content.rs).

use crate::content::Content;
use crate::failure::Failure;
use crate::header::{rate_limit, retry_after};
use crate::progress::Progress;
use crate::proxy::Proxies;
use crate::registries::api_host;
use crate::relay::{KEY_HEADER, Relay};
use crate::retry::{self, Patience};
use crate::route::Route;
use crate::tls::Tls;
use crate::url::Url;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use store::{Error, Result};

/// The most redirects that are followed.
const HOPS: usize = 10;
/// How often a request is sent before its failure is believed.
const TRIES: u32 = 4;
/// The longest that a registry may ask to wait, in seconds.
const WAIT_LIMIT: u64 = 60;

/// How requests are sent.
pub struct Http {
    /// How many seconds a host may take until the head of its answer is here, and how long it may be silent then.
    pub timeout: u64,
    /// Told of waits.
    pub progress: Arc<Progress>,
    /// What is left of the run's waiting time.
    pub patience: Patience,
    /// The hosts, `HOST[:PORT]`, that may be asked in plain http, or with TLS by whoever answers.
    insecure: Vec<String>,
    tls: Tls,
    proxies: Proxies,
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
    headers: Vec<(String, String)>,
    content: Content,
}

impl Http {
    /// Trusts the system's certificates, and those in `cacert`; goes through the proxies of the environment.
    pub fn new(timeout: u64, cacert: Option<&Path>, progress: Arc<Progress>) -> Result<Self> {
        let (tls, proxies) = (Tls::new(cacert)?, Proxies::from_env());
        Ok(Self { timeout, insecure: Vec::new(), progress, patience: Patience::new(), tls, proxies })
    }

    /// The user says that whoever answers for the registry `host` is to be believed.
    pub fn believe(&mut self, host: &str) {
        self.insecure.push(api_host(host).to_owned());
    }

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
            let wait = retry::until(asked, pause);
            let too_long = asked.is_some_and(|seconds| seconds > WAIT_LIMIT);
            if left > 0 && !too_long && wait >= Duration::from_secs(2) {
                self.progress.say(&format!("{error}; trying again in {} s", wait.as_secs()));
            }
            if left == 0 || too_long || !self.patience.wait(wait) {
                return Err(error);
            }
            pause *= 2;
        }
        Err(Error::Network(format!("{} cannot be reached", get.url.authority())))
    }

    /// Sends a request once, and follows where its answer leads.
    pub fn follow(&self, get: &Get) -> std::result::Result<Answer, Failure> {
        self.check(&get.url)?;
        let mut hop = get.clone();
        for _ in 0..=HOPS {
            let answer = self.send(&hop)?;
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
        if url.secure || self.is_insecure(url) || url.is_loopback() {
            return Ok(());
        }
        Err(Error::Refused(format!("{} would be asked in plain http\nhint: --insecure allows it", url.authority())))
    }

    /// Has the user said that whoever answers for this host is to be believed?
    pub fn is_insecure(&self, url: &Url) -> bool {
        let same = |host: &String| Url::of_host(url.secure, host).is_ok_and(|own| own.same_origin(url));
        self.insecure.iter().any(same)
    }

    fn send(&self, get: &Get) -> std::result::Result<Answer, Failure> {
        let host = get.url.authority();
        let relay = Relay::start(self.route(get)?, get.head)?;
        let method = if get.head { minreq::Method::Head } else { minreq::Method::Get };
        let mut request = minreq::Request::new(method, format!("http://127.0.0.1:{}{}", relay.port, get.url.path))
            .with_header(KEY_HEADER, &relay.key)
            .with_header("User-Agent", concat!("crate-fetch/", env!("CARGO_PKG_VERSION")))
            .with_header("Accept", get.accept)
            .with_header("Accept-Encoding", "identity")
            .with_header("Connection", "close")
            .with_follow_redirects(false)
            .with_max_headers_size(None);
        // No time-out: its thread for that would be a panic where there can be none more, and the route has its own.
        if get.from > 0 {
            request = request.with_header("Range", format!("bytes={}-", get.from));
        }
        let lost = |reason: &str| Failure::passing(format!("the connection to {host} was lost: {reason}"));
        let told = |reason: &str| match relay.content.try_recv() {
            Ok(Err(failure)) => failure,
            _ => lost(reason),
        };
        let response = request.send_lazy().map_err(|error| told(&error.to_string()))?;
        // minreq makes up a status line where there is none; one that came through the relay has the word.
        if response.reason_phrase != relay.word {
            return Err(told("it gave no HTTP answer"));
        }
        let content = relay.content.recv().map_err(|_| lost("it ended"))??;
        Ok(Answer { status: response.status_code, url: get.url.clone(), headers: response.headers, content })
    }

    /// The way to a request's URL.
    fn route(&self, get: &Get) -> Result<Route> {
        let tls = |url: &Url| url.secure.then(|| self.tls.config(&url.authority(), self.is_insecure(url))).transpose();
        let proxy = match self.proxies.find(&get.url)? {
            None => None,
            Some(proxy) => Some((tls(&proxy.url)?, proxy)),
        };
        let authorization = get.authorization.map(str::to_owned);
        Ok(Route { url: get.url.clone(), authorization, tls: tls(&get.url)?, proxy, timeout: get.timeout })
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

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// All headers of this name.
    pub fn headers<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let named = self.headers.iter().filter(move |(key, _)| key.trim().eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim())
    }

    /// How long the body says it is, where it says so.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length").and_then(|text| text.parse().ok())
    }

    /// Reads some of the body; 0 is its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.content.read(buffer).map_err(|failure| failure.error)
    }

    /// Reads the whole body, of at most `limit` bytes.
    pub fn read_all(&mut self, limit: u64) -> Result<Vec<u8>> {
        let host = self.url.authority();
        if let Some(coding) = self.header("content-encoding").filter(|coding| !coding.eq_ignore_ascii_case("identity"))
        {
            return Err(Error::Refused(format!("{host} answers in the encoding {coding:?}, which was not asked for")));
        }
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            match self.read(&mut buffer)? {
                0 => return Ok(bytes),
                count => bytes.extend_from_slice(&buffer[..count]),
            }
            if bytes.len() as u64 > limit {
                return Err(Error::Refused(format!("{host} answers with more than the {limit} bytes allowed here")));
            }
        }
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
        let mut http = Http::new(1, None, Arc::new(Progress::new(true))).unwrap();
        let plain = |host: &str| Url::parse(&format!("http://{host}/")).unwrap();
        assert!(http.check(&plain("127.0.0.9")).is_ok() && http.check(&plain("[::1]:5000")).is_ok());
        assert_eq!(http.check(&plain("q.io")).unwrap_err().exit_code(), 6);
        http.believe("Q.io:80");
        assert!(http.check(&plain("q.io")).is_ok());
        // P15: for this one host and port only.
        for other in ["q.io:5000", "a.q.io", "io"] {
            assert!(http.check(&plain(other)).is_err(), "{other}");
        }
        http.believe("docker.io");
        assert!(http.check(&plain("registry-1.docker.io")).is_ok());
    }
}
