//! What happens to each call: what a profile says, together with our own rules.

use super::calls::{Machine, NUMBERS};
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

/// What is done with the calls of x32.
static X32_CALLS: Verdict = Verdict::always(NO_SUCH_CALL);

impl Verdict {
    const fn always(otherwise: u32) -> Self {
        Self { checks: Vec::new(), otherwise }
    }
}

/// Says what is done with the calls of an architecture.
pub struct Judge<'a> {
    machine: &'a Machine,
    /// All verdicts: the first is that of calls that the profile does not name, the second that of calls which came later.
    verdicts: Vec<Verdict>,
    /// By number, which of them.
    calls: [usize; NUMBERS],
    /// From this number on, there are none that the profile names.
    newest: usize,
    confined: bool,
}

const DEFAULT: usize = 0;
const LATER: usize = 1;

impl<'a> Judge<'a> {
    /// Without a profile, all calls are let in; for `emulation` see [`super::filter`].
    pub fn new(profile: Option<&Profile>, emulation: bool, machine: &'a Machine) -> Self {
        let default = profile.map_or(action::ALLOW, |profile| profile.default);
        let lets_in = [action::ALLOW, action::LOG, action::TRACE].contains(&(default & 0xffff_0000));
        let later = if lets_in { default } else { NO_SUCH_CALL };
        let verdicts = vec![Verdict::always(default), Verdict::always(later)];
        let mut judge = Self { machine, verdicts, calls: [LATER; NUMBERS], newest: 0, confined: profile.is_some() };
        for (number, _) in machine.calls() {
            judge.calls[number] = DEFAULT;
        }
        // What says what happens anyway says nothing (libseccomp has it so).
        let rules = profile.map_or(&[][..], |profile| &profile.rules).iter().filter(|rule| rule.action != default);
        for rule in rules {
            judge.rule(rule);
        }
        if lets_in {
            judge.newest = NUMBERS;
        }
        if emulation {
            judge.emulate();
        }
        if let Some(number) = machine.number("ioctl").filter(|_| judge.confined) {
            // The kernel takes the lower half of the request alone (CVE-2019-7303).
            let typing = TYPING.map(|request| (vec![masked(1, 0xffff_ffff, request)], refuse(libc::EPERM)));
            judge.own(number).checks.splice(0..0, typing);
        }
        judge
    }

    fn rule(&mut self, rule: &Rule) {
        let always = rule.conditions.is_empty().then(|| self.add(Verdict::always(rule.action)));
        for number in rule.names.iter().filter_map(|name| self.machine.number(name)) {
            self.newest = self.newest.max(number + 1);
            let before = self.calls[number];
            if before != DEFAULT && self.verdicts[before].checks.is_empty() {
                continue; // An earlier rule is about all calls of the name.
            }
            if let Some(place) = always {
                self.calls[number] = place; // Whatever else is said of some of them.
            } else {
                let bits = self.machine.bits;
                add_checks(self.own(number), rule, bits);
            }
        }
    }

    fn add(&mut self, verdict: Verdict) -> usize {
        self.verdicts.push(verdict);
        self.verdicts.len() - 1
    }

    /// The verdict about this call, which is about no other.
    fn own(&mut self, number: usize) -> &mut Verdict {
        let before = self.calls[number];
        if self.verdicts[before].checks.is_empty() {
            self.calls[number] = self.add(self.verdicts[before].clone());
        }
        &mut self.verdicts[self.calls[number]]
    }

    /// All numbers in runs of equal verdicts: the first of each run, in their order.
    pub fn ranges(&self) -> Vec<(u32, &Verdict)> {
        let mut ranges: Vec<(u32, &Verdict)> = Vec::with_capacity(NUMBERS);
        let mut last = None;
        let calls = self.calls[..self.newest].iter().copied().chain([LATER]);
        for (number, place) in (0..).zip(calls) {
            let verdict = &self.verdicts[place];
            if last != Some(place) && ranges.last().is_none_or(|(_, last)| *last != verdict) {
                ranges.push((number, verdict));
            }
            last = Some(place);
        }
        if self.confined && self.machine.name == "SCMP_ARCH_X86_64" {
            ranges.push((X32, &X32_CALLS));
        }
        ranges
    }

    /// Where one id is mapped, what changes owners and identities cannot work, nor can device nodes be made: where such
    /// calls are let in, they do nothing and succeed.
    fn emulate(&mut self) {
        let done = refuse(0);
        let devices = |argument| {
            [libc::S_IFCHR, libc::S_IFBLK].map(|kind| (vec![masked(argument, libc::S_IFMT.into(), kind.into())], done))
        };
        let always = self.add(Verdict::always(done));
        for name in EMULATED {
            for name in [name, &format!("{name}32")] {
                if let Some(number) = self.let_in(name) {
                    self.calls[number] = always;
                }
            }
        }
        for (name, argument) in [("mknod", 1), ("mknodat", 2)] {
            if let Some(number) = self.let_in(name) {
                self.own(number).checks.extend(devices(argument));
            }
        }
    }

    /// The number of a call that is always let in.
    fn let_in(&self, name: &str) -> Option<usize> {
        let is = |number: &usize| self.verdicts[self.calls[*number]] == Verdict::always(action::ALLOW);
        self.machine.number(name).filter(is)
    }
}

/// Adds what a rule with conditions says. Where several are about one argument, each stands for itself, as runc and crun
/// have it.
fn add_checks(verdict: &mut Verdict, rule: &Rule, bits: u32) {
    let bits = u64::MAX >> (64 - bits);
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

/// Those that do nothing and succeed; each also as the call of i386 that takes ids of 32 bits.
const EMULATED: [&str; 14] = [
    "capset",
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
