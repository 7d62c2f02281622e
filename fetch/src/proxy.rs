//! Proxies that the environment names, and the hosts that need none (curl(1), "ENVIRONMENT"; Go's `net/http`).

use crate::base64;
use crate::url::Url;
use std::env;
use std::net::IpAddr;
use store::{Error, Result};

/// Which proxies there are.
#[derive(Debug, Default)]
pub struct Proxies {
    /// For http URLs: the variable's name and value.
    plain: Option<(&'static str, String)>,
    /// For https URLs.
    secure: Option<(&'static str, String)>,
    /// Hosts that need none.
    exceptions: Vec<Exception>,
}

/// One proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Where it is.
    pub url: Url,
    /// The value of `Proxy-Authorization`; never shown.
    authorization: Option<String>,
}

impl Proxies {
    /// Reads the environment; of a variable in both cases the one in lower case counts.
    pub fn from_env() -> Self {
        Self::read(|name| env::var(name).ok())
    }

    fn read(value: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            let mut found =
                names.iter().filter_map(|name| Some((*name, value(name).filter(|value| !value.is_empty())?)));
            found.next()
        };
        // Within a CGI program HTTP_PROXY is what a stranger sent as the header `Proxy` (CVE-2016-5385).
        let plain = if value("REQUEST_METHOD").is_some() { &["http_proxy"][..] } else { &["http_proxy", "HTTP_PROXY"] };
        let any = || first(&["all_proxy", "ALL_PROXY"]);
        let exceptions = first(&["no_proxy", "NO_PROXY"]).map(|(_, list)| list).unwrap_or_default();
        Self {
            plain: first(plain).or_else(any),
            secure: first(&["https_proxy", "HTTPS_PROXY"]).or_else(any),
            exceptions: exceptions.split([',', ' ', '\t', '\n']).filter_map(Exception::read).collect(),
        }
    }

    /// The proxy for a URL; none for this machine itself.
    pub fn find(&self, url: &Url) -> Result<Option<Proxy>> {
        let named = if url.secure { &self.secure } else { &self.plain };
        let Some((variable, value)) = named else {
            return Ok(None);
        };
        if url.is_loopback() || self.exceptions.iter().any(|exception| exception.covers(url)) {
            return Ok(None);
        }
        // The value may have a password: it is not shown.
        let unusable = |reason: &str| Error::Failed(format!("{variable} does not name a usable proxy: {reason}"));
        Proxy::read(value).map(Some).map_err(unusable)
    }
}

impl Proxy {
    /// Reads `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT][/]`.
    fn read(text: &str) -> std::result::Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = scheme.to_ascii_lowercase();
        if scheme.starts_with("socks") {
            return Err("SOCKS is not supported: use one that speaks HTTP");
        }
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        let url = Url::parse(&format!("{scheme}://{host}/")).map_err(|_| "it is not an http or https URL")?;
        let user = user.map(|user| decode(user).ok_or("its user is not well formed")).transpose()?;
        Ok(Self { url, authorization: user.map(|user| format!("Basic {}", base64::encode(&user))) })
    }

    /// The header field with its credentials, or nothing.
    pub fn credentials(&self) -> String {
        self.authorization.as_ref().map_or_else(String::new, |value| format!("Proxy-Authorization: {value}\r\n"))
    }
}

/// An entry of NO_PROXY.
#[derive(Debug, PartialEq, Eq)]
enum Exception {
    /// `*`
    All,
    /// An address with how many of its bits count: `10.0.0.0/8`.
    Network(IpAddr, u32, Option<u16>),
    /// A name, for itself and all below it: `example.com`, `.example.com`, `*.example.com`.
    Domain(String, Option<u16>),
}

impl Exception {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let bits = bits.parse().ok().filter(|bits| *bits <= if address.is_ipv4() { 32 } else { 128 })?;
            return Some(Self::Network(address, bits, None));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Network(address, 128, None)); // A bare IPv6 address has colons, too.
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
            _ => (text.as_str(), None),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Some(Self::Network(address, 128, port));
        }
        let name = bare.trim_start_matches('*').trim_matches('.');
        (!name.is_empty()).then(|| Self::Domain(name.to_owned(), port))
    }

    fn covers(&self, url: &Url) -> bool {
        let fits = |port: &Option<u16>| port.is_none_or(|port| port == url.port_number());
        match self {
            Self::All => true,
            Self::Network(network, bits, port) => {
                fits(port) && url.address().is_some_and(|address| within(address, *network, *bits))
            }
            Self::Domain(name, port) => {
                let host = url.host.trim_end_matches('.');
                let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                fits(port) && url.address().is_none() && below
            }
        }
    }
}

