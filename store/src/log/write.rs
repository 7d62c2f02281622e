//! Writing the log. Whatever happens to it, the container goes on: what cannot be written is counted.

use super::{HEAD, LOST, Stream, TEXT, name, open};
use crate::error::reason;
use crate::time;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, ftruncate, open as open_path, renameat, statat, unlinkat};
use rustix::io::{Errno, Result, pread, write};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The most bytes of lines that are held before they are written.
const BUFFER: usize = 64 << 10;
/// The smallest size of a file that is kept to, in bytes.
const SMALLEST: u64 = 4 << 10;
/// How long a log that failed is left alone: a full disk is not asked at each line.
const PAUSE: Duration = Duration::from_secs(1);

/// How much of a container's output is kept: never more than `size × files` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of one file; at least 4096.
    pub size: u64,
    /// How many files there are: `log`, `log.1`, …; at least 1.
    pub files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: 10 << 20, files: 3 }
    }
}

/// A container's log, open for writing. A program has one at a time.
///
/// Lines are whole after every call, so nothing is lost with the program that writes. A file system that is full, fails
/// or has become read-only loses output, and nothing else; the writer must ignore SIGXFSZ, lest a limit on file sizes
/// (RLIMIT_FSIZE, setrlimit(2)) end it.
pub struct Log {
    dir: PathBuf,
    limits: Limits,
    /// The directory and the file in it that is written.
    open: Option<(OwnedFd, File)>,
    /// Lines that are to be written, the first `marker` bytes of them the count of what was lost.
    buffer: Vec<u8>,
    marker: usize,
    /// Bytes of output that are missing, and why.
    lost: u64,
    failure: Errno,
    /// Until when a log that failed is left alone.
    pause: Option<Instant>,
}

impl Log {
    /// Opens the log of the bundle in `dir`. Where it cannot be opened, that is tried again with what there is to write.
    pub fn open(dir: &Path, limits: Limits) -> Self {
        let limits = Limits { size: limits.size.max(SMALLEST), files: limits.files.max(1) };
        let buffer = Vec::with_capacity(BUFFER);
        let failure = Errno::NOENT;
        let mut log =
            Self { dir: dir.to_owned(), limits, open: None, buffer, marker: 0, lost: 0, failure, pause: None };
        let opened = log.ready(0);
        log.note(opened.err());
        log
    }

