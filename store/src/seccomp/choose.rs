//! Which profile a container gets: docker's default list, or a file in docker's format, the entries of which may depend
//! on the container's capabilities, the machine and the kernel.

use super::list::{ALLOWED, BY_CAPABILITY, CLONE_NAMESPACES, FAMILIES, FAMILIES_BELOW, NATIVE, PERSONALITIES};
use super::{Profile, Rule};
use crate::error::{Doing, Error};
use crate::json::{self, Fields, FromJson, Value, Wrong, object, quoted};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// `ENOSYS`, on all machines that crate runs on.
const NO_SUCH_CALL: u32 = 38;

/// Docker's name of this machine.
const MACHINE: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };

/// The native architecture and those that it can run besides.
const ARCHITECTURES: &[&str] = if cfg!(target_arch = "x86_64") {
    &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
} else {
    &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
};

/// The default profile of a container with these bounding capabilities, in the runtime-spec's form.
pub fn default(bounding: &[String]) -> Value {
    let has = |capability: &str| bounding.iter().any(|own| own == capability);
    let mut names: Vec<&str> = ALLOWED.split(' ').chain(NATIVE.split(' ')).collect();
    for (_, more) in BY_CAPABILITY.into_iter().filter(|(capability, _)| has(capability)) {
        names.extend(more.split(' '));
    }
    let action = ("action", Value::from("SCMP_ACT_ALLOW"));
    let mut rules = vec![object(vec![("names", names.into_iter().collect()), action.clone()])];
    let mut only = |name: &str, operator: &str, value: u32| {
        let condition = object(vec![("index", 0_u32.into()), ("value", value.into()), ("op", operator.into())]);
        let names = Value::Array(vec![name.into()]);
        rules.push(object(vec![("names", names), action.clone(), ("args", Value::Array(vec![condition]))]));
    };
    only("socket", "SCMP_CMP_LT", FAMILIES_BELOW);
    for family in FAMILIES {
        only("socket", "SCMP_CMP_EQ", family);
    }
    for value in PERSONALITIES {
        only("personality", "SCMP_CMP_EQ", value);
    }
    if !has("CAP_SYS_ADMIN") {
        only("clone", "SCMP_CMP_MASKED_EQ", CLONE_NAMESPACES);
        // Its flags lie in memory, where no filter sees them. Programs do with clone(2) then.
        rules.push(object(vec![
            ("names", Value::Array(vec!["clone3".into()])),
            ("action", "SCMP_ACT_ERRNO".into()),
            ("errnoRet", NO_SUCH_CALL.into()),
        ]));
    }
    object(vec![
        ("defaultAction", "SCMP_ACT_ERRNO".into()),
        ("architectures", ARCHITECTURES.iter().copied().collect()),
        ("syscalls", Value::Array(rules)),
    ])
}

/// The profile in the file `path`, in docker's form or the runtime-spec's, for a container with these bounding
/// capabilities; in the runtime-spec's form. What crate-sup could not put in force is refused (exit code 6).
pub fn of_file(path: &Path, bounding: &[String]) -> crate::Result<Value> {
    let (mut bytes, name) = (Vec::new(), path.display().to_string());
    let read = File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes));
    read.doing(|| format!("reading {name}"))?;
    if bytes.len() as u64 > LIMIT {
        return Err(Error::Refused(format!("reading {name}: it is larger than {LIMIT} bytes")));
    }
    json::read::<Source>(&bytes, &name).map(|source| source.resolved(bounding))
}

/// A file in docker's form, which is the runtime-spec's and more.
struct Source {
    /// All but the entries.
    rest: Value,
    entries: Vec<Entry>,
}

impl Source {
    fn resolved(self, bounding: &[String]) -> Value {
        let entries = self.entries.into_iter().filter(|entry| entry.holds(bounding));
        self.rest.and(&[("syscalls".into(), Value::Array(entries.map(|entry| entry.call).collect()))])
    }
}

