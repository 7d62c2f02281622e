//! `crate-store images`.

use super::{print, print_json};
use lexopt::ValueExt;
use lexopt::prelude::*;
use serde_json::{Value as Json, json};
use store::oci::Descriptor;
use store::platform::Platform;
use store::{Digest, Error, Reference, Result, Store};

const HELP: &str = "\
usage: crate-store images [-q] [--no-trunc] [--digests] [--format table|json] [REFERENCE]

Lists images: REPOSITORY TAG IMAGE-ID CREATED SIZE, each one word, with <none> for what is
not there. The id is the digest of the manifest; the size that of config and layers as they
came. With REFERENCE, lists that one; without a tag, all tags of the repository.

  -q, --quiet      ids only
  --no-trunc       whole digests
  --digests        a column DIGEST after TAG
  --format json    one array of objects: Repository, Tag, ID, Digest, CreatedAt, Platform, Size

  crate-store images | awk 'NR > 1 && $5 ~ /GB$/ { print $1 \":\" $2 }'";

/// What to list, and how.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Wanted {
    quiet: bool,
    whole: bool,
    digests: bool,
    json: bool,
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
            Long("format") => wanted.json = is_json(&args.value()?.string()?)?,
            Long("help") | Short('h') => return print(HELP),
            Value(text) if wanted.filter.is_none() => wanted.filter = Some(text.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let store = Store::open()?;
    let entries = store.index()?.manifests;
    let matching = entries.iter().filter(|entry| wanted.filter.as_deref().is_none_or(|text| matches(entry, text)));
    let mut rows: Vec<Row> = matching.map(|entry| row(&store, entry)).collect();
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
    if wanted.json {
        return print_json(&rows.iter().map(object).collect());
    }
    print(&table(&rows, &wanted))
}

/// Is the format `json`, not `table`?
fn is_json(format: &str) -> Result<bool> {
    match format {
        "json" => Ok(true),
        "table" => Ok(false),
        other => Err(Error::Usage(format!("--format {other}: json and table are what is supported yet"))),
    }
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

fn row(store: &Store, entry: &Descriptor) -> Row {
    let none = || "<none>".to_owned();
    let full = |name: &str| name.parse::<Reference>().ok().filter(|reference| reference.to_string() == name);
    let (repository, tag) = match (entry.ref_name(), entry.ref_name().and_then(full)) {
        (_, Some(reference)) => (reference.name(), reference.tag.unwrap_or_else(none)),
        // A name that another tool gave, which need be no reference.
        (Some(name), None) => (name.to_owned(), none()),
        (None, None) => (none(), none()),
    };
    // Of an index without anything for this machine, only its own digest can be told.
    let image = store.entry_image(entry, &Platform::host()).ok();
    Row {
        repository,
        tag,
        id: image.as_ref().map_or(&entry.digest, |image| &image.descriptor.digest).clone(),
        created: image.as_ref().and_then(|image| image.config.created.clone()),
        platform: image.as_ref().map(|image| image.config.platform()),
        size: image.as_ref().map(store::image::Image::size),
    }
}

fn shown(digest: &Digest, whole: bool) -> String {
    if whole { digest.to_string() } else { digest.short().to_owned() }
}

fn object(row: &Row) -> Json {
    json!({
        "Repository": row.repository,
        "Tag": row.tag,
        "ID": row.id,
        "Digest": row.id,
        "CreatedAt": row.created,
        "Platform": row.platform.as_ref().map(Platform::to_string),
        "Size": row.size,
    })
}

fn table(rows: &[Row], wanted: &Wanted) -> String {
    let mut lines =
        vec![vec!["REPOSITORY".to_owned(), "TAG".into(), "IMAGE-ID".into(), "CREATED".into(), "SIZE".into()]];
    for row in rows {
        // Whole seconds in UTC: one word, and it sorts.
        let created = row.created.as_deref().unwrap_or("<none>");
        let created = created.split_once('.').map_or(created.to_owned(), |(second, _)| format!("{second}Z"));
        let size = row.size.map_or("<none>".into(), size);
        lines.push(vec![row.repository.clone(), row.tag.clone(), shown(&row.id, wanted.whole), created, size]);
    }
    if wanted.digests {
        let digests = std::iter::once("DIGEST".to_owned()).chain(rows.iter().map(|row| row.id.to_string()));
        for (line, digest) in lines.iter_mut().zip(digests) {
            line.insert(2, digest);
        }
    }
    columns(&lines)
}

/// Aligns columns; the last is not padded. What images bring of names and times may be any text: each cell becomes
/// one word that does not steer the terminal.
fn columns(lines: &[Vec<String>]) -> String {
    let word = |cell: &String| cell.replace(|c: char| c.is_control() || c.is_whitespace(), "_");
    let lines: Vec<Vec<String>> = lines.iter().map(|line| line.iter().map(word).collect()).collect();
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
    let align = |line: &Vec<String>| {
        let cells = line.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column)));
        cells.collect::<Vec<String>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(align).collect::<Vec<String>>().join("\n")
}

/// A size in decimal units, as one word: `4.2MB`.
pub fn size(bytes: u64) -> String {
    let mut unit = 1;
    for name in ["B", "kB", "MB", "GB", "TB"] {
        if bytes / unit < 1000 || name == "TB" {
            let (whole, tenth) = (bytes / unit, bytes % unit * 10 / unit);
            return if unit == 1 || whole >= 100 { format!("{whole}{name}") } else { format!("{whole}.{tenth}{name}") };
        }
        unit *= 1000;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_sizes() {
        for (bytes, text) in [(0, "0B"), (999, "999B"), (1000, "1.0kB"), (4_250_000, "4.2MB"), (123_456_789, "123MB")] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(2_000_000_000_000_000), "2000TB");
    }

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
