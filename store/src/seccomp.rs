//! Seccomp profiles (runtime-spec, `config-linux.md#seccomp`): written into `config.json` when a container is made, and
//! read from there when it is started.

mod choose;
mod list;
mod schema;

#[cfg(test)]
mod tests;

pub use choose::{default, of_file, of_text};

use crate::json::{Fields, FromJson, Value, Wrong};
use schema::{OPERATORS, PROFILE, check};

/// What a filter returns to the kernel for a call (`SECCOMP_RET_*` of seccomp(2)).
pub mod action {
    /// The thread ends as by `SIGSYS`.
    pub const KILL_THREAD: u32 = 0;
    /// The thread is sent `SIGSYS`.
    pub const TRAP: u32 = 0x0003_0000;
    /// The call fails with the error number in the low 16 bits.
    pub const ERRNO: u32 = 0x0005_0000;
    /// A tracer is told the number in the low 16 bits.
    pub const TRACE: u32 = 0x7ff0_0000;
    /// The call takes place, and the kernel logs it.
    pub const LOG: u32 = 0x7ffc_0000;
    /// The call takes place.
    pub const ALLOW: u32 = 0x7fff_0000;
    /// The process ends as by `SIGSYS`.
    pub const KILL_PROCESS: u32 = 0x8000_0000;
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What happens to calls that no rule is about, as the kernel's number.
    pub default: u32,
    /// The architectures besides the native one whose calls are let in, such as `SCMP_ARCH_X86`.
    pub architectures: Vec<String>,
    /// What happens to the others.
    pub rules: Vec<Rule>,
}

/// What happens to some calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The names of the calls.
    pub names: Vec<String>,
    /// As the kernel's number.
    pub action: u32,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
}

/// What an argument of the call must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which, from 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub operator: Operator,
    /// With what; for [`Operator::MaskedEqual`] the mask.
    pub value: u64,
    /// For [`Operator::MaskedEqual`], what the masked argument is to be.
    pub second: u64,
}

/// How numbers of 64 bits without sign are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    MaskedEqual,
}

/// What `config.json` has under `linux.seccomp`.
impl FromJson for Profile {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        check(&value, &PROFILE)?;
        let default = action_of(&value, "defaultAction", "defaultErrnoRet");
        let mut fields = Fields::from_json(value)?;
        let architectures = fields.take_or_default("architectures")?;
        Ok(Self { default, architectures, rules: fields.take_or_default("syscalls")? })
    }
}

/// As a part of a profile that has been checked.
impl FromJson for Rule {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let action = action_of(&value, "action", "errnoRet");
        let conditions = value["args"].items().iter().map(Condition::of).collect();
        Ok(Self { names: Fields::from_json(value)?.take_or_default("names")?, action, conditions })
    }
}

impl Condition {
    fn of(value: &Value) -> Self {
        let operator = value["op"].as_str().and_then(|name| OPERATORS.into_iter().find(|(own, _)| *own == name));
        Self {
            argument: u8::try_from(number(&value["index"])).unwrap_or_default(),
            operator: operator.map_or(Operator::Equal, |(_, operator)| operator),
            value: number(&value["value"]),
            second: number(&value["valueTwo"]),
        }
    }
}

fn number(value: &Value) -> u64 {
    if let Value::Number(number) = value { number.as_u64().unwrap_or_default() } else { 0 }
}

/// The kernel's number of an action, with the error number where it has one: 1 (`EPERM`) where none is given.
fn action_of(fields: &Value, name: &str, errno: &str) -> u32 {
    let action = match fields[name].as_str().unwrap_or_default() {
        "SCMP_ACT_ALLOW" => action::ALLOW,
        "SCMP_ACT_ERRNO" => action::ERRNO,
        "SCMP_ACT_KILL_PROCESS" => action::KILL_PROCESS,
        "SCMP_ACT_LOG" => action::LOG,
        "SCMP_ACT_TRACE" => action::TRACE,
        "SCMP_ACT_TRAP" => action::TRAP,
        _ => action::KILL_THREAD,
    };
    match action {
        action::ERRNO | action::TRACE if fields[errno].is_null() => action | 1,
        action::ERRNO | action::TRACE => action | u32::try_from(number(&fields[errno])).unwrap_or(1),
        action => action,
    }
}
