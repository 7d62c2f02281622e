//! Kernel settings of a container's namespaces: `--sysctl NAME=VALUE`.

use crate::error::{Error, Result};

/// Settings of the container's own IPC and UTS namespaces (ipc_namespaces(7), uts_namespaces(7)).
const OWN: [&str; 9] = [
    "kernel.domainname",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

/// Reads a setting. Its name comes out with dots between the parts and `/` for a dot within one, as in
/// `net.ipv4.conf.eth0/1.forwarding`; that way or with the two exchanged it may come in (sysctl.d(5)).
pub fn read(text: &str) -> Result<(String, String)> {
    let wrong = |why: &str| Error::Usage(format!("--sysctl {text}: {why}"));
    let (given, value) = text.split_once('=').ok_or_else(|| wrong("it wants NAME=VALUE"))?;
    let name = if given.find(['.', '/']).is_some_and(|place| given[place..].starts_with('/')) {
        given
            .chars()
            .map(|letter| {
                if letter == '/' {
                    '.'
                } else if letter == '.' {
                    '/'
                } else {
                    letter
                }
            })
            .collect()
    } else {
        given.to_owned()
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:@".contains(&byte);
    // A part that is nothing but dots, once `/` means them, leads to another directory.
    let is_part = |part: &str| part.bytes().any(named) && part.bytes().all(|byte| named(byte) || byte == b'/');
    if !name.split('.').all(is_part) {
        return Err(wrong("that is no name of a setting"));
    }
    if value.is_empty() || value.contains(|letter: char| letter.is_control() && letter != '\t') {
        return Err(wrong("that is no value"));
    }
    if OWN.contains(&name.as_str()) || is_network(&name) || name.starts_with("fs.mqueue.") {
        return Ok((name, value.to_owned()));
    }
    Err(wrong("it is a setting of the whole system, not of a container"))
}

/// Is it a setting of the network namespace?
pub fn is_network(name: &str) -> bool {
    name.starts_with("net.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_settings_of_namespaces_alone() {
        for (text, name, value) in [
            ("net.ipv4.ip_forward=1", "net.ipv4.ip_forward", "1"),
            ("net/ipv4/ip_forward=1", "net.ipv4.ip_forward", "1"),
            ("net/ipv4/conf/eth0.1/forwarding=1", "net.ipv4.conf.eth0/1.forwarding", "1"),
            ("net.ipv4.conf.eth0/1.forwarding=1", "net.ipv4.conf.eth0/1.forwarding", "1"),
            ("net.ipv4.ping_group_range=0 9", "net.ipv4.ping_group_range", "0 9"),
            ("kernel.sem=250\t32000 100 128", "kernel.sem", "250\t32000 100 128"),
            ("kernel.domainname=a=b", "kernel.domainname", "a=b"),
            ("net.a//b=1", "net.a//b", "1"),
            ("fs.mqueue.msg_max=5", "fs.mqueue.msg_max", "5"),
        ] {
            assert_eq!(read(text).unwrap(), (name.to_owned(), value.to_owned()), "{text}");
        }
        for bad in [
            "",
            "net.ipv4.ip_forward",
            "net.ipv4.ip_forward=",
            "net.x=1\n2",
            "net.x=\0",
            "kernel.core_pattern=|/x",
            "kernel.hostname=x",
            "kernel/core_pattern=x",
            "vm.overcommit_memory=1",
            "fs.file-max=1",
            "fs.mqueue=1",
            "net=1",
            "net.=1",
            "net..x=1",
            "net.//.kernel.core_pattern=x",
            "net/../kernel/core_pattern=x",
            "net./.x=1",
            "netx.y=1",
            ".net.x=1",
            "/net/x=1",
            "net.x y=1",
            "kernel.shmmax.=1",
        ] {
            assert_eq!(read(bad).unwrap_err().exit_code(), 2, "{bad}");
        }
    }
}
