//! Capabilities by name (capabilities(7)).

use crate::error::{Error, Result};
use core::ffi::CStr;

/// The names in the order of their numbers, without `CAP_`.
const NAMES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE \
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT \
    SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE \
    AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ \
    PERFMON BPF CHECKPOINT_RESTORE";

/// The mask of `CAP_CHOWN,CAP_KILL,…`.
pub fn mask(list: &CStr) -> Result<u64> {
    let text = list.to_str().unwrap_or("?");
    text.split(',').filter(|name| !name.is_empty()).try_fold(0, |mask, name| {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        match NAMES.split(' ').position(|known| known == short) {
            Some(number) => Ok(mask | 1 << number),
            None => Err(Error::new(&["no such capability: ", name])),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernel_s_numbers() {
        assert_eq!(mask(c"").unwrap(), 0);
        assert_eq!(mask(c"CAP_CHOWN,CAP_SYS_ADMIN").unwrap(), 1 | 1 << 21);
        assert_eq!(mask(c"CAP_CHECKPOINT_RESTORE").unwrap(), 1 << 40);
        assert!(mask(c"CAP_NONE").is_err());
    }
}
