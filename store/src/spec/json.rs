//! `config.json` to and from its types.

use super::{Capabilities, Linux, Mount, Namespace, Process, Resources, Rlimit, Root, Spec, User};
use crate::json::{Fields, FromJson, Value, Wrong, object_of_present};

impl FromJson for Spec {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            oci_version: fields.take("ociVersion")?,
            process: fields.take("process")?,
            root: fields.take("root")?,
            hostname: fields.take("hostname")?,
            mounts: fields.take_or_default("mounts")?,
            linux: fields.take_or_default("linux")?,
            annotations: fields.take_or_default("annotations")?,
        })
    }
}

impl From<&Spec> for Value {
    fn from(spec: &Spec) -> Self {
        object_of_present(vec![
            ("ociVersion", (&spec.oci_version).into()),
            ("process", (&spec.process).into()),
            ("root", (&spec.root).into()),
            ("hostname", spec.hostname.as_ref().into()),
            ("mounts", spec.mounts.iter().collect()),
            ("linux", (&spec.linux).into()),
            ("annotations", Some(&spec.annotations).filter(|all| !all.is_empty()).into()),
        ])
    }
}

impl FromJson for Process {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            terminal: fields.take_or_default("terminal")?,
            user: fields.take_or_default("user")?,
            args: fields.take_or_default("args")?,
            env: fields.take_or_default("env")?,
            cwd: fields.take("cwd")?,
            capabilities: fields.take("capabilities")?,
            no_new_privileges: fields.take_or_default("noNewPrivileges")?,
            rlimits: fields.take_or_default("rlimits")?,
        })
    }
}

impl From<&Process> for Value {
    fn from(process: &Process) -> Self {
        object_of_present(vec![
            ("terminal", process.terminal.into()),
            ("user", (&process.user).into()),
            ("args", process.args.iter().collect()),
            ("env", process.env.iter().collect()),
            ("cwd", (&process.cwd).into()),
            ("capabilities", process.capabilities.as_ref().into()),
            ("noNewPrivileges", process.no_new_privileges.into()),
            ("rlimits", some(&process.rlimits)),
        ])
    }
}

impl FromJson for Rlimit {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        let mut limit = |name| match fields.take(name)? {
            Value::Number(number) => number.as_u64().ok_or_else(|| Wrong::new("a limit is a whole number from 0 on")),
            _ => Err(Wrong::new("a limit is a number")),
        };
        let (hard, soft) = (limit("hard")?, limit("soft")?);
        Ok(Self { kind: fields.take("type")?, hard, soft })
    }
}

impl From<&Rlimit> for Value {
    fn from(limit: &Rlimit) -> Self {
        object_of_present(vec![
            ("type", (&limit.kind).into()),
            ("hard", limit.hard.into()),
            ("soft", limit.soft.into()),
        ])
    }
}

impl FromJson for User {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            uid: fields.take_or_default("uid")?,
            gid: fields.take_or_default("gid")?,
            additional_gids: fields.take_or_default("additionalGids")?,
        })
    }
}

impl From<&User> for Value {
    fn from(user: &User) -> Self {
        object_of_present(vec![
            ("uid", user.uid.into()),
            ("gid", user.gid.into()),
            ("additionalGids", some(&user.additional_gids)),
        ])
    }
}

impl FromJson for Capabilities {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            bounding: fields.take_or_default("bounding")?,
            effective: fields.take_or_default("effective")?,
            permitted: fields.take_or_default("permitted")?,
            inheritable: fields.take_or_default("inheritable")?,
            ambient: fields.take_or_default("ambient")?,
        })
    }
}

impl From<&Capabilities> for Value {
    fn from(capabilities: &Capabilities) -> Self {
        object_of_present(vec![
            ("bounding", capabilities.bounding.iter().collect()),
            ("effective", capabilities.effective.iter().collect()),
            ("permitted", capabilities.permitted.iter().collect()),
            ("inheritable", some(&capabilities.inheritable)),
            ("ambient", some(&capabilities.ambient)),
        ])
    }
}

impl FromJson for Root {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self { path: fields.take("path")?, readonly: fields.take_or_default("readonly")? })
    }
}

impl From<&Root> for Value {
    fn from(root: &Root) -> Self {
        object_of_present(vec![("path", (&root.path).into()), ("readonly", root.readonly.into())])
    }
}

impl FromJson for Mount {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            destination: fields.take("destination")?,
            kind: fields.take_or_default("type")?,
            source: fields.take_or_default("source")?,
            options: fields.take_or_default("options")?,
        })
    }
}

