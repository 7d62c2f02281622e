//! Which hosts to ask for an image (containers-registries.conf(5), version 2): prefix, location, mirrors, insecure,
//! blocked. Short names are docker.io's here, so search lists and aliases are read over.

use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use store::error::Doing;
use store::{Error, Reference, Result};

/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// A repository at one host, to be asked for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `host[:port]`.
    pub host: String,
    /// The repository there.
    pub repository: String,
    /// Allow plain http and certificates that nobody vouches for.
    pub insecure: bool,
}

/// The host of a registry's API: docker.io's is not the one that references name.
pub fn api_host(host: &str) -> &str {
    if host == "docker.io" { "registry-1.docker.io" } else { host }
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    registry: Vec<Entry>,
    /// Version 1 of the format.
    registries: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
    /// The file it is from.
    #[serde(skip)]
    file: PathBuf,
}

#[derive(Deserialize)]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default, rename = "pull-from-mirror")]
    pulls: Pulls,
}

#[derive(Deserialize, Default, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Pulls {
    #[default]
    #[serde(alias = "")]
    All,
    DigestOnly,
    TagOnly,
}

/// Where to ask for an image: the mirrors in their order, the registry itself last.
pub fn places(reference: &Reference) -> Result<Vec<Place>> {
    let mut entries = BTreeMap::new();
    for file in files()? {
        if let Some(text) = text(&file)? {
            add(&mut entries, &file, &text)?;
        }
    }
    choose(&entries, reference)
}

