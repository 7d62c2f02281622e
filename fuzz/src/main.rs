//! libFuzzer's program for all targets; the variable `FUZZ_TARGET` says which. See `tests/fuzz.sh`.
#![no_main]

use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;

/// The longest that one input may take of the processor, in seconds; the time on the wall says little on a busy machine.
const MOST: i64 = 1;

static TARGET: OnceLock<fuzz::Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let Some(target) = fuzz::target(&name) else {
            let names: Vec<&str> = fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
            eprintln!("crate-fuzz: FUZZ_TARGET is one of: {}", names.join(" "));
            std::process::exit(2);
        };
        let _ = TARGET.set(target); // Nothing else sets it.
    },
    |data: &[u8]| {
        if let Some(target) = TARGET.get() {
            let begun = clock_gettime(ClockId::ProcessCPUTime);
            target(data);
            let took = clock_gettime(ClockId::ProcessCPUTime) - begun;
            assert!(took.tv_sec < MOST, "the input takes {took:?}");
        }
    }
);
