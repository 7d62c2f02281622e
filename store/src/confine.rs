//! A program's own confinement, before it reads what strangers have made: it writes in the store only, executes
//! nothing, and gains no privileges. What the kernel lacks of this is left out; `crate-sup check` tells of it.

use crate::error::{Error, Result};
use crate::root::Store;
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr,
};
use seccompiler::sock_filter;
use std::path::Path;

/// What is allowed besides reading in the store and making anything in `ingest/`.
#[derive(Debug, Default)]
pub struct Allowed<'a> {
    /// Make blobs and replace `index.json`, by renaming what is complete; otherwise layers.
    pub publish: bool,
    /// Open sockets.
    pub network: bool,
    /// Read these files, and what is below these directories.
    pub read: &'a [&'a Path],
    /// Read, make and replace files in these directories.
    pub replace: &'a [&'a Path],
}

/// Confines this program, which must have one thread only: Landlock (since Linux 5.19, landlock(7)), seccomp(2) and
/// `PR_SET_NO_NEW_PRIVS`. What is open already stays open.
pub fn confine(store: &Store, allowed: &Allowed<'_>) -> Result<()> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| Error::Failed(format!("confining this program by {what}: {error}"));
    if let Some(ruleset) = ruleset() {
        let restricted = rules(ruleset, store, allowed).and_then(RulesetCreated::restrict_self);
        restricted.map_err(|error| failed("landlock", &error))?;
    }
    match seccompiler::apply_filter(&filter(allowed.network)) {
        // A kernel without filters.
        Err(seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error))
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) =>
        {
            Ok(())
        }
        other => other.map_err(|error| failed("seccomp", &error)),
    }
}

/// All that Landlock can deny is denied, but for the rules; `None`: this kernel has no Landlock that can be used.
fn ruleset() -> Option<RulesetCreated> {
    // Without this right, of version 2, nothing could be renamed from one directory to another.
    let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::Refer);
    let all = AccessFs::from_all(ABI::V5);
    strict.ok()?.set_compatibility(CompatLevel::BestEffort).handle_access(all).ok()?.create().ok()
}

fn rules(
    mut ruleset: RulesetCreated,
    store: &Store,
    allowed: &Allowed<'_>,
) -> std::result::Result<RulesetCreated, landlock::RulesetError> {
    use AccessFs::{Execute, MakeDir, MakeReg, ReadDir, ReadFile, Refer, RemoveFile, Truncate, WriteFile};
    let read = ReadFile | ReadDir;
    let published = if allowed.publish { MakeReg | RemoveFile | Refer } else { BitFlags::empty() };
    let own: [(&str, BitFlags<AccessFs>); 4] = [
        ("", read | published),
        // What is damaged is removed.
        ("blobs", MakeDir | RemoveFile),
        ("layers", MakeDir | Refer),
        ("ingest", AccessFs::from_all(ABI::V5) & !BitFlags::from(Execute)),
    ];
    let own = own.map(|(name, access)| (store.path(name), access));
    let readable = allowed.read.iter().map(|path| (path.to_path_buf(), read));
    let replace =
        allowed.replace.iter().map(|path| (path.to_path_buf(), read | MakeReg | RemoveFile | WriteFile | Truncate));
    for (path, access) in own.into_iter().chain(readable).chain(replace) {
        // What is not there cannot be read either.
        let Ok(fd) = PathFd::new(&path) else { continue };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V5) };
        ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
    }
    Ok(ruleset)
}

/// Calls that a program which only reads, writes and renames has no use for, and an intruder has.
const DENIED: [libc::c_long; 40] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_kill,
    libc::SYS_personality,
];

/// What makes a socket; the others want one.
const NETWORK: [libc::c_long; 1] = [libc::SYS_socket];

