//! Reading a layer's content: gzip, zstd or plain, told apart by the first bytes.
//!
//! Damage is an [`io::Error`] of kind `InvalidData`; see [`refusal`].

use crate::digest::{Digest, Hasher};
use crate::error::Error;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_IGNORE_ADLER32};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// Bytes that are read, inflated and passed on at once: large enough that the inner loops run undisturbed.
pub const CHUNK: usize = 256 << 10;

/// Input that is damaged or malformed, as [`io::Error`].
pub fn damaged(why: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.into())
}

/// The error for `doing`: refused (exit code 6) if the input is damaged, else the system's.
pub fn refusal(error: io::Error, doing: &str) -> Error {
    match error.kind() {
        ErrorKind::InvalidData => Error::Refused(format!("{doing}: {error}")),
        ErrorKind::UnexpectedEof => Error::Refused(format!("{doing}: it ends too early")),
        _ => Error::Io { doing: doing.to_owned(), source: error },
    }
}

/// What is read from; of one type, so that there is one copy of the loops that read it.
type Input<'a> = BufReader<io::Chain<io::Cursor<Vec<u8>>, Box<dyn Read + 'a>>>;

/// What compressed or plain content holds.
pub struct Content<'a>(Format<'a>);

enum Format<'a> {
    Gzip(Gzip<'a>),
    Zstd(Zstd<'a>),
    Plain(Input<'a>),
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Format::Gzip(gzip) => gzip.read(buffer),
            Format::Zstd(zstd) => zstd.read(buffer),
            Format::Plain(plain) => plain.read(buffer),
        }
    }
}

/// Opens compressed or plain content for reading; nothing is assumed of it but its first bytes.
pub fn open<'a>(mut input: Box<dyn Read + 'a>) -> io::Result<Content<'a>> {
    let mut first = Vec::new();
    (&mut input).take(6).read_to_end(&mut first)?;
    let magic: &[u8] = &first.clone();
    let input = BufReader::with_capacity(CHUNK, io::Cursor::new(first).chain(input));
    Ok(Content(match magic {
        [0x1f, 0x8b, ..] => Format::Gzip(Gzip::new(input)),
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd(Zstd::new(input)),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => return Err(damaged("it is in bzip2, which no layer may be")),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => return Err(damaged("it is in xz, which no layer may be")),
        _ => Format::Plain(input),
    }))
}

/// A reader that hashes what is read through it.
pub struct Hashing<R> {
    inner: R,
    hasher: Hasher,
    length: u64,
}

impl<R: Read> Hashing<R> {
    /// Hashes what is read from `inner`.
    pub fn new(inner: R, hasher: Hasher) -> Self {
        Self { inner, hasher, length: 0 }
    }

    /// The digest and number of the bytes read.
    pub fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.length)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.length += count as u64;
        Ok(count)
    }
}

/// Fills `buffer` as far as the input goes.
pub fn read_full(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// gzip (RFC 1952): any number of members, then nothing but zeros, as tapes and some builders leave them.
struct Gzip<'a> {
    input: Input<'a>,
    state: Box<DecompressorOxide>,
    /// The last output; a ring, for deflate copies from the 32 KiB before.
    ring: Vec<u8>,
    next: usize,
    /// How many bytes before `next` are yet to be passed on.
    ready: usize,
    tables: Box<Tables>,
    crc: u32,
    length: u32,
    at: Place,
}

#[derive(PartialEq, Clone, Copy)]
enum Place {
    Header,
    Body,
    End,
}

impl<'a> Gzip<'a> {
    fn new(input: Input<'a>) -> Self {
        let (state, tables) = (Box::new(DecompressorOxide::new()), tables());
        Self { input, state, ring: vec![0; CHUNK], next: 0, ready: 0, tables, crc: 0, length: 0, at: Place::Header }
    }

    /// Reads a member's header (RFC 1952, 2.3).
    fn header(&mut self) -> io::Result<()> {
        let fixed: [u8; 10] = array(&mut self.input)?;
        let flags = fixed[3];
        if fixed[..3] != [0x1f, 0x8b, 8] || flags & 0xe0 != 0 {
            return Err(damaged("its gzip header is malformed"));
        }
        if flags & 4 != 0 {
            let length = u16::from_le_bytes(array(&mut self.input)?);
            skip(&mut self.input, u64::from(length))?;
        }
        for text in [8, 16] {
            while flags & text != 0 && array::<1>(&mut self.input)? != [0] {}
        }
        if flags & 2 != 0 {
            skip(&mut self.input, 2)?;
        }
        self.state.init();
        (self.crc, self.length, self.at) = (0, 0, Place::Body);
        Ok(())
    }

