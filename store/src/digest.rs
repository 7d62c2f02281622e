//! Digests of content (image-spec, `descriptor.md#digests`).

use crate::error::{Error, Result};
use crate::json::{self, FromJson, Value, Wrong};
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt;
use std::str::FromStr;

/// A digest that is safe to use as a path: `sha256:` and 64, or `sha512:` and 128, lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// The digest of `bytes` in SHA-256.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The name of the algorithm: `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The hexadecimal digits.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The first twelve digits: what listings show.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// The whole digest, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A hasher of this digest's algorithm, to verify content against it.
    pub fn hasher(&self) -> Hasher {
        if self.algorithm() == "sha512" { Hasher::Sha512(Sha512::new()) } else { Hasher::sha256() }
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = match text.split_once(':') {
            Some(("sha256", hex)) if hex.len() == 64 => hex,
            Some(("sha512", hex)) if hex.len() == 128 => hex,
            _ => "",
        };
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.is_empty() || !digits.bytes().all(hexadecimal) {
            return Err(Error::Refused(format!("not a sha256 or sha512 digest: {}", json::quoted(text))));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromJson for Digest {
    fn from_json(value: Value) -> std::result::Result<Self, Wrong> {
        String::from_json(value)?.parse().map_err(|error: Error| Wrong::new(error.to_string()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Computes a digest while content passes by.
#[derive(Clone)]
pub enum Hasher {
    /// SHA-256, the algorithm of nearly every registry.
    Sha256(Sha256),
    /// SHA-512, the image-spec's other registered algorithm.
    Sha512(Sha512),
}

impl Hasher {
    /// A hasher for a digest that crate itself computes.
    pub fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    /// Adds `bytes` to what has been hashed.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(state) => state.update(bytes),
            Self::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Digest {
        let (algorithm, sum) = match self {
            Self::Sha256(state) => ("sha256", state.finalize().to_vec()),
            Self::Sha512(state) => ("sha512", state.finalize().to_vec()),
        };
        Digest(format!("{algorithm}:{}", hex(&sum)))
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_only_what_is_safe_as_a_path() {
        let good = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(good.parse::<Digest>().unwrap(), Digest::of(b""));
        let short = &good[..70];
        let upper = good.to_uppercase();
        let traversal = format!("sha256:../{}", &good[10..]);
        for bad in ["", "sha256:", short, &upper, &traversal, "md5:d41d8cd98f00b204e9800998ecf8427e"] {
            assert_eq!(bad.parse::<Digest>().unwrap_err().exit_code(), 6, "{bad}");
        }
        let long = format!("sha512:{}", "0f".repeat(64));
        assert_eq!(long.parse::<Digest>().unwrap().algorithm(), "sha512");
    }
}