/// The filter in classic BPF: a chain of comparisons with the number of the call.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // The kernel's numbers fit.
fn filter(network: bool) -> Vec<sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, k: u32, jt, jf| sock_filter { code: code as u16, jt, jf, k };
    let (allow, kill) = (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_KILL_PROCESS);
    let deny = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    // In struct seccomp_data: the call at 0, the architecture at 4 (AUDIT_ARCH_*). Calls of others have other numbers.
    let native = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
    let mut filter =
        vec![step(LOAD, 4, 0, 0), step(EQUAL, native, 1, 0), step(RETURN, kill, 0, 0), step(LOAD, 0, 0, 0)];
    // The numbers of the x32 ABI begin here.
    filter.extend([step(AT_LEAST, 0x4000_0000, 0, 1), step(RETURN, kill, 0, 0)]);
    let without = if network { &[][..] } else { &NETWORK };
    for call in DENIED.iter().chain(without) {
        filter.extend([step(EQUAL, *call as u32, 0, 1), step(RETURN, deny, 0, 0)]);
    }
    filter.push(step(RETURN, allow, 0, 0));
    filter
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::ErrorKind::PermissionDenied;
    use std::process::Command;

    /// Both kinds of confinement are a thread's own, so this one has its own.
    #[test]
    fn a_confined_thread_writes_in_ingest_only() {
        let root = std::env::temp_dir().join(format!("crate-confine-{}", std::process::id()));
        crate::tree::remove(&root).unwrap();
        let store = Store::open_at(&root.join("store")).unwrap();
        let (secret, beside) = (root.join("secret"), root.join("beside"));
        fs::write(&secret, "s").unwrap();
        let confined = || {
            confine(&store, &Allowed::default()).unwrap();
            assert_eq!(Command::new("/bin/true").status().unwrap_err().kind(), PermissionDenied);
            assert_eq!(std::net::UdpSocket::bind("127.0.0.1:0").unwrap_err().kind(), PermissionDenied);
            let ingest = store.path("ingest/x");
            if ruleset().is_none() {
                eprintln!("this kernel has no Landlock to test");
                return;
            }
            fs::create_dir(&ingest).unwrap();
            fs::write(ingest.join("file"), "x").unwrap();
            fs::rename(&ingest, store.path("layers/x")).unwrap();
            for denied in [
                fs::write(&beside, "x"),
                fs::write(&secret, "x"),
                fs::read(&secret).map(drop),
                fs::remove_file(&secret),
                fs::write(store.path("layers/x/file"), "y"),
                fs::write(store.path("index.json"), "y"),
                fs::rename(store.path("ingest"), &beside),
            ] {
                assert_eq!(denied.unwrap_err().kind(), PermissionDenied);
            }
            store.index().unwrap();
        };
        std::thread::scope(|scope| scope.spawn(confined).join().unwrap());
        assert_eq!(fs::read(&secret).unwrap(), b"s");
        crate::tree::remove(&root).unwrap();
    }

    #[test]
    fn what_publishes_replaces_the_index_but_changes_no_blob() {
        let root = std::env::temp_dir().join(format!("crate-publish-{}", std::process::id()));
        crate::tree::remove(&root).unwrap();
        let store = Store::open_at(&root).unwrap();
        let blob = store.put_blob(crate::oci::media::LAYER, b"one").unwrap();
        let confined = || {
            let allowed = Allowed { publish: true, read: &[Path::new("/dev/urandom")], ..Allowed::default() };
            confine(&store, &allowed).unwrap();
            let two = store.put_blob(crate::oci::media::LAYER, b"two").unwrap();
            store.set_reference("docker.io/library/two:1", &two).unwrap();
            if ruleset().is_some() {
                let path = store.blob_path(&two.digest);
                let opened = fs::OpenOptions::new().append(true).open(&path);
                assert_eq!(opened.unwrap_err().kind(), PermissionDenied);
            }
        };
        std::thread::scope(|scope| scope.spawn(confined).join().unwrap());
        assert_eq!(store.read_blob(&blob, 3).unwrap(), b"one");
        assert_eq!(store.index().unwrap().manifests.len(), 1);
        crate::tree::remove(&root).unwrap();
    }

    #[test]
    fn the_filter_judges_each_call() {
        // What the kernel does with it, for the four kinds of instruction that it has.
        let judge = |filter: &[sock_filter], call: u32, architecture: u32| {
            let (mut at, mut value) = (0, 0);
            loop {
                let sock_filter { code, jt, jf, k } = filter[at];
                at += 1;
                let held = match u32::from(code) {
                    0x20 => {
                        value = if k == 0 { call } else { architecture };
                        continue;
                    }
                    0x15 => value == k,
                    0x35 => value >= k,
                    0x06 => return k,
                    code => unreachable!("{code}"),
                };
                at += usize::from(if held { jt } else { jf });
            }
        };
        let native = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        let deny = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).unwrap();
        let number = |call: libc::c_long| u32::try_from(call).unwrap();
        for (network, call, verdict) in [
            (true, libc::SYS_execve, deny),
            (true, libc::SYS_personality, deny),
            (true, libc::SYS_socket, libc::SECCOMP_RET_ALLOW),
            (false, libc::SYS_socket, deny),
            (false, libc::SYS_openat, libc::SECCOMP_RET_ALLOW),
            (false, 0x4000_0000 | libc::SYS_openat, libc::SECCOMP_RET_KILL_PROCESS),
        ] {
            assert_eq!(judge(&filter(network), number(call), native), verdict, "{network} {call}");
        }
        assert_eq!(judge(&filter(true), number(libc::SYS_openat), 0x4000_0003), libc::SECCOMP_RET_KILL_PROCESS);
    }
}
