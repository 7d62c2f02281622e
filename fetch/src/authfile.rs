//! Files with credentials (containers-auth.json(5), docker's `config.json`): where they are, and one of them read and
//! written. What is not understood in it stays as it is.

use crate::base64;
use crate::credentials::Login;
use crate::file;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use store::error::Doing;
use store::json::{self, Value, object};
use store::{Error, Result};

/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// One file.
pub struct AuthFile {
    /// Its name.
    pub path: PathBuf,
    root: Value,
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn config() -> Option<PathBuf> {
    let config = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))?;
    Some(config.join("containers/auth.json"))
}

fn runtime() -> Option<PathBuf> {
    let id = rustix::process::geteuid();
    let dir = variable("XDG_RUNTIME_DIR").or_else(|| id.is_root().then(|| "/run/containers/0".into()))?;
    Some(if variable("XDG_RUNTIME_DIR").is_some() { dir.join("containers/auth.json") } else { dir.join("auth.json") })
}

/// Where credentials are looked for.
pub fn files() -> Vec<PathBuf> {
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let docker = variable("HOME").map(|home| home.join(".docker"));
    let docker = variable("DOCKER_CONFIG").or(docker).map(|dir| dir.join("config.json"));
    [runtime(), config(), docker].into_iter().flatten().collect()
}

/// Where a login is written.
pub fn own() -> Result<PathBuf> {
    let none = || Error::Failed("no place for credentials\nhint: give --authfile FILE".into());
    variable("REGISTRY_AUTH_FILE").or_else(runtime).or_else(config).ok_or_else(none)
}

