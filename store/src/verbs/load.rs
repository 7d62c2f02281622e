//! `crate-store load`.

use super::{misused, print, tell, value};
use lexopt::ValueExt;
use lexopt::prelude::*;
use std::path::Path;
use store::confine::{Allowed, confine};
use store::load::{Arrival, Options, Source, load};
use store::{Result, Store};

const HELP: &str = "\
usage: crate-store load [--layers] [--as REF] [--platform OS/ARCH] [--force] [--quiet] SOURCE

Brings images from a layout or an archive into the store, every byte verified, and prints the
digest of each image's manifest. SOURCE is one of

  oci:DIR[:REF]                an OCI image layout
  oci-archive:FILE[:REF]       the same in a tar archive, which may be compressed
  docker-archive:FILE[:REF]    what docker save writes; without REF, all its images
  FILE or -                    an archive of either kind; - is standard input

An image is kept under the references that it carries; where one of them means another image
here, which did not come from this very file or directory, all of the archive is refused.

      --as REF             keep it under this reference
      --force              let references come to mean the images of SOURCE
      --layers             print BLOB DIFFID for each layer, as crate-store unpack - reads it
      --platform OS/ARCH   which image of an index to take; this machine's by default
  -q, --quiet              tell nothing on standard error but errors

Exit code 2: the image carries no name and --as is missing. 3: no such image in SOURCE.
4: a reference means another image here, and --force is missing. 6: the archive is malformed, or bytes do not match their digest.

  docker save app:1 | crate-store load -";

pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let (mut source, mut layers, mut quiet, mut options) = (None, false, false, Options::default());
    while let Some(argument) = args.next()? {
        match argument {
            Value(text) if source.is_none() => source = Some(text.string()?),
            Long("layers") => layers = true,
            Long("force") => options.force = true,
            Long("as") => options.name = Some(value(&mut args)?.parse()?),
            Long("platform") => options.platform = Some(value(&mut args)?.parse()?),
            Short('q') | Long("quiet") => quiet = true,
            Long("help") | Short('h') => return print(HELP),
            other => return Err(other.unexpected().into()),
        }
    }
    let source: Source = source.ok_or_else(|| misused("load", "wants a source"))?.parse()?;
    let store = Store::open()?;
    let random = Path::new("/dev/urandom");
    let read = [random, source.path().unwrap_or(random)];
    confine(&store, &Allowed { publish: true, read: &read, ..Allowed::default() })?;
    let mut last = None;
    load(&store, &source, &options, &mut |arrival| match arrival {
        Arrival::Layer(blob, diff_id) if layers => print(&format!("{blob} {diff_id}")),
        Arrival::Layer(..) => Ok(()),
        Arrival::Image(image, name) => {
            if !quiet {
                tell(&format!("loaded {name}"));
            }
            let digest = image.descriptor.digest.as_str();
            // Two names of one image are one image.
            match last.replace(digest.to_owned()) {
                Some(known) if known == digest => Ok(()),
                _ => print(digest),
            }
        }
    })
}
