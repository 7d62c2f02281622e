//! `crate-sup run`: one container, from its bundle to its exit code.

use crate::child;
use crate::idmap::IdMaps;
use crate::plan::Plan;
use crate::signals;
use crate::sys;
use crate::watch::{Outcome, last_words, watch};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use store::container::layers;
use store::error::Doing;
use store::process::Process;
use store::spec::{Spec, annotation};
use store::{Container, Error, Result, Store, time, tree};

/// The code by which crate-init says that the kernel or the filesystem refused the overlay.
const OVERLAY_REFUSED: u8 = 1;

/// Runs a container in the foreground; its exit code.
pub fn run(name: &str) -> Result<u8> {
    let store = Store::open()?;
    let container = store.find_container(name)?;
    let lock = container.lock(&store)?;
    let spec = container.spec()?;
    if spec.process.terminal {
        return Err(Error::Failed("running: config.json asks for a terminal, which is not supported yet".into()));
    }
    begin(&container)?;
    let outcome = match attempt(&store, &container, &spec) {
        Outcome::Failed(OVERLAY_REFUSED, reason) => {
            keep_what_is_written(&container, &reason)?;
            crate::tell(&format!("{reason}: the container gets a private copy of its image instead"));
            // The attempt has let go of the store; what is being copied must not be collected.
            match store.lock_shared().and_then(|()| copy(&store, &container, &spec)) {
                Ok(()) => attempt(&store, &container, &spec),
                Err(error) => failed(&error),
            }
        }
        outcome => outcome,
    };
    let code = match outcome {
        Outcome::Ended(code) => code,
        Outcome::Failed(code, line) => {
            crate::tell(&line);
            if code == OVERLAY_REFUSED { 125 } else { code }
        }
    };
    let finished = store.lock_shared().and_then(|()| finish(&store, &container, &spec, code));
    // The code is what counts, whatever became of the record.
    finished.unwrap_or_else(|error| crate::tell(&error));
    drop(lock);
    Ok(code)
}

/// Prints the plan of a container.
pub fn print_plan(name: &str) -> Result<u8> {
    let store = Store::open()?;
    let container = store.find_container(name)?;
    crate::say(&Plan::new(&store, &container, &container.spec()?)?.text())
}

/// Starts the container and watches it to its end. What keeps it from starting is an outcome like others: a container
/// that was to be removed at its end is.
fn attempt(store: &Store, container: &Container, spec: &Spec) -> Outcome {
    start(store, container, spec).unwrap_or_else(|error| failed(&error))
}

fn failed(error: &Error) -> Outcome {
    Outcome::Failed(125, error.to_string())
}

fn start(store: &Store, container: &Container, spec: &Spec) -> Result<Outcome> {
    let signal_source = sys::signal_descriptor(&signals::FORWARDED).doing(|| "blocking signals".into())?;
    let (ready, report) = child::pipe()?;
    let (init, plan) = (memory_file("crate-init")?, memory_file("plan")?);
    let mut first = vec!["--error-fd".to_owned(), report.as_raw_fd().to_string()];
    if !spec.flag(annotation::INTERACTIVE) {
        first.push("--no-stdin".to_owned());
    }
    let number = CString::new(plan.as_raw_fd().to_string()).unwrap_or_default();
    let network = if spec.has_namespace("network") { sys::NEW_NET } else { 0 };
    let maps = IdMaps::of_caller();
    // What takes the kernel long is left to the child, which has to wait for its ids anyway.
    let prepare = || {
        if let Err(error) = sys::unshare(sys::OTHER_NAMESPACES | network) {
            give_up(&report, &child::explain(error, &maps).to_string());
        }
        sys::listen_to_kill(&signals::DEADLY).ok()
    };
    let meanwhile = || {
        fill(&init, &mut own_init()?)?;
        fill(&plan, &mut Plan::new(store, container, spec)?.bytes(&first).as_slice())?;
        store.unlock()
    };
    let become_init = || {
        for fd in [plan.as_fd(), report.as_fd()] {
            let _ = rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()); // It fails for closed ones only.
        }
        let error = sys::exec_fd(init.as_fd(), &[c"crate-init", c"--plan", &number]);
        give_up(&report, &format!("executing crate-init: {error}"))
    };
    let started = child::start(sys::FIRST_NAMESPACES, &maps, prepare, meanwhile, become_init);
    drop(report);
    match started {
        Ok(started) => {
            // Only who looks at it from outside needs the record: without it the container runs all the same.
            let process = u32::try_from(started.child.pid).ok().and_then(Process::now);
            let recorded = process.map_or(Ok(()), |process| container.record_process(store, &process));
            recorded.unwrap_or_else(|error| crate::tell(&error));
            watch(&started, &signal_source, ready)
        }
        // A child that has given up says why; that nothing could be done with it then is no news.
        Err(error) => Ok(last_words(ready).unwrap_or_else(|| failed(&error))),
    }
}

