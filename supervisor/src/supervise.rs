//! A supervisor: one container, from its start to its last exit code.

use crate::cgroup::Cgroup;
use crate::channel::{self, Reply, Size};
use crate::events::{Events, out_of_memory_kills};
use crate::own::Own;
use crate::policy::Policy;
use crate::program::{Outcome, Program};
use crate::run::refuse;
use crate::watch::Watch;
use crate::{child, launch};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;
use store::container::layers;
use store::error::Doing;
use store::log::{Limits, Log};
use store::process::Process;
use store::root::sync_dir;
use store::spec::{Spec, annotation};
use store::{Container, Error, Result, Store, time, tree};

/// The code by which crate-init says that the kernel or the filesystem refused the overlay.
const OVERLAY_REFUSED: u8 = 1;

/// Who the container is run for.
pub enum Owner {
    /// The caller's own streams, standard input among them or not.
    Streams(bool),
    /// A client at the other end of this socket, whose terminal has this size.
    Client(OwnedFd, Size),
}

/// A supervisor.
struct Supervisor<'a> {
    store: &'a Store,
    container: &'a Container,
    spec: Spec,
    events: Events,
    /// What the container wrote is not to be removed with it.
    kept: bool,
}

/// Runs a program for its owner, and tells whoever is connected how it ended: its exit code, and the line that says why it
/// never ran.
pub fn serve(
    owner: Owner,
    work: impl FnOnce(&mut Watch) -> Result<(u8, Option<String>)>,
) -> Result<(u8, Option<String>)> {
    // First of all, so that a signal finds somebody who clears up.
    let mut watch = Watch::new().inspect_err(|error| {
        if let Owner::Client(client, _) = &owner {
            refuse(client, error);
        }
    })?;
    match owner {
        Owner::Streams(input) => watch.own = Some(Own::new(input)),
        Owner::Client(socket, size) => {
            watch.clients.add_owner(socket);
            watch.size = size;
        }
    }
    let done = work(&mut watch);
    watch.clients.dismiss(&match &done {
        Ok((code, None)) => Reply::Ended(*code),
        Ok((code, Some(line))) => Reply::Failed(*code, line.clone()),
        Err(error) => Reply::Failed(crate::exit_code(error), error.to_string()),
    });
    done
}

/// Runs the container of this id, which has this `config.json`, to its end, as [`serve`] does. When the end is told, nothing of the container is in use any more.
pub fn supervise(id: &str, spec: Spec, owner: Owner, events: Events) -> Result<(u8, Option<String>)> {
    serve(owner, |watch| {
        let store = Store::open()?;
        let container = store.find_container(id)?;
        let lock = container.lock(&store)?;
        let mut policy = Policy::read(spec.annotation(annotation::RESTART))?;
        watch.door = Some(channel::listen_in(&container.run_dir(&store)?)?);
        watch.log = log(&container, &spec)?;
        let mut own = Supervisor { store: &store, container: &container, spec, events, kept: false };
        // The code is what counts, whatever becomes of the record.
        let (code, line) = own.live(watch, &mut policy).told();
        let code = if code == OVERLAY_REFUSED && line.is_some() { 125 } else { code };
        own.finish(code).unwrap_or_else(|error| crate::tell(&error));
        drop((lock, watch.door.take()));
        Ok((code, line))
    })
}

/// The log that the container is to have.
fn log(container: &Container, spec: &Spec) -> Result<Option<Log>> {
    let limits = log_limits(spec)?;
    crate::sys::ignore_file_size_signal();
    Ok((limits.size > 0).then(|| Log::open(&container.dir, limits)))
}

/// How much of a container's output is kept; where a file's size is 0 nothing is.
pub fn log_limits(spec: &Spec) -> Result<Limits> {
    let number = |key: &str| match spec.annotation(key) {
        None => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Error::Refused(format!("config.json: {key} is {text:?}"))),
        },
    };
    let mut limits = Limits::default();
    if let Some(size) = number(annotation::LOG_SIZE)? {
        limits.size = size;
    }
    if let Some(files) = number(annotation::LOG_FILES)? {
        limits.files = u32::try_from(files).unwrap_or(u32::MAX);
    }
    Ok(limits)
}

