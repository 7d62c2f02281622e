//! The flags of `crate-store create` that tell what the container's program may do and use.

use super::create::switch;
use super::value;
use store::capability::mask;
use store::confinement::Confinement;
use store::{Error, Result, device, limits, sysctl};

/// Takes one flag; or says that it is none of these.
pub fn flag(to: &mut Confinement, name: &str, short: bool, args: &mut lexopt::Parser) -> Result<bool> {
    match name {
        "cap-add" => to.capabilities.added |= mask(name, &value(args)?)?,
        "cap-drop" => to.capabilities.dropped |= mask(name, &value(args)?)?,
        "privileged" => to.privileged = switch(name, short, args)?,
        "security-opt" => to.security_opt(&value(args)?)?,
        "userns" => to.userns(&value(args)?)?,
        "root-emulation" => to.no_root_emulation = !read(name, args, on_or_off)?,
        "ulimit" => to.limit(limits::ulimit(&value(args)?)?),
        "sysctl" => to.sysctl.extend([sysctl::read(&value(args)?)?]),
        "device" => to.devices.push(device::read(&value(args)?)?),
        "shm-size" => to.shm_size = Some(read(name, args, shm_size)?),
        "memory" => to.limits.memory = read(name, args, limits::memory)?,
        "memory-swap" => to.limits.swap = read(name, args, limits::swap)?,
        "cpus" => to.limits.cpus = read(name, args, limits::cpus)?,
        "cpu-period" => to.limits.period = read(name, args, limits::period)?,
        "cpu-quota" => to.limits.quota = read(name, args, limits::quota)?,
        "cpu-shares" => to.limits.shares = read(name, args, limits::shares)?,
        "pids-limit" => to.limits.pids = read(name, args, limits::pids)?,
        "cgroupns" | "ipc" | "pid" | "uts" => read(name, args, private)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// What a value means; or what it should have been.
type Read<T> = std::result::Result<T, &'static str>;

fn read<T>(name: &str, args: &mut lexopt::Parser, read: fn(&str) -> Read<T>) -> Result<T> {
    let text = value(args)?;
    read(&text).map_err(|expected| Error::Usage(format!("--{name} {text}: it wants {expected}")))
}

fn on_or_off(text: &str) -> Read<bool> {
    match text {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => Err("on or off"),
    }
}

fn shm_size(text: &str) -> Read<u64> {
    limits::size(text).filter(|bytes| (1..=limits::MOST).contains(bytes)).ok_or("a size such as 64m; 0 is no size")
}

fn private(text: &str) -> Read<()> {
    if text == "private" { Ok(()) } else { Err("private: a container has a namespace of its own") }
}