impl FromJson for Source {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        let families: Vec<Family> = fields.take_or_default("archMap")?;
        let entries = fields.take_or_default("syscalls")?;
        let mut rest = without_name_of_error(fields, "defaultErrno", "defaultErrnoRet")?;
        if let Some(Family { native, others }) = families.into_iter().find(|family| family.native == ARCHITECTURES[0]) {
            if rest.get("architectures").is_some() {
                return Err(Wrong::new("archMap: there are architectures too"));
            }
            rest = rest.and(&[("architectures".into(), [native].iter().chain(&others).collect())]);
        }
        Profile::from_json(rest.clone())?;
        Ok(Self { rest, entries })
    }
}

/// An architecture, and those that its processors can run besides.
struct Family {
    native: String,
    others: Vec<String>,
}

impl FromJson for Family {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self { native: fields.take("architecture")?, others: fields.take_or_default("subArchitectures")? })
    }
}

/// An entry for some calls, and for which containers it is.
struct Entry {
    call: Value,
    includes: When,
    excludes: When,
}

impl Entry {
    /// Docker's rule: all of the capabilities that it includes must be there, and none that it excludes.
    fn holds(&self, bounding: &[String]) -> bool {
        let has = |capability: &String| bounding.contains(capability);
        let here = |when: &When| when.machines.iter().any(|machine| machine == MACHINE);
        let (with, without) = (&self.includes, &self.excludes);
        with.capabilities.iter().all(has)
            && (with.machines.is_empty() || here(with))
            && !without.capabilities.iter().any(has)
            && !here(without)
            && with.kernel.is_none_or(|least| kernel() >= least)
            && without.kernel.is_none_or(|least| kernel() < least)
    }
}

impl FromJson for Entry {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        let (includes, excludes) = (fields.take_or_default("includes")?, fields.take_or_default("excludes")?);
        fields.take::<Value>("comment")?;
        let name: Option<String> = fields.take("name")?;
        let mut call = without_name_of_error(fields, "errno", "errnoRet")?;
        if let Some(name) = name {
            if call.get("names").is_some() {
                return Err(Wrong::new("name: there are names too"));
            }
            call = call.and(&[("names".into(), [name].iter().collect())]);
        }
        Rule::from_json(call.clone())?;
        Ok(Self { call, includes, excludes })
    }
}

/// The object without the name of an error (podman's field), which says no more than the number beside it.
fn without_name_of_error(mut fields: Fields, name: &str, number: &str) -> Result<Value, Wrong> {
    let named: Option<String> = fields.take(name)?;
    // Docker writes what is not there as null, or leaves it out.
    let rest = Value::Object(fields.rest().into_iter().filter(|(_, value)| !value.is_null()).collect());
    match named.filter(|text| !text.is_empty()) {
        Some(_) if rest.get(number).is_none() => Err(Wrong::new(format!("{name}: {number} is wanted with it"))),
        _ => Ok(rest),
    }
}

/// Conditions on the container and the machine.
#[derive(Default)]
struct When {
    capabilities: Vec<String>,
    machines: Vec<String>,
    kernel: Option<Kernel>,
}

impl FromJson for When {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        let (capabilities, machines) = (fields.take_or_default("caps")?, fields.take_or_default("arches")?);
        let kernel = fields.take("minKernel")?;
        super::nothing_more(fields)?;
        Ok(Self { capabilities, machines, kernel })
    }
}

/// A version of Linux.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Kernel(u32, u32);

impl Kernel {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some(Self(numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

impl FromJson for Kernel {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let text = String::from_json(value)?;
        Self::parse(&text).ok_or_else(|| Wrong::new(format!("{} is no version of Linux", quoted(&text))))
    }
}

/// The kernel that runs.
fn kernel() -> Kernel {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Kernel::parse(&release).unwrap_or_default()
}
