//! What a program is kept from, in the rows of `crate-sup plan`.

use crate::describe::Page;
use crate::plan::quote;
use crate::seccomp;
use std::collections::BTreeMap;
use store::Result;
use store::json::{self, Value};
use store::spec::{Capabilities, Spec};

/// Tells of capabilities, new privileges, the keyring and system calls. For `emulation` see [`seccomp::filter`].
pub fn describe(page: &mut Page, spec: &Spec, emulation: bool) -> Result<()> {
    match &spec.process.capabilities {
        Some(Capabilities { bounding, effective, permitted, inheritable, ambient }) => {
            for (topic, set) in [
                ("bounding", bounding),
                ("permitted", permitted),
                ("effective", effective),
                ("inheritable", inheritable),
                ("ambient", ambient),
            ] {
                let names = set.iter().map(|name| name.strip_prefix("CAP_").unwrap_or(name)).collect::<Vec<_>>();
                page.row(topic, (!names.is_empty()).then(|| quote(&names.join(","))));
            }
        }
        None => page.row("capabilities", ["all that the caller has".to_owned()]),
    }
    let privileges = if spec.process.no_new_privileges { "none by execve (no_new_privs)" } else { "as files say" };
    page.row("new privileges", [privileges.to_owned()]);
    page.row("keyring", ["a session keyring of its own".to_owned()]);
    let mut lines = match &spec.linux.seccomp {
        Some(text) => calls(&json::read(text.as_bytes(), "config.json: linux.seccomp")?),
        None => vec!["all".to_owned()],
    };
    if emulation {
        lines.push("those that change owners and identities, and make devices, do nothing and succeed".into());
    }
    if seccomp::is_wanted(spec, emulation) {
        // Each instruction has eight bytes (struct sock_filter).
        lines.push(format!("by a filter of {} instructions", seccomp::filter(spec, emulation)?.len() / 8));
    }
    page.row("system calls", lines);
    Ok(())
}

/// A line for each answer: how many calls get it, and how many only with certain arguments.
fn calls(profile: &Value) -> Vec<String> {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let answer = |value: &Value, action: &str, errno: &str| {
        let errno = value.get(errno).map(|number| format!(" {number}"));
        format!("{}{}", text(value, action), errno.unwrap_or_default())
    };
    let mut answers: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for rule in profile.get("syscalls").map_or(&[][..], Value::items) {
        let conditional = rule.get("args").is_some_and(|args| !args.items().is_empty());
        let names = rule.get("names").map_or(0, |names| names.items().len());
        answers.entry(answer(rule, "action", "errnoRet")).or_default()[usize::from(conditional)] += names;
    }
    let first = format!("{}: all but these", answer(profile, "defaultAction", "defaultErrnoRet"));
    let others = answers.into_iter().map(|(answer, [always, some])| match some {
        0 => format!("{answer}: {always}"),
        _ => format!("{answer}: {always}, and {some} with certain arguments"),
    });
    let typing = "SCMP_ACT_ERRNO 1: those that type at a terminal (TIOCSTI, TIOCLINUX)".to_owned();
    let open = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"].contains(&text(profile, "defaultAction").as_str());
    let later = (!open).then(|| "SCMP_ACT_ERRNO 38: those that are newer than all that are named".to_owned());
    std::iter::once(first).chain(others).chain([typing]).chain(later).map(|line| quote_line(&line)).collect()
}

/// A profile may be anybody's: nothing in it steers a terminal.
fn quote_line(line: &str) -> String {
    line.replace(|c: char| c.is_control(), "?")
}
