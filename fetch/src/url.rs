//! URLs, as far as registries need them (RFC 3986; RFC 9110, 4.2): checked strictly, for minreq sends what it is given.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr};
use store::{Error, Result};

/// An `http` or `https` URL without user information and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// `https`, not `http`?
    pub secure: bool,
    /// The host, in lower case; an IPv6 address in brackets.
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
        // Whoever sent it can make it long.
        let shown = || text.chars().take(200).collect::<String>();
        let refuse = |why: &str| Error::Refused(format!("not a URL that can be followed: {:?}: {why}", shown()));
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
        let (host, port) = match authority.rfind(':') {
            Some(colon) if !authority[colon..].contains(']') => (&authority[..colon], Some(&authority[colon + 1..])),
            _ => (authority, None),
        };
        let host = host_of(host).ok_or_else(|| refuse("its host is not well formed"))?;
        let port = match port {
            None => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port != 0).ok_or_else(|| refuse("its port is out of range"))?)
            }
            Some(_) => return Err(refuse("its port is not a number")),
        };
        let port = port.filter(|port: &u16| *port != if secure { 443 } else { 80 });
        Ok(Self { secure, host, port, path })
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

    /// The port to connect to.
    pub fn port_number(&self) -> u16 {
        self.port.unwrap_or(if self.secure { 443 } else { 80 })
    }

    /// The host without the brackets of an IPv6 address.
    pub fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The host, where it is an address.
    pub fn address(&self) -> Option<IpAddr> {
        self.bare_host().parse::<IpAddr>().ok().map(|address| address.to_canonical())
    }

    /// Does the host name this very machine?
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.address().is_some_and(|address| address.is_loopback())
    }

    /// Do both hosts belong to one owner, so far as their names tell: the same host, or one domain that is registered?
    pub fn same_site(&self, other: &Self) -> bool {
        let site = site(&self.host);
        self.host == other.host || site.is_some() && site == self::site(&other.host)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.secure { "https" } else { "http" }, self.authority(), self.path)
    }
}

/// A host in its one form, if it is a name, an IPv4 address, or an IPv6 address in brackets.
fn host_of(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    // No empty label but the root's: a host is also the name of a directory of certificates.
    let labels = !text.starts_with('.') && !text.contains("..");
    let fits = labels && (1..=253).contains(&text.len()) && text.bytes().all(word);
    fits.then(|| text.to_ascii_lowercase())
}

/// The part of a name that somebody has registered: its last two labels, or three below suffixes such as `co.uk`.
fn site(host: &str) -> Option<&str> {
    const SECOND: [&str; 16] =
        ["ac", "co", "com", "edu", "gob", "go", "gov", "gouv", "mil", "ne", "net", "nom", "or", "org", "sch", "school"];
    let mut dots = host.rmatch_indices('.').map(|(at, _)| at);
    let last = dots.next()?;
    let second = dots.next();
    let suffix = host.len() - last == 3 && SECOND.contains(&&host[second.map_or(0, |at| at + 1)..last]);
    let dot = if suffix { second.map(|_| dots.next())? } else { second };
    let start = dot.map_or(0, |at| at + 1);
    let empty = host.split('.').any(str::is_empty) || host.contains(':') || host.parse::<std::net::Ipv4Addr>().is_ok();
    (!empty).then(|| &host[start..])
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
            ("https://[::1]", "https://[::1]/"),
            ("https://[2001:DB8:0::1]:443/a", "https://[2001:db8::1]/a"),
            ("http://[::ffff:127.0.0.1]:5000/", "http://[::ffff:127.0.0.1]:5000/"),
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
            "https://[::1/",
            "https://::1/",
            "https://[::1]x/",
            "https://[::1]:/",
            "https://[::1%25eth0]/",
            "https://[127.0.0.1]/",
            "https://../",
            "https://a..b/",
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
        assert!(
            !site("http://[::1]/", "http://[::2]/") && !site("http://[::127.0.0.1]/", "http://[::ffff:127.0.0.1]/")
        );
        for here in ["http://127.3.2.1/", "http://[::1]:1/", "http://[::ffff:127.0.0.1]/", "http://localhost/"] {
            assert!(url(here).is_loopback(), "{here}");
        }
        for there in ["http://localhost.example/", "http://[::2]/", "http://127.example/"] {
            assert!(!url(there).is_loopback(), "{there}");
        }
        assert_eq!((url("http://[::1]/").bare_host(), url("http://[::1]/").port_number()), ("::1", 80));
        for (host, owner) in [
            ("a.b.co.uk", Some("b.co.uk")),
            ("b.co.uk", Some("b.co.uk")),
            ("co.uk", None),
            ("x.y.com.au", Some("y.com.au")),
            ("a.b.c.de", Some("c.de")),
            ("registry.co.example", Some("co.example")),
            ("q.io", Some("q.io")),
            ("io", None),
            ("a..io", None),
            ("q.io.", None),
            ("10.1.2.3", None),
        ] {
            assert_eq!(super::site(host), owner, "{host}");
        }
        assert!(!site("https://a.co.uk/", "https://b.co.uk/") && site("https://a.co.uk/", "https://x.a.co.uk/"));
    }

    #[test]
    fn encodes_queries() {
        assert_eq!(encode("repository:a/b:pull&x=y"), "repository%3Aa%2Fb%3Apull%26x%3Dy");
    }
}
