//! Bringing images: `crate-fetch --layers … | crate-sup unshare crate-store unpack -`.

use crate::flags;
use crate::program::{self, Failure, Outcome};
use lexopt::prelude::*;
use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};

/// `crate pull`.
pub fn run(mut args: lexopt::Parser) -> Outcome {
    let mut fetch = Vec::new();
    let mut images = Vec::new();
    let mut stamp = None;
    while let Some(argument) = args.next()? {
        match argument {
            Value(text) => images.push(text),
            Short('q') => fetch.push("--quiet".into()),
            Long(name @ ("quiet" | "insecure" | "force")) => fetch.push(format!("--{name}").into()),
            Long("tls-verify") => fetch.extend(flags::tls_verify(args.optional_value().as_deref())?),
            Long(name @ ("platform" | "jobs" | "cacert" | "as" | "pull" | "lock" | "locked")) => {
                let name = format!("--{name}");
                fetch.extend([name.into(), args.value()?]);
            }
            Long("stamp") => stamp = Some(args.value()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if images.is_empty() {
        return Err(Failure::usage("pull wants an image\nhint: see crate pull --help".into()));
    }
    if stamp.is_some() && (images.len() > 1 || images.iter().any(|image| is_source(image))) {
        return Err(Failure::usage("--stamp is for one reference".into()));
    }
    images.iter().try_for_each(|image| {
        let digest = pull(&fetch, image)?;
        if let Some(file) = &stamp {
            self::stamp(&fetch, image, file)?;
        }
        program::print(&digest)
    })
}

/// Has the digest of an image that is held by now written into `file`: only what is unpacked, too, is done.
fn stamp(flags: &[OsString], image: &OsStr, file: &OsStr) -> Outcome {
    let mut fetch = program::sibling("crate-fetch")?;
    fetch.args(flags).args(["--quiet", "--pull=never", "--stamp"]).arg(file).arg("--").arg(image);
    let status = fetch.stdout(Stdio::null()).status().map_err(|error| program::failed(&fetch, &error))?;
    if status.success() { Ok(()) } else { Err(Failure::told(program::code(status))) }
}

/// Fetches an image, its layers being unpacked as they land; hands back the digest of its manifest.
pub fn pull(flags: &[OsString], image: &OsStr) -> Outcome<String> {
    let mut fetch = program::sibling("crate-fetch")?;
    fetch.arg("--layers").args(flags).arg("--").arg(image);
    bring(fetch)
}

/// Runs what brings images, with what it prints unpacked as it is printed; hands back the digests of their manifests.
pub fn bring(mut fetch: Command) -> Outcome<String> {
    let mut fetching = fetch.stdout(Stdio::piped()).spawn().map_err(|error| program::failed(&fetch, &error))?;
    let layers = fetching.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let unpacked = unpack(layers);
    if unpacked.is_err() && matches!(fetching.try_wait(), Ok(None)) {
        // It would bring the rest for nobody, and notice only at the next layer.
        let ended = fetching.kill().and_then(|()| fetching.wait());
        return ended.map_err(|error| program::failed(&fetch, &error)).and(unpacked);
    }
    let fetched = fetching.wait().map_err(|error| program::failed(&fetch, &error))?;
    match (program::code(fetched), unpacked) {
        (0, unpacked) => unpacked,
        // 1 is also what comes of a reader that is gone: then the reader's failure says more.
        (1, Err(failure)) => Err(failure),
        (code, _) => Err(Failure::told(code)),
    }
}

/// Unpacks what `layers` names. This program must not keep `layers` open, or a fetch that nobody reads would
/// never end: it goes with the command.
fn unpack(layers: Stdio) -> Outcome<String> {
    let mut command = program::mapped(&["crate-store", "unpack", "-"])?;
    command.stdin(layers).stdout(Stdio::piped());
    let child = command.spawn().map_err(|error| program::failed(&command, &error))?;
    drop(command);
    let output =
        child.wait_with_output().map_err(|error| Failure::system("reading from crate-store unpack", &error))?;
    match program::code(output.status) {
        0 => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
        code => Err(Failure::told(code)),
    }
}

/// Unpacks what is here already of an image.
pub fn unpack_held(image: &OsStr) -> Outcome {
    let mut command: Command = program::mapped(&["crate-store", "unpack", "--"])?;
    let status =
        command.arg(image).stdout(Stdio::null()).status().map_err(|error| program::failed(&command, &error))?;
    if status.success() { Ok(()) } else { Err(Failure::told(program::code(status))) }
}

/// Is the image given by a file or folder that holds it, rather than by a reference?
pub fn is_source(image: &OsStr) -> bool {
    let image = image.to_string_lossy();
    image == "-" || ["oci:", "oci-archive:", "docker-archive:"].iter().any(|kind| image.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_sources_from_references() {
        for source in ["-", "oci:dir", "oci:/dir:ref", "oci-archive:f.tar", "docker-archive:f.tar"] {
            assert!(is_source(OsStr::new(source)), "{source}");
        }
        for reference in ["alpine", "localhost:5000/oci:1", "oci", "oci/x:1"] {
            assert!(!is_source(OsStr::new(reference)), "{reference}");
        }
    }
}
