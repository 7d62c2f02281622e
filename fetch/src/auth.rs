//! Authentication to a registry: none, `Basic`, or a bearer token of the realm that its challenge names
//! (distribution's token specification; RFC 9110, 11).

use crate::credentials::Credentials;
use crate::http::{Get, Http};
use crate::url::{Url, encode};
use serde::Deserialize;
use std::sync::{Mutex, PoisonError};
use store::{Error, Result, json};

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
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Auth {
    /// Begins without a token.
    pub fn new(credentials: Option<Credentials>, repository: &str) -> Self {
        Self { credentials, scope: format!("repository:{repository}:pull"), current: Mutex::new(None) }
    }

    /// The `Authorization` header to send.
    pub fn header(&self) -> Option<String> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        let token: Token = json::read(&answer.read_all(TOKEN_LIMIT, http.timeout)?, &format!("the token of {host}"))?;
        let token = token.token.or(token.access_token).unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
            return Err(Error::Refused(format!("the token realm {host} gave no usable token")));
        }
        Ok(Some(token))
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

/// One challenge of a `WWW-Authenticate` header: a scheme and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// `Bearer`, `Basic`, …
    pub scheme: String,
    /// Name and value, as sent.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Reads the challenges of one header: `Scheme key=value, key="value", Other key=value` (RFC 9110, 11.6.1).
/// What cannot be read ends the list.
pub fn challenges(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            return found;
        }
        let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            found.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
            rest = after;
            continue;
        };
        let (Some(challenge), Some((value, after))) =
            (found.last_mut(), value_of(value.trim_start_matches([' ', '\t'])))
        else {
            return found;
        };
        challenge.parameters.push((word.to_owned(), value));
        rest = after;
    }
}

/// A token or quoted string at the beginning of `text`, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(scheme: &str, parameters: &[(&str, &str)]) -> Challenge {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Challenge { scheme: scheme.to_owned(), parameters: parameters.iter().map(owned).collect() }
    }

    #[test]
    fn reads_challenges() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            challenges(hub),
            [challenge(
                "Bearer",
                &[
                    ("realm", "https://auth.docker.io/token"),
                    ("service", "registry.docker.io"),
                    ("scope", "repository:a/b:pull,push")
                ]
            )]
        );
        let two = r#"Basic realm="a \"b\", c" , bearer realm=https://x/y , service = z"#;
        let expected = [
            challenge("Basic", &[("realm", "a \"b\", c")]),
            challenge("bearer", &[("realm", "https://x/y"), ("service", "z")]),
        ];
        assert_eq!(challenges(two), expected);
        assert_eq!(challenges("Negotiate, Basic"), [challenge("Negotiate", &[]), challenge("Basic", &[])]);
    }

    #[test]
    fn what_cannot_be_read_ends_the_list() {
        for bad in ["", ",,", "=x", "\"", "realm=x", "\u{e9}"] {
            assert_eq!(challenges(bad), [], "{bad:?}");
        }
        for bad in ["Bearer realm=\"x", "Bearer realm=\"x\\", "Bearer {"] {
            assert_eq!(challenges(bad), [challenge("Bearer", &[])], "{bad:?}");
        }
    }

    #[test]
    fn realms_stay_secure() {
        let registry = Url::parse("https://q.io/").unwrap();
        assert!(realm_of(&registry, "https://auth.q.io/token").is_ok());
        for bad in ["", "http://auth.q.io/token", "file:///etc/passwd", "https://u:p@q.io/", "https://q.io/\r\n"] {
            assert_eq!(realm_of(&registry, bad).unwrap_err().exit_code(), 6, "{bad}");
        }
    }
}
