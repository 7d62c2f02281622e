//! The head of an HTTP/1.1 answer (RFC 9112): read strictly, for minreq is lenient and can be brought to panic.

use std::fmt::Write as _;

/// The most bytes of one answer's heads, those of interim answers (1xx) among them.
pub const HEAD_LIMIT: usize = 64 << 10;

/// A status line and header fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code, 100 to 599.
    pub status: u16,
    /// Names in lower case, and values without the space around them.
    pub fields: Vec<(String, String)>,
}

/// How the end of the content is told (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks.
    Chunked,
    /// It ends with the connection.
    UntilEnd,
}

impl Head {
    /// Reads all up to and with the empty line; an error is the reason why it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let line = |line| <[u8]>::strip_suffix(line, b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').map_while(line);
        let status = status(lines.next().unwrap_or_default()).ok_or("its status line is not well formed")?;
        let mut fields = Vec::new();
        for line in lines {
            if line.is_empty() {
                return Ok(Self { status, fields });
            }
            fields.push(field(line).ok_or("a header is not well formed")?);
        }
        Err("it ends within the headers")
    }

    /// The values of a field, whose name is given in lower case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// How the content ends; what two parties could read in two ways is an error.
    pub fn framing(&self, only_head: bool) -> Result<Framing, &'static str> {
        let mut length = None;
        for value in self.values("content-length") {
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let number = value.parse::<u64>().ok().filter(|_| digits).ok_or("its Content-Length is not a number")?;
            if length.is_some_and(|other| other != number) {
                return Err("it has two lengths");
            }
            length = Some(number);
        }
        let codings: Vec<&str> = self.values("transfer-encoding").collect();
        if only_head || matches!(self.status, 204 | 304) {
            return Ok(Framing::Length(0));
        }
        match (codings.as_slice(), length) {
            ([], Some(length)) => Ok(Framing::Length(length)),
            ([], None) => Ok(Framing::UntilEnd),
            ([coding], None) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            ([_], None) => Err("its Transfer-Encoding is not known"),
            _ => Err("it tells its length in two ways"),
        }
    }

    /// The head as minreq is given it, with this reason phrase and without the content's coding.
    pub fn plain(&self, reason: &str) -> String {
        let mut text = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in self.fields.iter().filter(|(name, _)| name != "transfer-encoding") {
            let _ = write!(text, "{name}: {value}\r\n"); // Writing to a String cannot fail.
        }
        text + "\r\n"
    }
}

/// The code of `HTTP/1.1 200 OK`.
fn status(line: &[u8]) -> Option<u16> {
    let (code, rest) =
        line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?.split_at_checked(3)?;
    let fits = code.iter().all(u8::is_ascii_digit) && (rest.is_empty() || rest.starts_with(b" "));
    let code: u16 = std::str::from_utf8(code).ok().filter(|_| fits)?.parse().ok()?;
    (100..600).contains(&code).then_some(code)
}

/// `Name: value`; bytes beyond ASCII in a value become `?`. A continued line (RFC 9112, 5.2) is none.
fn field(line: &[u8]) -> Option<(String, String)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    if name.is_empty() || !name.iter().all(token) || value.iter().any(control) {
        return None;
    }
    let ascii = |byte: &u8| char::from(if byte.is_ascii() { *byte } else { b'?' });
    Some((name.iter().map(ascii).collect::<String>().to_ascii_lowercase(), value.iter().map(ascii).collect()))
}

/// The size at the beginning of a chunk's first line, `1f;extension`.
pub fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let fits = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| fits)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &str) -> Head {
        Head::parse(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn reads_heads() {
        let read = Head::parse(b"HTTP/1.0 404\nA-b:c d \r\nE:\t\xe9\n\r\n").unwrap();
        assert_eq!(read.status, 404);
        assert_eq!(read.fields, [("a-b".into(), "c d".into()), ("e".into(), "?".into())]);
        assert_eq!(head("A: b\r\nTransfer-Encoding: chunked\r\n").plain("x"), "HTTP/1.1 200 x\r\na: b\r\n\r\n");
    }

    #[test]
    fn refuses_what_is_no_head() {
        for bad in [
            "",
            "\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 600 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 +20 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        ] {
            assert!(Head::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_length_is_told_in_one_way() {
        assert_eq!(head("").framing(false), Ok(Framing::UntilEnd));
        assert_eq!(head("Content-Length: 5\r\nContent-Length: 5\r\n").framing(false), Ok(Framing::Length(5)));
        assert_eq!(head("Content-Length: 5\r\n").framing(true), Ok(Framing::Length(0)));
        assert_eq!(head("Transfer-Encoding: Chunked\r\n").framing(false), Ok(Framing::Chunked));
        for bad in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert!(head(bad).framing(false).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reads_sizes_of_chunks() {
        for (line, size) in [("0\r\n", 0), ("1F;a=b\r\n", 31), ("fffffffffffffff\n", (1 << 60) - 1)] {
            assert_eq!(chunk_size(line.as_bytes()), Some(size));
        }
        for bad in ["\r\n", ";a\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", "1 2\r\n", "ffffffffffffffff\r\n"] {
            assert_eq!(chunk_size(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
