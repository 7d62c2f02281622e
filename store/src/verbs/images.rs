//! `crate-store images`.

use super::format::{self, Format, list, whole_seconds};
use super::{print, value};
use lexopt::ValueExt;
use lexopt::prelude::*;
use store::image::Image;
use store::json::{Value as Json, object};
use store::oci::Descriptor;
use store::platform::Platform;
use store::space::size;
use store::{Digest, Reference, Result, Store};

const HELP: &str = "\
usage: crate-store images [-q] [--no-trunc] [--digests] [--format FORMAT] [REFERENCE]

Lists images: REPOSITORY TAG IMAGE-ID CREATED SIZE, each one word, with <none> for what is
not there. The id is the digest of the manifest; the size that of config and layers as they
came. With REFERENCE, lists that one; without a tag, all tags of the repository.

  -q, --quiet      ids only
  --no-trunc       whole digests
  --digests        a column DIGEST after TAG
  --format FORMAT  table; json: one array of objects: Repository, Tag, ID, Digest, CreatedAt,
                   Platform, Size; or a line for each with fields in it: '{{.Repository}}:{{.Tag}}'

  crate-store images | awk 'NR > 1 && $5 ~ /GB$/ { print $1 \":\" $2 }'";

/// The columns, and the fields that they show.
const TABLE: [(&str, &str); 6] = [
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("DIGEST", "Digest"),
    ("IMAGE-ID", "ID"),
    ("CREATED", "CreatedAt"),
    ("SIZE", "Size"),
];

/// What to list, and how.
#[derive(Default)]
struct Wanted {
    quiet: bool,
    whole: bool,
    digests: bool,
    format: Format,
    filter: Option<String>,
}

/// A line of the listing.
struct Row {
    repository: String,
    tag: String,
    id: Digest,
    created: Option<String>,
    platform: Option<Platform>,
    size: Option<u64>,
}

pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let mut wanted = Wanted::default();
    while let Some(argument) = args.next()? {
        match argument {
            Short('q') | Long("quiet") => wanted.quiet = true,
            Long("no-trunc") => wanted.whole = true,
            Long("digests") => wanted.digests = true,
            Long("format") => wanted.format = format::parse(&value(&mut args)?)?,
            Long("help") | Short('h') => return print(HELP),
            Value(text) if wanted.filter.is_none() => wanted.filter = Some(text.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let store = Store::open()?;
    let entries = store.index()?.manifests;
    let matching = entries.iter().filter(|entry| wanted.filter.as_deref().is_none_or(|text| matches(entry, text)));
    // Of names that lead to one image one after another, it is read once.
    let mut last: Option<(&Digest, Option<Image>)> = None;
    let mut rows: Vec<Row> = Vec::new();
    for entry in matching {
        if last.as_ref().is_none_or(|(digest, _)| **digest != entry.digest) {
            last = Some((&entry.digest, store.entry_image(entry, &Platform::host()).ok()));
        }
        rows.push(row(entry, last.as_ref().and_then(|(_, image)| image.as_ref())));
    }
    rows.sort_by(|a, b| (&a.repository, &a.tag).cmp(&(&b.repository, &b.tag)));
    if wanted.quiet {
        let mut ids: Vec<String> = Vec::new();
        for id in rows.iter().map(|row| shown(&row.id, wanted.whole)) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        return if ids.is_empty() { Ok(()) } else { print(&ids.join("\n")) };
    }
    let objects = rows.into_iter().map(|row| row.object(&wanted)).collect();
    let table: Vec<_> = TABLE.into_iter().filter(|(title, _)| wanted.digests || *title != "DIGEST").collect();
    list(&wanted.format, objects, &table)
}

/// Does the entry have this reference, or one of this repository where the text names no tag?
fn matches(entry: &Descriptor, text: &str) -> bool {
    let Some(name) = entry.ref_name() else { return false };
    let Ok(wanted) = text.parse::<Reference>() else {
        return name == text;
    };
    let tagless = wanted.digest.is_none() && !text.rsplit('/').next().unwrap_or_default().contains(':');
    let of_repository =
        || name.parse::<Reference>().is_ok_and(|own| own.to_string() == name && own.name() == wanted.name());
    name == text || wanted.to_string() == name || (tagless && of_repository())
}

/// Of an index without anything for this machine there is no image, and only its own digest can be told.
fn row(entry: &Descriptor, image: Option<&Image>) -> Row {
    let none = || "<none>".to_owned();
    let full = |name: &str| name.parse::<Reference>().ok().filter(|reference| reference.to_string() == name);
    let (repository, tag) = match (entry.ref_name(), entry.ref_name().and_then(full)) {
        (_, Some(reference)) => (reference.name(), reference.tag.unwrap_or_else(none)),
        // A name that another tool gave, which need be no reference.
        (Some(name), None) => (name.to_owned(), none()),
        (None, None) => (none(), none()),
    };
    Row {
        repository,
        tag,
        id: image.map_or(&entry.digest, |image| &image.descriptor.digest).clone(),
        created: image.and_then(|image| image.config.created.clone()),
        platform: image.map(|image| image.config.platform()),
        size: image.map(Image::size),
    }
}

fn shown(digest: &Digest, whole: bool) -> String {
    if whole { digest.to_string() } else { digest.short().to_owned() }
}

impl Row {
    /// Its fields: in JSON as they are, else as people read them.
    fn object(self, wanted: &Wanted) -> Json {
        let exact = wanted.format == Format::Json;
        object(vec![
            ("Repository", self.repository.into()),
            ("Tag", self.tag.into()),
            ("ID", shown(&self.id, wanted.whole || exact).into()),
            ("Digest", self.id.as_str().into()),
            ("CreatedAt", self.created.map(|time| if exact { time } else { whole_seconds(&time) }).into()),
            ("Platform", self.platform.map(|platform| platform.to_string()).into()),
            ("Size", if exact { self.size.into() } else { self.size.map(size).into() }),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_by_reference_or_repository() {
        let mut entry = Descriptor::new("", Digest::of(b""), 0);
        let name = "docker.io/library/alpine:3.20".to_owned();
        entry.annotations.get_or_insert_default().insert(store::oci::REF_NAME.into(), name);
        assert!(
            matches(&entry, "alpine") && matches(&entry, "alpine:3.20") && matches(&entry, "docker.io/library/alpine")
        );
        assert!(!matches(&entry, "alpine:latest") && !matches(&entry, "alpin") && !matches(&entry, "a/alpine"));
    }
}
