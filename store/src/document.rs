//! What is behind a manifest's name or digest: an index or a manifest, and never something that can be read as both
//! (CVE-2021-41190). One rule for registries, layouts and archives.

use crate::error::{Error, Result};
use crate::json::{self, Value};
use crate::oci::{Index, Manifest, media};

/// An index or a manifest.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// A list of manifests for several platforms.
    Index(Index),
    /// One image's manifest, and its media type.
    Manifest(Manifest, &'static str),
}

impl Document {
    /// Reads a document; `declared` are the media types that it was announced with (`Content-Type`, descriptor), each
    /// of which must agree with the document's own and with its fields. `what` names it in errors.
    pub fn read(bytes: &[u8], declared: &[Option<&str>], what: &str) -> Result<Self> {
        let refuse = |why: String| Error::Refused(format!("{what}: {why}"));
        let document: Value = json::read(bytes, what)?;
        let has = |field: &str| !document[field].is_null();
        let version: u32 = json::make(document["schemaVersion"].clone(), &format!("schemaVersion of {what}"))?;
        if version == 1 || has("fsLayers") {
            let hint = "hint: push the image again with a tool of this decade";
            return Err(refuse(format!("it is a Docker manifest of schema 1, which is not supported\n{hint}")));
        }
        if version != 2 {
            return Err(refuse(format!("its schemaVersion is {version}, not 2")));
        }
        let is_index = has("manifests");
        if is_index == (has("config") || has("layers")) {
            return Err(refuse("it is not clearly an index or a manifest".into()));
        }
        let known =
            if is_index { [media::INDEX, media::DOCKER_LIST] } else { [media::MANIFEST, media::DOCKER_MANIFEST] };
        let mut own = None;
        for stated in
            declared.iter().copied().chain([document["mediaType"].as_str()]).flatten().filter(|text| is_specific(text))
        {
            let found = known.into_iter().find(|known| *known == stated);
            let found = found.ok_or_else(|| {
                refuse(format!(
                    "it is called {stated:?} and has the fields of an {}",
                    if is_index { "index" } else { "image manifest" }
                ))
            })?;
            if own.is_some_and(|own| own != found) {
                return Err(refuse(format!("it is called both {own:?} and {found:?}", own = own.unwrap_or_default())));
            }
            own = Some(found);
        }
        if is_index {
            return Ok(Self::Index(json::make(document, what)?));
        }
        let manifest: Manifest = json::make(document, what)?;
        let config = manifest.config.media_type.as_str();
        // Docker's first manifests of this schema say nothing certain of it (distribution#1621).
        let known = [media::CONFIG, media::DOCKER_CONFIG, "text/html"].contains(&config);
        if is_specific(config) && !known {
            return Err(refuse(format!("it is not a container image: its config is of type {config:?}")));
        }
        Ok(Self::Manifest(manifest, own.unwrap_or(media::MANIFEST)))
    }
}

/// Does this media type say more than that there are bytes, text or JSON? Simple servers know no better.
fn is_specific(media_type: &str) -> bool {
    !matches!(media_type, "" | "application/json" | "application/octet-stream" | "text/plain" | "text/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(extra: &str) -> String {
        let config = format!(r#"{{"mediaType":"{}","digest":"sha256:{HEX}","size":2}}"#, media::CONFIG);
        format!(r#"{{"schemaVersion":2,{extra}"config":{config},"layers":[]}}"#)
    }

    fn read(text: &str, declared: Option<&str>) -> Result<Document> {
        Document::read(text.as_bytes(), &[declared], "x")
    }

    #[test]
    fn reads_what_agrees() {
        for declared in [None, Some(media::MANIFEST), Some("application/json")] {
            assert!(
                matches!(read(&manifest(""), declared), Ok(Document::Manifest(_, media::MANIFEST))),
                "{declared:?}"
            );
        }
        let docker = manifest(&format!(r#""mediaType":"{}","#, media::DOCKER_MANIFEST));
        assert!(matches!(read(&docker, None), Ok(Document::Manifest(_, media::DOCKER_MANIFEST))));
        let old = manifest("").replace(media::CONFIG, "application/octet-stream");
        assert!(matches!(read(&old, Some(media::DOCKER_MANIFEST)), Ok(Document::Manifest(..))));
        let index = r#"{"schemaVersion":2,"manifests":[],"annotations":{"a":"b"}}"#;
        assert!(matches!(read(index, Some(media::DOCKER_LIST)), Ok(Document::Index(_))));
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        let typed = |name: &str| manifest(&format!(r#""mediaType":"{name}","#));
        let helm = manifest("").replace(media::CONFIG, "application/vnd.cncf.helm.config.v1+json");
        for (text, declared) in [
            (manifest(r#""manifests":[],"#), None),
            (manifest(r#""fsLayers":[],"#), None),
            (r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.into(), None),
            (r#"{"schemaVersion":2}"#.into(), None),
            (
                r#"{"schemaVersion":1,"fsLayers":[]}"#.into(),
                Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
            ),
            (r#"{"schemaVersion":3,"manifests":[]}"#.into(), None),
            (manifest(""), Some(media::INDEX)),
            (typed(media::INDEX), None),
            (typed(media::DOCKER_MANIFEST), Some(media::MANIFEST)),
            (manifest(r#""config":{},"#), None),
            (manifest("").replace(HEX, "../x"), None),
            (manifest("").replace(":2}", ":-2}"), None),
            (manifest("")[..30].into(), None),
            (helm, None),
            ("[".repeat(100_000), None),
        ] {
            assert_eq!(read(&text, declared).unwrap_err().exit_code(), 6, "{text:.200}");
        }
    }
}
