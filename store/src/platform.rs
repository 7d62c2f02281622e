//! Platforms in Go's words, and which of them a machine can run (image-spec, `image-index.md`).

use crate::error::{Error, Result};
use crate::json::{Fields, FromJson, Value, Wrong, object_of_present};
use std::fmt;
use std::str::FromStr;

/// What an image runs on: `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The operating system: `linux`.
    pub os: String,
    /// The processor architecture: `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// The variant of the architecture: `v7` of `arm`.
    pub variant: Option<String>,
}

impl Platform {
    /// The platform that this program was built for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.map(Into::into) }
    }

    /// How well `candidate` suits this platform: 0 is exact, higher is worse, `None` cannot run.
    ///
    /// An arm machine runs its own variant and each older one, newest first; every other architecture
    /// takes the same variant, with the usual default where none is given (`v8` of arm64, `v1` of amd64).
    pub fn rank(&self, candidate: &Self) -> Option<u32> {
        if self.os != candidate.os || self.architecture != candidate.architecture {
            return None;
        }
        let level = |platform: &Self| {
            let default = match platform.architecture.as_str() {
                "arm" => "v7",
                "arm64" => "v8",
                "amd64" => "v1",
                _ => "",
            };
            let variant = platform.variant.as_deref().filter(|variant| !variant.is_empty()).unwrap_or(default);
            variant.strip_prefix('v').and_then(|digits| digits.parse::<u32>().ok()).ok_or(variant.to_owned())
        };
        match (level(self), level(candidate)) {
            (Ok(own), Ok(other)) => own.checked_sub(other),
            (own, other) => (own == other).then_some(0),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let word =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(word) {
            return Err(Error::Usage(format!("--platform wants os/architecture[/variant], not {text:?}")));
        }
        let architecture = match parts[1] {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let variant = parts.get(2).map(|variant| (*variant).to_owned());
        Ok(Self { os: parts[0].to_owned(), architecture: architecture.to_owned(), variant })
    }
}

impl FromJson for Platform {
    fn from_json(value: Value) -> std::result::Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            os: fields.take_or_default("os")?,
            architecture: fields.take_or_default("architecture")?,
            variant: fields.take("variant")?,
        })
    }
}

impl From<&Platform> for Value {
    fn from(platform: &Platform) -> Self {
        object_of_present(vec![
            ("os", (&platform.os).into()),
            ("architecture", (&platform.architecture).into()),
            ("variant", platform.variant.as_ref().into()),
        ])
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_machine_runs_older_variants_newest_first() {
        let v7: Platform = "linux/arm/v7".parse().unwrap();
        let rank = |text: &str| v7.rank(&text.parse().unwrap());
        assert_eq!(rank("linux/arm/v7"), Some(0));
        assert_eq!(rank("linux/arm"), Some(0));
        assert_eq!(rank("linux/arm/v6"), Some(1));
        assert_eq!(rank("linux/arm/v5"), Some(2));
        assert_eq!(rank("linux/arm/v8"), None);
        assert_eq!(rank("linux/arm64"), None);
        let arm64: Platform = "linux/arm64".parse().unwrap();
        assert_eq!(arm64.rank(&"linux/arm64/v8".parse().unwrap()), Some(0));
        assert_eq!(arm64.rank(&"windows/arm64".parse().unwrap()), None);
    }

    #[test]
    fn refuses_what_is_not_a_platform() {
        for bad in ["", "linux", "linux/", "/amd64", "linux/amd64/v1/x", "linux/am d64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
