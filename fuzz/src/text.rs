//! Names and documents.

use store::container::layers;
use store::json::Value;
use store::oci::{ImageConfig, Index, Manifest};
use store::spec::Spec;
use store::{Digest, Platform, Reference, json};

/// A reference; its full form must mean the same, and be safe in URLs and paths.
pub fn reference(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(reference) = text.parse::<Reference>() else { return false };
    let full = reference.to_string();
    assert_eq!(full.parse().ok(), Some(reference.clone()), "{full:?} means something else");
    assert!(full.bytes().all(|byte| byte.is_ascii_graphic()), "{full:?}");
    let parts = reference.repository.split('/');
    assert!(parts.clone().all(|part| !matches!(part, "" | "." | "..")), "{full:?}");
    assert!(reference.name().len() <= 255 && reference.tag.is_none_or(|tag| tag.len() <= 128), "{full:?}");
    true
}

/// A digest, and a platform.
pub fn digest(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let digest = text.parse::<Digest>();
    if let Ok(digest) = &digest {
        assert_eq!(digest.as_str(), text);
        assert!(digest.hex().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{text:?}");
        assert_eq!(digest.hasher().finish().as_str().len(), text.len(), "another algorithm hashes");
    }
    let platform = text.parse::<Platform>();
    if let Ok(platform) = &platform {
        assert_eq!(platform.to_string().parse().ok(), Some(platform.clone()), "{text:?}");
        assert_eq!(platform.rank(platform), Some(0), "{text:?} cannot run itself");
        let _ = Platform::host().rank(platform);
    }
    digest.is_ok() || platform.is_ok()
}

/// Any document, and those of an image; what is written again must then say the same.
pub fn json(data: &[u8]) -> bool {
    let value = json::read::<Value>(data, "a document").ok().filter(is_exact);
    if let Some(value) = &value {
        for written in [value.to_string(), value.pretty()] {
            assert_eq!(json::read::<Value>(written.as_bytes(), "the same").ok().as_ref(), Some(value), "{written}");
        }
    }
    let index = json::read::<Index>(data, "an index");
    if let (Ok(index), Some(_)) = (&index, &value) {
        let written = Value::from(index).to_string();
        assert_eq!(json::read::<Index>(written.as_bytes(), "the same").ok().as_ref(), Some(index), "{written}");
    }
    let manifest = json::read::<Manifest>(data, "a manifest").is_ok();
    let config = json::read::<ImageConfig>(data, "a config").map(|config| config.platform().to_string());
    for error in [index.as_ref().err(), config.as_ref().err()].into_iter().flatten() {
        assert_eq!(error.exit_code(), 6, "{error}");
    }
    index.is_ok() || manifest || config.is_ok()
}

/// Has it no fractions? serde_json reads the last of their digits only nearly right.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(fields) => fields.iter().all(|(_, field)| is_exact(field)),
        _ => true,
    }
}

/// A bundle's `config.json`; written again, it must say the same.
pub fn spec(data: &[u8]) -> bool {
    let Ok(spec) = json::read::<Spec>(data, "config.json") else { return false };
    let written = Value::from(&spec).to_string();
    assert_eq!(json::read::<Spec>(written.as_bytes(), "the same").ok().as_ref(), Some(&spec), "{written}");
    let _ = layers(&spec);
    true
}
