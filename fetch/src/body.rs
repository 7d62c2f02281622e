//! Bodies that a registry or its token realm sends besides documents and blobs.

use serde::Deserialize;
use store::{Error, Result, json};

/// The token in the answer of the token realm at `host` (distribution's token specification), fit for a header.
pub fn token(bytes: &[u8], host: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
    }
    let token: Token = json::read(bytes, &format!("the token of {host}"))?;
    let token = token.token.or(token.access_token).unwrap_or_default();
    if token.is_empty() || !token.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        return Err(Error::Refused(format!("the token realm {host} gave no usable token")));
    }
    Ok(token)
}

/// What a registry says was wrong (distribution-spec, "Error Codes"), fit for a terminal.
pub fn reason(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let errors: Errors = json::read(body, "error").ok()?;
    let first = errors.errors.into_iter().next()?;
    let text = format!("{}: {}", first.code, first.message);
    Some(text.chars().filter(|c| !c.is_control()).take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_fit_for_a_header() {
        assert_eq!(token(br#"{"access_token":"a.b","expires_in":60}"#, "q.io").unwrap(), "a.b");
        for bad in [&br#"{"token":"a\r\nX: y"}"#[..], br#"{"token":""}"#, b"{}", b"<html>"] {
            assert_eq!(token(bad, "q.io").unwrap_err().exit_code(), 6);
        }
    }

    #[test]
    fn reasons_are_fit_for_a_terminal() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[2J\n!","detail":{}}]}"#;
        assert_eq!(reason(body).as_deref(), Some("DENIED: no[2J!"));
        assert_eq!(reason(b"<html>"), None);
    }
}
