//! Credentials for a registry, wherever they are kept. They stay in this program's memory, of which no core is written.

use crate::authfile::{self, AuthFile};
use crate::{base64, keychain};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use store::error::Doing;
use store::{Error, Result};

/// A user name and a password; never shown.
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub secret: String,
}

impl Login {
    /// The user name that stands for none: the secret is an identity token.
    pub const IDENTITY: &str = "<token>";
}

/// What `Basic` authentication sends (RFC 7617).
#[derive(Clone)]
pub struct Credentials {
    /// The value of an `Authorization` header.
    pub header: String,
    /// Whose they are.
    pub user: String,
    /// Where they are kept: a file, perhaps with the program that it names.
    pub kept: String,
}

impl Credentials {
    /// From now on no core of this program is written, and no other of the user's programs can look into it.
    pub fn new(login: &Login, kept: String) -> Result<Self> {
        set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "hiding credentials".into())?;
        let header = format!("Basic {}", base64::encode(format!("{}:{}", login.user, login.secret).as_bytes()));
        Ok(Self { header, user: login.user.clone(), kept })
    }
}

/// The credentials for a repository, from the first file that has any.
pub fn find(host: &str, repository: &str) -> Result<Option<Credentials>> {
    for path in authfile::files() {
        let file = AuthFile::read(&path)?;
        if let Some(found) = find_in(&file, host, repository)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The credentials for a repository in one file: of the helper that it names for the host, or its own.
pub fn find_in(file: &AuthFile, host: &str, repository: &str) -> Result<Option<Credentials>> {
    let mut kept = file.path.display().to_string();
    let mut login = None;
    if let Some((name, key)) = file.keychain(host)? {
        login = keychain::get(&name, &key, &file.path)?;
        if login.is_some() {
            kept = format!("docker-credential-{name} ({kept})");
        }
    }
    let Some(login) = login.map_or_else(|| file.login(host, repository), |login| Ok(Some(login)))? else {
        return Ok(None);
    };
    if login.user == Login::IDENTITY {
        return Err(Error::Failed(format!("{kept} has an identity token for {host}, which is not supported")));
    }
    Credentials::new(&login, kept).map(Some)
}
