//! Bodies that a registry or its token realm sends besides documents and blobs.

use store::json::{self, Value};
use store::{Error, Result};

/// The token in the answer of the token realm at `host` (distribution's token specification), fit for a header.
pub fn token(bytes: &[u8], host: &str) -> Result<String> {
    let answer: Value = json::read(bytes, &format!("the token of {host}"))?;
    let token = answer["token"].as_str().or(answer["access_token"].as_str()).unwrap_or_default();
    if token.is_empty() || !token.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        return Err(Error::Refused(format!("the token realm {host} gave no usable token")));
    }
    Ok(token.to_owned())
}

/// What a registry says was wrong (distribution-spec, "Error Codes"), fit for a terminal.
pub fn reason(body: &[u8]) -> Option<String> {
    let answer: Value = json::read(body, "error").ok()?;
    let first = answer["errors"].items().first()?;
    let said = |field: &str| first[field].as_str().unwrap_or_default();
    let text = format!("{}: {}", said("code"), said("message"));
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
