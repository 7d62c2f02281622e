//! Limits of a container, as docker's flags have them: `--ulimit` of its processes, the others of its cgroup.

use crate::error::{Error, Result};
use crate::spec::{Resources, Rlimit};

/// The resources of getrlimit(2), by docker's names.
const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// The usual length in microseconds of the time in which a group of processes may use its quota.
const PERIOD: u64 = 100_000;

/// What of docker's flags becomes [`Resources`]; 0 where nothing is asked for.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// `--memory`, in bytes.
    pub memory: u64,
    /// `--memory-swap`: memory and swap together, in bytes, or -1.
    pub swap: i64,
    /// `--cpus`, in microseconds of each 100000.
    pub cpus: u64,
    /// `--cpu-period`, in microseconds.
    pub period: u64,
    /// `--cpu-quota`, in microseconds.
    pub quota: u64,
    /// `--cpu-shares`.
    pub shares: u64,
    /// `--pids-limit`.
    pub pids: u64,
}

impl Limits {
    /// The limits of the cgroup; none where nothing is limited. What flags say together must have a sense.
    pub fn resources(&self) -> Result<Option<Resources>> {
        let wrong = |why: &str| Err(Error::Usage(why.into()));
        let memory = self.memory.cast_signed();
        let swap = match (memory, self.swap) {
            (0, 1..) => return wrong("--memory-swap wants --memory too"),
            (_, 1..) if self.swap < memory => {
                return wrong("--memory-swap is memory and swap together: it cannot be less than --memory");
            }
            (_, swap) => swap,
        };
        if self.cpus > 0 && self.period + self.quota > 0 {
            return wrong("--cpus stands for --cpu-period and --cpu-quota: not with one of them");
        }
        let (period, quota) = if self.cpus > 0 { (PERIOD, self.cpus) } else { (self.period, self.quota) };
        let given = |number: u64| Some(number).filter(|number| *number > 0);
        let resources = Resources {
            memory: given(self.memory),
            swap: Some(swap).filter(|swap| *swap != 0),
            cpu_quota: given(quota).map(u64::cast_signed),
            cpu_period: given(period),
            cpu_shares: given(self.shares),
            pids: given(self.pids).map(u64::cast_signed),
        };
        Ok(Some(resources).filter(|resources| *resources != Resources::default()))
    }
}

/// What a flag's value means, where 0 is as if it were not given; or what it should have been.
type Read<T> = std::result::Result<T, &'static str>;

/// The most of what is counted: config.json has signed numbers.
const MOST: u64 = i64::MAX.cast_unsigned();

