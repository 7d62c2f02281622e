//! Seccomp: compiles the profile of `config.json` into the filter that crate-init loads (seccomp(2)), in classic BPF.
//!
//! What runs on another architecture than the profile lets in is killed, as its calls have other numbers; those of x32
//! are said not to exist. So are those that came after the newest call that the profile names, whatever it says of the
//! rest: programs know what to do without them (runc does the same).

mod calls;
mod code;
mod verdict;

#[cfg(test)]
mod tests;

use code::Code;
use store::seccomp::{Profile, action};
use store::spec::Spec;
use store::{Error, Result, json};
use verdict::Judge;

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
const LIMIT: usize = 4096;

/// The most comparisons that a profile may ask for, of the calls that it names: some have no number here, but more than can
/// fit are not made into instructions first.
const COMPARISONS: usize = 16 * LIMIT;

/// Has a container a filter at all? For `emulation` see [`filter`].
pub fn is_wanted(spec: &Spec, emulation: bool) -> bool {
    spec.linux.seccomp.is_some() || emulation
}

/// Makes the filter of a container, as crate-init wants it: an array of struct sock_filter. Where there is no profile it
/// lets everything in. `emulation`: calls that change an owner or an identity or make a device do nothing and succeed,
/// where the profile lets them in; for containers with one id, where they could only fail.
pub fn filter(spec: &Spec, emulation: bool) -> Result<Vec<u8>> {
    let profile = profile(spec)?;
    let rules = profile.iter().flat_map(|profile| &profile.rules);
    if rules.map(|rule| rule.names.len() * rule.conditions.len()).sum::<usize>() > COMPARISONS {
        let wrong = format!("config.json: linux.seccomp: it has more than {COMPARISONS} comparisons of arguments");
        return Err(Error::Refused(wrong));
    }
    let code = compile(profile.as_ref(), emulation);
    if code.len() > LIMIT {
        let count = code.len();
        return Err(Error::Refused(format!(
            "config.json: linux.seccomp: its filter has {count} instructions, and the kernel takes {LIMIT}"
        )));
    }
    Ok(code.bytes())
}

/// The profile of a container, if it has one.
fn profile(spec: &Spec) -> Result<Option<Profile>> {
    let text = spec.linux.seccomp.as_deref();
    text.map(|text| json::read(text.as_bytes(), "config.json: linux.seccomp")).transpose()
}

fn compile(profile: Option<&Profile>, emulation: bool) -> Code {
    let mut code = Code::default();
    let foreign = code.end(if profile.is_some() { action::KILL_PROCESS } else { action::ALLOW });
    let others = calls::OTHERS
        .iter()
        .filter(|machine| profile.is_none_or(|profile| profile.architectures.iter().any(|name| name == machine.name)));
    // The native one last: code is made from its end on, and this one is to be nearest to the beginning.
    let machines = others.chain([&calls::NATIVE]);
    let mut part = |machine| code.machine(&Judge::new(profile, emulation, machine).ranges());
    let parts: Vec<_> = machines.map(|machine| (machine.audit, part(machine))).collect();
    code.dispatch(&parts, foreign);
    code
}
