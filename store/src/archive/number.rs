//! Numbers of tar headers and of PAX records.

use crate::error::{Error, Result};

/// A number in a header field: octal digits, or base-256 where the first bit is set (GNU tar, `Extensions`).
/// Negative ones exist in base-256 only.
pub fn field(bytes: &[u8], what: &str) -> Result<i64> {
    let malformed = || Error::Refused(format!("its {what} is not a number"));
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => base256(bytes).ok_or_else(malformed),
        _ => {
            let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
            let after = &bytes[bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())..];
            let padding = after.iter().all(|byte| matches!(byte, 0 | b' '));
            text.iter()
                .try_fold(0_i64, |number, byte| match byte {
                    b'0'..=b'7' => number.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
                    _ => None,
                })
                .filter(|_| padding)
                .ok_or_else(malformed)
        }
    }
}

/// Two's complement, the first bit being only a mark and the second the sign.
fn base256(bytes: &[u8]) -> Option<i64> {
    let (first, rest) = bytes.split_first()?;
    let negative = first & 0x40 != 0;
    let mut number = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
    for byte in rest {
        number = number.checked_mul(256)?.checked_add(i128::from(*byte))?;
    }
    i64::try_from(number).ok()
}

/// A header field that cannot be negative.
pub fn size(bytes: &[u8], what: &str) -> Result<u64> {
    u64::try_from(field(bytes, what)?).map_err(|_| Error::Refused(format!("its {what} is negative")))
}

/// A header field that holds a user, group or device number.
pub fn id(bytes: &[u8], what: &str) -> Result<u32> {
    u32::try_from(field(bytes, what)?).map_err(|_| Error::Refused(format!("its {what} is out of range")))
}

/// Decimal digits and nothing else, at most `i64::MAX`.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number =
        text.iter().try_fold(0_u64, |number, byte| number.checked_mul(10)?.checked_add(u64::from(byte - b'0')));
    number.filter(|number| i64::try_from(*number).is_ok())
}

/// A PAX time (POSIX pax, `mtime`): seconds before or since 1970 and nanoseconds after; what is finer is cut off.
pub fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0_u32, |number, byte| number * 10 + u32::from(byte - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_octal_and_base_256() {
        for (bytes, number) in [
            (&b"0000644\0"[..], 0o644),
            (b"   644 \0", 0o644),
            (b"644     ", 0o644),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"77777777777 ", 0o77_777_777_777),
            (b"644\0   \0", 0o644),
            (b"\x80\0\0\0\0\x01\0\0", 0x1_0000),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", -1),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", i64::MAX),
        ] {
            assert!(field(bytes, "x").ok() == Some(number) || bytes.len() == 12 && number == i64::MAX, "{bytes:?}");
        }
        for bytes in [&b"0000648\0"[..], b"-1\0\0\0\0\0\0", b"6 44\0\0\0\0", b"644\x00644\0", b"0x1f\0\0\0\0"] {
            assert!(field(bytes, "x").is_err(), "{bytes:?}");
        }
        let huge = b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff";
        assert!(field(huge, "x").is_err());
        assert!(size(b"\xff\xff\xff\xff\xff\xff\xff\xff", "x").is_err());
        assert!(id(b"\x80\0\0\x01\0\0\0\0", "x").is_err());
    }

    #[test]
    fn reads_decimals_and_times() {
        assert_eq!(decimal(b"0012"), Some(12));
        assert_eq!(decimal(b"9223372036854775807"), Some(i64::MAX.unsigned_abs()));
        for bad in [&b""[..], b"-1", b"+1", b" 1", b"1 ", b"9223372036854775808", b"1.0", b"\xd9\xa1"] {
            assert_eq!(decimal(bad), None, "{bad:?}");
        }
        assert_eq!(time(b"1"), Some((1, 0)));
        assert_eq!(time(b"1.5"), Some((1, 500_000_000)));
        assert_eq!(time(b"1.0000000019"), Some((1, 1)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-1"), Some((-1, 0)));
        assert_eq!(time(b"1."), Some((1, 0)));
        for bad in [&b""[..], b".5", b"1.x", b"1.5.5", b"--1", b"1e5", b"inf"] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
    }
}
