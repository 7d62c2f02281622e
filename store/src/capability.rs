//! The capabilities of a program (capabilities(7)): docker's default set, as `--cap-add` and `--cap-drop` change it.

use crate::error::{Error, Result};
use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};

/// Names without `CAP_`; a place in the list is the kernel's number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default set: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW,
/// SYS_CHROOT, MKNOD, AUDIT_WRITE and SETFCAP.
const DEFAULT: u64 = 0xa804_25fb;

/// All capabilities, or `ALL`.
const ALL: u64 = (1 << NAMES.len()) - 1;

/// What the caller changes about the default set; each a mask of capability numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes {
    /// `--cap-add`.
    pub added: u64,
    /// `--cap-drop`.
    pub dropped: u64,
}

impl Changes {
    /// Docker's rules: of `ALL` that are added, what is dropped is missing; else what is added comes after what is dropped.
    /// `all` are those that the kernel and the caller have, or nothing where [`Self::wants_all`] is not so.
    pub fn names(self, privileged: bool, all: u64) -> Vec<String> {
        let set = match (self.added, privileged) {
            (ALL, _) => all & !self.dropped,
            (added, true) => all & !self.dropped | added,
            (added, false) => DEFAULT & !self.dropped | added,
        };
        let names = NAMES.iter().enumerate().filter(|(number, _)| set & 1 << number != 0);
        names.map(|(_, name)| format!("CAP_{name}")).collect()
    }

    /// Are all capabilities that there are the set to begin with?
    pub fn wants_all(self, privileged: bool) -> bool {
        privileged || self.added == ALL
    }

    /// What cannot be meant is an error.
    pub fn check(self) -> Result<()> {
        if self.added == ALL && self.dropped == ALL {
            return Err(Error::Usage("--cap-add ALL and --cap-drop ALL: not both".into()));
        }
        Ok(())
    }
}

/// The value of `--cap-add` or `--cap-drop`: names with commas between, with or without `CAP_`, or `ALL`; as a mask.
pub fn mask(flag: &str, list: &str) -> Result<u64> {
    let mut mask = 0;
    for name in list.split(',') {
        let upper = name.trim().to_ascii_uppercase();
        let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
        mask |= match NAMES.iter().position(|known| *known == plain) {
            Some(number) => 1 << number,
            None if upper == "ALL" => ALL,
            None => return Err(Error::Usage(format!("--{flag}: there is no capability {name:?}"))),
        };
    }
    Ok(mask)
}

/// All that the kernel has; of those without a user namespace only what the caller may have, too.
pub fn all(user_namespace: bool) -> u64 {
    let has = |number: &usize| match capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
        Ok(own) => own || user_namespace,
        Err(_) => false, // EINVAL: the kernel is older than it.
    };
    (0..NAMES.len()).filter(has).fold(0, |mask, number| mask | 1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(added: &str, dropped: &str, privileged: bool) -> Result<String> {
        let list = |flag, text: &str| if text.is_empty() { Ok(0) } else { mask(flag, text) };
        let changes = Changes { added: list("cap-add", added)?, dropped: list("cap-drop", dropped)? };
        changes.check()?;
        Ok(changes.names(privileged, if changes.wants_all(privileged) { ALL } else { 0 }).join(","))
    }

    const USUAL: &str = "CAP_CHOWN,CAP_DAC_OVERRIDE,CAP_FOWNER,CAP_FSETID,CAP_KILL,CAP_SETGID,CAP_SETUID,CAP_SETPCAP,\
        CAP_NET_BIND_SERVICE,CAP_NET_RAW,CAP_SYS_CHROOT,CAP_MKNOD,CAP_AUDIT_WRITE,CAP_SETFCAP";

    #[test]
    fn changes_the_default_set_as_docker_does() {
        let all = NAMES.map(|name| format!("CAP_{name}")).join(",");
        for (added, dropped, privileged, wanted) in [
            ("", "", false, USUAL),
            ("", "all", false, ""),
            ("NET_BIND_SERVICE", "ALL", false, "CAP_NET_BIND_SERVICE"),
            ("cap_sys_admin,chown", "ALL", false, "CAP_CHOWN,CAP_SYS_ADMIN"),
            ("chown", "chown", false, USUAL),
            ("ALL", "", false, &all),
            ("", "", true, &all),
            ("", "ALL", true, ""),
            ("bpf", "ALL", true, "CAP_BPF"),
        ] {
            assert_eq!(set(added, dropped, privileged).unwrap(), wanted, "+{added} -{dropped}");
        }
        assert_eq!(
            set("", "CAP_MKNOD, Net_Raw", false).unwrap(),
            USUAL.replace("CAP_NET_RAW,", "").replace("CAP_MKNOD,", "")
        );
        assert_eq!(set("SYS_TIME", "", false).unwrap(), USUAL.replace("CAP_MKNOD", "CAP_SYS_TIME,CAP_MKNOD"));
        for privileged in [false, true] {
            let fewer = all.replace("CAP_MKNOD,", "").replace("CAP_CHOWN,", "");
            let added = if privileged { "" } else { "ALL" };
            assert_eq!(set(added, "mknod,chown", privileged).unwrap(), fewer);
        }
    }

    #[test]
    fn refuses_what_is_no_capability() {
        for bad in ["CHOWNN", "CAP_", "CAP_ALL", "CAP_CAP_CHOWN", "chown,", ",", "0", "chown kill", "ALL,x"] {
            assert_eq!(mask("cap-add", bad).unwrap_err().exit_code(), 2, "{bad}");
        }
        assert_eq!(set("ALL", "ALL", false).unwrap_err().exit_code(), 2);
    }
}
