//! Bringing images from layouts and archives into the store, every byte verified.

mod contents;
mod docker;
mod layout;

use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::image::Image;
use crate::oci::{Descriptor, Index, ORIGIN};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::root::{Store, absolute};
use contents::Contents;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where images come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// How they are kept.
    pub kind: Kind,
    /// Which of them; all of an archive's, or the only one of a layout.
    pub name: Option<String>,
}

impl Source {
    /// The file or directory they are in; none for standard input.
    pub fn path(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Layout(path) | Kind::OciArchive(path) | Kind::DockerArchive(path) | Kind::Archive(path) => Some(path),
            Kind::Input => None,
        }
    }
}

/// How images are kept outside the store.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// An OCI image layout in a directory (image-spec, `image-layout.md`).
    Layout(PathBuf),
    /// An OCI image layout in a tar archive.
    OciArchive(PathBuf),
    /// What `docker save` writes.
    DockerArchive(PathBuf),
    /// An archive of either kind.
    Archive(PathBuf),
    /// An archive of either kind, on standard input.
    Input,
}

/// What to do with them.
#[derive(Debug, Default)]
pub struct Options {
    /// The reference to keep the image under, instead of the one it carries.
    pub name: Option<Reference>,
    /// Which image of an index to take; that of this machine where it is not said.
    pub platform: Option<Platform>,
    /// Let references that the store has come to mean the images of the archive.
    pub force: bool,
}

/// What has come; told as soon as it has.
pub enum Arrival<'a> {
    /// A layer, complete in the store: the digest of its blob and its diffid.
    Layer(&'a Digest, &'a Digest),
    /// An image, complete, and the reference it is kept under.
    Image(&'a Image, &'a str),
}

impl std::str::FromStr for Source {
    type Err = Error;

    /// `oci:DIR[:REF]`, `oci-archive:FILE[:REF]`, `docker-archive:FILE[:REF]`, `-`, or the path of an archive.
    fn from_str(text: &str) -> Result<Self> {
        let named = |kind: fn(PathBuf) -> Kind, rest: &str| {
            let (path, name) = rest.split_once(':').map_or((rest, None), |(path, name)| (path, Some(name.to_owned())));
            let empty = path.is_empty() || name.as_deref() == Some("");
            let source = Self { kind: kind(path.into()), name };
            if empty { Err(Error::Usage(format!("not a source of images: {text:?}"))) } else { Ok(source) }
        };
        match text.split_once(':') {
            Some(("oci", rest)) => named(Kind::Layout, rest),
            Some(("oci-archive", rest)) => named(Kind::OciArchive, rest),
            Some(("docker-archive", rest)) => named(Kind::DockerArchive, rest),
            _ if text == "-" => Ok(Self { kind: Kind::Input, name: None }),
            _ if text.is_empty() => Err(Error::Usage("the source of images is empty".into())),
            _ => Ok(Self { kind: Kind::Archive(text.into()), name: None }),
        }
    }
}

/// Brings what `source` names; `arrived` is told of each layer and image.
pub fn load(
    store: &Store,
    source: &Source,
    options: &Options,
    arrived: &mut dyn FnMut(Arrival<'_>) -> Result<()>,
) -> Result<()> {
    let mut loading = Loading { store, source, options, arrived };
    let open = |path: &PathBuf| File::open(path).doing(|| format!("opening {}", path.display()));
    match &source.kind {
        Kind::Layout(dir) => loading.layout(dir),
        Kind::OciArchive(path) | Kind::DockerArchive(path) | Kind::Archive(path) => {
            let file = open(path)?;
            if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
                return Err(Error::Usage(format!("{0} is a directory\nhint: oci:{0}", path.display())));
            }
            loading.archive(Box::new(file)).map_err(|error| error.about(&format!("loading {}", path.display())))
        }
        Kind::Input => {
            loading.archive(Box::new(std::io::stdin())).map_err(|error| error.about("loading standard input"))
        }
    }
}

/// One run of [`load`].
struct Loading<'a> {
    store: &'a Store,
    source: &'a Source,
    options: &'a Options,
    arrived: &'a mut dyn FnMut(Arrival<'_>) -> Result<()>,
}

