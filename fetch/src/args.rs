//! The command line.

use lexopt::{Arg, Parser, ValueExt};
use std::io::Write;
use std::path::PathBuf;
use store::error::Doing;
use store::{Error, Platform, Reference, Result};

const HELP: &str = "\
Usage: crate-fetch [OPTION]... SOURCE
       crate-fetch --login|--logout [OPTION]... [REGISTRY]

Brings an image into the store, every byte verified, and prints its manifest's digest.

SOURCE is a reference, such as alpine:3.20 or registry.example:5000/team/app@sha256:...,
or one of oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF], - (an archive on standard input).

  --layers           print `BLOB DIFFID` for each layer the moment it is complete
  --pull WHEN        always (default: ask the registry), missing (only what is not held),
                     newer (as always, but what is held will do), never
  --platform OS/ARCHITECTURE[/VARIANT]
                     what to choose of an image for several platforms (default: this machine's)
  --as REF           keep the image under this reference
  --lock FILE        write what the reference led to into this lock file
  --locked FILE      bring what this lock file says, whatever the tag is by now
  --stamp FILE       write the digest into this file, which is not touched if that is what it holds
  --force            let a reference that the store has come to mean the image of a layout or archive
  --jobs N           how many layers to bring at once (default 4)
  --timeout SECONDS  how long a registry may keep silent (default 30)
  --insecure         allow plain http, to other machines too
  --cacert FILE      trust the certificates in FILE (PEM) as well
  -q, --quiet        no progress
  -h, --help         print this
  --version          print the version

Exit status: 0 done; 1 failed; 2 usage; 3 no such image; 5 the registry or network failed, trying again may help;
6 refused: bytes that do not match their digest, or that are malformed.
";

/// When to ask the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Each time.
    Always,
    /// When the store has no complete image of this name.
    Missing,
    /// Each time, but the image that is held serves where the registry cannot be asked.
    Newer,
    /// Not at all.
    Never,
}

/// Where the image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A registry; with the reference as it was typed.
    Registry(Reference, String),
    /// A layout or archive, which `crate-store load` reads.
    Local(std::ffi::OsString),
}

/// What is asked for.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Request {
    /// Where the image comes from.
    pub source: Source,
    /// May an archive move a reference of the store?
    pub force: bool,
    /// Print each layer as it is complete.
    pub layers: bool,
    /// When to ask the registry.
    pub policy: Policy,
    /// What the image must run on, where it was given.
    pub platform: Option<Platform>,
    /// The reference to keep the image under, where it is another.
    pub name: Option<Reference>,
    /// The lock file to write what the reference led to into.
    pub lock: Option<PathBuf>,
    /// The lock file that says what the reference leads to.
    pub locked: Option<PathBuf>,
    /// The file to keep the digest in.
    pub stamp: Option<PathBuf>,
    /// How many layers to bring at once.
    pub jobs: usize,
    /// How many seconds a registry may keep silent.
    pub timeout: u64,
    /// No progress.
    pub quiet: bool,
    /// Allow plain http to other machines.
    pub insecure: bool,
    /// Further certificates to trust.
    pub cacert: Option<PathBuf>,
}

/// Reads the command line; `None`: it asked for text, which has been printed.
pub fn parse() -> Result<Option<Request>> {
    parse_from(Parser::from_env())
}

