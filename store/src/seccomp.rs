//! Seccomp profiles (runtime-spec, `config-linux.md#seccomp`): written into `config.json` when a container is made, and
//! read from there when it is started.

mod choose;
mod list;

#[cfg(test)]
mod tests;

pub use choose::{default, of_file};

use crate::json::{Fields, FromJson, Value, Wrong, quoted};

/// What a filter returns to the kernel for a call (`SECCOMP_RET_*` of seccomp(2)).
pub mod action {
    /// The thread ends as by `SIGSYS`.
    pub const KILL_THREAD: u32 = 0;
    /// The call fails with the error number in the low 16 bits.
    pub const ERRNO: u32 = 0x0005_0000;
    /// The call takes place.
    pub const ALLOW: u32 = 0x7fff_0000;
    /// The process ends as by `SIGSYS`.
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    /// The call takes place, and the kernel logs it.
    pub const LOG: u32 = 0x7ffc_0000;
    /// A tracer is told the number in the low 16 bits.
    pub const TRACE: u32 = 0x7ff0_0000;
    /// The thread is sent `SIGSYS`.
    pub const TRAP: u32 = 0x0003_0000;
}

/// The names of those actions; `SCMP_ACT_NOTIFY` is not among them.
pub const ACTIONS: [(&str, u32); 8] = [
    ("SCMP_ACT_ALLOW", action::ALLOW),
    ("SCMP_ACT_ERRNO", action::ERRNO),
    ("SCMP_ACT_KILL", action::KILL_THREAD),
    ("SCMP_ACT_KILL_THREAD", action::KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", action::KILL_PROCESS),
    ("SCMP_ACT_LOG", action::LOG),
    ("SCMP_ACT_TRACE", action::TRACE),
    ("SCMP_ACT_TRAP", action::TRAP),
];

/// What the runtime-spec calls the architectures that Linux runs on.
const ARCHITECTURES: [&str; 19] = [
    "AARCH64",
    "ARM",
    "LOONGARCH64",
    "M68K",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PARISC",
    "PARISC64",
    "PPC",
    "PPC64",
    "PPC64LE",
    "RISCV64",
    "S390",
    "S390X",
    "SH",
];

/// The largest error number that a call can fail with (`MAX_ERRNO` of Linux).
const ERRNO_LIMIT: u32 = 4095;

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

impl FromJson for Profile {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        let default = action(&mut fields, "defaultAction", "defaultErrnoRet")?;
        let architectures: Vec<Architecture> = fields.take_or_default("architectures")?;
        let architectures = architectures.into_iter().map(|architecture| architecture.0).collect();
        let rules = fields.take_or_default("syscalls")?;
        if fields.take_or_default::<Vec<Value>>("flags")?.is_empty() {
            nothing_more(fields)?;
            return Ok(Self { default, architectures, rules });
        }
        Err(Wrong::new("flags of the filter are not supported"))
    }
}

impl FromJson for Rule {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        let names = fields.take("names")?;
        let action = action(&mut fields, "action", "errnoRet")?;
        let conditions = fields.take_or_default("args")?;
        nothing_more(fields)?;
        Ok(Self { names, action, conditions })
    }
}

impl FromJson for Condition {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        let Argument(argument) = fields.take("index")?;
        let (Number(value), second) = (fields.take("value")?, fields.take::<Option<Number>>("valueTwo")?);
        let operator = fields.take("op")?;
        nothing_more(fields)?;
        Ok(Self { argument, operator, value, second: second.map_or(0, |number| number.0) })
    }
}

/// What is not understood might have been meant to deny something.
fn nothing_more(fields: Fields) -> Result<(), Wrong> {
    match fields.names().first() {
        Some(name) => Err(Wrong::new(format!("{} is not supported", quoted(name)))),
        None => Ok(()),
    }
}

/// An action, with its error number where that is given: 1 (`EPERM`) without.
fn action(fields: &mut Fields, name: &str, number: &str) -> Result<u32, Wrong> {
    let Action(action) = fields.take(name)?;
    let with_number = [action::ERRNO, action::TRACE].contains(&action);
    match fields.take::<Option<ErrorNumber>>(number)? {
        None if with_number => Ok(action | 1),
        None => Ok(action),
        Some(ErrorNumber(number)) if with_number => Ok(action | number),
        Some(_) => Err(Wrong::new(format!("{number}: the action has no error number"))),
    }
}

struct Action(u32);

impl FromJson for Action {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let text = String::from_json(value)?;
        let found = ACTIONS.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, action)| Self(action)).ok_or_else(|| Wrong::new(format!("{} is not supported", quoted(&text))))
    }
}

struct ErrorNumber(u32);

impl FromJson for ErrorNumber {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let number = u32::from_json(value)?;
        if number <= ERRNO_LIMIT { Ok(Self(number)) } else { Err(Wrong::new("there is no such error number")) }
    }
}

struct Architecture(String);

impl FromJson for Architecture {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let text = String::from_json(value)?;
        match text.strip_prefix("SCMP_ARCH_") {
            Some("X86_64" | "X86" | "X32" | "NATIVE") => Ok(Self(text)),
            Some(name) if ARCHITECTURES.contains(&name) => Ok(Self(text)),
            _ => Err(Wrong::new(format!("{} is no architecture", quoted(&text)))),
        }
    }
}

struct Argument(u8);

impl FromJson for Argument {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let number = u8::try_from(u32::from_json(value)?).ok().filter(|number| *number < 6);
        number.map(Self).ok_or_else(|| Wrong::new("calls have arguments 0 to 5"))
    }
}

/// Up to 2^64-1, unlike other numbers here.
struct Number(u64);

impl FromJson for Number {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let number = if let Value::Number(number) = value { number.as_u64() } else { None };
        number.map(Self).ok_or_else(|| Wrong::new("it is not a whole number from 0 to 2^64-1"))
    }
}

impl FromJson for Operator {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let text = String::from_json(value)?;
        Ok(match text.as_str() {
            "SCMP_CMP_NE" => Self::NotEqual,
            "SCMP_CMP_LT" => Self::Less,
            "SCMP_CMP_LE" => Self::LessOrEqual,
            "SCMP_CMP_EQ" => Self::Equal,
            "SCMP_CMP_GE" => Self::GreaterOrEqual,
            "SCMP_CMP_GT" => Self::Greater,
            "SCMP_CMP_MASKED_EQ" => Self::MaskedEqual,
            _ => return Err(Wrong::new(format!("{} is not supported", quoted(&text)))),
        })
    }
}
