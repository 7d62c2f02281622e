//! `crate-store save`.

use super::{misused, print, value};
use lexopt::ValueExt;
use lexopt::prelude::*;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use store::error::Doing;
use store::root::{random_hex, sync_dir};
use store::save::{Format, save};
use store::{Error, Result, Store};

const HELP: &str = "\
usage: crate-store save [-o FILE] [--format docker-archive|oci-archive] IMAGE…

Writes images as an archive to FILE, or to standard output, with the references by which they
were named. The same images give the same bytes, whoever writes them and when. Each byte is
verified: of an image that is damaged, FILE is not made, and what was written has no end.

  -o, --output FILE    it is there only when it is whole
      --format docker-archive
                       what docker load, podman load and skopeo read; layers are inflated
      --format oci-archive
                       an OCI image layout in tar; layers as they are stored

Exit code 3: there is no such image, or it is not complete. 6: it is damaged.

  crate-store save app:1 | ssh host crate load";

pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let (mut images, mut file, mut format) = (Vec::new(), None, Format::default());
    while let Some(argument) = args.next()? {
        match argument {
            Value(text) => images.push(text.string()?),
            Short('o') | Long("output") => file = Some(PathBuf::from(args.value()?)),
            Long("format") => format = parse(&value(&mut args)?)?,
            Long("help") | Short('h') => return print(HELP),
            other => return Err(other.unexpected().into()),
        }
    }
    if images.is_empty() {
        return Err(misused("save", "wants an image"));
    }
    let write = |output: File| {
        let mut output = BufWriter::with_capacity(1 << 16, output);
        save(&Store::open()?, &images, format, &mut output)
    };
    match file {
        Some(path) => into(&path, write),
        None if std::io::stdout().is_terminal() => {
            Err(Error::Usage("an archive is not for a terminal\nhint: write it to a file with -o".into()))
        }
        None => match write(
            std::io::stdout().as_fd().try_clone_to_owned().doing(|| "opening standard output".into())?.into(),
        ) {
            // Whoever reads it has ended, and knows why.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => std::process::exit(1),
            other => other,
        },
    }
}

fn parse(text: &str) -> Result<Format> {
    match text {
        "docker-archive" => Ok(Format::Docker),
        "oci-archive" => Ok(Format::Oci),
        _ => Err(Error::Usage(format!("--format {text}: it is docker-archive or oci-archive"))),
    }
}

/// Has a file written that is there only when it is whole.
fn into(path: &Path, write: impl FnOnce(File) -> Result<()>) -> Result<()> {
    let doing = || format!("writing {}", path.display());
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        // A device or a pipe: nothing takes its place.
        return write(OpenOptions::new().write(true).open(path).doing(doing)?);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", random_hex(4)?));
    let file = OpenOptions::new().write(true).create_new(true).open(&beside).doing(doing)?;
    let written = file.try_clone().doing(doing).and_then(write);
    let written = written.and_then(|()| file.sync_all().and_then(|()| fs::rename(&beside, path)).doing(doing));
    if written.is_err() {
        let _ = fs::remove_file(&beside); // What matters is the error that came first.
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    written.and_then(|()| sync_dir(parent.unwrap_or(Path::new("."))))
}
