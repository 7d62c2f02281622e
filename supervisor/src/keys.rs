//! The keys by which a user leaves a container without ending it.

use store::{Error, Result};

/// What they are where nobody says otherwise.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// Reads keys such as `ctrl-p,ctrl-q` or `a`; an empty text means none.
pub fn parse(text: &str) -> Result<Vec<u8>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let wrong =
        || Error::Usage(format!("detach keys are such as {DEFAULT} (ctrl- and a-z @ [ \\ ] ^ _) or x, not {text}"));
    text.split(',').map(|name| key(name).ok_or_else(wrong)).collect()
}

fn key(name: &str) -> Option<u8> {
    match (name.strip_prefix("ctrl-").map(str::as_bytes), name.as_bytes()) {
        (Some([key @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]), _) => Some(key & 0x1f),
        (_, [key]) if key.is_ascii() => Some(*key),
        _ => None,
    }
}

/// Looks for the keys in what is typed.
pub struct Watch<'a> {
    keys: &'a [u8],
    /// How many of the first keys have been typed, and not passed on yet.
    held: usize,
}

impl<'a> Watch<'a> {
    /// Looks for these keys; for none, where there are none.
    pub fn new(keys: &'a [u8]) -> Self {
        Self { keys, held: 0 }
    }

    /// What of it is to be passed on, and whether all the keys have been typed. What follows them is dropped.
    pub fn see(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(self.held + typed.len());
        for byte in typed {
            // The longest beginning of the keys that what was typed last can be.
            while self.keys.get(self.held) != Some(byte) && self.held > 0 {
                let next = (1..=self.held).find(|drop| self.keys[*drop..self.held] == self.keys[..self.held - drop]);
                let dropped = next.unwrap_or(self.held);
                passed.extend(&self.keys[..dropped]);
                self.held -= dropped;
            }
            if self.keys.get(self.held) == Some(byte) {
                self.held += 1;
            } else {
                passed.push(*byte);
            }
            if self.held > 0 && self.held == self.keys.len() {
                return (passed, true);
            }
        }
        (passed, false)
    }

    /// What is still held back, where nothing more will be typed.
    pub fn rest(&mut self) -> Vec<u8> {
        self.keys[..std::mem::take(&mut self.held)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_keys_as_docker_writes_them() {
        assert_eq!(parse(DEFAULT).unwrap(), [16, 17]);
        assert!(parse("").unwrap().is_empty());
        assert_eq!(
            parse("a,ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,Z").unwrap(),
            [b'a', 0, 27, 28, 29, 30, 31, b'Z']
        );
        for bad in ["ctrl-", "ctrl-A", "ctrl-1", "ab", ",", "a,", "é", "ctrl-aa"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    fn seen(keys: &[u8], typed: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut watch = Watch::new(keys);
        let mut all = Vec::new();
        for typed in typed {
            let (passed, leaves) = watch.see(typed);
            all.extend(passed);
            if leaves {
                return (all, true);
            }
        }
        all.extend(watch.rest());
        (all, false)
    }

    #[test]
    fn finds_keys_wherever_they_are_cut() {
        assert_eq!(seen(b"\x10\x11", &[b"ab\x10\x11c"]), (b"ab".to_vec(), true));
        assert_eq!(seen(b"\x10\x11", &[b"ab\x10", b"\x11c"]), (b"ab".to_vec(), true));
        assert_eq!(seen(b"\x10\x11", &[b"\x10", b"\x10", b"\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(seen(b"aab", &[b"a", b"a", b"a", b"b"]), (b"a".to_vec(), true));
        assert_eq!(seen(b"abac", &[b"ababac"]), (b"ab".to_vec(), true));
        assert_eq!(seen(b"x", &[b"12x"]), (b"12".to_vec(), true));
    }

    #[test]
    fn passes_on_what_is_not_the_keys() {
        assert_eq!(seen(b"\x10\x11", &[b"a\x10", b"b"]), (b"a\x10b".to_vec(), false));
        assert_eq!(seen(b"\x10\x11", &[b"a\x10"]), (b"a\x10".to_vec(), false));
        assert_eq!(seen(b"aab", &[b"aaxaa"]), (b"aaxaa".to_vec(), false));
        assert_eq!(seen(b"", &[b"abc", b"\0"]), (b"abc\0".to_vec(), false));
    }
}
