//! References to images, in the grammar and with the defaults that docker gave them.

use crate::digest::Digest;
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// A reference in its full form: `docker.io/library/alpine:latest`, `localhost:5000/x@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The registry, as a user names it: `docker.io`, `localhost:5000`.
    pub host: String,
    /// The repository within the registry: `library/alpine`.
    pub repository: String,
    /// The tag; `latest` where neither tag nor digest was given.
    pub tag: Option<String>,
    /// The digest; it wins over the tag.
    pub digest: Option<Digest>,
}

/// The longest name (registry and repository) that is accepted, in bytes.
const NAME_LIMIT: usize = 255;

impl Reference {
    /// `host/repository`, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str| Error::Usage(format!("not an image reference: {text:?}: {why}"));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| refuse("the digest is not sha256 or sha512"))?))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse("the tag is not well formed"));
        }
        let (host, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
            _ => ("docker.io", name),
        };
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        if !is_host(host) {
            return Err(refuse("the registry is not well formed"));
        }
        let official = host == "docker.io" && !path.contains('/');
        let repository = if official { format!("library/{path}") } else { path.to_owned() };
        if !path.split('/').all(is_component) {
            return Err(refuse("a repository is lower-case letters, digits, and single . _ - between them"));
        }
        if host.len() + 1 + repository.len() > NAME_LIMIT {
            return Err(refuse("it is longer than 255 bytes"));
        }
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { host: host.to_owned(), repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (distribution-spec).
fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// One component of a repository: runs of `[a-z0-9]` joined by `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    bytes
        .split(|byte| alphanumeric(*byte))
        .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-'))
}

/// A registry: a DNS name, an IPv4 address or a bracketed IPv6 address, and an optional port of 1 to 65535.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|number| number > 0)
    });
    let name_fits = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(|label| {
            let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
            edge(label.bytes().next())
                && edge(label.bytes().last())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        }),
    };
    port_fits && name_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn completes_short_references() {
        for (short, full) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("a/b", "docker.io/a/b:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x:tag", "localhost:5000/x:tag"),
            ("quay.io/a/b/c", "quay.io/a/b/c:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("a--b/c__d.e", "docker.io/a--b/c__d.e:latest"),
        ] {
            assert_eq!(short.parse::<Reference>().unwrap().to_string(), full);
        }
        let digest = format!("x@sha256:{HEX}");
        assert_eq!(digest.parse::<Reference>().unwrap().to_string(), format!("docker.io/library/{digest}"));
        let both = format!("q.io/x:1@sha256:{HEX}");
        assert_eq!(both.parse::<Reference>().unwrap().to_string(), both);
    }

    #[test]
    fn refuses_what_is_not_a_reference() {
        let long = format!("a/{}", "b".repeat(255));
        for bad in [
            "",
            "UPPER",
            "a//b",
            "/a",
            "a/",
            "a:",
            ":a",
            "a:-t",
            "a@sha256:00",
            "-a",
            "a b",
            "a..b",
            "a___b",
            "a/../b",
            "../a",
            "q.io:0/x",
            "q.io:70000/x",
            "q.io:/x",
            "-q.io/x",
            "q_.io/x",
            "[::1/x",
            "[zz]/x",
            "a\n",
            &long,
        ] {
            assert_eq!(bad.parse::<Reference>().map_err(|e| e.exit_code()), Err(2), "{bad:?}");
        }
    }
}
