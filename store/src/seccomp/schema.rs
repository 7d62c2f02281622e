//! What a profile may hold: in `config.json` (runtime-spec, `config-linux.md#seccomp`), and in a file in docker's format.

use super::Operator;
use crate::json::{Value, Wrong, quoted};

/// What a value may be.
pub enum Kind {
    /// Anything: it is not looked at.
    Any,
    /// Text.
    Text,
    /// A number from 0 to this.
    Number(u64),
    /// A name: the beginning of all, and the rest of each.
    Name(&'static str, &'static [&'static str]),
    /// A list of such values.
    List(&'static Kind),
    /// An object with the fields of both lists, and no others: what is not understood might have been meant to deny
    /// something. Those of the third must be there.
    Object(&'static [Field], &'static [Field], &'static [&'static str]),
}

/// A field's name and what it may be; `null` is as if it were not there.
type Field = (&'static str, Kind);

/// `linux.seccomp` of `config.json`.
pub const PROFILE: Kind =
    Kind::Object(COMMON, &[("syscalls", Kind::List(&Kind::Object(RULE, &[], NEEDED)))], &[DEFAULT]);

/// A file in docker's format, which is the runtime-spec's and more.
pub const FILE: Kind = Kind::Object(
    COMMON,
    &[
        ("syscalls", Kind::List(&Kind::Object(RULE, DOCKER_RULE, NEEDED))),
        ("archMap", Kind::List(&Kind::Object(FAMILY, &[], &["architecture"]))),
        ("defaultErrno", Kind::Text),
    ],
    &[DEFAULT],
);

const DEFAULT: &str = "defaultAction";
const NEEDED: &[&str] = &["action"];

const COMMON: &[Field] = &[(DEFAULT, ACTION), ("defaultErrnoRet", ERRNO), ("architectures", Kind::List(&ARCHITECTURE))];

const RULE: &[Field] = &[
    ("names", Kind::List(&Kind::Text)),
    ("action", ACTION),
    ("errnoRet", ERRNO),
    ("args", Kind::List(&Kind::Object(CONDITION, &[], &["index", "value", "op"]))),
];

const DOCKER_RULE: &[Field] = &[
    ("name", Kind::Text),
    ("comment", Kind::Any),
    ("errno", Kind::Text),
    ("includes", Kind::Object(WHEN, &[], &[])),
    ("excludes", Kind::Object(WHEN, &[], &[])),
];

const CONDITION: &[Field] = &[
    ("index", Kind::Number(5)),
    ("value", Kind::Number(u64::MAX)),
    ("valueTwo", Kind::Number(u64::MAX)),
    ("op", Kind::Name("SCMP_CMP_", &["EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ"])),
];

const FAMILY: &[Field] = &[("architecture", ARCHITECTURE), ("subArchitectures", Kind::List(&ARCHITECTURE))];

const WHEN: &[Field] =
    &[("caps", Kind::List(&Kind::Text)), ("arches", Kind::List(&Kind::Text)), ("minKernel", Kind::Text)];

/// `MAX_ERRNO` of Linux.
const ERRNO: Kind = Kind::Number(4095);

/// Not `NOTIFY`: crate listens itself, and the kernel has one listener for a process.
const ACTION: Kind =
    Kind::Name("SCMP_ACT_", &["ALLOW", "ERRNO", "KILL", "KILL_THREAD", "KILL_PROCESS", "LOG", "TRACE", "TRAP"]);

const ARCHITECTURE: Kind = Kind::Name(
    "SCMP_ARCH_",
    &[
        "X86",
        "X86_64",
        "X32",
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
    ],
);

/// The operators by their names.
pub const OPERATORS: [(&str, Operator); 7] = [
    ("SCMP_CMP_NE", Operator::NotEqual),
    ("SCMP_CMP_LT", Operator::Less),
    ("SCMP_CMP_LE", Operator::LessOrEqual),
    ("SCMP_CMP_EQ", Operator::Equal),
    ("SCMP_CMP_GE", Operator::GreaterOrEqual),
    ("SCMP_CMP_GT", Operator::Greater),
    ("SCMP_CMP_MASKED_EQ", Operator::MaskedEqual),
];

/// Is the value of this kind? If not, the error tells the place in it.
pub fn check(value: &Value, kind: &Kind) -> Result<(), Wrong> {
    match (kind, value) {
        (Kind::Any, _) | (Kind::Text, Value::String(_)) => Ok(()),
        (Kind::Number(most), Value::Number(number)) if number.as_u64().is_some_and(|number| number <= *most) => Ok(()),
        (Kind::Name(first, names), Value::String(text)) => match text.strip_prefix(first) {
            Some(rest) if names.contains(&rest) => Ok(()),
            _ => unsupported(text),
        },
        (Kind::List(kind), Value::Array(items)) => {
            let mut all = items.iter().enumerate();
            all.try_for_each(|(place, item)| check(item, kind).map_err(|wrong| wrong.within(format_args!("[{place}]"))))
        }
        (Kind::Object(common, more, needed), Value::Object(fields)) => {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                match common.iter().chain(*more).find(|(own, _)| own == name) {
                    Some((_, kind)) => check(value, kind).map_err(|wrong| wrong.within(format_args!(".{name}")))?,
                    None => return unsupported(name),
                }
            }
            match needed.iter().find(|name| value[name].is_null()) {
                Some(name) => Err(Wrong::new(format!("{name} is missing"))),
                None => Ok(()),
            }
        }
        (Kind::Text | Kind::Name(..), _) => Err(Wrong::new("it is not text")),
        (Kind::Number(most), _) => Err(Wrong::new(format!("it is not a whole number from 0 to {most}"))),
        (Kind::List(_), _) => Err(Wrong::new("it is not a list")),
        (Kind::Object(..), _) => Err(Wrong::new("it is not an object")),
    }
}

fn unsupported(text: &str) -> Result<(), Wrong> {
    Err(Wrong::new(format!("{} is not supported", quoted(text))))
}
