//! Profiles of system calls: what crate-store reads from a file, and crate-sup makes of it.

use crate::supervisor::seccomp;
use store::json;
use store::seccomp::{Profile, of_text};
use store::spec::Spec;

/// Capabilities on which the entries of the corpus depend.
const BOUNDING: [&str; 2] = ["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"];

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
const LIMIT: usize = 4096;

/// A profile in a file. What is made of it must be a profile as `config.json` has it, and its filter one that the kernel
/// takes; one that is too long is refused.
pub fn seccomp(data: &[u8]) -> bool {
    let Ok(resolved) = of_text(data, "a profile", &BOUNDING.map(str::to_owned)) else { return false };
    let profile = json::read::<Profile>(resolved.as_bytes(), "what was made of it");
    assert!(profile.is_ok(), "{resolved} is written and not read: {profile:?}");
    let mut spec = Spec::default();
    spec.linux.seccomp = Some(resolved);
    [false, true].into_iter().all(|emulation| match seccomp::filter(&spec, emulation) {
        Ok(filter) => {
            check(&filter);
            true
        }
        Err(error) => {
            assert_eq!(error.exit_code(), 6, "{error}");
            false
        }
    })
}

/// What the kernel wants of a filter: it loads aligned words of struct seccomp_data, and ends by a return, wherever it goes.
fn check(filter: &[u8]) {
    let (steps, rest) = filter.as_chunks::<8>();
    assert!(rest.is_empty() && (1..=LIMIT).contains(&steps.len()), "{} bytes", filter.len());
    for (place, step) in steps.iter().enumerate() {
        let code = u32::from(u16::from_ne_bytes([step[0], step[1]]));
        let operand = u32::from_ne_bytes([step[4], step[5], step[6], step[7]]);
        let left = steps.len() - place - 1;
        let lands = |distance: usize| distance < left;
        let sound = match code & 7 {
            libc::BPF_LD => operand < 64 && operand % 4 == 0 && lands(0),
            libc::BPF_ALU => lands(0),
            libc::BPF_JMP if code == libc::BPF_JMP | libc::BPF_JA => lands(operand as usize),
            libc::BPF_JMP => lands(step[2].into()) && lands(step[3].into()),
            libc::BPF_RET => true,
            _ => false,
        };
        assert!(sound, "instruction {place} of {}: {step:?}", steps.len());
    }
}
