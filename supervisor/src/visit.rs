//! `crate-sup visit`: a program of the host among the files of a container.

use crate::child::{self, Started};
use crate::idmap::{self, IdMaps};
use crate::join::join;
use crate::program::{Outcome, last_words};
use crate::{memory, sys};
use lexopt::prelude::*;
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use store::container::layers;
use store::error::Doing;
use store::spec::Spec;
use store::{Container, Error, Result, Store};

const HELP: &str = "\
usage: crate-sup visit [-w] [--bare] CONTAINER [--] PROGRAM [ARGUMENT…]

Runs a program of the host with the files of a container as /, as root of its user namespace,
but where no process of the container can see it. A container that runs is seen as its
processes see it, one that does not with its bind mounts. PROGRAM has to be linked statically.
Exit codes are the program's; 3: no such container; 4: it is just starting or ending, or
another visit writes; 125: crate failed.

  -w, --write   let the program write, where the container does not run
  --bare        leave out what is mounted; the root filesystem is the working directory

  crate-sup visit web -- crate-store tar /etc | tar -t
";

/// What programs of ours lie beside this one.
const OURS: [&str; 5] = ["crate", "crate-fetch", "crate-init", "crate-store", "crate-sup"];

/// What the program may do as root: reach, make and give away files, and nothing else.
const CAPABILITIES: &str = "CAP_CHOWN,CAP_DAC_OVERRIDE,CAP_FOWNER,CAP_FSETID,CAP_MKNOD,CAP_SETFCAP";

/// What is asked for.
#[derive(Default)]
struct Request {
    write: bool,
    bare: bool,
    container: String,
    command: Vec<OsString>,
}

/// Runs the program that the arguments give; its exit code.
pub fn visit(parser: &mut lexopt::Parser) -> Result<u8> {
    let Some(request) = Request::read(parser)? else { return crate::say(HELP) };
    let store = Store::open()?;
    let container = store.find_container(&request.container)?;
    let spec = container.spec()?;
    let program = open_program(&request.command[0])?;
    if let Some((_, process)) = container.program(&store)? {
        let mut plan = words(&["--joined"]);
        if request.bare {
            plan.extend(words(&["--bare"]));
        }
        let start = |work: &dyn Fn(&OwnedFd) -> u8, report: &OwnedFd| {
            if let Some(child) = child::fork("starting a child")? {
                return Ok(child);
            }
            let joined = join(process.as_fd(), &spec);
            std::process::exit(
                joined
                    .map_or_else(
                        |error| tell(report, &format!("joining the container: {}", child::reason(&error))),
                        |()| work(report),
                    )
                    .into(),
            )
        };
        return run(&request, &program, plan, start);
    }
    let lock = container.lock_shared(&store)?;
    let bundle = File::open(&container.dir).doing(|| format!("opening {}", container.dir.display()))?;
    // Places for the mounts are made when a container first starts; where it has not, that is to be done here.
    let fresh = container.started().is_none() && !request.bare && binds(&spec).next().is_some();
    let write = request.write || fresh;
    if write {
        // Two overlays with one upper directory would spoil each other's files.
        match flock(&bundle, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::Busy(format!("another program writes to container {}", container.short())));
            }
            other => other.doing(|| format!("locking {}", container.dir.display()))?,
        }
    }
    let plan = private(&store, &container, &spec, write, request.bare)?;
    // The container's own lock keeps its layers too.
    store.unlock()?;
    let start = |work: &dyn Fn(&OwnedFd) -> u8, report: &OwnedFd| {
        let maps = IdMaps::of_caller();
        let started = child::start(sys::NEW_MOUNT, &maps, || None, |_| Ok(()), || work(report));
        started.map(|Started { child, .. }| child)
    };
    let code = run(&request, &program, plan, start);
    drop((lock, bundle));
    code
}

impl Request {
    fn read(parser: &mut lexopt::Parser) -> Result<Option<Self>> {
        let mut request = Self::default();
        loop {
            match parser.next()? {
                Some(Short('w') | Long("write")) => request.write = true,
                Some(Long("bare")) => request.bare = true,
                Some(Long("help") | Short('h')) => return Ok(None),
                Some(Value(container)) => {
                    request.container = container.string()?;
                    break;
                }
                Some(other) => return Err(other.unexpected().into()),
                None => return Err(Error::Usage("visit: a container's id or name is wanted".into())),
            }
        }
        request.command = parser.raw_args()?.collect();
        if request.command.first().is_some_and(|first| first == "--") {
            request.command.remove(0);
        }
        if request.command.is_empty() {
            return Err(Error::Usage("visit: a program is wanted".into()));
        }
        Ok(Some(request))
    }
}

