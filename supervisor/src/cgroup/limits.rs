//! What is written into which file of a cgroup, for each limit of `linux.resources`.

use store::spec::Resources;
use store::{Error, Result};

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The flag of `create` that asks for it, as messages name it.
    pub flag: &'static str,
    /// The controller that enforces it.
    pub controller: &'static str,
    /// File and value in version 1 (cgroups(7), `Documentation/admin-guide/cgroup-v1`).
    pub v1: (&'static str, String),
    /// File and value in version 2 (`Documentation/admin-guide/cgroup-v2.rst`).
    pub v2: (&'static str, String),
    /// Nobody has asked for it: where the kernel does not have the file, it is left out.
    pub default: bool,
}

/// The period that a quota of processor time is for, in microseconds, where none is given.
const PERIOD: u64 = 100_000;

/// The limits that are asked for, in the order in which they can be set; none where nothing is limited. A number that
/// other runtimes take for "no limit" is none: 0 of memory, shares and quotas, below 1 of processes.
pub fn limits(resources: &Resources) -> Result<Vec<Limit>> {
    let mut all = Vec::new();
    memory(resources, &mut all)?;
    let quota = resources.cpu_quota.filter(|quota| *quota > 0);
    let period = resources.cpu_period.filter(|period| *period > 0);
    // What is asked for by one flag, both may stand for.
    let flag = if quota.is_some() { "--cpus or --cpu-quota" } else { "--cpu-period" };
    if let Some(period) = period {
        let max = quota.map_or("max".into(), |quota| quota.to_string());
        let v2 = ("cpu.max", format!("{max} {period}"));
        all.push(limit(flag, "cpu", ("cpu.cfs_period_us", period.to_string()), v2));
    }
    if let Some(quota) = quota {
        let max = format!("{quota} {}", period.unwrap_or(PERIOD));
        all.push(limit(flag, "cpu", ("cpu.cfs_quota_us", quota.to_string()), ("cpu.max", max)));
    }
    if let Some(shares) = resources.cpu_shares.filter(|shares| *shares > 0) {
        let weight = weight(shares).to_string();
        all.push(limit("--cpu-shares", "cpu", ("cpu.shares", shares.to_string()), ("cpu.weight", weight)));
    }
    if let Some(pids) = resources.pids.filter(|pids| *pids > 0) {
        all.push(limit("--pids-limit", "pids", ("pids.max", pids.to_string()), ("pids.max", pids.to_string())));
    }
    Ok(all)
}

fn limit(
    flag: &'static str,
    controller: &'static str,
    v1: (&'static str, String),
    v2: (&'static str, String),
) -> Limit {
    Limit { flag, controller, v1, v2, default: false }
}

/// Version 1 counts memory and swap together, version 2 swap alone. As much swap as memory is docker's default.
fn memory(resources: &Resources, all: &mut Vec<Limit>) -> Result<()> {
    let memory = resources.memory.filter(|memory| *memory > 0);
    if let Some(memory) = memory {
        let bytes = memory.to_string();
        all.push(limit("--memory", "memory", ("memory.limit_in_bytes", bytes.clone()), ("memory.max", bytes)));
    }
    let swap = |together: String, swap: String| {
        limit("--memory-swap", "memory", ("memory.memsw.limit_in_bytes", together), ("memory.swap.max", swap))
    };
    match (memory, resources.swap.filter(|swap| *swap != 0)) {
        (None, None) => {}
        (Some(memory), None) => {
            let together = memory.saturating_mul(2).to_string();
            all.push(Limit { default: true, ..swap(together, memory.to_string()) });
        }
        (_, Some(-1)) => all.push(swap("-1".into(), "max".into())),
        (Some(memory), Some(both)) if both.try_into().is_ok_and(|both: u64| both >= memory) => {
            all.push(swap(both.to_string(), (both.cast_unsigned() - memory).to_string()));
        }
        _ => return Err(Error::Refused("config.json: memory.swap wants a memory.limit that is not larger".into())),
    }
    Ok(())
}

/// The weight of version 2, from 1 to 10000, for shares of version 1, from 2 to 262144, such that the usual 1024 is the
/// usual 100 (crun and runc since 2025; before, it was on a straight line from one end to the other, and became 39).
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // From 1 to 10000.
fn weight(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = log.mul_add(log, 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10_f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(resources: &Resources) -> Vec<String> {
        let lines = |all: Vec<Limit>| {
            let line = |l: &Limit| format!("{}={} {}={}", l.v1.0, l.v1.1, l.v2.0, l.v2.1);
            all.iter().map(line).collect()
        };
        limits(resources).map(lines).unwrap()
    }

    #[test]
    fn each_limit_has_its_file_in_both_versions() {
        let memory = Resources { memory: Some(1000), ..Resources::default() };
        let swap = "memory.memsw.limit_in_bytes";
        let first = "memory.limit_in_bytes=1000 memory.max=1000".to_owned();
        assert_eq!(files(&memory), [first.clone(), format!("{swap}=2000 memory.swap.max=1000")]);
        let both = Resources { swap: Some(1500), ..memory.clone() };
        assert_eq!(files(&both), [first.clone(), format!("{swap}=1500 memory.swap.max=500")]);
        let any = Resources { swap: Some(-1), ..memory };
        assert_eq!(files(&any), [first, format!("{swap}=-1 memory.swap.max=max")]);
        let cpu = Resources { cpu_quota: Some(50_000), cpu_shares: Some(1024), pids: Some(7), ..Resources::default() };
        let quota = "cpu.cfs_quota_us=50000 cpu.max=50000 100000";
        assert_eq!(files(&cpu), [quota, "cpu.shares=1024 cpu.weight=100", "pids.max=7 pids.max=7"]);
        let period = Resources { cpu_period: Some(20_000), cpu_quota: Some(10_000), ..Resources::default() };
        let lines = ["cpu.cfs_period_us=20000 cpu.max=10000 20000", "cpu.cfs_quota_us=10000 cpu.max=10000 20000"];
        assert_eq!(files(&period), lines);
    }

    #[test]
    fn what_limits_nothing_is_no_limit() {
        let nothing =
            Resources { memory: Some(0), swap: Some(0), cpu_quota: Some(-1), pids: Some(-1), ..Resources::default() };
        assert!(limits(&nothing).unwrap().is_empty());
        for (memory, swap) in [(None, 5), (Some(10), 5), (Some(10), -2)] {
            assert!(limits(&Resources { memory, swap: Some(swap), ..Resources::default() }).is_err());
        }
    }

    #[test]
    fn weights_keep_both_ends_and_the_middle() {
        let weights = [0, 2, 1024, 262_144, u64::MAX].map(weight);
        assert_eq!(weights, [1, 1, 100, 10_000, 10_000]);
    }
}
