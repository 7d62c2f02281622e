//! `crate-store unpack`.

use super::{misused, print, tell, value};
use lexopt::ValueExt;
use lexopt::prelude::*;
use std::io::{BufRead, Read};
use std::path::Path;
use store::confine::{Allowed, confine};
use store::error::Doing;
use store::oci::{Descriptor, media};
use store::unpack::Unpacking;
use store::{Digest, Error, Platform, Result, Store};

const HELP: &str = "\
usage: crate-store unpack [--platform OS/ARCH] IMAGE|-

Unpacks the layers of an image that are not unpacked yet, and prints the digest of its manifest
once all of them are on the disk. With -, standard input says what to unpack, a line each:

  BLOB DIFFID   this layer, at once (the digests of its blob and of its content)
  MANIFEST      the digest of a manifest: all its layers

Layers become visible with the manifest that puts them in order, or at the end those that are
the same on any base.

Owners are kept as far as the user namespace maps them: as a user, run it as
crate-sup unshare crate-store unpack …. Where only one id is mapped, all files get that.
Exit code 3: no such image, or a blob is missing. 6: a layer is damaged or malformed.

  --platform OS/ARCH   which image of an index to take

  crate-fetch --layers alpine:3.20 | crate-sup unshare crate-store unpack -";

/// The longest line that is read: two digests.
const LINE: u64 = 512;

pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let (mut image, mut platform) = (None, Platform::host());
    while let Some(argument) = args.next()? {
        match argument {
            Value(text) if image.is_none() => image = Some(text.string()?),
            Long("platform") => platform = value(&mut args)?.parse()?,
            Long("help") | Short('h') => return print(HELP),
            other => return Err(other.unexpected().into()),
        }
    }
    let image = image.ok_or_else(|| misused("unpack", "wants an image"))?;
    let store = Store::open()?;
    let mut unpacking = Unpacking::new(&store)?;
    let allowed = Allowed { read: &[Path::new("/dev/urandom")], ..Allowed::default() };
    confine(&store, &allowed)?;
    let digests = if image == "-" {
        from_lines(&store, &mut unpacking, &mut std::io::stdin().lock())?
    } else {
        let image = store.find_image(&image, &platform)?;
        unpacking.image(&image)?;
        vec![image.descriptor.digest]
    };
    unpacking.notices().iter().for_each(|notice| tell(notice));
    digests.iter().try_for_each(|digest| print(digest.as_str()))
}

/// Unpacks what the lines name; the manifests among them.
fn from_lines(store: &Store, unpacking: &mut Unpacking<'_>, input: &mut impl BufRead) -> Result<Vec<Digest>> {
    let mut manifests = Vec::new();
    loop {
        let mut line = String::new();
        let read = input.take(LINE).read_line(&mut line);
        if read.doing(|| "reading standard input".into())? == 0 {
            unpacking.publish()?;
            return Ok(manifests);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [blob, diff_id] => unpacking.layer(&blob.parse()?, &diff_id.parse()?)?,
            [manifest] => {
                let digest: Digest = manifest.parse()?;
                let size = store.open_blob(&digest)?.metadata().doing(|| format!("reading blob {digest}"))?.len();
                let image = store.read_image(&Descriptor::new(media::MANIFEST, digest.clone(), size))?;
                unpacking.image(&image)?;
                manifests.push(digest);
            }
            _ => return Err(Error::Usage(format!("not a line of one or two digests: {line:?}"))),
        }
    }
}
