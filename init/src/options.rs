//! Options of mount(8), sorted into what the kernel's calls take.

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;

const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const NOEXEC: u64 = 8;
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;

/// Read-only (mount_setattr(2)).
pub const READ_ONLY: u64 = RDONLY;
/// Device nodes do not open.
pub const NO_DEVICES: u64 = NODEV;

/// The options of one mount.
#[derive(Debug, Default, PartialEq)]
pub struct Options {
    /// Attributes to set (`MOUNT_ATTR_*`, mount_setattr(2)).
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// `rbind`: take the mounts below along.
    pub recursive: bool,
    /// `nofail`: a source that is missing is no error.
    pub optional: bool,
    /// What the filesystem itself takes: a key, and a value unless it is a flag.
    pub data: Vec<(CString, Option<CString>)>,
}

/// Sorts `nosuid,mode=755,…`. Propagation words are accepted as far as they say what is done anyway: all mounts
/// are private.
pub fn parse(text: &CStr) -> Options {
    let mut options = Options::default();
    for word in text.to_bytes().split(|byte| *byte == b',').filter(|word| !word.is_empty()) {
        let (set, clear) = match core::str::from_utf8(word).unwrap_or_default() {
            "ro" => (RDONLY, 0),
            "nosuid" => (NOSUID, 0),
            "nodev" => (NODEV, 0),
            "noexec" => (NOEXEC, 0),
            "noatime" => (NOATIME, ATIME),
            "strictatime" => (STRICTATIME, ATIME),
            "relatime" => (0, ATIME),
            "nodiratime" => (NODIRATIME, 0),
            "rw" | "suid" | "dev" | "exec" | "bind" | "private" | "rprivate" => (0, 0),
            "rbind" => {
                options.recursive = true;
                (0, 0)
            }
            "nofail" => {
                options.optional = true;
                (0, 0)
            }
            _ => {
                options.data.push(key_value(word));
                (0, 0)
            }
        };
        options.set |= set;
        options.clear |= clear;
    }
    options
}

fn key_value(word: &[u8]) -> (CString, Option<CString>) {
    // A piece of a NUL-terminated string holds no NUL.
    let string = |bytes: &[u8]| CString::new(bytes).unwrap_or_default();
    match word.iter().position(|byte| *byte == b'=') {
        Some(place) => (string(&word[..place]), Some(string(&word[place + 1..]))),
        None => (string(word), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_attributes_from_data() {
        let options = parse(c"nosuid,strictatime,mode=755,rbind,newinstance,ro,nofail");
        assert_eq!(options.set, NOSUID | STRICTATIME | RDONLY);
        assert_eq!(options.clear, ATIME);
        assert!(options.recursive && options.optional);
        let data = [(c"mode".into(), Some(c"755".into())), (c"newinstance".into(), None)];
        assert_eq!(options.data, data);
        assert_eq!(parse(c""), Options::default());
    }
}