/// In the child: tells the parent why, as crate-init does, and ends.
fn give_up(report: &OwnedFd, reason: &str) -> ! {
    let line = [b"\x7d", reason.as_bytes()].concat(); // 0x7d is 125
    let _ = rustix::io::write(report, &line); // Nobody is left to tell where this fails.
    std::process::exit(125)
}

/// Records the exit code; or removes the container, where that was asked for.
fn finish(store: &Store, container: &Container, spec: &Spec, code: u8) -> Result<()> {
    if spec.flag(annotation::REMOVE) {
        let garbage = store.unlist_container(container)?;
        // Directories of other ids than the caller's only their own root can empty.
        return tree::remove(&garbage).or_else(|_| child::as_mapped_root(|| tree::remove(&garbage)));
    }
    note(container, "exit", &format!("{code}\n"))?;
    tree::remove(&container.run_dir(store)?)
}

/// Records that the container has been started, and only then forgets what it ended with before: a supervisor that is
/// killed in between leaves one or the other.
fn begin(container: &Container) -> Result<()> {
    note(container, "started", &format!("{}\n", time::now()))?;
    let exit = container.dir.join("exit");
    match fs::remove_file(&exit) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.doing(|| format!("removing {}", exit.display())),
    }
}

/// Writes a small file of the bundle beside, and renames it into its place.
fn note(container: &Container, name: &str, text: &str) -> Result<()> {
    let (beside, target) = (container.dir.join(format!("{name}.new")), container.dir.join(name));
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &target));
    written.doing(|| format!("writing {}", target.display()))
}

/// An overlay that was mounted once and is refused now must not cost what the container has written.
fn keep_what_is_written(container: &Container, reason: &str) -> Result<()> {
    let upper = container.dir.join("upper");
    let mut entries = fs::read_dir(&upper).doing(|| format!("reading {}", upper.display()))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Error::Failed(format!("{reason}\nhint: what the container wrote is in {}", upper.display()))),
    }
}

/// Replaces the container's empty root filesystem by a copy of its layers.
fn copy(store: &Store, container: &Container, spec: &Spec) -> Result<()> {
    child::as_mapped_root(|| {
        let layers: Vec<_> = layers(spec)?.iter().map(|layer| store.layer_path(layer)).collect();
        let layers: Vec<_> = layers.iter().map(std::path::PathBuf::as_path).collect();
        let beside = store.ingest_path("copy")?;
        store::copy::copy_layers(&layers, &beside)?;
        let rootfs = container.dir.join(&spec.root.path);
        fs::rename(&beside, &rootfs).doing(|| format!("renaming {}", beside.display()))?;
        tree::remove(&container.dir.join("upper"))
    })
}

/// The crate-init that lies beside this program.
fn own_init() -> Result<File> {
    let own = fs::read_link("/proc/self/exe").doing(|| "finding this program".into())?;
    let path = own.with_file_name("crate-init");
    File::open(&path).doing(|| format!("opening {}", path.display()))
}

/// An empty file in memory: through it, no process of the container can reach a file of the host.
fn memory_file(name: &str) -> Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Since Linux 6.3 a memfd says whether it may be executed, and a system may insist on it.
    let made = memfd_create(name, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(name, flags));
    made.doing(|| "making a memory file".into()).map(File::from)
}

/// Fills a memory file, and seals it: nothing can change it any more.
fn fill<R: Read>(mut file: &File, content: &mut R) -> Result<()> {
    io::copy(content, &mut file).and_then(|_| file.rewind()).doing(|| "filling a memory file".into())?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(file, seals).doing(|| "sealing a memory file".into())
}
