//! What happens to each call: what a profile says, together with our own rules.

use super::calls::Machine;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use store::seccomp::{Condition, Operator, Profile, Rule, action};

/// A call that this kernel does not have.
const NO_SUCH_CALL: u32 = action::ERRNO | libc::ENOSYS.cast_unsigned();

/// From this number on the calls are those of the x32 ABI (`__X32_SYSCALL_BIT`).
const X32: u32 = 0x4000_0000;

/// Requests of ioctl(2) that type at a terminal in place of its user, as which a process could leave a container whose
/// terminal is the host's (CVE-2017-5226): `TIOCSTI`, `TIOCLINUX`.
const TYPING: [u64; 2] = [0x5412, 0x541c];

/// What is done with a call: the first check that holds says it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// The conditions, all of which must hold, and then the action.
    pub checks: Vec<(Vec<Condition>, u32)>,
    /// The action where none of them holds.
    pub otherwise: u32,
}

impl Verdict {
    fn always(otherwise: u32) -> Self {
        Self { checks: Vec::new(), otherwise }
    }
}

/// Runs of numbers with equal verdicts.
#[derive(Default)]
struct Ranges(Vec<(u32, Verdict)>);

impl Ranges {
    /// From this number on, the verdict is this one.
    fn add(&mut self, first: u32, verdict: &Verdict) {
        if self.0.last().is_none_or(|(_, last)| last != verdict) {
            self.0.push((first, verdict.clone()));
        }
    }
}

/// Says what is done with calls.
pub struct Judge<'a> {
    /// What happens to calls that the profile does not name.
    default: u32,
    /// What happens to those that came later.
    later: u32,
    rules: HashMap<&'a str, Vec<&'a Rule>, BuildHasherDefault<Fnv>>,
    confined: bool,
    emulation: bool,
}

impl<'a> Judge<'a> {
    /// Without a profile, all calls are let in; for `emulation` see [`super::filter`].
    pub fn new(profile: Option<&'a Profile>, emulation: bool) -> Self {
        let default = profile.map_or(action::ALLOW, |profile| profile.default);
        let lets_in = [action::ALLOW, action::LOG, action::TRACE].contains(&(default & 0xffff_0000));
        let mut rules: HashMap<_, Vec<&Rule>, _> = HashMap::default();
        // What says what happens anyway says nothing (libseccomp has it so).
        let all = profile.map_or(&[][..], |profile| &profile.rules).iter().filter(|rule| rule.action != default);
        for (name, rule) in all.flat_map(|rule| rule.names.iter().map(move |name| (name.as_str(), rule))) {
            rules.entry(name).or_default().push(rule);
        }
        let later = if lets_in { default } else { NO_SUCH_CALL };
        Self { default, later, rules, confined: profile.is_some(), emulation }
    }

    /// All numbers in runs of equal verdicts: the first of each run, in their order.
    pub fn ranges(&self, machine: &Machine) -> Vec<(u32, Verdict)> {
        let later = Verdict::always(self.later);
        let mut ranges = Ranges::default();
        let (mut next, mut newest) = (0, 0);
        for (number, name) in machine.calls() {
            if number > next {
                ranges.add(next, &later);
            }
            ranges.add(number, &self.verdict(name, machine));
            next = number + 1;
            newest = if self.rules.contains_key(name) { next } else { newest };
        }
        if self.later != self.default {
            ranges.0.retain(|(first, _)| *first < newest);
            next = newest;
        }
        ranges.add(next, &later);
        if self.confined && machine.name == "SCMP_ARCH_X86_64" {
            ranges.add(X32, &Verdict::always(NO_SUCH_CALL));
        }
        ranges.0
    }

    /// What is done with the call of this name.
    pub fn verdict(&self, name: &str, machine: &Machine) -> Verdict {
        let mut verdict = Verdict::always(self.default);
        for rule in self.rules.get(name).into_iter().flatten() {
            if rule.conditions.is_empty() {
                // It is about all calls of the name, whatever else is said of some.
                verdict = Verdict::always(rule.action);
                break;
            }
            add_checks(&mut verdict, rule, machine);
        }
        if self.emulation && verdict == Verdict::always(action::ALLOW) {
            emulate(&mut verdict, name);
        }
        if self.confined && name == "ioctl" {
            // The kernel takes the lower half of the request alone (CVE-2019-7303).
            let typing = TYPING.map(|request| (vec![masked(1, 0xffff_ffff, request)], refuse(libc::EPERM)));
            verdict.checks.splice(0..0, typing);
        }
        verdict
    }
}

/// Adds what a rule with conditions says. Where several are about one argument, each stands for itself, as runc and crun
/// have it.
fn add_checks(verdict: &mut Verdict, rule: &Rule, machine: &Machine) {
    let bits = u64::MAX >> (64 - machine.bits);
    let cut = |condition: &Condition| Condition {
        value: condition.value & bits,
        second: condition.second & condition.value & bits,
        ..*condition
    };
    let conditions: Vec<Condition> = rule.conditions.iter().map(cut).collect();
    let arguments = conditions.iter().fold(0_u8, |seen, condition| seen | 1 << condition.argument);
    if arguments.count_ones() as usize == conditions.len() {
        verdict.checks.push((conditions, rule.action));
    } else {
        verdict.checks.extend(conditions.into_iter().map(|condition| (vec![condition], rule.action)));
    }
}

/// Where one id is mapped, what changes owners and identities cannot work, nor can device nodes be made.
fn emulate(verdict: &mut Verdict, name: &str) {
    let done = refuse(0);
    let devices = |argument| {
        [libc::S_IFCHR, libc::S_IFBLK].map(|kind| (vec![masked(argument, libc::S_IFMT.into(), kind.into())], done))
    };
    match name {
        "capset" => verdict.otherwise = done,
        "mknod" => verdict.checks.extend(devices(1)),
        "mknodat" => verdict.checks.extend(devices(2)),
        _ => {
            let plain = name.strip_suffix("32").unwrap_or(name);
            if EMULATED.contains(&plain) {
                verdict.otherwise = done;
            }
        }
    }
}

/// Those that do nothing and succeed; each also as the call of i386 that takes ids of 32 bits.
const EMULATED: [&str; 13] = [
    "chown",
    "fchown",
    "fchownat",
    "lchown",
    "setfsgid",
    "setfsuid",
    "setgid",
    "setgroups",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setuid",
];

/// The call fails with this error number; with 0 it does nothing and succeeds.
fn refuse(number: i32) -> u32 {
    action::ERRNO | number.cast_unsigned()
}

fn masked(argument: u8, mask: u64, value: u64) -> Condition {
    Condition { argument, operator: Operator::MaskedEqual, value: mask, second: value }
}

/// FNV-1a: names are few and short, and chosen by whoever runs the container.
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