impl Supervisor<'_> {
    /// Runs the program, and again as long as the policy says so.
    fn live(&mut self, watch: &mut Watch, policy: &mut Policy) -> Outcome {
        loop {
            let begun = Instant::now();
            let outcome = self.once(watch).unwrap_or_else(Outcome::from);
            let Outcome::Ended(code) = outcome else { return outcome };
            let pause = policy.next(code, begun.elapsed()).filter(|_| !watch.stopping);
            let Some(pause) = pause else { return outcome };
            let noted = self.note("exit", &format!("{code}\n"));
            if let Err(error) = noted.and_then(|()| watch.pause(pause)) {
                crate::tell(&error);
                return outcome;
            }
            if watch.stopping {
                return outcome;
            }
            // What it goes on to use must not be collected.
            if let Err(error) = self.store.lock_shared() {
                return error.into();
            }
        }
    }

    /// Runs the program once; on a private copy of its image where the overlay is refused.
    fn once(&mut self, watch: &mut Watch) -> Result<Outcome> {
        self.begin()?;
        let outcome = self.attempt(watch)?;
        let Outcome::Failed(OVERLAY_REFUSED, reason) = outcome else {
            return Ok(outcome);
        };
        self.keep_what_is_written(&reason)?;
        crate::tell(&format!("{reason}: the container gets a private copy of its image instead"));
        // The attempt has let go of the store; what is being copied must not be collected.
        self.store.lock_shared().and_then(|()| self.copy())?;
        self.attempt(watch)
    }

    fn attempt(&mut self, watch: &mut Watch) -> Result<Outcome> {
        // Removed at the end of this function, when nothing runs in it any more.
        let cgroup = Cgroup::make(self.store, self.container, &self.spec)?;
        let program = match launch::container(self.store, self.container, &self.spec, watch.size, cgroup.as_ref()) {
            Ok(program) => program,
            Err(outcome) => return Ok(outcome),
        };
        let kills = out_of_memory_kills();
        let Self { store, container, spec, events, .. } = self;
        let background = watch.own.is_none();
        let outcome = watch.program(program, |clients, program| {
            record_running(store, container).unwrap_or_else(|error| crate::tell(&error));
            clients.tell(&Reply::Runs);
            running(container, spec, events, program);
            // After a power cut it must not seem never to have run; its end needs no such care: what is not told is lost.
            if !spec.flag(annotation::REMOVE) {
                keep_start(container).unwrap_or_else(|error| crate::tell(&error));
            }
            if background {
                let_go();
            }
        })?;
        if let Outcome::Ended(code) = outcome {
            let killed = match cgroup.as_ref().and_then(Cgroup::kills) {
                Some(count) => count > 0,
                // In the supervisor's cgroup there are others, too.
                None => code == 137 && kills.is_some() && out_of_memory_kills() > kills,
            };
            if killed {
                self.events.out_of_memory(&self.container.id);
                self.note("oom", "").unwrap_or_else(|error| crate::tell(&error));
            }
            self.events.ended(&self.container.id, code);
        }
        Ok(outcome)
    }

    /// Records that the container has been started, and only then forgets what it ended with before: a supervisor that
    /// is killed in between leaves one or the other.
    fn begin(&self) -> Result<()> {
        self.note("started", &format!("{}\n", time::now()))?;
        ["exit", "oom"].into_iter().try_for_each(|name| {
            let path = self.container.dir.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other.doing(|| format!("removing {}", path.display())),
            }
        })
    }

    /// Records the exit code; or removes the container, where that was asked for.
    fn finish(&self, code: u8) -> Result<()> {
        if self.spec.flag(annotation::REMOVE) && !self.kept {
            self.store.lock_shared()?;
            let garbage = self.store.unlist_container(self.container)?;
            // Directories of other ids than the caller's only their own root can empty.
            return tree::remove(&garbage).or_else(|_| child::as_mapped_root(|| tree::remove(&garbage)));
        }
        self.note("exit", &format!("{code}\n"))?;
        tree::remove(&self.container.run_dir(self.store)?)
    }

    /// Writes a small file of the bundle.
    fn note(&self, name: &str, text: &str) -> Result<()> {
        replace(&self.container.dir.join(name), text)
    }

    /// An overlay that was mounted once and is refused now must not cost what the container has written.
    fn keep_what_is_written(&mut self, reason: &str) -> Result<()> {
        let upper = self.container.dir.join("upper");
        let mut entries = fs::read_dir(&upper).doing(|| format!("reading {}", upper.display()))?;
        self.kept = entries.next().is_some();
        if self.kept {
            return Err(Error::Failed(format!("{reason}\nhint: what the container wrote is in {}", upper.display())));
        }
        Ok(())
    }

    /// Replaces the container's empty root filesystem by a copy of its layers.
    fn copy(&self) -> Result<()> {
        child::as_mapped_root(|| {
            let layers: Vec<_> = layers(&self.spec)?.iter().map(|layer| self.store.layer_path(layer)).collect();
            let layers: Vec<_> = layers.iter().map(std::path::PathBuf::as_path).collect();
            let beside = self.store.ingest_path("copy")?;
            store::copy::copy_layers(&layers, &beside)?;
            let rootfs = self.container.dir.join(&self.spec.root.path);
            fs::rename(&beside, &rootfs).doing(|| format!("renaming {}", beside.display()))?;
            tree::remove(&self.container.dir.join("upper"))
        })
    }
}

/// Records that the program itself runs now.
fn record_running(store: &Store, container: &Container) -> Result<()> {
    match container.recorded_process(store)? {
        Some(process) => container.record_process(store, &Process { runs: true, ..process }),
        None => Ok(()),
    }
}

/// Makes the record of the start survive a power cut. The program runs meanwhile.
fn keep_start(container: &Container) -> Result<()> {
    let started = container.dir.join("started");
    let synced = fs::File::open(&started).and_then(|file| file.sync_all());
    synced.doing(|| format!("syncing {}", started.display()))?;
    sync_dir(&container.dir)
}

/// Tells who waits for it that the program runs.
fn running(container: &Container, spec: &Spec, events: &mut Events, program: &Program) {
    let pid = program.child.pid.cast_unsigned();
    if let Some(path) = spec.annotation(annotation::PIDFILE) {
        replace(Path::new(path), &format!("{pid}\n")).unwrap_or_else(|error| crate::tell(&error));
    }
    events.started(&container.id, pid);
}

/// In the background: keeps nothing of the caller's any more. Until its program runs, a supervisor tells the caller what
/// there is to say.
pub fn let_go() {
    let null = fs::OpenOptions::new().write(true).open("/dev/null");
    let _ = null.map(rustix::stdio::dup2_stderr); // Without a null device it is the caller who has less than he could.
    let _ = std::env::set_current_dir("/"); // The root can always be entered.
}

/// Writes a small file beside, and renames it into its place.
fn replace(target: &Path, text: &str) -> Result<()> {
    let mut beside = target.as_os_str().to_owned();
    beside.push(".new");
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, target));
    written.doing(|| format!("writing {}", target.display()))
}
