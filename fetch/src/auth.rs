//! Authentication to a registry: none, `Basic`, or a bearer token of the realm that its challenge names
//! (distribution's token specification; RFC 9110, 11).

use crate::body;
use crate::credentials::Credentials;
use crate::header::Challenge;
use crate::http::{Get, Http};
use crate::url::{Url, encode};
use std::sync::{Mutex, OnceLock, PoisonError};
use store::{Error, Result};

/// The largest answer of a token realm that is read, in bytes.
const TOKEN_LIMIT: u64 = 1 << 20;

/// The right to pull from one repository: one token for all its requests.
pub struct Auth {
    /// What the user has stored for this repository.
    pub credentials: Option<Credentials>,
    /// The scope to ask for where a challenge names none: `repository:NAME:pull`.
    pub scope: String,
    /// The `Authorization` header in use.
    current: Mutex<Option<String>>,
    /// The realm that the credentials were not sent to.
    withheld: OnceLock<String>,
}

impl Auth {
    /// Begins without a token.
    pub fn new(credentials: Option<Credentials>, repository: &str) -> Self {
        Self {
            credentials,
            scope: format!("repository:{repository}:pull"),
            current: Mutex::new(None),
            withheld: OnceLock::new(),
        }
    }

    /// The `Authorization` header to send.
    pub fn header(&self) -> Option<String> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The host of the first token realm that got no credentials, because it is of another site.
    pub fn withheld(&self) -> Option<&str> {
        self.withheld.get().map(String::as_str)
    }

    /// Another header after the registry answered 401 to `used`; `None`: there is none to be had.
    ///
    /// Where another thread has renewed it meanwhile, its header serves.
    pub fn renew(
        &self,
        http: &Http,
        registry: &Url,
        used: Option<&str>,
        challenges: &[Challenge],
    ) -> Result<Option<String>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.is_some() && current.as_deref() != used {
            return Ok(current.clone());
        }
        let find = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme));
        let new = if let Some(bearer) = find("bearer") {
            self.token(http, registry, bearer)?.map(|token| format!("Bearer {token}"))
        } else if find("basic").is_some() {
            self.credentials.as_ref().map(|credentials| credentials.header.clone())
        } else {
            None
        };
        *current = new.clone().filter(|new| Some(new.as_str()) != used);
        Ok(current.clone())
    }

    /// Asks the challenge's realm for a token; `None`: it gives none to this user.
    fn token(&self, http: &Http, registry: &Url, challenge: &Challenge) -> Result<Option<String>> {
        let realm = challenge.parameter("realm");
        let mut url = realm_of(registry, realm.unwrap_or_default())?;
        let scope = challenge.parameter("scope").filter(|scope| !scope.is_empty()).unwrap_or(&self.scope);
        let mut query = format!("scope={}", encode(scope));
        if let Some(service) = challenge.parameter("service") {
            query = format!("service={}&{query}", encode(service));
        }
        url.path.push(if url.path.contains('?') { '&' } else { '?' });
        url.path.push_str(&query);
        let credentials = self.credentials.as_ref().filter(|_| registry.same_site(&url));
        if credentials.is_none() && self.credentials.is_some() {
            let _ = self.withheld.set(url.authority()); // The first is told.
        }
        let authorization = credentials.map(|credentials| credentials.header.as_str());
        let timeout = http.timeout;
        let get = Get { head: false, url, accept: "application/json", authorization, from: 0, timeout };
        let mut answer = http.get(&get)?;
        let host = answer.url.authority();
        match answer.status {
            200 => {}
            400 | 401 | 403 | 404 => return Ok(None),
            status => {
                return Err(Error::Network(format!("the token realm {host} answered with status {status}")));
            }
        }
        body::token(&answer.read_all(TOKEN_LIMIT)?, &host).map(Some)
    }
}

/// Where tokens are to be had; a registry in https cannot name a realm in plain http.
fn realm_of(registry: &Url, realm: &str) -> Result<Url> {
    let url = Url::parse(realm)?;
    if registry.secure && !url.secure {
        return Err(Error::Refused(format!(
            "{} wants tokens from plain http at {}",
            registry.authority(),
            url.authority()
        )));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_stay_secure() {
        let registry = Url::parse("https://q.io/").unwrap();
        assert!(realm_of(&registry, "https://auth.q.io/token").is_ok());
        for bad in ["", "http://auth.q.io/token", "file:///etc/passwd", "https://u:p@q.io/", "https://q.io/\r\n"] {
            assert_eq!(realm_of(&registry, bad).unwrap_err().exit_code(), 6, "{bad}");
        }
    }
}
