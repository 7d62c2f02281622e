//! Starting a container's program.

use crate::cgroup::{self, Cgroup};
use crate::channel::{self, Size};
use crate::idmap::IdMaps;
use crate::join::namespaces;
use crate::plan::{Console, Plan};
use crate::program::{Outcome, Program, last_words};
use crate::streams::{Inner, Streams};
use crate::{child, memory, seccomp, signals, sys};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use store::process::Process;
use store::spec::{Spec, annotation};
use store::{Container, Error, Result, Store};

/// The exit code for a container in which nothing can be run, as podman has it.
pub const NOT_RUNNING: u8 = 126;

/// Why, where it ran a moment ago.
const ENDED: &str = "the container ended before it could be joined";

/// What a child needs to become crate-init.
pub struct Body {
    init: File,
    plan: File,
    report: OwnedFd,
    inner: Inner,
    console: Option<OwnedFd>,
    filter: Option<File>,
}

/// The supervisor's side of a [`Body`].
pub struct Face {
    /// Ends without a word when the program runs.
    pub ready: OwnedFd,
    /// The program's input and outputs.
    pub streams: Streams,
}

impl Body {
    /// Makes both sides for a program with a terminal, or with pipes; and with a seccomp filter where it is `filtered`.
    pub fn new(terminal: bool, input: bool, filtered: bool) -> Result<(Self, Face)> {
        let (ready, report) = child::pipe()?;
        let (init, plan) = (memory::file("crate-init")?, memory::file("plan")?);
        let filter = if filtered { Some(memory::file("seccomp")?) } else { None };
        let (streams, inner, console) = if terminal {
            let (own, console) = channel::pair()?;
            (Streams::terminal(own), Inner::default(), Some(console))
        } else {
            let (streams, inner) = Streams::pipes(input)?;
            (streams, inner, None)
        };
        Ok((Self { init, plan, report, inner, console, filter }, Face { ready, streams }))
    }

    /// Where crate-init sends the terminal, for the plan.
    pub fn console(&self, size: Size) -> Option<Console> {
        self.console.as_ref().map(|console| Console { fd: console.as_raw_fd(), size })
    }

    /// Fills in what crate-init is to do, `joining` a container first where that is not empty, and the filter where the
    /// program is to have one.
    pub fn fill(&self, joining: &[String], plan: &Plan, filter: &[u8]) -> Result<()> {
        let mut first = vec!["--error-fd".to_owned(), self.report.as_raw_fd().to_string()];
        if self.console.is_none() && self.inner.input.is_none() {
            first.push("--no-stdin".into());
        }
        first.extend_from_slice(joining);
        if let Some(file) = &self.filter {
            first.extend(["--seccomp".into(), file.as_raw_fd().to_string()]);
            memory::fill(file, &mut &filter[..])?;
        }
        memory::fill(&self.init, &mut memory::own_init()?)?;
        memory::fill(&self.plan, &mut plan.bytes(&first).as_slice())
    }

    /// In the child: becomes crate-init, which gets `more` descriptors; comes back only where that fails, with the exit code.
    pub fn execute(&self, more: &[BorrowedFd]) -> u8 {
        let given = [self.console.as_ref().map(AsFd::as_fd), self.filter.as_ref().map(AsFd::as_fd)];
        let kept = [Some(self.plan.as_fd()), Some(self.report.as_fd())].into_iter().chain(given);
        for fd in kept.flatten().chain(more.iter().copied()) {
            let _ = fcntl_setfd(fd, FdFlags::empty()); // It fails for closed ones only.
        }
        // Likewise: these are open.
        let _ = self.inner.input.as_ref().map(dup2_stdin);
        if let Some([out, err]) = &self.inner.outputs {
            let _ = dup2_stdout(out).and_then(|()| dup2_stderr(err));
        }
        let number = CString::new(self.plan.as_raw_fd().to_string()).unwrap_or_default();
        let error = sys::exec_fd(self.init.as_fd(), &[c"crate-init", c"--plan", &number]);
        self.give_up(125, &format!("executing crate-init: {}", child::reason(&error)))
    }

    /// In the child: tells the parent why, as crate-init does, and ends.
    pub fn give_up(&self, code: u8, reason: &str) -> ! {
        let line = [&[code], reason.as_bytes()].concat();
        let _ = rustix::io::write(&self.report, &line); // Nobody is left to tell where this fails.
        std::process::exit(code.into())
    }
}

