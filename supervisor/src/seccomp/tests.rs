//! Tests of the filter: it is run here as the kernel would run it.

use super::*;
use store::json;
use store::seccomp::{Condition, Operator, Rule};

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const EPERM: u32 = action::ERRNO | 1;
const ENOSYS: u32 = action::ERRNO | 0x26;
const DONE: u32 = action::ERRNO;

/// How many calls the texts name.
const X86_CALLS: usize = 460;
const NATIVE_CALLS: usize = if cfg!(target_arch = "x86_64") { 384 } else { 326 };

/// What the kernel does with a filter; every step that it takes is one more in `steps`.
fn run(code: &[u8], architecture: u32, number: u32, arguments: [u64; 6], steps: &mut usize) -> u32 {
    let mut data = [number.to_ne_bytes(), architecture.to_ne_bytes(), [0; 4], [0; 4]].concat();
    data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
    let (mut at, mut a) = (0, 0);
    loop {
        let step = &code[8 * at..8 * at + 8];
        let (code, k) = (u16::from_ne_bytes([step[0], step[1]]), u32::from_ne_bytes(step[4..].try_into().unwrap()));
        at += 1;
        *steps += 1;
        let holds = match code {
            0x20 => {
                let word = &data[k as usize..k as usize + 4];
                a = u32::from_ne_bytes(word.try_into().unwrap());
                continue;
            }
            0x54 => {
                a &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x15 => a == k,
            0x25 => a > k,
            0x35 => a >= k,
            0x06 => return k,
            other => unreachable!("{other:#x}"),
        };
        at += usize::from(step[if holds { 2 } else { 3 }]);
    }
}

fn judge(code: &[u8], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    run(code, architecture, number, arguments, &mut 0)
}

fn first(argument: u64) -> [u64; 6] {
    [argument, 0, 0, 0, 0, 0]
}

fn default_of(bounding: &[String]) -> Profile {
    json::read(store::seccomp::default(bounding).as_bytes(), "it").unwrap()
}

fn number(name: &str, machine: &calls::Machine) -> u32 {
    let number = machine.number(name).unwrap_or_else(|| panic!("no {name}"));
    number.try_into().unwrap()
}

/// In the order of their numbers.
fn calls_of(machine: &calls::Machine) -> Vec<(u32, &str)> {
    let mut all: Vec<_> = machine.calls().map(|(_, name)| (number(name, machine), name)).collect();
    all.sort_unstable();
    all
}

#[test]
fn knows_the_numbers_of_calls() {
    for (name, wanted) in [
        ("read", libc::SYS_read),
        ("chown", libc::SYS_chown),
        ("openat2", libc::SYS_openat2),
        ("futex_waitv", libc::SYS_futex_waitv),
        ("clone3", libc::SYS_clone3),
        ("set_mempolicy_home_node", libc::SYS_set_mempolicy_home_node),
        ("mseal", libc::SYS_mseal),
    ] {
        assert_eq!(i64::from(number(name, calls::NATIVE)), wanted, "{name}");
    }
    for machine in [calls::NATIVE].iter().chain(calls::OTHERS) {
        let known = calls_of(machine);
        assert_eq!(known.last(), Some(&(470, "listns")));
        assert!(machine.number("").is_none() && machine.number("no_such_call").is_none());
        assert_eq!(known.len(), if machine.bits == 32 { X86_CALLS } else { NATIVE_CALLS });
    }
    for machine in calls::OTHERS {
        let Ok(text) = std::fs::read_to_string("/usr/include/x86_64-linux-gnu/asm/unistd_32.h") else { continue };
        let lines = text.lines().filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '));
        let known = calls_of(machine);
        for (name, wanted) in lines {
            assert!(known.contains(&(wanted.parse().unwrap(), name)), "{name} {wanted}");
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_default_profile_judges_each_call() {
    let (none, admin) = (default_of(&[]), default_of(&["CAP_SYS_ADMIN".into()]));
    let [none, admin] = [none, admin].map(|profile| compile(Some(&profile), false).bytes());
    let allow = action::ALLOW;
    for (name, arguments, without, with) in [
        ("read", [0; 6], allow, allow),
        ("ptrace", [0; 6], allow, allow),
        ("mount", [0; 6], EPERM, allow),
        ("keyctl", [0; 6], EPERM, EPERM),
        ("io_uring_setup", [0; 6], EPERM, EPERM),
        ("clone", first(0x11), allow, allow),
        ("clone", first(0x1000_0011), EPERM, allow),
        ("clone", first(1 << 63), allow, allow),
        ("clone3", [0; 6], ENOSYS, allow),
        ("socket", first(2), allow, allow),
        ("socket", first(12), EPERM, EPERM),
        ("socket", first(16), allow, allow),
        ("socket", first(38), EPERM, EPERM),
        ("socket", first(40), EPERM, EPERM),
        ("socket", first(45), allow, allow),
        ("socket", first(0x1_0000_0026), EPERM, EPERM),
        ("personality", first(0), allow, allow),
        ("personality", first(4), EPERM, EPERM),
        ("personality", first(0xffff_ffff), allow, allow),
        ("ioctl", [0, 0x5401, 0, 0, 0, 0], allow, allow),
        ("ioctl", [0, 0x5412, 0, 0, 0, 0], EPERM, EPERM),
        ("ioctl", [0, 0xffff_ffff_0000_5412, 0, 0, 0, 0], EPERM, EPERM),
        ("ioctl", [0, 0x1_0000_541c, 0, 0, 0, 0], EPERM, EPERM),
        ("removexattrat", [0; 6], allow, allow),
        ("open_tree_attr", [0; 6], ENOSYS, ENOSYS),
        ("listns", [0; 6], ENOSYS, ENOSYS),
        ("chown", [0; 6], allow, allow),
    ] {
        for (machine, architecture) in [(calls::NATIVE, X86_64), (calls::OTHERS[0], X86)] {
            let arguments =
                if architecture == X86 { arguments.map(|argument| argument & 0xffff_ffff) } else { arguments };
            // Those of 32 bits have nothing left that told them apart.
            let cut = architecture == X86 && name == "socket" && arguments[0] > 45;
            let call = number(name, machine);
            if !cut {
                assert_eq!(
                    judge(&none, architecture, call, arguments),
                    without,
                    "{name} {arguments:x?} {architecture:x}"
                );
                assert_eq!(
                    judge(&admin, architecture, call, arguments),
                    with,
                    "{name} {arguments:x?} {architecture:x}"
                );
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn numbers_without_a_name_and_strange_architectures_have_verdicts() {
    let none = compile(Some(&default_of(&[])), false).bytes();
    for (architecture, call, wanted) in [
        (X86_64, 999, ENOSYS),
        (X86_64, 400, ENOSYS),
        (X86_64, 0x4000_0000, ENOSYS),
        (X86_64, 0x4000_003b, ENOSYS),
        (X86_64, u32::MAX, ENOSYS),
        (X86, 999, ENOSYS),
        (X86, 21, EPERM),
        (0x4000_0028, 0, action::KILL_PROCESS),
        (0, 0, action::KILL_PROCESS),
    ] {
        assert_eq!(judge(&none, architecture, call, [0; 6]), wanted, "{architecture:x} {call}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn emulates_where_one_id_is_mapped() {
    let profile = default_of(&[]);
    let denied = Profile { rules: Vec::new(), ..profile.clone() };
    let (confined, alone) = (compile(Some(&profile), true).bytes(), compile(None, true).bytes());
    let denied = compile(Some(&denied), true).bytes();
    for (machine, architecture) in [(calls::NATIVE, X86_64), (calls::OTHERS[0], X86)] {
        let is = |code: &[u8], name: &str, arguments: [u64; 6], wanted: u32| {
            assert_eq!(judge(code, architecture, number(name, machine), arguments), wanted, "{name} {architecture:x}");
        };
        for name in ["chown", "fchownat", "lchown", "setuid", "setresgid", "setgroups", "setfsuid", "capset"] {
            is(&confined, name, [0; 6], DONE);
            is(&alone, name, [0; 6], DONE);
            is(&denied, name, [0; 6], ENOSYS);
        }
        for (mode, wanted) in [(0o020_666, DONE), (0o060_600, DONE), (0o010_644, action::ALLOW), (0, action::ALLOW)] {
            for code in [&confined, &alone] {
                is(code, "mknod", [0, mode, 0, 0, 0, 0], wanted);
                is(code, "mknodat", [0, 0, mode, 0, 0, 0], wanted);
            }
        }
        for name in ["read", "ioctl", "mount", "keyctl", "listns"] {
            is(&alone, name, [0, 0x5412, 0, 0, 0, 0], action::ALLOW);
        }
        is(&confined, "mount", [0; 6], EPERM);
    }
    for name in ["chown32", "setresuid32", "setgroups32"] {
        assert_eq!(judge(&confined, X86, number(name, calls::OTHERS[0]), [0; 6]), DONE, "{name}");
    }
    assert_eq!(judge(&alone, X86_64, 999, [0; 6]), action::ALLOW);
    assert_eq!(judge(&alone, 1, 0, [0; 6]), action::ALLOW);
}

/// What a profile says of a call of the native architecture, word by word.
fn naive(profile: &Profile, name: &str, arguments: [u64; 6]) -> u32 {
    let holds = |condition: &Condition| {
        let Condition { argument, operator, value, second } = *condition;
        let argument = arguments[usize::from(argument)];
        match operator {
            Operator::NotEqual => argument != value,
            Operator::Less => argument < value,
            Operator::LessOrEqual => argument <= value,
            Operator::Equal => argument == value,
            Operator::GreaterOrEqual => argument >= value,
            Operator::Greater => argument > value,
            Operator::MaskedEqual => argument & value == second & value,
        }
    };
    let applies = |rule: &Rule| {
        let of = |place: u8| rule.conditions.iter().filter(|condition| condition.argument == place).count();
        if (0..6).any(|place| of(place) > 1) {
            rule.conditions.iter().any(holds)
        } else {
            rule.conditions.iter().all(holds)
        }
    };
    let about = |rule: &&Rule| rule.action != profile.default && rule.names.iter().any(|own| own == name);
    let rules = || profile.rules.iter().filter(about);
    let total = rules().find(|rule| rule.conditions.is_empty());
    total.or_else(|| rules().find(|rule| applies(rule))).map_or(profile.default, |rule| rule.action)
}

/// Numbers that are as good as any, and the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// Near the edges of 32 and 64 bits, where comparisons in halves go wrong.
    fn value(&mut self) -> u64 {
        let edge = [0, 1 << 31, 1 << 32, 1 << 33, 1 << 63, u64::MAX][usize::try_from(self.roll(6)).unwrap()];
        edge.wrapping_add(self.roll(5)).wrapping_sub(2)
    }

    fn profile(&mut self, names: &[&'static str]) -> Profile {
        const ACTIONS: [u32; 5] = [action::ALLOW, EPERM, action::KILL_PROCESS, action::LOG, ENOSYS];
        const OPERATORS: [Operator; 7] = [
            Operator::NotEqual,
            Operator::Less,
            Operator::LessOrEqual,
            Operator::Equal,
            Operator::GreaterOrEqual,
            Operator::Greater,
            Operator::MaskedEqual,
        ];
        let mut rules = Vec::new();
        for _ in 0..self.roll(40) {
            let conditions = (0..self.roll(4)).map(|_| Condition {
                argument: u8::try_from(self.roll(6)).unwrap(),
                operator: OPERATORS[usize::try_from(self.roll(7)).unwrap()],
                value: self.value(),
                second: self.value(),
            });
            let conditions = conditions.collect();
            let action = ACTIONS[usize::try_from(self.roll(5)).unwrap()];
            let names = (0..=self.roll(20)).map(|_| self.name(names).to_owned()).collect();
            rules.push(Rule { names, action, conditions });
        }
        let default = ACTIONS[usize::try_from(self.roll(2)).unwrap()];
        Profile { default, architectures: Vec::new(), rules }
    }

    fn name(&mut self, names: &[&'static str]) -> &'static str {
        names[usize::try_from(self.roll(names.len() as u64)).unwrap()]
    }
}

#[test]
fn a_filter_says_what_the_profile_says() {
    let names: Vec<&str> =
        calls_of(calls::NATIVE).into_iter().map(|(_, name)| name).filter(|name| *name != "ioctl").collect();
    let mut dice = Dice(5);
    let mut verdicts = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let profile = dice.profile(&names);
        let code = compile(Some(&profile), false).bytes();
        let is_named = |name: &str| {
            profile.rules.iter().any(|rule| rule.action != profile.default && rule.names.iter().any(|own| own == name))
        };
        let newest = calls_of(calls::NATIVE).into_iter().rfind(|(_, name)| is_named(name));
        for (number, name) in calls_of(calls::NATIVE).into_iter().filter(|(_, name)| *name != "ioctl") {
            let arguments = std::array::from_fn(|_| dice.value());
            let later = profile.default != action::ALLOW && newest.is_none_or(|(newest, _)| number > newest);
            let wanted = if later { ENOSYS } else { naive(&profile, name, arguments) };
            assert_eq!(
                judge(&code, calls::NATIVE.audit, number, arguments),
                wanted,
                "{name} {arguments:x?} {profile:?}"
            );
            verdicts.insert(wanted);
        }
    }
    assert_eq!(verdicts.len(), 5);
}

#[test]
fn what_the_kernel_would_not_take_is_refused() {
    let condition = |value: u32| format!(r#"{{"index":{},"value":{value},"op":"SCMP_CMP_GT"}}"#, value % 6);
    let rule = |value: u32| {
        let conditions: Vec<String> = (value..value + 6).map(condition).collect();
        format!(r#"{{"names":["read"],"action":"SCMP_ACT_LOG","args":[{}]}}"#, conditions.join(","))
    };
    let with = |count: u32| {
        let rules: Vec<String> = (0..count).map(rule).collect();
        let text = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}}"#, rules.join(","));
        let mut spec = Spec::default();
        spec.linux.seccomp = Some(text.into());
        filter(&spec, false)
    };
    assert!(with(100).unwrap().len() <= 8 * LIMIT);
    assert!(with(200).unwrap_err().to_string().contains("the kernel takes 4096"));
    let mut spec = Spec::default();
    spec.linux.seccomp = Some("{\"defaultAction\":\"X\"}".into());
    let told = filter(&spec, false).unwrap_err().to_string();
    assert_eq!(told, "reading config.json: linux.seccomp: defaultAction: \"X\" is not supported");
}

#[test]
fn common_calls_are_judged_soon() {
    let code = compile(Some(&default_of(&[])), false).bytes();
    for name in ["read", "write", "openat", "futex", "close", "mmap", "epoll_pwait"] {
        let mut steps = 0;
        run(&code, calls::NATIVE.audit, number(name, calls::NATIVE), [0; 6], &mut steps);
        assert!(steps <= 14, "{name}: {steps}");
    }
}

#[test]
fn a_profile_of_too_many_comparisons_is_refused_at_once() {
    let names = vec!["\"read\",\"getpid\""; 200].join(",");
    let conditions = vec![r#"{"index":0,"value":1,"op":"SCMP_CMP_EQ"}"#; 20_000].join(",");
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":[{names}],"action":"SCMP_ACT_ALLOW","args":[{conditions}]}}]}}"#
    );
    let mut spec = Spec::default();
    spec.linux.seccomp = Some(text.into());
    let error = filter(&spec, false).unwrap_err();
    assert!(error.to_string().contains("comparisons"), "{error}");
}