impl From<&Mount> for Value {
    fn from(mount: &Mount) -> Self {
        object_of_present(vec![
            ("destination", (&mount.destination).into()),
            ("type", (&mount.kind).into()),
            ("source", (&mount.source).into()),
            ("options", mount.options.iter().collect()),
        ])
    }
}

impl FromJson for Linux {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self {
            namespaces: fields.take_or_default("namespaces")?,
            masked_paths: fields.take_or_default("maskedPaths")?,
            readonly_paths: fields.take_or_default("readonlyPaths")?,
            sysctl: fields.take_or_default("sysctl")?,
            seccomp: match fields.take("seccomp")? {
                Value::Null => None,
                Value::Raw(json) => Some(json).filter(|json| **json != *"null"),
                read => Some(read.to_string().into()),
            },
            resources: fields.take("resources")?,
        })
    }
}

impl From<&Linux> for Value {
    fn from(linux: &Linux) -> Self {
        object_of_present(vec![
            ("namespaces", linux.namespaces.iter().collect()),
            ("maskedPaths", linux.masked_paths.iter().collect()),
            ("readonlyPaths", linux.readonly_paths.iter().collect()),
            ("sysctl", Some(&linux.sysctl).filter(|all| !all.is_empty()).into()),
            ("seccomp", linux.seccomp.clone().map_or(Value::Null, Value::Raw)),
            ("resources", linux.resources.as_ref().into()),
        ])
    }
}

impl FromJson for Resources {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let groups = Value::Object(Fields::from_json(value)?.rest());
        let number = |group: &str, name: &str| match &groups[group][name] {
            Value::Null => Ok(None),
            Value::Number(number) if number.as_i64().is_some() => Ok(number.as_i64()),
            _ => Err(Wrong::new(format!("{group}.{name} is no whole number"))),
        };
        let memory = number("memory", "limit")?;
        let (cpu_period, cpu_shares) = (number("cpu", "period")?, number("cpu", "shares")?);
        // Runtimes take a limit below 0 as none.
        let natural = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        Ok(Self {
            memory: natural(memory),
            swap: number("memory", "swap")?,
            cpu_quota: number("cpu", "quota")?,
            cpu_period: natural(cpu_period),
            cpu_shares: natural(cpu_shares),
            pids: number("pids", "limit")?,
        })
    }
}

impl From<&Resources> for Value {
    fn from(resources: &Resources) -> Self {
        let group = |fields: Vec<(&str, Self)>| match object_of_present(fields) {
            Self::Object(fields) if fields.is_empty() => Self::Null,
            group => group,
        };
        object_of_present(vec![
            ("memory", group(vec![("limit", resources.memory.into()), ("swap", resources.swap.into())])),
            (
                "cpu",
                group(vec![
                    ("shares", resources.cpu_shares.into()),
                    ("quota", resources.cpu_quota.into()),
                    ("period", resources.cpu_period.into()),
                ]),
            ),
            ("pids", group(vec![("limit", resources.pids.into())])),
        ])
    }
}

impl FromJson for Namespace {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut fields = Fields::from_json(value)?;
        Ok(Self { kind: fields.take("type")?, path: fields.take("path")? })
    }
}

impl From<&Namespace> for Value {
    fn from(namespace: &Namespace) -> Self {
        object_of_present(vec![("type", (&namespace.kind).into()), ("path", namespace.path.as_ref().into())])
    }
}

/// A list that is left out where it is empty.
fn some<'a, T>(items: &'a [T]) -> Value
where
    Value: From<&'a T>,
{
    if items.is_empty() { Value::Null } else { items.iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn limits_are_read_as_they_are_written() {
        let limit = Rlimit { kind: "RLIMIT_NOFILE".into(), hard: u64::MAX, soft: 64 };
        let resources = Resources { memory: Some(1 << 30), swap: Some(-1), pids: Some(7), ..Resources::default() };
        let linux = Linux { resources: Some(resources), ..Linux::default() };
        let text = Value::from(&limit).to_string();
        assert_eq!(json::read::<Rlimit>(text.as_bytes(), "it").unwrap(), limit);
        let text = Value::from(&linux).to_string();
        assert!(text.contains(r#""pids":{"limit":7}"#) && !text.contains("cpu"), "{text}");
        assert_eq!(json::read::<Linux>(text.as_bytes(), "it").unwrap(), linux);
        for bad in [r#"{"type":"RLIMIT_CPU","hard":-1,"soft":0}"#, r#"{"type":"RLIMIT_CPU","hard":"1","soft":0}"#] {
            assert!(json::read::<Rlimit>(bad.as_bytes(), "it").is_err(), "{bad}");
        }
        assert!(json::read::<Resources>(br#"{"memory":{"limit":"1"}}"#, "it").is_err());
    }
}