    /// Inflates more into the ring.
    fn body(&mut self) -> io::Result<()> {
        let bytes = self.input.fill_buf()?;
        let more = if bytes.is_empty() { 0 } else { TINFL_FLAG_HAS_MORE_INPUT };
        let flags = TINFL_FLAG_IGNORE_ADLER32 | more;
        let (status, read, written) = decompress(&mut self.state, bytes, &mut self.ring, self.next, flags);
        self.input.consume(read);
        let output = &self.ring[self.next..self.next + written];
        self.crc = crc32(&self.tables, self.crc, output);
        self.length = self.length.wrapping_add(u32::try_from(written).unwrap_or(u32::MAX));
        self.ready = written;
        self.next = (self.next + written) % self.ring.len();
        match status {
            TINFLStatus::Done => self.trailer(),
            TINFLStatus::NeedsMoreInput if more == 0 => Err(ErrorKind::UnexpectedEof.into()),
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => Ok(()),
            TINFLStatus::FailedCannotMakeProgress => Err(ErrorKind::UnexpectedEof.into()),
            _ => Err(damaged("its gzip content is damaged")),
        }
    }

    /// Checks a member's trailer, and finds out whether another member follows.
    fn trailer(&mut self) -> io::Result<()> {
        let [crc, length] = [array(&mut self.input)?, array(&mut self.input)?].map(u32::from_le_bytes);
        if (crc, length) != (self.crc, self.length) {
            return Err(damaged("its gzip checksum does not match"));
        }
        self.at = match self.input.fill_buf()? {
            [0x1f, ..] => Place::Header,
            _ => Place::End,
        };
        Ok(())
    }
}

impl Gzip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready == 0 {
            match self.at {
                Place::Header => self.header()?,
                Place::Body => self.body()?,
                Place::End => {
                    return only_zeros(&mut self.input, "something follows its gzip content").map(|()| 0);
                }
            }
        }
        // What was written never wraps within one call, so neither does what is ready.
        let end = if self.next == 0 { self.ring.len() } else { self.next };
        let count = self.ready.min(buffer.len());
        let start = end - self.ready;
        buffer[..count].copy_from_slice(&self.ring[start..start + count]);
        self.ready -= count;
        Ok(count)
    }
}

/// The largest zstd window, in bytes: what must be kept to go on from. RFC 8878, 3.1.1.1.2, asks for 8 MiB at least.
const WINDOW_LIMIT: u64 = 32 << 20;

/// zstd (RFC 8878): any number of frames, skippable ones among them.
struct Zstd<'a> {
    input: Input<'a>,
    frame: Box<FrameDecoder>,
}

impl<'a> Zstd<'a> {
    fn new(input: Input<'a>) -> Self {
        let mut frame = Box::new(FrameDecoder::new());
        frame.set_max_window_size(WINDOW_LIMIT);
        Self { input, frame }
    }

    /// Begins the next frame; `false` at the end of the input.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.input.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.frame.reset(&mut self.input) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    skip(&mut self.input, u64::from(length))?;
                }
                // Its own words for what is wrong would take 6 KB of the program.
                Err(_) => return Err(damaged("its zstd header is malformed")),
            }
        }
    }

    fn check(&self) -> io::Result<()> {
        match self.frame.get_checksum_from_data() {
            Some(sum) if self.frame.get_calculated_checksum() != Some(sum) => {
                Err(damaged("its zstd checksum does not match"))
            }
            _ => Ok(()),
        }
    }
}

impl Zstd<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.frame.can_collect() == 0 {
            if self.frame.is_finished() {
                self.check()?;
                if !self.begin()? {
                    return Ok(0);
                }
            } else {
                let strategy = BlockDecodingStrategy::UptoBytes(CHUNK);
                let decoded = self.frame.decode_blocks(&mut self.input, strategy);
                decoded.map_err(|_| damaged("its zstd content is damaged"))?;
            }
        }
        self.frame.read(buffer)
    }
}

fn array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).map(|()| bytes)
}

