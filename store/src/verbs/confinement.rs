//! The flags of `crate-store create` that tell what the container's program may do and use.

use store::capability::mask;
use store::confinement::Confinement;
use store::{Error, Result, device, limits, sysctl};

/// Takes one flag that has a value; or says that it is none of these.
pub fn flag(to: &mut Confinement, name: &str, text: &str) -> Result<bool> {
    match name {
        "cap-add" => to.capabilities.added |= mask(name, text)?,
        "cap-drop" => to.capabilities.dropped |= mask(name, text)?,
        "security-opt" => to.security_opt(text)?,
        "ulimit" => to.limit(limits::ulimit(text)?),
        "sysctl" => to.sysctl.extend([sysctl::read(text)?]),
        "device" => to.devices.push(device::read(text)?),
        _ => {
            let taken = simple(to, name, text);
            return taken.map_err(|wanted| Error::Usage(format!("--{name} {text}: it wants {wanted}")));
        }
    }
    Ok(true)
}

/// The same, for one whose value is a word or a number; an error is what it should have been.
fn simple(to: &mut Confinement, name: &str, text: &str) -> std::result::Result<bool, &'static str> {
    match (name, text) {
        ("userns", _) => to.userns(text)?,
        ("root-emulation", "on" | "true" | "1") => to.no_root_emulation = false,
        ("root-emulation", "off" | "false" | "0") => to.no_root_emulation = true,
        ("root-emulation", _) => return Err("on or off"),
        ("shm-size", _) => to.shm_size = Some(limits::shm_size(text)?),
        ("cgroupns" | "ipc" | "pid" | "uts", "private") => {}
        ("cgroupns" | "ipc" | "pid" | "uts", _) => return Err("private: a container has a namespace of its own"),
        _ => return to.limits.take(name, text),
    }
    Ok(true)
}