/// Runs crate-init with the plan, and the program in its place, in a child that `start` makes; the program's exit code.
fn run(
    request: &Request,
    program: &File,
    plan: Vec<Vec<u8>>,
    start: impl FnOnce(&dyn Fn(&OwnedFd) -> u8, &OwnedFd) -> Result<sys::Child>,
) -> Result<u8> {
    let (ready, report) = child::pipe()?;
    let (report_number, program_number) = (report.as_raw_fd().to_string(), program.as_raw_fd().to_string());
    let mut all = words(&["--error-fd", &report_number]);
    all.extend(plan);
    // The last two are for a container that keeps the caller's id: who is not root loses the others by execve.
    for set in ["--bounding", "--effective", "--permitted", "--inheritable", "--ambient"] {
        all.extend(words(&[set, CAPABILITIES]));
    }
    all.extend(words(&["--no-new-privs", "--program-fd", &program_number, "--"]));
    all.extend(request.command.iter().map(|word| word.as_bytes().to_vec()));
    let bytes: Vec<u8> = all.into_iter().flat_map(|word| [&word[..], b"\0"].concat()).collect();
    let (init, plan) = (memory::file("crate-init")?, memory::file("plan")?);
    memory::fill(&init, &mut memory::own_init()?)?;
    memory::fill(&plan, &mut bytes.as_slice())?;
    let number = CString::new(plan.as_raw_fd().to_string()).unwrap_or_default();
    let become_init = |report: &OwnedFd| {
        for fd in [plan.as_fd(), report.as_fd(), program.as_fd()] {
            let _ = fcntl_setfd(fd, FdFlags::empty()); // It fails for closed ones only.
        }
        let error = sys::exec_fd(init.as_fd(), &[c"crate-init", c"--plan", &number]);
        tell(report, &format!("executing crate-init: {}", child::reason(&error)))
    };
    let started = start(&become_init, &report);
    drop(report);
    match (last_words(ready), started) {
        (Some(Outcome::Failed(code @ (126 | 127), line)), _) => {
            crate::tell(&line);
            Ok(code)
        }
        (Some(Outcome::Failed(_, line)), _) => Err(Error::Failed(line)),
        (_, started) => child::wait_for(&started?),
    }
}

/// In the child: tells the parent why nothing comes of it, as crate-init does.
fn tell(report: &OwnedFd, reason: &str) -> u8 {
    let _ = rustix::io::write(report, &[b"\x7d", reason.as_bytes()].concat()); // Nobody listens where this fails.
    125
}

/// The plan for a container that does not run: its root filesystem in a mount namespace of the visit's own.
fn private(store: &Store, container: &Container, spec: &Spec, write: bool, bare: bool) -> Result<Vec<Vec<u8>>> {
    let within = |name: &str| path_word(&container.dir.join(name));
    let (upper, root) = (within("upper"), within(&spec.root.path));
    let layers: Vec<Vec<u8>> = layers(spec)?.iter().map(|layer| path_word(&store.layer_path(layer))).collect();
    let mut plan = words(&["--private"]);
    let own = container.dir.join("upper").exists();
    if layers.is_empty() || !own {
        plan.extend([b"--root".to_vec(), if own { upper } else { root }]);
    } else {
        let lower = if write { None } else { Some(upper.clone()) };
        plan.extend(lower.into_iter().chain(layers).flat_map(|layer| [b"--lower".to_vec(), layer]));
        if write {
            plan.extend([b"--overlay".to_vec(), upper, within("work"), root, Vec::new()]);
        } else {
            plan.extend([b"--view".to_vec(), root]);
        }
    }
    if !bare {
        for mount in binds(spec) {
            plan.extend(words(&["--mount", "bind", &mount.source, &mount.destination, &mount.options.join(",")]));
        }
    }
    plan.extend(words(&["--pivot"]));
    if let Some(word) = plan.iter().find(|word| word.contains(&0)) {
        return Err(Error::Refused(format!("config.json: {:?} holds a NUL byte", String::from_utf8_lossy(word))));
    }
    Ok(plan)
}

/// The mounts of the host's files that the user has asked for; others of the host's are the container's surroundings.
fn binds(spec: &Spec) -> impl Iterator<Item = &store::spec::Mount> {
    let asked = |mount: &&store::spec::Mount| {
        let bind = mount.kind == "bind" || mount.options.iter().any(|option| option == "bind" || option == "rbind");
        bind && mount.source.starts_with('/') && mount.source != "/sys"
    };
    spec.mounts.iter().filter(asked)
}

/// Opens the program: one of ours lies beside this one, others are found along `PATH`.
fn open_program(name: &OsString) -> Result<File> {
    let path = if name.as_bytes().contains(&b'/') {
        PathBuf::from(name)
    } else if OURS.iter().any(|own| name == own) {
        let own = fs::read_link("/proc/self/exe").doing(|| "finding this program".into())?;
        own.with_file_name(name)
    } else {
        let found = name.to_str().and_then(idmap::find);
        found.ok_or_else(|| Error::Failed(format!("{}: not found in PATH", name.display())))?
    };
    let doing = || format!("opening {}", path.display());
    let file = File::open(&path).doing(doing)?;
    if is_static(&file) {
        return Ok(file);
    }
    Err(Error::Refused(format!(
        "{} is not a statically linked program: what it loads would be the container's",
        path.display()
    )))
}

/// Is it an ELF program of 64 bits that names no interpreter (elf(5), `PT_INTERP`)? An interpreter or loader would be
/// taken from the container, and run outside of its bounds (CVE-2019-14271).
fn is_static(file: &File) -> bool {
    let mut header = [0; 64];
    if file.read_exact_at(&mut header, 0).is_err() || header[..5] != *b"\x7fELF\x02" {
        return false;
    }
    let number = |at: usize, size: usize| {
        header[at..at + size].iter().rev().fold(0_u64, |all, byte| all << 8 | u64::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    count > 0
        && (0..count).all(|place| {
            let mut kind = [0; 4];
            let at = table.saturating_add(place * size);
            file.read_exact_at(&mut kind, at).is_ok() && u32::from_le_bytes(kind) != 3
        })
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn path_word(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_programs_that_load_nothing() {
        assert!(!is_static(&File::open("/etc/passwd").unwrap()));
        assert!(!is_static(&File::open("/bin/sh").unwrap()));
        assert!(!is_static(&File::open("/dev/null").unwrap()));
    }
}