fn parse_from(mut parser: Parser) -> Result<Option<Request>> {
    let mut source = None;
    let mut request = Request {
        source: Source::Local("-".into()),
        layers: false,
        force: false,
        policy: Policy::Always,
        platform: None,
        name: None,
        lock: None,
        locked: None,
        stamp: None,
        jobs: 4,
        timeout: 30,
        quiet: false,
        insecure: false,
        cacert: None,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("layers") => request.layers = true,
            Arg::Long("force") => request.force = true,
            Arg::Long("pull") => request.policy = policy(&parser.value()?.string()?)?,
            Arg::Long("platform") => request.platform = Some(parser.value()?.string()?.parse()?),
            Arg::Long("as") => request.name = Some(parser.value()?.string()?.parse()?),
            Arg::Long("lock") => request.lock = Some(PathBuf::from(parser.value()?)),
            Arg::Long("locked") => request.locked = Some(PathBuf::from(parser.value()?)),
            Arg::Long("stamp") => request.stamp = Some(PathBuf::from(parser.value()?)),
            Arg::Long("jobs") => request.jobs = number("--jobs", &parser.value()?.string()?, 64)?,
            Arg::Long("timeout") => request.timeout = number("--timeout", &parser.value()?.string()?, 3600)?,
            Arg::Long("insecure") => request.insecure = true,
            Arg::Long("cacert") => request.cacert = Some(PathBuf::from(parser.value()?)),
            Arg::Short('q') | Arg::Long("quiet") => request.quiet = true,
            Arg::Short('h') | Arg::Long("help") => return say(HELP),
            Arg::Long("version") => return say(concat!("crate-fetch ", env!("CARGO_PKG_VERSION"), "\n")),
            Arg::Value(value) if source.is_none() => source = Some(self::source(value)?),
            other => return Err(other.unexpected().into()),
        }
    }
    let missing = || Error::Usage("which image? give a reference\nhint: crate-fetch --help".into());
    request.source = source.ok_or_else(missing)?;
    if request.lock.is_some() && request.locked.is_some() {
        return Err(Error::Usage("--lock writes a lock file and --locked goes by one: give one of them".into()));
    }
    let files = [&request.lock, &request.locked, &request.stamp];
    if matches!(request.source, Source::Local(_)) && files.iter().any(|file| file.is_some()) {
        return Err(Error::Usage(
            "--lock, --locked and --stamp are for references, not for layouts and archives".into(),
        ));
    }
    Ok(Some(request))
}

fn say(text: &str) -> Result<Option<Request>> {
    std::io::stdout().write_all(text.as_bytes()).doing(|| "writing standard output".into())?;
    Ok(None)
}

fn policy(text: &str) -> Result<Policy> {
    match text {
        "always" => Ok(Policy::Always),
        "missing" => Ok(Policy::Missing),
        "newer" => Ok(Policy::Newer),
        "never" => Ok(Policy::Never),
        _ => Err(Error::Usage(format!("--pull wants always, missing, newer or never, not {text:?}"))),
    }
}

fn number<T: TryFrom<u64>>(option: &str, text: &str, most: u64) -> Result<T> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| Error::Usage(format!("{option} wants a number of 1 to {most}, not {text:?}")))
}

/// The transports are skopeo's (containers-transports(5)).
fn source(value: std::ffi::OsString) -> Result<Source> {
    let bytes = value.as_encoded_bytes();
    if bytes == b"-"
        || [&b"oci:"[..], b"oci-archive:", b"docker-archive:"].iter().any(|prefix| bytes.starts_with(prefix))
    {
        return Ok(Source::Local(value));
    }
    let text = value.string()?;
    let bare = text.strip_prefix("docker://").unwrap_or(&text);
    Ok(Source::Registry(bare.parse()?, bare.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Option<Request>> {
        parse_from(Parser::from_args(args))
    }

    #[test]
    fn reads_options_and_sources() {
        let request = parsed(&["--layers", "--pull=missing", "docker://alpine", "--jobs", "2", "-q"]).unwrap().unwrap();
        assert!(request.layers && request.quiet && !request.insecure);
        assert_eq!((request.policy, request.jobs), (Policy::Missing, 2));
        assert_eq!(request.source, Source::Registry("alpine".parse().unwrap(), "alpine".into()));
        for local in ["-", "oci:dir:x", "oci-archive:f", "docker-archive:f"] {
            assert_eq!(parsed(&[local]).unwrap().unwrap().source, Source::Local(local.into()));
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let bad: [&[&str]; 10] = [
            &["--lock", "f", "--locked=f", "a"],
            &["--stamp", "f", "-"],
            &[],
            &["a", "b"],
            &["--jobs", "0", "a"],
            &["--jobs=65", "a"],
            &["--pull", "x", "a"],
            &["--no", "a"],
            &["A"],
            &["--as"],
        ];
        for args in bad {
            assert_eq!(parsed(args).unwrap_err().exit_code(), 2, "{args:?}");
        }
    }
}
