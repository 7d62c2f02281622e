//! Which profile a container gets: docker's default list, or a file in docker's format, the entries of which may depend
//! on the container's capabilities, the machine and the kernel.

use super::list::{ALLOWED, BY_CAPABILITY, FAMILIES, HEAD, LOW_FAMILIES, NATIVE, NO_NAMESPACES, PERSONALITIES};
use super::schema::{FILE, check};
use crate::error::{Doing, Error, Result};
use crate::json::{self, Value, Wrong, object_of_present, quoted};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// What docker and the runtime-spec call this machine.
const MACHINE: [&str; 2] =
    if cfg!(target_arch = "x86_64") { ["amd64", "SCMP_ARCH_X86_64"] } else { ["arm64", "SCMP_ARCH_AARCH64"] };

/// The default profile of a container with these bounding capabilities, in the runtime-spec's form, as JSON.
pub fn default(bounding: &[String]) -> Box<str> {
    // Of text, for it is written at each start: values would be made and taken apart again for as long.
    let mut text = HEAD.to_owned();
    let mut rule = |names: &str, rest: &str| {
        let names = names.replace(' ', "\",\"");
        text.extend(["{\"names\":[\"", &names, "\"],\"action\":\"SCMP_ACT_", rest, "},"]);
    };
    let has = |capability: &str| bounding.iter().any(|own| own == capability);
    if !has("CAP_SYS_ADMIN") {
        for (name, rest) in NO_NAMESPACES {
            rule(name, rest);
        }
    }
    rule(ALLOWED, "ALLOW\"");
    rule(NATIVE, "ALLOW\"");
    rule("socket", LOW_FAMILIES);
    for (name, values) in [("socket", &FAMILIES[..]), ("personality", &PERSONALITIES)] {
        for value in values {
            rule(name, &format!("ALLOW\",\"args\":[{{\"index\":0,\"value\":{value},\"op\":\"SCMP_CMP_EQ\"}}]"));
        }
    }
    for (_, names) in BY_CAPABILITY.iter().filter(|(capability, _)| has(capability)) {
        rule(names, "ALLOW\"");
    }
    text.pop(); // The last comma.
    (text + "]}").into()
}

/// The profile in the file `path`, in docker's form or the runtime-spec's, for a container with these bounding
/// capabilities; in the runtime-spec's form, as JSON. What crate-sup could not put in force is refused (exit code 6).
pub fn of_file(path: &Path, bounding: &[String]) -> Result<Box<str>> {
    let (mut bytes, name) = (Vec::new(), path.display().to_string());
    let read = File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes));
    read.doing(|| format!("reading {name}"))?;
    if bytes.len() as u64 > LIMIT {
        return Err(Error::Refused(format!("reading {name}: it is larger than {LIMIT} bytes")));
    }
    of_text(&bytes, &name, bounding)
}

/// The same of the text of a file; errors call it `name`.
pub fn of_text(text: &[u8], name: &str, bounding: &[String]) -> Result<Box<str>> {
    let profile = in_the_form_of_the_spec(&json::read(text, name)?, bounding);
    let refused = |wrong| Error::Refused(format!("reading {name}: {wrong}"));
    profile.map(|profile| profile.to_string().into()).map_err(refused)
}

fn in_the_form_of_the_spec(document: &Value, bounding: &[String]) -> std::result::Result<Value, Wrong> {
    check(document, &FILE)?;
    check_errno(document, ["defaultAction", "defaultErrnoRet", "defaultErrno"])?;
    let mut architectures = document["architectures"].clone();
    let family = document["archMap"].items().iter().find(|family| family["architecture"].as_str() == Some(MACHINE[1]));
    if let Some(family) = family {
        if !architectures.is_null() {
            return Err(Wrong::new("archMap: there are architectures too"));
        }
        let all = [&family["architecture"]].into_iter().chain(family["subArchitectures"].items());
        architectures = all.cloned().collect();
    }
    let mut rules = Vec::new();
    for (place, entry) in document["syscalls"].items().iter().enumerate() {
        let rule = rule(entry, bounding).map_err(|wrong| wrong.within(format_args!(".syscalls[{place}]")))?;
        rules.extend(rule);
    }
    Ok(object_of_present(vec![
        ("defaultAction", document["defaultAction"].clone()),
        ("defaultErrnoRet", document["defaultErrnoRet"].clone()),
        ("architectures", architectures),
        ("syscalls", Value::Array(rules)),
    ]))
}

/// The rule of an entry; none where the entry is for others. Docker's way: all of the capabilities that it includes must
/// be there, and none that it excludes.
fn rule(entry: &Value, bounding: &[String]) -> std::result::Result<Option<Value>, Wrong> {
    check_errno(entry, ["action", "errnoRet", "errno"])?;
    let names = match (&entry["name"], &entry["names"]) {
        (Value::Null, names) => names.clone(),
        (name, Value::Null) => Value::Array(vec![name.clone()]),
        _ => return Err(Wrong::new("name: there are names too")),
    };
    let has = |capability: &Value| bounding.iter().any(|own| Some(own.as_str()) == capability.as_str());
    let here = |machine: &Value| machine.as_str() == Some(MACHINE[0]);
    let (with, without) = (&entry["includes"], &entry["excludes"]);
    let machines = with["arches"].items();
    let holds = with["caps"].items().iter().all(has)
        && (machines.is_empty() || machines.iter().any(here))
        && !without["caps"].items().iter().any(has)
        && !without["arches"].items().iter().any(here)
        && is_kernel(&with["minKernel"])?.unwrap_or(true)
        && !is_kernel(&without["minKernel"])?.unwrap_or(false);
    let fields = ["action", "errnoRet", "args"].map(|name| (name, entry[name].clone()));
    Ok(holds.then(|| object_of_present([("names", names)].into_iter().chain(fields).collect())))
}

/// Only where a call fails, or a tracer is told, is there an error number; and its name, as podman has it, says no more
/// than the number beside it.
fn check_errno(fields: &Value, [action, number, name]: [&str; 3]) -> std::result::Result<(), Wrong> {
    let without = !matches!(fields[action].as_str(), Some("SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE"));
    if without && !fields[number].is_null() {
        return Err(Wrong::new(format!("{number}: the action has no error number")));
    }
    if fields[number].is_null() && fields[name].as_str().is_some_and(|name| !name.is_empty()) {
        return Err(Wrong::new(format!("{name}: {number} is wanted with it")));
    }
    Ok(())
}

/// Is the kernel that runs of this version at least? `None` where there is no version.
fn is_kernel(least: &Value) -> std::result::Result<Option<bool>, Wrong> {
    let Some(text) = least.as_str() else { return Ok(None) };
    let least =
        version(text).ok_or_else(|| Wrong::new(format!("minKernel: {} is no version of Linux", quoted(text))))?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(Some(version(&release).is_some_and(|own| own >= least)))
}

fn version(text: &str) -> Option<[u32; 2]> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
}