impl Loading<'_> {
    fn archive(&mut self, input: Box<dyn Read>) -> Result<()> {
        let contents = Contents::read(self.store, input)?;
        let (index, manifest) =
            (contents.documents.get(&b"index.json"[..]), contents.documents.get(&b"manifest.json"[..]));
        match (&self.source.kind, index, manifest) {
            (Kind::DockerArchive(_), _, Some(manifest)) => self.docker(&contents, manifest),
            (Kind::DockerArchive(_), _, None) => Err(Error::Refused("it has no manifest.json".into())),
            (_, Some(index), _) => self.index(index, &|descriptor: &Descriptor| {
                if self.store.has_blob(descriptor) {
                    return Ok(());
                }
                Err(Error::Refused(format!("it lacks blob {} of {} bytes", descriptor.digest, descriptor.size)))
            }),
            (Kind::OciArchive(_), None, _) => Err(Error::Refused("it has no index.json".into())),
            (_, None, Some(manifest)) => self.docker(&contents, manifest),
            (_, None, None) => Err(Error::Refused("it has neither index.json nor manifest.json".into())),
        }
    }

    /// Tells of images that are complete in the store, and gives them their references: all of them or none.
    fn keep(&mut self, images: &[(Image, Vec<String>)]) -> Result<()> {
        self.may_move(&self.store.index()?, images)?;
        let mut entries = Vec::new();
        for (image, names) in images {
            for (layer, diff_id) in image.manifest.layers.iter().zip(image.diff_ids()) {
                (self.arrived)(Arrival::Layer(&layer.digest, diff_id))?;
            }
            for name in names {
                let digest = &image.descriptor.digest;
                let mut entry = Descriptor::new(&image.descriptor.media_type, digest.clone(), image.descriptor.size);
                entry.platform = Some(image.config.platform());
                if let Some(origin) = self.origin(name)? {
                    entry.annotations.get_or_insert_default().insert(ORIGIN.to_owned(), origin);
                }
                entries.push((name, entry));
            }
        }
        self.store.change_index(|index| {
            // Other programs may have changed it meanwhile.
            self.may_move(index, images)?;
            for (name, manifest) in &entries {
                index.refer(name, manifest);
            }
            Ok(())
        })?;
        for (image, names) in images {
            names.iter().try_for_each(|name| (self.arrived)(Arrival::Image(image, name)))?;
        }
        Ok(())
    }

    /// A source moves no reference of the store to another image, but those that it made itself, unless the caller wants
    /// that.
    fn may_move(&self, index: &Index, images: &[(Image, Vec<String>)]) -> Result<()> {
        if self.options.force || self.options.name.is_some() {
            return Ok(());
        }
        for (image, names) in images {
            for name in names {
                self.may_name(index, image, name)?;
            }
        }
        Ok(())
    }

    fn may_name(&self, index: &Index, image: &Image, name: &str) -> Result<()> {
        let reference: Option<Reference> = name.parse().ok();
        if reference.and_then(|reference| reference.digest).is_some_and(|digest| digest != image.descriptor.digest) {
            return Err(Error::Refused(format!("an image that is not {name} carries that name")));
        }
        let entry = index.manifests.iter().find(|entry| entry.ref_name() == Some(name));
        let origin = self.origin(name)?;
        let entry = entry.filter(|entry| origin.is_none() || entry.annotation(ORIGIN) != origin.as_deref());
        // The same config is the same image, whatever its layers are compressed with; what is damaged may be replaced.
        let held = entry.and_then(|entry| self.store.entry_image(entry, &image.config.platform()).ok());
        match held.filter(|held| held.manifest.config.digest != image.manifest.config.digest) {
            Some(held) => Err(Error::Busy(format!(
                "{name} is another image here: {}\nhint: load it with --force, or pull it under another name with --as",
                held.descriptor.digest
            ))),
            None => Ok(()),
        }
    }

    /// Tells, of a reference, which file or directory it comes from. Not as a path: a store can be shown to others. With the
    /// reference, so that another one of the image, which the user made, is not this.
    fn origin(&self, name: &str) -> Result<Option<String>> {
        let Some(path) = self.source.path() else { return Ok(None) };
        let path = absolute(path.to_owned())?;
        Ok(Some(Digest::of(&[path.as_os_str().as_bytes(), b"\0", name.as_bytes()].concat()).hex().to_owned()))
    }

    /// The full reference to keep an image under: `--as`, else the first of `carried` that is one.
    fn full_name(&self, carried: &[&str]) -> Result<String> {
        if let Some(name) = &self.options.name {
            return Ok(name.to_string());
        }
        let parsed = carried.iter().find_map(|name| name.parse::<Reference>().ok());
        let unnamed = || match carried.first() {
            Some(name) => format!("its name is not a reference: {name:?}"),
            None => "the image carries no name".to_owned(),
        };
        parsed
            .map(|reference| reference.to_string())
            .ok_or_else(|| Error::Usage(format!("{}\nhint: say what to call it: --as REF", unnamed())))
    }

    /// Is this name the one that was asked for?
    fn is_wanted(&self, name: &str) -> bool {
        let Some(wanted) = &self.source.name else { return true };
        let full = |text: &str| text.parse::<Reference>().ok().map(|reference| reference.to_string());
        wanted == name || full(wanted).is_some_and(|wanted| full(name) == Some(wanted))
    }

    fn missing(&self) -> Error {
        let name = self.source.name.as_deref().unwrap_or_default();
        Error::NotFound(format!("it has no image {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sources() {
        let source = |text: &str| text.parse::<Source>().unwrap();
        let path = PathBuf::from;
        assert_eq!(source("-"), Source { kind: Kind::Input, name: None });
        assert_eq!(source("oci:/a"), Source { kind: Kind::Layout(path("/a")), name: None });
        assert_eq!(source("oci:/a:b:1"), Source { kind: Kind::Layout(path("/a")), name: Some("b:1".into()) });
        assert_eq!(source("oci-archive:a.tar").kind, Kind::OciArchive(path("a.tar")));
        assert_eq!(source("docker-archive:a.tar:x").kind, Kind::DockerArchive(path("a.tar")));
        assert_eq!(source("dir/a:b.tar").kind, Kind::Archive(path("dir/a:b.tar")));
        for bad in ["", "oci:", "oci:a:", "docker-archive::x"] {
            assert_eq!(bad.parse::<Source>().unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }
}