impl Limits {
    /// Takes a flag's value; or says that it is none of these flags.
    pub fn take(&mut self, name: &str, text: &str) -> Read<bool> {
        match name {
            "memory" => self.memory = memory(text)?,
            "memory-swap" => self.swap = swap(text)?,
            "cpus" => self.cpus = cpus(text)?,
            // From 1 ms to 1 s, as the kernel takes it.
            "cpu-period" => {
                self.period = number(text, 1000, 1_000_000).ok_or("a number of microseconds from 1000 to 1000000")?;
            }
            // The kernel's least is 1 ms; -1 is no limit.
            "cpu-quota" => {
                self.quota =
                    number(unlimited(text), 1000, MOST).ok_or("a number of microseconds from 1000 on, or -1")?;
            }
            "cpu-shares" => self.shares = number(text, 2, 262_144).ok_or("a weight from 2 to 262144")?,
            "pids-limit" => self.pids = number(unlimited(text), 1, MOST).ok_or("a number of processes, or -1")?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// At least 6 MiB, which is docker's least.
fn memory(text: &str) -> Read<u64> {
    size(text).and_then(|bytes| within(bytes, 6 << 20, MOST)).ok_or("a size such as 64m, and at least 6m")
}

/// -1 is no limit.
fn swap(text: &str) -> Read<i64> {
    let swap = if text == "-1" { Some(-1) } else { size(text).and_then(|bytes| bytes.try_into().ok()) };
    swap.ok_or("a size such as 128m, or -1")
}

/// At least 0.01, for the kernel's least quota is 1 ms; finer steps than 0.00001 count as 0.
fn cpus(text: &str) -> Read<u64> {
    let quota = decimal(text).and_then(|(whole, part)| whole.checked_mul(PERIOD)?.checked_add(part * PERIOD / UNIT));
    // A thousandth that is too little is not none.
    let quota = quota.filter(|quota| *quota > 0 || text.bytes().all(|byte| b"0.".contains(&byte)));
    quota.and_then(|quota| within(quota, 1000, MOST)).ok_or("a number of processors such as 1.5, and at least 0.01")
}

/// `--shm-size`, in bytes.
pub fn shm_size(text: &str) -> Read<u64> {
    size(text).filter(|bytes| (1..=MOST).contains(bytes)).ok_or("a size such as 64m; 0 is no size")
}

fn unlimited(text: &str) -> &str {
    if text == "-1" { "0" } else { text }
}

fn number(text: &str, least: u64, most: u64) -> Option<u64> {
    text.parse().ok().and_then(|number| within(number, least, most))
}

/// A number between two others, both of them included; or 0.
fn within(number: u64, least: u64, most: u64) -> Option<u64> {
    Some(number).filter(|number| *number == 0 || (least..=most).contains(number))
}

/// `--ulimit NAME=SOFT[:HARD]`; -1 and `unlimited` are no limit.
pub fn ulimit(text: &str) -> Result<Rlimit> {
    let wrong = |why: String| Error::Usage(format!("--ulimit {text}: {why}"));
    let form = || wrong("it wants NAME=SOFT[:HARD], numbers from 0 on, or -1 for no limit".into());
    let (name, values) = text.split_once('=').ok_or_else(form)?;
    if !NAMES.contains(&name) {
        return Err(wrong(format!("there is no limit {name:?}: {} are", NAMES.join(", "))));
    }
    let value = |text: &str| if matches!(text, "-1" | "unlimited") { Some(u64::MAX) } else { text.parse().ok() };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = value(soft).zip(value(hard)).ok_or_else(form)?;
    if soft > hard {
        return Err(wrong("the soft limit is above the hard one".into()));
    }
    Ok(Rlimit { kind: format!("RLIMIT_{}", name.to_ascii_uppercase()), hard, soft })
}

/// A size in bytes, or in docker's units, powers of 1024: `512k`, `10m`, `1.5g`, each perhaps with a `b` after it.
pub fn size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let unit = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return None,
    };
    let (whole, part) = decimal(digits)?;
    whole.checked_mul(1 << unit)?.checked_add((part << unit) / UNIT)
}

/// Parts of a whole that the nine digits after a point can tell.
const UNIT: u64 = 1_000_000_000;

/// A number with at most nine digits after its point: the whole, and the rest in thousand millionths.
fn decimal(text: &str) -> Option<(u64, u64)> {
    // `.5` is half of one, and an empty text nothing.
    let (whole, part) = match text.split_once('.') {
        Some(("", part)) => ("0", part),
        parts => parts.unwrap_or((text, "0")),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let places = u32::try_from(part.len()).ok().filter(|places| *places <= 9 && digits(whole) && digits(part))?;
    Some((whole.parse().ok()?, part.parse::<u64>().ok()? * 10_u64.pow(9 - places)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("512", Some(512)),
            ("1KB", Some(1024)),
            ("1.5g", Some(3 << 29)),
            ("2t", None),
            ("0", Some(0)),
            ("0.5k", Some(512)),
            ("1.999999999g", Some(2_147_483_646)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551615k", None),
            ("18446744073709551616", None),
            ("m", None),
            (".5m", Some(512 << 10)),
            (".", None),
            ("1.m", None),
            ("1.1234567890m", None),
            ("-1", None),
            ("+1", None),
            ("1 m", None),
            ("1x", None),
            ("1mbb", None),
            ("", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn reads_limits_of_processes() {
        let limit = |text| ulimit(text).map(|limit| (limit.kind, limit.soft, limit.hard));
        for (text, kind, soft, hard) in [
            ("nofile=64", "RLIMIT_NOFILE", 64, 64),
            ("core=0:-1", "RLIMIT_CORE", 0, u64::MAX),
            ("sigpending=1:2", "RLIMIT_SIGPENDING", 1, 2),
            ("memlock=unlimited", "RLIMIT_MEMLOCK", u64::MAX, u64::MAX),
            ("memlock=5:unlimited", "RLIMIT_MEMLOCK", 5, u64::MAX),
        ] {
            assert_eq!(limit(text).unwrap(), (kind.to_owned(), soft, hard), "{text}");
        }
        for bad in [
            "nofile",
            "nofile=",
            "nofile=2:1",
            "nofile=-1:1",
            "nofile=1:2:3",
            "nofile=-2",
            "NOFILE=1",
            "x=1",
            "=1",
            "nofile=1k",
        ] {
            assert_eq!(ulimit(bad).unwrap_err().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn reads_limits_of_a_cgroup() {
        assert_eq!((memory("6m"), memory("0"), memory("1g")), (Ok(6 << 20), Ok(0), Ok(1 << 30)));
        assert!(["6291455", "-1", "x", "", "9223372036854775808"].iter().all(|text| memory(text).is_err()));
        assert_eq!((swap("-1"), swap("0"), swap("1k")), (Ok(-1), Ok(0), Ok(1024)));
        assert!(["-2", "x", "", "9223372036854775808"].iter().all(|text| swap(text).is_err()));
        assert_eq!((cpus("1.5"), cpus("0.0"), cpus(".01")), (Ok(150_000), Ok(0), Ok(1000)));
        assert!(["0.009", "0.000001", ".", "-1", "1,5", "", "99999999999999"].iter().all(|text| cpus(text).is_err()));
        assert!(shm_size("0").is_err() && shm_size("64m") == Ok(64 << 20));
        for (name, good, none, bad) in [
            ("cpu-period", "1000 1000000", "0", "999 1000001 -1 x"),
            ("cpu-quota", "1000 9223372036854775807", "0 -1", "999 -2 x 9223372036854775808"),
            ("cpu-shares", "2 262144", "0", "1 262145 -1 x"),
            ("pids-limit", "1 9223372036854775807", "0 -1", "-2 x 1.5"),
            ("memory", "6m 1g", "0", "5m x"),
        ] {
            let taken = |text: &str| {
                let mut limits = Limits::default();
                assert!(limits.take(name, text)?);
                Ok::<_, &str>(limits.resources().unwrap().is_some())
            };
            assert!(good.split(' ').all(|text| taken(text) == Ok(true)), "{name}");
            assert!(none.split(' ').all(|text| taken(text) == Ok(false)), "{name}");
            assert!(bad.split(' ').all(|text| taken(text).is_err()), "{name}");
        }
        assert_eq!(Limits::default().take("memory-reservation", "1g"), Ok(false));
    }

    #[test]
    fn limits_go_together() {
        let memory = |memory, swap| {
            let limits = Limits { memory, swap, ..Limits::default() };
            limits.resources().map(|resources| resources.and_then(|resources| resources.swap))
        };
        assert_eq!(memory(1 << 30, 0).unwrap(), None);
        assert_eq!(memory(1 << 30, 1 << 30).unwrap(), Some(1 << 30));
        assert_eq!(memory(1 << 30, -1).unwrap(), Some(-1));
        assert_eq!(memory(0, -1).unwrap(), Some(-1));
        assert_eq!(memory(0, 0).unwrap(), None);
        assert_eq!(memory(2, 1).unwrap_err().exit_code(), 2);
        assert_eq!(memory(0, 1).unwrap_err().exit_code(), 2);

        let limits = Limits { cpus: 150_000, ..Limits::default() };
        let resources = limits.resources().unwrap().unwrap();
        assert_eq!((resources.cpu_quota, resources.cpu_period), (Some(150_000), Some(100_000)));
        assert!(Limits { quota: 1000, ..limits.clone() }.resources().is_err());
        assert!(Limits { period: 1000, ..limits }.resources().is_err());
        assert!(Limits::default().resources().unwrap().is_none());
    }
}
