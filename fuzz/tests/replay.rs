//! Every target, fed with its corpus and with changed copies of it: the same ones each time.
#![allow(clippy::expect_used, clippy::unwrap_used)] // A test may stop where it is.

use fuzz::TARGETS;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How many changed inputs each target is fed with. Those of archives cost many system calls each.
fn changes(name: &str) -> u32 {
    match name {
        "extract" | "layer" | "load" => 500,
        "gzip" | "zstd" => 200,
        _ => 3000,
    }
}

/// Far more than any input takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let files = fs::read_dir(&directory).expect("each target has a corpus");
    let mut all: Vec<_> = files
        .map(|file| {
            let path = file.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// Feeds one input, and says which it was if the target panics.
fn feed(name: &str, target: fuzz::Target, input: &[u8], from: &str) -> bool {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
    assert!(outcome.is_ok(), "{name}: panics at a change of {from}: b\"{}\"", input.escape_ascii());
    assert!(begun.elapsed() < PATIENCE, "{name}: hangs at a change of {from}: b\"{}\"", input.escape_ascii());
    outcome.unwrap_or_default()
}

/// Numbers that only look like chance (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }

    /// One small change: a bit, a byte, a piece cut out, doubled, or taken from `other`.
    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len());
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.below(6) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = [0, b' ', b'/', b'.', 0x7f, 0xff, b'9', b'"'][self.below(8)],
            2 => input.truncate(at),
            3 if !input.is_empty() => drop(input.drain(at..end)),
            4 if !input.is_empty() => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let from = self.below(other.len());
                let to = (from + 1 + self.below(64)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
}

fn replay(name: &str) {
    let target = fuzz::target(name).unwrap();
    let corpus = corpus(name);
    let accepted = corpus.iter().filter(|(file, input)| feed(name, target, input, file)).count();
    // A corpus of which all is refused at the first byte would show nothing.
    assert!(accepted > 0 && accepted < corpus.len(), "{name} accepts {accepted} of {} in its corpus", corpus.len());
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for _ in 0..changes(name) {
        let (file, input) = &corpus[chance.below(corpus.len())];
        let (_, other) = &corpus[chance.below(corpus.len())];
        let mut input = input.clone();
        for _ in 0..=chance.below(4) {
            chance.change(&mut input, other);
        }
        feed(name, target, &input, file);
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*
    };
}

replays! { body credentials digest document extract gzip head header json layer load reference seccomp spec tar url zstd }

#[test]
fn every_target_is_replayed() {
    assert!(TARGETS.iter().map(|(name, _)| *name).eq(NAMES.iter().copied()));
}
