//! URLs, as far as registries need them (RFC 3986; RFC 9110, 4.2): checked strictly, for minreq sends what it is given.

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;
use store::{Error, Result};

/// An `http` or `https` URL without user information and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// `https`, not `http`?
    pub secure: bool,
    /// The host, in lower case.
    pub host: String,
    /// The port, where it is not the scheme's own.
    pub port: Option<u16>,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl Url {
    /// The root of `host[:port]`.
    pub fn of_host(secure: bool, host: &str) -> Result<Self> {
        Self::parse(&format!("{}://{host}/", if secure { "https" } else { "http" }))
    }

    /// Reads an absolute URL.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| Error::Refused(format!("not a URL that can be followed: {text:?}: {why}"));
        if let Some(byte) = text.bytes().find(|byte| !(0x21..=0x7e).contains(byte)) {
            return Err(refuse(&format!("it has the byte {byte:#04x}")));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse("it is not absolute"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(refuse("its scheme is neither http nor https")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if authority.starts_with('[') {
            return Err(refuse("IPv6 addresses are not supported: use a host name"));
        }
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(word) {
            return Err(refuse("its host is not well formed"));
        }
        let port = match port {
            None => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port != 0).ok_or_else(|| refuse("its port is out of range"))?)
            }
            Some(_) => return Err(refuse("its port is not a number")),
        };
        let port = port.filter(|port: &u16| *port != if secure { 443 } else { 80 });
        Ok(Self { secure, host: host.to_ascii_lowercase(), port, path })
    }

    /// The same place, another path.
    pub fn with_path(&self, path: String) -> Self {
        Self { path, ..self.clone() }
    }

    /// Where `location` leads from here (RFC 3986, 5.2).
    pub fn join(&self, location: &str) -> Result<Self> {
        let scheme = if self.secure { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        let joined = if location.contains("://") && !location.starts_with(['/', '?']) {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{}{location}", self.authority())
        } else if location.starts_with('?') {
            format!("{scheme}://{}{path}{location}", self.authority())
        } else {
            let directory = path.rfind('/').map_or("/", |slash| &path[..=slash]);
            format!("{scheme}://{}{directory}{location}", self.authority())
        };
        Self::parse(&joined)
    }

    /// `host[:port]`.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// Are both of one origin: scheme, host and port (RFC 6454, 5)?
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.secure, &self.host, self.port) == (other.secure, &other.host, other.port)
    }

    /// Does the host name this very machine?
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    }

    /// Do both hosts belong to one owner, so far as their names tell: the same host, or the same last two labels?
    pub fn same_site(&self, other: &Self) -> bool {
        let site = |host: &str| host.rsplitn(3, '.').take(2).map(str::to_owned).collect::<Vec<_>>();
        let named = |host: &str| host.contains('.') && host.parse::<Ipv4Addr>().is_err();
        self.host == other.host || named(&self.host) && named(&other.host) && site(&self.host) == site(&other.host)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.secure { "https" } else { "http" }, self.authority(), self.path)
    }
}

/// Percent-encodes a value of a query (RFC 3986, 2.1).
pub fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}"); // Writing to a String cannot fail.
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn reads_urls() {
        for (text, full) in [
            ("https://Q.io", "https://q.io/"),
            ("https://q.io:443/a?b=c#d", "https://q.io/a?b=c"),
            ("http://q.io:443/", "http://q.io:443/"),
            ("HTTP://localhost:5000/v2/", "http://localhost:5000/v2/"),
            ("https://q.io?x=https://y", "https://q.io/?x=https://y"),
        ] {
            assert_eq!(url(text).to_string(), full);
        }
    }

    #[test]
    fn refuses_what_cannot_be_sent_safely() {
        for bad in [
            "",
            "q.io",
            "/a",
            "ftp://q.io/",
            "file:///etc/passwd",
            "https://",
            "https:///a",
            "https://q.io:0/",
            "https://q.io:65616/",
            "https://q.io:/",
            "https://q.io:+80/",
            "https://u:p@q.io/",
            "https://q.io/a b",
            "https://q.io/\r\nX: y",
            "https://q.io/\u{e9}",
            "https://[::1]/",
            "https://q.io:80:80/",
            "https://q%2eio/",
            "https://q.io\\@x/",
        ] {
            assert_eq!(Url::parse(bad).unwrap_err().exit_code(), 6, "{bad:?}");
        }
    }

    #[test]
    fn follows_locations() {
        let from = url("https://q.io:1/v2/x/blobs/y?z=1");
        for (location, to) in [
            ("http://r.io/a", "http://r.io/a"),
            ("//r.io/a", "https://r.io/a"),
            ("/a?b", "https://q.io:1/a?b"),
            ("/a?b=http://c", "https://q.io:1/a?b=http://c"),
            ("?b", "https://q.io:1/v2/x/blobs/y?b"),
            ("a", "https://q.io:1/v2/x/blobs/a"),
        ] {
            assert_eq!(from.join(location).unwrap().to_string(), to);
        }
        assert!(from.join("a\nb").is_err());
    }

    #[test]
    fn tells_origins_and_sites_apart() {
        let same = |a: &str, b: &str| url(a).same_origin(&url(b));
        assert!(same("https://q.io/a", "https://Q.io:443/b"));
        assert!(!same("https://q.io/", "http://q.io/") && !same("https://q.io/", "https://q.io:1/"));
        let site = |a: &str, b: &str| url(a).same_site(&url(b));
        assert!(site("https://registry-1.docker.io/", "https://auth.docker.io/"));
        assert!(
            site("https://registry.gitlab.com/", "https://gitlab.com/")
                && site("http://127.0.0.1:1/", "http://127.0.0.1:2/")
        );
        assert!(!site("https://a.example/", "https://b.test/") && !site("http://127.0.0.1/", "http://127.1.0.1/"));
        assert!(!site("http://localhost/", "http://remotehost/"));
        assert!(url("http://127.3.2.1/").is_loopback() && !url("http://localhost.example/").is_loopback());
    }

    #[test]
    fn encodes_queries() {
        assert_eq!(encode("repository:a/b:pull&x=y"), "repository%3Aa%2Fb%3Apull%26x%3Dy");
    }
}