    /// Writes a piece of output as lines of the present time.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let head = format!("{} {} ", time::now(), stream.word());
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let mut pieces = text.chunks(TEXT.min(self.room() / 2)).peekable();
            if text.is_empty() {
                self.line(&head, b"F ", text);
            }
            while let Some(piece) = pieces.next() {
                let goes_on = !ended || pieces.peek().is_some();
                self.line(&head, if goes_on { b"P " } else { b"F " }, piece);
            }
        }
        self.flush();
    }

    /// Says in the log what was lost, if it has not been said: to be called when there is no more output.
    pub fn finish(&mut self) {
        self.pause = None;
        self.begin();
        self.flush();
    }

    /// The most bytes that are written in one piece.
    fn room(&self) -> usize {
        usize::try_from(self.limits.size).unwrap_or(BUFFER).min(BUFFER)
    }

    fn line(&mut self, head: &str, tag: &[u8], text: &[u8]) {
        if self.buffer.len() + HEAD + text.len() + 1 > self.room() {
            self.flush();
        }
        self.begin();
        for part in [head.as_bytes(), tag, text, b"\n"] {
            self.buffer.extend_from_slice(part);
        }
    }

    /// Puts what is to be said about lost bytes before the first line.
    fn begin(&mut self) {
        if self.lost > 0 && self.buffer.is_empty() {
            let (count, reason) = (self.lost, reason(&self.failure.into()));
            let marker = format!("{} stderr {LOST} {count} bytes of output were lost: {reason}\n", time::now());
            self.buffer.extend_from_slice(marker.as_bytes());
            self.marker = marker.len();
        }
    }

    /// Writes the buffer, and counts what of it could not be written.
    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let (written, failure) = self.write();
        self.note(failure);
        if self.marker > 0 && written >= self.marker {
            self.lost = 0;
        }
        let missing = self.buffer[written.max(self.marker)..].split_inclusive(|byte| *byte == b'\n');
        self.lost = self.lost.saturating_add(missing.map(output_bytes).sum());
        self.buffer.clear();
        self.marker = 0;
    }

    fn note(&mut self, failure: Option<Errno>) {
        if let Some(failure) = failure {
            self.failure = failure;
            self.pause = Some(Instant::now() + PAUSE);
        }
    }

    /// Writes whole lines of the buffer: the bytes of those that are in the log now, and what became of the others.
    fn write(&mut self) -> (usize, Option<Errno>) {
        if self.pause.is_some_and(|until| Instant::now() < until) {
            return (0, None);
        }
        self.pause = None;
        let start = match self.ready(self.buffer.len() as u64) {
            Ok(size) => size,
            Err(failure) => {
                self.open = None;
                return (0, Some(failure));
            }
        };
        let Some((_, file)) = &self.open else { return (0, Some(Errno::BADF)) };
        let mut written = 0;
        while written < self.buffer.len() {
            let failure = match write(file, &self.buffer[written..]) {
                Ok(0) => Errno::NOSPC,
                Ok(count) => {
                    written += count;
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(failure) => failure,
            };
            let whole = line_end(&self.buffer[..written]);
            if ftruncate(file, start + whole as u64).is_err() {
                self.open = None; // Opening it again mends it.
            }
            return (whole, Some(failure));
        }
        (written, None)
    }

    /// Makes `log` a file that takes `length` bytes more within its limit; its size.
    fn ready(&mut self, length: u64) -> Result<u64> {
        let size = self.size()?;
        if size == 0 || size + length <= self.limits.size {
            return Ok(size);
        }
        if let Some((dir, _)) = self.open.take() {
            rotate(&dir, self.limits.files)?;
        }
        self.size()
    }

    /// The size of `log`, which is opened where it is not open, or has been removed.
    fn size(&mut self) -> Result<u64> {
        if let Some((_, file)) = &self.open {
            let stat = fstat(file)?;
            if stat.st_nlink > 0 {
                return Ok(stat.st_size.cast_unsigned());
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open_path(&self.dir, flags, Mode::empty())?;
        let file = open(dir.as_fd(), 0, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)?;
        mend(&file)?;
        let size = fstat(&file)?.st_size.cast_unsigned();
        self.open = Some((dir, file));
        Ok(size)
    }
}

/// The bytes of output in a line, which is given with its own newline.
fn output_bytes(line: &[u8]) -> u64 {
    let newline = line.get(HEAD - 2) == Some(&b'F');
    line.len().saturating_sub(HEAD + 1) as u64 + u64::from(newline)
}

/// The length of the whole lines in `bytes`.
fn line_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1)
}

/// Cuts off an unfinished last line, or ends it in a file that can only grow: it was left by a writer that was killed,
/// or whose disk was full, or by a power cut.
fn mend(file: &File) -> Result<()> {
    let stat = fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let size = stat.st_size.cast_unsigned();
    let (mut end, mut block) = (size, [0; 4096]);
    while end > 0 {
        let low = end.saturating_sub(block.len() as u64);
        let held = usize::try_from(end - low).unwrap_or_default();
        let held = pread(file, &mut block[..held], low)?;
        let whole = line_end(&block[..held]) as u64;
        end = low + whole;
        if whole > 0 {
            break;
        }
    }
    if end == size {
        return Ok(());
    }
    ftruncate(file, end).or_else(|_| write(file, b"\n").map(|_| ()))
}

/// Gives every file of the log the next number, up to the first that is free, or else the last that is allowed: that
/// one is lost. Where this is interrupted there is a free number, which the next rotation fills: no file is lost, or
/// there twice.
fn rotate(dir: &OwnedFd, files: u32) -> Result<()> {
    // There were more files before the limit was made smaller.
    for number in files.. {
        if unlinkat(dir, name(number), AtFlags::empty()).is_err() {
            break;
        }
    }
    if files == 1 {
        return unlinkat(dir, name(0), AtFlags::empty());
    }
    let is_free = |number: &u32| statat(dir, name(*number), AtFlags::SYMLINK_NOFOLLOW).is_err();
    let free = (1..files).find(is_free).unwrap_or(files - 1);
    for number in (0..free).rev() {
        match renameat(dir, name(number), dir, name(number + 1)) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}
