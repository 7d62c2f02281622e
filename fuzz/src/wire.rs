//! What a registry sends, and the files that crate-fetch reads.

use crate::authfile::AuthFile;
use crate::head::{Framing, Head, chunk_size};
use crate::url::{Url, encode};
use crate::{body as bodies, header as fields};
use std::path::Path;
use std::time::{Duration, SystemTime};
use store::document::Document;
use store::oci::media;

/// Token answers and error bodies; what comes of them is fit for a header and a terminal.
pub fn body(data: &[u8]) -> bool {
    let token = bodies::token(data, "q.io");
    if let Ok(token) = &token {
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()), "{token:?}");
    }
    let reason = bodies::reason(data);
    if let Some(reason) = &reason {
        assert!(reason.chars().count() <= 200 && !reason.chars().any(char::is_control), "{reason:?}");
    }
    token.is_ok() || reason.is_some()
}

/// A file of credentials, and the header for some repositories.
pub fn credentials(data: &[u8]) -> bool {
    let Ok(file) = AuthFile::parse(Path::new("auth.json"), data) else { return false };
    for (host, repository) in [("docker.io", "library/alpine"), ("q.io", "team/app"), ("q.io:5000", "x")] {
        let _ = file.keychain(host);
        if let Ok(Some(login)) = file.login(host, repository) {
            assert!(!login.user.contains(char::is_control));
        }
    }
    true
}

/// An index or a manifest, as announced in several ways; it never is both.
pub fn document(data: &[u8]) -> bool {
    let read = |declared: &[Option<&str>]| Document::read(data, declared, "a document");
    let free = read(&[None]);
    let index = read(&[Some(media::INDEX)]);
    let manifest = read(&[Some(media::MANIFEST), Some("application/json")]);
    assert!(index.is_err() || manifest.is_err(), "it is an index and a manifest");
    assert!(free.is_ok() || index.is_err() && manifest.is_err(), "more is accepted where more is announced");
    free.is_ok()
}

/// The head of an answer, and the first line of a chunk; what minreq is given must be read as the same.
pub fn head(data: &[u8]) -> bool {
    let size = chunk_size(data);
    let Ok(head) = Head::parse(data) else { return size.is_some() };
    let framing = head.framing(false);
    assert!(framing.is_err() || head.framing(true) == Ok(Framing::Length(0)), "a head alone has a body");
    let plain = head.plain("x");
    assert!(plain.bytes().all(|byte| matches!(byte, b'\r' | b'\n' | b'\t' | 0x20..=0x7e)), "{plain:?}");
    let again = Head::parse(plain.as_bytes()).expect("what was read can be read again");
    let rest = head.fields.iter().filter(|(name, _)| name != "transfer-encoding");
    assert!(again.status == head.status && again.fields.iter().eq(rest), "{plain:?}");
    framing.is_ok()
}

/// Header fields.
pub fn header(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let challenges = fields::challenges(text);
    let length = |challenge: &fields::Challenge| {
        let parameters = challenge.parameters.iter().map(|(key, value)| key.len() + value.len());
        challenge.scheme.len() + parameters.sum::<usize>()
    };
    assert!(challenges.iter().map(length).sum::<usize>() <= text.len(), "{challenges:?}");
    let realm = challenges.iter().find_map(|challenge| challenge.parameter("realm"));
    let range = fields::content_range(text);
    assert!(range.is_none_or(|(first, size)| first < size), "{range:?}");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let wait = fields::retry_after(text, now);
    let limit = fields::rate_limit(text);
    realm.is_some() || range.is_some() || wait.is_some() || limit.is_some()
}

/// A URL and, on a second line, where it redirects to; what comes of it can be sent.
pub fn url(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let (base, location) = text.split_once('\n').unwrap_or((text, "/"));
    let Ok(base) = Url::parse(base) else { return false };
    let joined = base.join(location);
    for url in joined.iter().chain([&base]) {
        let text = url.to_string();
        assert_eq!(Url::parse(&text).ok().as_ref(), Some(url), "{text:?} is another URL");
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains('#'), "{text:?}");
        assert!(url.path.starts_with('/') && !url.authority().contains(['@', '/', '?']), "{text:?}");
        assert!(url.same_origin(url) && url.same_site(url), "{text:?}");
        let _ = url.is_loopback();
    }
    assert!(encode(location).bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
    joined.is_ok()
}