/// Do the first `bits` of both addresses agree?
fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits.min(32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits,
        _ => false,
    }
}

/// Undoes percent-encoding (RFC 3986, 2.1).
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_environment_names_proxies() {
        let host = |variables: &[(&str, &str)], to: &str| {
            proxies(variables).find(&url(to)).unwrap().map(|proxy| proxy.url.to_string())
        };
        let all = &[("http_proxy", "a:1"), ("HTTP_PROXY", "b:1"), ("HTTPS_PROXY", "https://c"), ("ALL_PROXY", "d")];
        assert_eq!(host(all, "http://q.io/").as_deref(), Some("http://a:1/"));
        assert_eq!(host(all, "https://q.io/").as_deref(), Some("https://c/"));
        assert_eq!(host(&all[1..], "http://q.io/").as_deref(), Some("http://b:1/"));
        assert_eq!(host(&all[3..], "http://q.io/").as_deref(), Some("http://d/"));
        assert_eq!(host(&[("HTTP_PROXY", "b:1"), ("REQUEST_METHOD", "GET")], "http://q.io/"), None);
        for here in ["http://localhost:5000/", "http://127.0.0.9/", "http://[::1]/"] {
            assert_eq!(host(all, here), None, "{here}");
        }
        assert_eq!(host(&[("all_proxy", "a"), ("no_proxy", "x.io, q.io")], "https://q.io/"), None);
        for bad in ["socks5://a:1", "ftp://a", "http://", "http://a:x", "http://%zz@a"] {
            let error = proxies(&[("all_proxy", bad)]).find(&url("https://q.io/")).unwrap_err();
            assert!(error.to_string().starts_with("all_proxy does not name a usable proxy: "), "{error}");
        }
    }

    #[test]
    fn proxies_have_credentials() {
        let proxy = Proxy::read("http://us%40er:p%3Ass@[::1]:3128/").unwrap();
        assert_eq!(proxy.url.to_string(), "http://[::1]:3128/");
        assert_eq!(proxy.credentials(), "Proxy-Authorization: Basic dXNAZXI6cDpzcw==\r\n");
        assert_eq!(Proxy::read("a").unwrap().credentials(), "");
    }

    #[test]
    fn exceptions_cover_hosts() {
        let covered =
            |list: &str, to: &str| proxies(&[("no_proxy", list)]).exceptions.iter().any(|e| e.covers(&url(to)));
        for (list, to) in [
            ("*", "https://q.io/"),
            ("q.io", "https://q.io/"),
            ("q.io", "https://a.b.q.io/"),
            (".Q.io", "https://a.q.io/"),
            ("*.q.io", "https://a.q.io/"),
            ("q.io:443", "https://q.io/"),
            ("x,,q.io", "https://q.io./"),
            ("10.0.0.0/8", "https://10.9.8.7/"),
            ("10.9.8.7", "https://10.9.8.7:5000/"),
            ("10.9.8.7:5000", "https://10.9.8.7:5000/"),
            ("fd00::/8", "https://[fd12::1]/"),
            ("[fd12::1]:443", "https://[fd12::1]/"),
            ("fd12::1", "https://[fd12::1]/"),
            ("0.0.0.0/0", "https://1.2.3.4/"),
        ] {
            assert!(covered(list, to), "{list} {to}");
        }
        for (list, to) in [
            ("", "https://q.io/"),
            ("q.io", "https://xq.io/"),
            ("q.io:444", "https://q.io/"),
            ("q.io", "https://q.io.evil/"),
            ("10.0.0.0/8", "https://11.0.0.1/"),
            ("10.0.0.0/8", "https://10.example/"),
            ("10.0.0.0/33", "https://10.0.0.1/"),
            ("8.7", "https://10.9.8.7/"),
            ("::/0", "https://1.2.3.4/"),
            ("fd00::/8", "https://[fe00::1]/"),
            ("*.", "https://q.io/"),
        ] {
            assert!(!covered(list, to), "{list} {to}");
        }
    }
}
