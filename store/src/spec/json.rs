//! `config.json` to and from its types.

use super::{Capabilities, Linux, Mount, Namespace, Process, Root, Spec, User};
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
        })
    }
}

impl From<&Linux> for Value {
    fn from(linux: &Linux) -> Self {
        object_of_present(vec![
            ("namespaces", linux.namespaces.iter().collect()),
            ("maskedPaths", linux.masked_paths.iter().collect()),
            ("readonlyPaths", linux.readonly_paths.iter().collect()),
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