/// Starts the first program of a container, with this size if it has a terminal, in its own cgroup if it has one.
pub fn container(
    store: &Store,
    container: &Container,
    spec: &Spec,
    size: Size,
    cgroup: Option<&Cgroup>,
) -> std::result::Result<Program, Outcome> {
    let maps = IdMaps::of(spec)?;
    let started = with_ids(store, container, spec, size, cgroup, &maps);
    match (&started, spec.annotation(annotation::USERNS)) {
        (Ok(_), _) | (_, Some("ranges")) => started,
        // Was it for the ids? Ranges that were not asked for can be done without.
        _ => match maps.tried().and_then(|error| maps.instead(&error)) {
            Some(maps) => with_ids(store, container, spec, size, cgroup, &maps),
            None => started,
        },
    }
}

fn with_ids(
    store: &Store,
    container: &Container,
    spec: &Spec,
    size: Size,
    cgroup: Option<&Cgroup>,
    maps: &IdMaps,
) -> std::result::Result<Program, Outcome> {
    let emulation = maps.emulates_root(spec);
    let input = spec.flag(annotation::INTERACTIVE);
    let (body, face) = Body::new(spec.process.terminal, input, seccomp::is_wanted(spec, emulation))?;
    let network = if spec.has_namespace("network") { sys::NEW_NET } else { 0 };
    // The root of a cgroup namespace is the cgroup that a process is in when it makes it (cgroup_namespaces(7)).
    let late = if cgroup.is_some() { sys::NEW_CGROUP } else { 0 };
    let unshare = |namespaces: u64| {
        if let Err(error) = sys::unshare(namespaces) {
            body.give_up(125, &child::explain(error, maps).to_string());
        }
    };
    // What takes the kernel long is left to the child, which has to wait for its ids anyway.
    let prepare = || {
        unshare(sys::OTHER_NAMESPACES & !late | network);
        sys::listen_to_kill(&signals::DEADLY).ok()
    };
    let meanwhile = |child: &sys::Child| {
        cgroup.map_or(Ok(()), |cgroup| cgroup.take(child.pid))?;
        let plan = Plan::new(store, container, spec, emulation, body.console(size))?;
        body.fill(&[], &plan, &seccomp::filter(spec, emulation)?)?;
        // Before the program can run: whoever finds this supervisor killed must find the program.
        let process = u32::try_from(child.pid).ok().and_then(Process::now);
        let process = process.ok_or_else(|| Error::Failed("the container was killed before it could run".into()))?;
        container.record_process(store, &process)?;
        store.unlock()
    };
    let work = || {
        if late != 0 {
            unshare(late);
        }
        body.execute(&[])
    };
    let started = child::start(sys::FIRST_NAMESPACES, maps, prepare, meanwhile, work);
    drop(body);
    match started {
        Ok(started) => Ok(Program::first(started.child, face.streams, face.ready, started.handed)),
        // A child that has given up says why; that nothing could be done with it then is no news.
        Err(error) => Err(last_words(face.ready).unwrap_or_else(|| error.into())),
    }
}

/// Starts a further process in a container that runs, whose first process `first` names; with this size if `spec` gives it
/// a terminal, and in these cgroups, which are the container's.
pub fn joined(
    first: BorrowedFd,
    spec: &Spec,
    cgroups: &[PathBuf],
    input: bool,
    size: Size,
) -> std::result::Result<Program, Outcome> {
    let emulation = IdMaps::of_process(first).emulates_root(spec);
    let (body, face) = Body::new(spec.process.terminal, input, seccomp::is_wanted(spec, emulation))?;
    let (own, other) = channel::pair()?;
    let numbers = [first.as_raw_fd().to_string(), namespaces(spec).to_string(), other.as_raw_fd().to_string()];
    let joining = [&["--join".to_owned()][..], &numbers].concat();
    body.fill(&joining, &Plan::joined(spec, body.console(size))?, &seccomp::filter(spec, emulation)?)?;
    // It is crate-init that joins: no process of the container ever sees one that executes this program, or traces one.
    let Some(joiner) = child::fork("starting a child")? else {
        drop(own);
        // What it starts is in them from its beginning.
        cgroup::enter(cgroups, 0).unwrap_or_else(|error| body.give_up(125, &error.to_string()));
        std::process::exit(body.execute(&[first, other.as_fd()]).into());
    };
    drop((other, body));
    let pidfd = child::take_over(&own);
    child::wait_for(&joiner)?;
    let Some(pidfd) = pidfd else {
        let silent = || Outcome::Failed(NOT_RUNNING, ENDED.into());
        return Err(last_words(face.ready).unwrap_or_else(silent));
    };
    let pid = child::pid_of(pidfd.as_fd()).unwrap_or(0);
    Ok(Program::further(sys::Child { pid, pidfd }, face.streams, face.ready))
}