impl AuthFile {
    /// Reads a file; one that is not there is empty.
    pub fn read(path: &Path) -> Result<Self> {
        let doing = || format!("reading {}", path.display());
        let refuse = |why: &str| Error::Refused(format!("{}: {why}", path.display()));
        let file = match File::open(path) {
            // Or in a home that is closed to this user, as after su(1).
            Err(_) if !path.exists() => return Self::parse(path, b""),
            other => other.doing(doing)?,
        };
        let owner = file.metadata().doing(doing)?.uid();
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(refuse("it belongs to another user, and is not to be trusted"));
        }
        let mut bytes = Vec::new();
        file.take(LIMIT + 1).read_to_end(&mut bytes).doing(doing)?;
        if bytes.len() as u64 > LIMIT {
            return Err(refuse("it is longer than 1 MiB"));
        }
        Self::parse(path, &bytes)
    }

    /// Reads what a file of this name holds; tools that have written nothing yet may leave it empty.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
        match json::read(bytes, "") {
            Ok(root @ Value::Object(_)) => Ok(Self { path: path.to_owned(), root }),
            // The reader's reason could quote a secret.
            _ => Err(Error::Refused(format!("{}: it is not a JSON object", path.display()))),
        }
    }

    /// The entry of `auths` for a repository: the longest key that fits.
    pub fn login(&self, host: &str, repository: &str) -> Result<Option<Login>> {
        let mut names = vec![format!("{host}/{repository}")];
        while let Some((shorter, _)) = names.last().and_then(|name| name.rsplit_once('/')) {
            names.push(shorter.to_owned());
        }
        if host == "docker.io" {
            names.extend(["index.docker.io".to_owned(), "registry-1.docker.io".to_owned()]);
        }
        let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let auths = self.object("auths")?;
        let full = |entry: &Value| !text(entry, "auth").is_empty() || !text(entry, "identitytoken").is_empty();
        let of = |name: &String| auths.iter().find(|(key, entry)| bare(key) == name && full(entry));
        let Some((key, entry)) = names.iter().find_map(of) else { return Ok(None) };
        let identity = text(entry, "identitytoken");
        if !identity.is_empty() {
            return Ok(Some(Login { user: Login::IDENTITY.into(), secret: identity }));
        }
        let refuse = || Error::Refused(format!("{}: the entry of {key} is malformed", self.path.display()));
        let bytes = base64::decode(text(entry, "auth").trim()).ok_or_else(refuse)?;
        let pair = String::from_utf8(bytes).ok().filter(|pair| !pair.contains(char::is_control)).ok_or_else(refuse)?;
        let (user, secret) = pair.split_once(':').ok_or_else(refuse)?;
        Ok(Some(Login { user: user.to_owned(), secret: secret.to_owned() }))
    }

    /// The credential helper for a host, and by which key it knows the host.
    pub fn keychain(&self, host: &str) -> Result<Option<(String, String)>> {
        let same = |key: &str| bare(key) == host || host == "docker.io" && bare(key) == "index.docker.io";
        if let Some(found) = self.keychains()?.into_iter().find(|(_, key)| same(key)) {
            return Ok(Some(found));
        }
        let store = self.root.get("credsStore").and_then(Value::as_str).filter(|name| !name.is_empty());
        let key = if host == "docker.io" { "https://index.docker.io/v1/" } else { host };
        Ok(store.map(|name| (name.to_owned(), key.to_owned())))
    }

    /// The credential helpers of single hosts, with these.
    pub fn keychains(&self) -> Result<Vec<(String, String)>> {
        let named = |(key, name): &(String, Value)| Some((name.as_str()?.to_owned(), key.clone()));
        Ok(self.object("credHelpers")?.iter().filter_map(named).collect())
    }

    /// Is there an entry of `auths` under this very key?
    pub fn has(&self, key: &str) -> Result<bool> {
        Ok(self.object("auths")?.iter().any(|(name, _)| bare(name) == bare(key)))
    }

    fn object(&self, name: &str) -> Result<&[(String, Value)]> {
        match &self.root[name] {
            Value::Null => Ok(&[]),
            Value::Object(fields) => Ok(fields),
            _ => Err(Error::Refused(format!("{}: its {name} is not an object", self.path.display()))),
        }
    }

    /// The fields of `auths`, to be changed; it is there afterwards.
    fn auths(&mut self) -> Result<&mut Vec<(String, Value)>> {
        let auths = Value::Object(self.object("auths")?.to_vec());
        let refuse = || Error::Refused("not a JSON object".into());
        let Value::Object(root) = &mut self.root else { return Err(refuse()) };
        root.retain(|(name, value)| name != "auths" || !value.is_null());
        if !root.iter().any(|(name, _)| name == "auths") {
            root.push(("auths".into(), auths));
        }
        let found = root.iter_mut().find(|(name, _)| name == "auths");
        let Some((_, Value::Object(auths))) = found else { return Err(refuse()) };
        Ok(auths)
    }

    /// Adds a login under `key`.
    pub fn set(&mut self, key: &str, login: &Login) -> Result<()> {
        let auth = base64::encode(format!("{}:{}", login.user, login.secret).as_bytes());
        let auths = self.auths()?;
        auths.retain(|(name, _)| bare(name) != key);
        auths.push((key.to_owned(), object(vec![("auth", auth.into())])));
        Ok(())
    }

    /// Removes the login of `key`, or all; tells whether there was one.
    pub fn unset(&mut self, key: Option<&str>) -> Result<bool> {
        let auths = self.auths()?;
        let before = auths.len();
        auths.retain(|(name, _)| key.is_some_and(|key| bare(name) != bare(key)));
        Ok(auths.len() < before)
    }

    /// Changes a file, which others change too; a symbolic link stays one.
    pub fn change<T>(path: &Path, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let path = file::target(path);
        let Some(name) = path.file_name() else {
            return Err(Error::Usage(format!("{} is not the name of a file", path.display())));
        };
        let dir = file::directory(&path);
        let doing = || format!("writing {}", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(dir).doing(doing)?;
        let lock = File::open(dir).doing(doing)?;
        flock(&lock, FlockOperation::LockExclusive).doing(doing)?;
        let mut file = Self::read(&path)?;
        let changed = change(&mut file)?;
        let mut beside = name.to_owned();
        beside.push(".crate");
        let beside = dir.join(beside);
        let _ = fs::remove_file(&beside); // What a killed login left: nobody else is here.
        let write = || {
            let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            writeln!(new, "{}", file.root.pretty())?;
            new.sync_all()?;
            fs::rename(&beside, &path)?;
            lock.sync_all()
        };
        write().doing(doing)?;
        Ok(changed)
    }
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

    fn file(text: &str) -> AuthFile {
        AuthFile { path: "x".into(), root: json::read(text.as_bytes(), "").unwrap() }
    }

    #[test]
    fn the_longest_key_counts() {
        let file = file(
            r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"aHVi"}, "q.io":{"auth":"cTpx"}, "q.io/team":{"auth":"dGVhbTo6"},
            "q.io/team/app":{}, "http://r.io/v2/":{"auth":"cjpy","email":"e"}, "bad.io":{"auth":"YQpiOmM="},
            "i.io":{"auth":"dTo=","identitytoken":"t"}}}"#,
        );
        let chosen = |host: &str, repository: &str| {
            let login = file.login(host, repository).unwrap();
            login.map(|login| format!("{} {}", login.user, login.secret)).unwrap_or_default()
        };
        assert_eq!(chosen("q.io", "team/app"), "team :");
        assert_eq!(chosen("q.io", "other"), "q q");
        assert_eq!(chosen("r.io", "x/y"), "r r");
        assert_eq!(chosen("i.io", "x"), "<token> t");
        for (host, repository) in [("evil.io", "q.io/team"), ("q.io:5000", "x")] {
            assert_eq!(chosen(host, repository), "");
        }
        for host in ["docker.io", "bad.io"] {
            assert_eq!(file.login(host, "x").err().unwrap().exit_code(), 6);
        }
    }

    #[test]
    fn finds_helpers() {
        let file = file(r#"{"credHelpers":{"q.io":"a","https://index.docker.io/v1/":"b"},"credsStore":"c"}"#);
        let found = |host: &str| file.keychain(host).unwrap().unwrap();
        assert_eq!(found("q.io"), ("a".into(), "q.io".into()));
        assert_eq!(found("docker.io"), ("b".into(), "https://index.docker.io/v1/".into()));
        assert_eq!(found("r.io"), ("c".into(), "r.io".into()));
        assert_eq!(super::AuthFile::keychain(&self::file("{}"), "q.io").unwrap(), None);
    }

    #[test]
    fn keeps_what_it_does_not_understand() {
        let mut file = file(r#"{"z":1,"auths":{"a":{"auth":"x","y":2}},"credsStore":""}"#);
        let login = Login { user: "me".into(), secret: "s:".into() };
        file.set("q.io", &login).unwrap();
        let text = file.root.to_string();
        assert_eq!(text, r#"{"z":1,"auths":{"a":{"auth":"x","y":2},"q.io":{"auth":"bWU6czo="}},"credsStore":""}"#);
        assert!(file.unset(Some("a")).unwrap() && !file.unset(Some("a")).unwrap() && file.unset(None).unwrap());
        assert!(self::file(r#"{"auths":[]}"#).set("q.io", &login).is_err());
    }
}
