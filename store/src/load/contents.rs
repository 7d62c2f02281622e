//! What an archive of images holds: blobs go into the store as they pass, so that a pipe can be read.

use crate::archive::{Archive, Entry, Kind, shown};
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::inflate::{CHUNK, open, refusal};
use crate::json::MANIFEST_LIMIT;
use crate::layer::room::Room;
use crate::oci::{Descriptor, media};
use crate::root::Store;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};

/// The most bytes that the files of an archive may take in memory, where they are known until its end.
const FILES_LIMIT: usize = 16 << 20;

/// The most symbolic links that are followed from one name.
const LINKS: usize = 8;

/// An archive's files.
#[derive(Debug, Default)]
pub struct Contents {
    /// `index.json` and `manifest.json`, as far as they are there.
    pub documents: HashMap<Vec<u8>, Vec<u8>>,
    /// Every other file, now a blob; its media type is what a layer of its first bytes would have.
    files: HashMap<Vec<u8>, Descriptor>,
    links: HashMap<Vec<u8>, Vec<u8>>,
    /// About how many bytes all this takes.
    taken: usize,
    room: Room,
}

impl Contents {
    /// Reads an archive, which may be compressed, to its end.
    pub fn read(store: &Store, input: Box<dyn Read>) -> Result<Self> {
        let input = open(input).map_err(|error| refusal(error, "reading the archive"))?;
        let mut input = BufReader::with_capacity(CHUNK, input);
        let mut archive = Archive::new(&mut input);
        let mut contents = Self::default();
        while let Some(entry) = archive.next_entry()? {
            contents.add(store, &entry, &mut archive).map_err(|error| error.about(&shown(&entry.path)))?;
        }
        Ok(contents)
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> Result<&Descriptor> {
        let missing = || Error::Refused(format!("the archive has no file {name:?}"));
        let mut name = resolve(b"", name.as_bytes()).ok_or_else(missing)?;
        for _ in 0..LINKS {
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None => break,
            }
        }
        self.files.get(&name).ok_or_else(missing)
    }

    fn add(&mut self, store: &Store, entry: &Entry, archive: &mut Archive<'_>) -> Result<()> {
        let outside = || Error::Refused("it leads out of the archive".into());
        let path = resolve(b"", &entry.path).ok_or_else(outside)?;
        let link = match &entry.kind {
            Kind::HardLink(target) | Kind::Symlink(target) => target.len(),
            _ => 0,
        };
        self.taken += size_of::<Descriptor>() + path.len() + link;
        if self.taken > FILES_LIMIT {
            return Err(Error::Refused("the archive has too many files to be of images".into()));
        }
        let directory = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &path[..slash]);
        match &entry.kind {
            Kind::Directory => Ok(()),
            Kind::File { size, map: None } => {
                if matches!(&path[..], b"index.json" | b"manifest.json") {
                    let document = archive.read_data(MANIFEST_LIMIT)?;
                    return once(&mut self.documents, path, document);
                }
                // Docker's words about single layers, from before there were manifests; nothing refers to them.
                if matches!(last(&path), b"VERSION" | b"json" | b"repositories" | b"oci-layout") {
                    return Ok(());
                }
                let root = File::open(store.root()).doing(|| format!("opening {}", store.root().display()))?;
                self.room.take(root, *size)?;
                let file = match blob_name(&path) {
                    Some(digest) => known(store, Descriptor::new("", digest, *size), archive)?,
                    None => unknown(store, archive)?,
                };
                once(&mut self.files, path, file)
            }
            Kind::Symlink(target) => {
                let target = resolve(directory, target).ok_or_else(outside)?;
                once(&mut self.links, path, target)
            }
            Kind::HardLink(target) => {
                let target = resolve(b"", target).ok_or_else(outside)?;
                once(&mut self.links, path, target)
            }
            _ => Err(Error::Refused("it is neither a file nor a link".into())),
        }
    }
}

/// A name as it is twice in an archive would mean one thing to one reader and another to the next.
fn once<T>(map: &mut HashMap<Vec<u8>, T>, path: Vec<u8>, value: T) -> Result<()> {
    match map.insert(path, value) {
        None => Ok(()),
        Some(_) => Err(Error::Refused("the archive has it twice".into())),
    }
}

/// The last part of a name.
fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// `blobs/ALGORITHM/HEX` (image-spec, `image-layout.md#blobs`).
fn blob_name(path: &[u8]) -> Option<Digest> {
    let (algorithm, hex) = std::str::from_utf8(path).ok()?.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// Brings a blob whose name says its digest.
fn known(store: &Store, mut descriptor: Descriptor, archive: &mut Archive<'_>) -> Result<Descriptor> {
    let mut ingest = store.ingest(&descriptor)?;
    if let Some(ingest) = &mut ingest {
        ingest.restart()?;
    }
    descriptor.media_type = each(archive, |bytes| ingest.as_mut().map_or(Ok(()), |ingest| ingest.write(bytes)))?;
    ingest.map_or(Ok(()), crate::blob::Ingest::finish)?;
    Ok(descriptor)
}

/// Brings a file that is to be a blob by whatever digest it has.
fn unknown(store: &Store, archive: &mut Archive<'_>) -> Result<Descriptor> {
    let mut spool = store.spool()?;
    let media_type = each(archive, |bytes| spool.write(bytes))?;
    spool.finish(&media_type)
}

/// Hands on the entry's data; the media type that a layer of such first bytes has.
fn each(archive: &mut Archive<'_>, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<String> {
    let mut first = Vec::new();
    loop {
        let bytes = archive.data()?;
        let count = bytes.len();
        if count == 0 {
            break;
        }
        if first.len() < 4 {
            first.extend_from_slice(&bytes[..count.min(4 - first.len())]);
        }
        write(bytes)?;
        archive.consume(count);
    }
    let media_type = match first[..] {
        [0x1f, 0x8b, ..] => media::LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => media::LAYER_ZSTD,
        _ => media::LAYER,
    };
    Ok(media_type.to_owned())
}

/// A name within the archive, seen from a directory in it; `None` if it leads outside.
fn resolve(directory: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut path: Vec<&[u8]> = directory.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(path.pop()?),
            _ => path.push(part),
        }
    }
    Some(path.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_names_within_the_archive_only() {
        assert_eq!(resolve(b"abc", b"../def/layer.tar").unwrap(), b"def/layer.tar");
        assert_eq!(resolve(b"", b"./a//b").unwrap(), b"a/b");
        assert_eq!(resolve(b"a", b"../../b"), None);
        assert_eq!(resolve(b"", b".."), None);
    }

    #[test]
    fn knows_blobs_by_their_names() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(blob_name(format!("blobs/sha256/{hex}").as_bytes()).unwrap().hex(), hex);
        assert_eq!(blob_name(format!("blobs/sha256/{}", &hex[1..]).as_bytes()), None);
        assert_eq!(blob_name(format!("{hex}.tar").as_bytes()), None);
    }
}