/// The main file and the drop-ins; a later file's entry for a prefix replaces an earlier one's.
fn files() -> Result<Vec<PathBuf>> {
    let variable = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    let system = Path::new("/etc/containers");
    let user = variable("HOME").map(|home| home.join(".config/containers"));
    let own = user.as_ref().map(|user| user.join("registries.conf")).filter(|file| file.exists());
    let main = if let Some(file) = variable("CONTAINERS_REGISTRIES_CONF") {
        File::open(&file).doing(|| format!("opening {}", file.display()))?;
        file
    } else {
        own.unwrap_or_else(|| system.join("registries.conf"))
    };
    let mut files = vec![main];
    for dir in [Some(system), user.as_deref()].into_iter().flatten() {
        let dir = dir.join("registries.conf.d");
        let mut found = Vec::new();
        match fs::read_dir(&dir) {
            Ok(entries) => found.extend(entries.flatten().map(|entry| entry.path())),
            // Nor of a home that is closed to this user, as after su(1).
            Err(_) if !dir.exists() => {}
            Err(error) => return Err(error).doing(|| format!("reading {}", dir.display())),
        }
        found.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn text(path: &Path) -> Result<Option<String>> {
    let doing = || format!("reading {}", path.display());
    let file = match File::open(path) {
        Err(_) if !path.exists() => return Ok(None),
        other => other.doing(doing)?,
    };
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes).doing(doing)?;
    let refuse = |why: String| Error::Refused(format!("{}: {why}", path.display()));
    if bytes.len() as u64 > LIMIT {
        return Err(refuse(format!("it is longer than the {LIMIT} bytes allowed")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| refuse("it is not UTF-8".into()))
}

/// Adds what a file says.
fn add(entries: &mut BTreeMap<String, Entry>, file: &Path, text: &str) -> Result<()> {
    let refuse = |line: usize, why: &str| Error::Refused(format!("{}, line {line}: {why}", file.display()));
    let config: Config = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        refuse(line, &error.message().replace('\n', ", "))
    })?;
    if config.registries.is_some() {
        let line = text.lines().position(|line| line.contains("registries")).unwrap_or_default() + 1;
        return Err(refuse(line, "version 1 of the format is not supported: it wants [[registry]]"));
    }
    for mut entry in config.registry {
        if entry.prefix.is_empty() {
            entry.prefix.clone_from(&entry.location);
        }
        file.clone_into(&mut entry.file);
        if entry.prefix.is_empty() || entry.location.is_empty() && !entry.prefix.starts_with("*.") {
            return Err(Error::Refused(format!("{}: a registry has no location", file.display())));
        }
        entries.insert(entry.prefix.trim_end_matches('/').to_owned(), entry);
    }
    Ok(())
}

fn choose(entries: &BTreeMap<String, Entry>, reference: &Reference) -> Result<Vec<Place>> {
    let name = reference.to_string();
    let fitting = entries.iter().filter_map(|(prefix, entry)| Some((matched(&name, prefix)?, prefix, entry)));
    let Some((length, prefix, entry)) = fitting.max_by_key(|(length, ..)| *length) else {
        return Ok(vec![of(reference, false)]);
    };
    let file = entry.file.display();
    if entry.blocked {
        return Err(Error::Refused(format!("{reference} is blocked: {file} blocks {prefix}")));
    }
    let rewrite = |location: &str, insecure| {
        let refuse = || Error::Refused(format!("{file}: the location {location:?} does not lead to a repository"));
        if location.is_empty() {
            return Ok(of(reference, insecure));
        }
        let location = location.trim_end_matches('/');
        let host = location.split('/').next().unwrap_or_default();
        let there: Reference = format!("{location}{}", &name[length..]).parse().map_err(|_| refuse())?;
        let kept = there.host == host && (&there.tag, &there.digest) == (&reference.tag, &reference.digest);
        if kept { Ok(of(&there, insecure)) } else { Err(refuse()) }
    };
    let wanted = |mirror: &&Mirror| match (reference.digest.is_some(), mirror.pulls) {
        (true, pulls) => pulls != Pulls::TagOnly,
        (false, pulls) => pulls != Pulls::DigestOnly && !entry.mirror_by_digest_only,
    };
    let mirrors = entry.mirror.iter().filter(wanted).map(|mirror| rewrite(&mirror.location, mirror.insecure));
    mirrors.chain([rewrite(&entry.location, entry.insecure)]).collect()
}

fn of(reference: &Reference, insecure: bool) -> Place {
    Place { host: reference.host.clone(), repository: reference.repository.clone(), insecure }
}

/// How many bytes of a reference a prefix stands for: a host, whole namespaces, or `*.` and the end of a host.
fn matched(name: &str, prefix: &str) -> Option<usize> {
    let length = match prefix.strip_prefix('*') {
        Some(ending) => {
            let host = name.find('/')?;
            let from = name.find(ending).filter(|from| (1..host).contains(from) && ending.starts_with('.'))?;
            from + ending.len()
        }
        None => name.starts_with(prefix).then_some(prefix.len())?,
    };
    // A host with a port is another registry than the host without it.
    match name.as_bytes().get(length) {
        None | Some(b'/') => Some(length),
        Some(b':' | b'@') if prefix.contains('/') => Some(length),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(text: &str, reference: &str) -> Result<Vec<String>> {
        let mut entries = BTreeMap::new();
        add(&mut entries, Path::new("r.conf"), text)?;
        let show = |place: Place| {
            format!("{}/{}{}", place.host, place.repository, if place.insecure { " insecure" } else { "" })
        };
        Ok(choose(&entries, &reference.parse()?)?.into_iter().map(show).collect())
    }

    #[test]
    fn prefixes_match_whole_names() {
        for (name, prefix, length) in [
            ("q.io/a/b:1", "q.io", Some(4)),
            ("q.io/a/b:1", "q.io/a", Some(6)),
            ("q.io/a/b:1", "q.io/a/b", Some(8)),
            ("q.io/a/b:1", "q.io/a/b:1", Some(10)),
            ("q.io/a/bc:1", "q.io/a/b", None),
            ("q.io:5000/a:1", "q.io", None),
            ("q.io:5000/a:1", "q.io:5000", Some(9)),
            ("q.iox/a:1", "q.io", None),
            ("a.q.io/x:1", "*.q.io", Some(6)),
            ("a.b.q.io/x:1", "*.q.io", Some(8)),
            ("q.io/x:1", "*.q.io", None),
            ("aq.io/x:1", "*.q.io", None),
            ("r.io/a.q.io/x:1", "*.q.io", None),
            ("a.q.io/x/y:1", "*.q.io/x", Some(8)),
            ("a.q.io/x:1", "*", None),
        ] {
            assert_eq!(matched(name, prefix), length, "{name} {prefix}");
        }
    }

    #[test]
    fn mirrors_come_first_and_names_are_rewritten() {
        let text = r#"
            unqualified-search-registries = ["quay.io"]
            short-name-mode = "enforcing"
            [aliases]
            "x" = "quay.io/x"
            [[registry]]
            location = "docker.io"
            [[registry.mirror]]
            location = "m.example:5000/hub/"
            insecure = true
            [[registry.mirror]]
            location = "d.example"
            pull-from-mirror = "digest-only"
            [[registry.mirror]]
            location = "t.example"
            pull-from-mirror = "tag-only"
            [[registry]]
            prefix = "q.io/team"
            location = "r.io/other"
            insecure = true
            unknown = 1
            [[registry]]
            prefix = "*.corp.example"
            [[registry.mirror]]
            location = "m.example/corp"
            [[registry]]
            location = "digest.example"
            mirror-by-digest-only = true
            [[registry.mirror]]
            location = "m.example"
        "#;
        let digest = format!("@sha256:{}", "0".repeat(64));
        let places = |reference: &str| chosen(text, reference).unwrap();
        assert_eq!(
            places("alpine"),
            ["m.example:5000/hub/library/alpine insecure", "t.example/library/alpine", "docker.io/library/alpine"]
        );
        assert_eq!(places(&format!("alpine{digest}"))[1], "d.example/library/alpine");
        assert_eq!(places("q.io/team/app:2"), ["r.io/other/app insecure"]);
        assert_eq!(places("q.io/teams/app:2"), ["q.io/teams/app"]);
        assert_eq!(places("a.corp.example/x"), ["m.example/corp/x", "a.corp.example/x"]);
        assert_eq!(places("digest.example/x"), ["digest.example/x"]);
        assert_eq!(places(&format!("digest.example/x{digest}")), ["m.example/x", "digest.example/x"]);
    }

    #[test]
    fn the_longest_prefix_counts() {
        let text = "[[registry]]\nlocation='q.io'\nblocked=true\n[[registry]]\nlocation='q.io/open'\n";
        assert_eq!(chosen(text, "q.io/open/x").unwrap(), ["q.io/open/x"]);
        let error = chosen(text, "q.io/x").unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().contains("r.conf blocks q.io")), (6, true), "{error}");
    }

    #[test]
    fn tells_the_line_of_what_it_cannot_read() {
        for (text, line) in [
            ("\n[[registry]\n", "line 2: "),
            ("[[registry]]\nlocation='a.io'\nblocked='no'\n", "line 3: "),
            ("\n\n[registries.search]\nregistries=['x']\n", "line 3: version 1"),
            ("[[registry]]\nblocked=true\n", "no location"),
            ("[[registry]]\nlocation='q.io'\n[[registry.mirror]]\ninsecure=true\n", "location"),
            ("[[registry]]\nprefix='q.io'\nlocation='https://r.io'\n", "does not lead"),
            ("[[registry]]\nprefix='q.io'\nlocation='r'\n", "does not lead"),
            ("[[registry]]\nprefix='q.io/x:1'\nlocation='r.io/x:2'\n", "does not lead"),
        ] {
            let error = chosen(text, "q.io/x:1").unwrap_err();
            assert_eq!(error.exit_code(), 6, "{text}");
            assert!(error.to_string().starts_with("r.conf") && error.to_string().contains(line), "{error}");
        }
    }
}
