//! Base64 as HTTP has it: the standard alphabet, padded (RFC 4648, 4).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes bytes as base64.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 63;
            text.push(if place <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

/// Reads base64; `None`: it is none. The only text of some bytes is the one that `encode` writes.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0;
        for place in 0..4 {
            let value = chunk.get(place).map(|byte| ALPHABET.iter().position(|letter| letter == byte));
            bits = bits << 6 | value.unwrap_or(Some(0))?;
        }
        let [_, group @ ..] = u32::try_from(bits).ok()?.to_be_bytes();
        bytes.extend(&group[..chunk.len().checked_sub(1)?]);
    }
    (encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("u:p\u{e9}~?", "dTpww6l+Pw==")]
        {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        for bad in ["Z", "Zg", "Zg=", "Zh==", "Zg===", "=", "Zm9v=", "Zm 9v", "Zm9v\n", "Zm9-", "Zm9\u{e9}"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
