//! Credentials that other tools have stored, read only (containers-auth.json(5), docker's `config.json`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use store::Result;
use store::error::Doing;
use store::json::{self, Fields, FromJson, Value, Wrong};

/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// A user's name and password, as `Basic` authentication wants them (RFC 7617); never shown.
#[derive(Clone)]
pub struct Credentials {
    /// The value of an `Authorization` header.
    pub header: String,
    /// The file they are from.
    pub file: PathBuf,
}

/// What such a file holds.
#[derive(Default)]
pub struct AuthFile {
    auths: BTreeMap<String, Entry>,
}

struct Entry {
    /// `user:password` in base64.
    auth: String,
}

impl FromJson for AuthFile {
    fn from_json(value: Value) -> std::result::Result<Self, Wrong> {
        Ok(Self { auths: Fields::from_json(value)?.take_or_default("auths")? })
    }
}

impl FromJson for Entry {
    fn from_json(value: Value) -> std::result::Result<Self, Wrong> {
        Ok(Self { auth: Fields::from_json(value)?.take_or_default("auth")? })
    }
}

/// The credentials for a repository, from the first file that has any: the longest key that fits counts.
pub fn find(host: &str, repository: &str) -> Result<Option<Credentials>> {
    for file in files() {
        if let Some(header) = read(&file)?.and_then(|auth| choose(&auth, host, repository)) {
            return Ok(Some(Credentials { header, file }));
        }
    }
    Ok(None)
}

fn files() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let home = variable("HOME");
    let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let containers = |dir: PathBuf| dir.join("containers/auth.json");
    let docker = home.map(|home| home.join(".docker/config.json"));
    [variable("XDG_RUNTIME_DIR").map(containers), config.map(containers), docker].into_iter().flatten().collect()
}

fn read(path: &Path) -> Result<Option<AuthFile>> {
    let doing = || format!("reading {}", path.display());
    let file = match File::open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        other => other.doing(doing)?,
    };
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).doing(doing)?;
    json::read(&bytes, &path.display().to_string()).map(Some)
}

/// The `Authorization` header for a repository.
pub fn choose(file: &AuthFile, host: &str, repository: &str) -> Option<String> {
    let mut names = vec![format!("{host}/{repository}")];
    while let Some((shorter, _)) = names.last()?.rsplit_once('/') {
        names.push(shorter.to_owned());
    }
    if host == "docker.io" {
        names.extend(["index.docker.io".to_owned(), "registry-1.docker.io".to_owned()]);
    }
    let find = |name: &String| file.auths.iter().find(|(key, entry)| bare(key) == name && !entry.auth.is_empty());
    let (_, entry) = names.iter().find_map(find)?;
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
    let auth = entry.auth.trim();
    (!auth.is_empty() && auth.bytes().all(base64)).then(|| format!("Basic {auth}"))
}

/// A key without the scheme and the API's path that old tools wrote: `https://index.docker.io/v1/`.
fn bare(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_key_counts() {
        let text = r#"{"credsStore":"x","auths":{
            "https://index.docker.io/v1/":{"auth":"aHVi"}, "q.io":{"auth":"cQ=="}, "q.io/team":{"auth":"dGVhbQ=="},
            "q.io/team/app":{}, "http://r.io/v2/":{"auth":"cg==","email":"e"}, "bad.io":{"auth":"a\r\nX: y"}}}"#;
        let file: AuthFile = json::read(text.as_bytes(), "x").unwrap();
        let chosen = |host: &str, repository: &str| choose(&file, host, repository);
        assert_eq!(chosen("docker.io", "library/alpine").as_deref(), Some("Basic aHVi"));
        assert_eq!(chosen("q.io", "team/app").as_deref(), Some("Basic dGVhbQ=="));
        assert_eq!(chosen("q.io", "other").as_deref(), Some("Basic cQ=="));
        assert_eq!(chosen("r.io", "x/y").as_deref(), Some("Basic cg=="));
        for (host, repository) in [("evil.io", "q.io/team"), ("q.io:5000", "x"), ("bad.io", "x")] {
            assert_eq!(chosen(host, repository), None);
        }
    }
}