fn skip(input: &mut impl Read, length: u64) -> io::Result<()> {
    match io::copy(&mut input.take(length), &mut io::sink())? {
        skipped if skipped == length => Ok(()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads to the end; anything but zeros is refused, with `otherwise` as the reason.
pub fn only_zeros(input: &mut dyn BufRead, otherwise: &str) -> io::Result<()> {
    loop {
        let bytes = input.fill_buf()?;
        let count = bytes.len();
        if count == 0 {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(damaged(otherwise));
        }
        input.consume(count);
    }
}

/// Tables for eight bytes at a time: `tables[k][b]` is the remainder of byte `b` with `k` zero bytes after it.
type Tables = [[u32; 256]; 8];

/// Made when they are needed: that takes a moment, and in the program they would be 8 KiB.
fn tables() -> Box<Tables> {
    let mut tables = Box::new([[0; 256]; 8]);
    for (byte, place) in (0..).zip(&mut tables[0]) {
        let bit = |remainder: u32, _| (remainder >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(remainder & 1));
        *place = (0..8).fold(byte, bit);
    }
    for zeros in 1..8 {
        for byte in 0..256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
        }
    }
    tables
}

/// Goes on with the CRC-32 of RFC 1952, section 8; it begins with 0.
fn crc32(tables: &Tables, crc: u32, bytes: &[u8]) -> u32 {
    let mut crc = !crc;
    let [t0, t1, t2, t3, t4, t5, t6, t7] = tables;
    let (eights, rest) = bytes.as_chunks::<8>();
    // Written out, for this is where small code would cost most.
    for [a, b, c, d, e, f, g, h] in eights {
        let [w, x, y, z] = crc.to_le_bytes();
        crc = t7[usize::from(a ^ w)] ^ t6[usize::from(b ^ x)] ^ t5[usize::from(c ^ y)] ^ t4[usize::from(d ^ z)];
        crc ^= t3[usize::from(*e)] ^ t2[usize::from(*f)] ^ t1[usize::from(*g)] ^ t0[usize::from(*h)];
    }
    for byte in rest {
        crc = (crc >> 8) ^ t0[usize::from(crc.to_le_bytes()[0] ^ byte)];
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::compress_to_vec;

    fn gzip(content: &[u8], extra: bool) -> Vec<u8> {
        let mut bytes = vec![0x1f, 0x8b, 8, if extra { 4 | 8 | 16 | 2 } else { 0 }, 0, 0, 0, 0, 0, 3];
        if extra {
            bytes.extend(b"\x03\0abcname\0comment\0\x11\x22");
        }
        bytes.extend(compress_to_vec(content, 6));
        bytes.extend(crc32(&tables(), 0, content).to_le_bytes());
        bytes.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        bytes
    }

    /// Input that comes a few bytes at a time, so that every boundary falls everywhere.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(7);
            self.0.read(&mut buffer[..most])
        }
    }

    fn all(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        open(Box::new(Drops(bytes)))?.read_to_end(&mut content).map(|_| content)
    }

    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 15
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn crc32_is_that_of_the_standard() {
        let crc32 = |crc, bytes: &[u8]| crc32(&tables(), crc, bytes);
        assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xcbf4_3926);
        assert_eq!(crc32(0, b""), 0);
    }

    #[test]
    fn reads_gzip_of_several_members_and_zeros_after() {
        let long = sample(3 * CHUNK + 12345);
        let mut bytes = gzip(&long, false);
        bytes.extend(gzip(b"", true));
        bytes.extend(gzip(b"end", true));
        let whole = [&long[..], b"end"].concat();
        assert_eq!(all(&bytes).unwrap(), whole);
        bytes.extend([0; 600]);
        assert_eq!(all(&bytes).unwrap(), whole);
        bytes.push(1);
        assert_eq!(all(&bytes).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn refuses_gzip_that_is_cut_or_changed() {
        let bytes = gzip(&sample(5000), true);
        for length in 2..bytes.len() {
            let kind = all(&bytes[..length]).unwrap_err().kind();
            assert!(matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::InvalidData), "{length}: {kind:?}");
        }
        let last = bytes.len() - 1;
        for at in [1, 2, 3, 60, 2000, last - 7, last] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x80;
            assert!(all(&changed).is_err() || at == 1, "{at}");
        }
    }

    #[test]
    fn reads_zstd_frames_and_skips_skippable_ones() {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let long = sample(2 * CHUNK);
        let mut bytes = ruzstd::encoding::compress_to_vec(&long[..], level);
        let cut = bytes.len() - 9;
        assert!(all(&bytes[..cut]).is_err());
        bytes.extend(b"\x53\x2a\x4d\x18\x03\0\0\0abc");
        bytes.extend(ruzstd::encoding::compress_to_vec(&b"end"[..], level));
        assert_eq!(all(&bytes).unwrap(), [&long[..], b"end"].concat());
        bytes.push(0);
        assert!(all(&bytes).is_err());
    }

    #[test]
    fn leaves_plain_content_alone() {
        for content in [&b""[..], b"a", b"\x1f", b"plain content"] {
            assert_eq!(all(content).unwrap(), content);
        }
    }
}
