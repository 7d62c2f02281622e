//! `crate-sup exec`: a further program in a container that runs.

use crate::cgroup;
use crate::channel::{Reply, Size};
use crate::client::Ended;
use crate::keys;
use crate::launch;
use crate::program::Outcome;
use crate::run::{at_terminal, finish, in_background, terminal_size, until_it_runs};
use crate::supervise::{Owner, let_go, serve};
use crate::watch::Watch;
use lexopt::{Arg, Parser, ValueExt};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use store::capability::{self, Changes};
use store::error::Doing;
use store::spec::{Capabilities, Spec, User, annotation};
use store::{Error, Result, Store, environment};

const HELP: &str = "\
usage: crate-sup exec [FLAG…] ID COMMAND [ARGUMENT…]

Runs a further program in a container that runs, in all of its namespaces. The exit code is
the program's; 128+n: signal n killed it; 125: crate failed before it ran; 126: it cannot be
executed, or the container does not run; 127: there is no such program.

  -d, --detach            in the background
  -i, --interactive       pass standard input on
  -t, --tty               with a terminal of the container's
  -e, --env NAME[=VALUE]  set a variable, besides those of the container
  --env-file FILE         set variables, one a line; -e comes after it
  -w, --workdir PATH      the directory to start in
  -u, --user USER[:GROUP] names or numbers of the container
  --privileged            with all capabilities; else as confined as the container's own
  --detach-keys KEYS      what leaves a terminal to itself (ctrl-p,ctrl-q)

example: crate-sup exec -it web sh
";

/// What the command line says.
#[derive(Default)]
struct Wanted {
    detach: bool,
    input: bool,
    terminal: bool,
    env: Vec<String>,
    workdir: Option<String>,
    user: Option<String>,
    /// In place of the container's.
    capabilities: Option<Capabilities>,
    keys: Vec<u8>,
    container: String,
    command: Vec<String>,
}

/// `crate-sup exec`; the program's exit code.
pub fn exec(parser: &mut Parser) -> Result<u8> {
    let Some(wanted) = wanted(parser).map_err(|error| never_ran(&error))? else {
        return crate::say(HELP);
    };
    if wanted.detach {
        let channel = in_background(&[], |client| run(&wanted, Owner::Client(client, Size::USUAL)))?;
        return until_it_runs(&channel);
    }
    if !wanted.terminal {
        let (code, line) = run(&wanted, Owner::Streams(wanted.input))?;
        return finish(line.map_or(Ended::Code(code), |line| Ended::Failed(code, line)));
    }
    let size = terminal_size();
    let begin = || in_background(&[], |client| run(&wanted, Owner::Client(client, size)));
    at_terminal(begin, wanted.input, wanted.keys.clone())
}

/// Reads the arguments; none if the help was asked for.
fn wanted(parser: &mut Parser) -> Result<Option<Wanted>> {
    let mut wanted = Wanted { keys: keys::parse(keys::DEFAULT)?, ..Wanted::default() };
    let (mut changes, caller) = (Vec::new(), |name: &str| std::env::var(name).ok());
    loop {
        match parser.next()? {
            Some(Arg::Short('d') | Arg::Long("detach")) => wanted.detach = true,
            Some(Arg::Short('i') | Arg::Long("interactive")) => wanted.input = true,
            Some(Arg::Short('t') | Arg::Long("tty")) => wanted.terminal = true,
            Some(Arg::Short('e') | Arg::Long("env")) => {
                changes.push(environment::change(&parser.value()?.string()?, caller)?);
            }
            Some(Arg::Long("env-file")) => {
                let path = parser.value()?.string()?;
                let text = fs::read_to_string(&path).doing(|| format!("reading {path}"))?;
                wanted.env.extend(environment::file(&text, &path, caller)?);
            }
            Some(Arg::Short('w') | Arg::Long("workdir")) => wanted.workdir = Some(parser.value()?.string()?),
            Some(Arg::Short('u') | Arg::Long("user")) => wanted.user = Some(parser.value()?.string()?),
            Some(Arg::Long("privileged")) => wanted.capabilities = Some(all_capabilities()),
            Some(Arg::Long("detach-keys")) => wanted.keys = keys::parse(&parser.value()?.string()?)?,
            Some(Arg::Long("help")) => return Ok(None),
            Some(Arg::Value(name)) => {
                wanted.container = name.string()?;
                break;
            }
            Some(other) => return Err(other.unexpected().into()),
            None => return Err(Error::Usage("exec wants a container and a command".into())),
        }
    }
    wanted.env.append(&mut changes);
    wanted.command = parser.raw_args()?.map(ValueExt::string).collect::<std::result::Result<_, _>>()?;
    if wanted.command.first().is_some_and(|first| first == "--") {
        wanted.command.remove(0);
    }
    if wanted.command.is_empty() {
        return Err(Error::Usage("exec wants a command after the container".into()));
    }
    Ok(Some(wanted))
}

/// Runs the program to its end, as [`serve`] does.
fn run(wanted: &Wanted, owner: Owner) -> Result<(u8, Option<String>)> {
    serve(owner, |watch| {
        let Prepared { first, cgroups, spec } = prepared(wanted).map_err(|error| never_ran(&error))?;
        let Some(first) = first else {
            return Ok((launch::NOT_RUNNING, Some(format!("container {} does not run", wanted.container))));
        };
        Ok(in_container(watch, &first, &spec, &cgroups, wanted.input).told())
    })
}

/// Where a program is to run, and which.
struct Prepared {
    /// The container's first process; none where it does not run.
    first: Option<OwnedFd>,
    /// The container's cgroups.
    cgroups: Vec<PathBuf>,
    spec: Spec,
}

fn prepared(wanted: &Wanted) -> Result<Prepared> {
    let store = Store::open()?;
    let container = store.find_container(&wanted.container)?;
    let spec = changed(container.spec()?, wanted)?;
    let first = container.program(&store)?.map(|(_, descriptor)| descriptor);
    let cgroups = container.cgroups(&store)?;
    if first.is_some() && cgroups.is_empty() && cgroup::is_wanted(&spec)? {
        return Err(Error::Failed(format!("container {} is limited, but its cgroup is not known", container.short())));
    }
    Ok(Prepared { first, cgroups, spec })
}

/// Nothing ran: whatever the reason, the exit code is 125, as any other may be a program's.
fn never_ran(error: &Error) -> Error {
    Error::Failed(error.to_string())
}

fn in_container(watch: &mut Watch, first: &OwnedFd, spec: &Spec, cgroups: &[PathBuf], input: bool) -> Outcome {
    let background = watch.own.is_none();
    let program = match launch::joined(first.as_fd(), spec, cgroups, input, watch.size) {
        Ok(program) => program,
        Err(outcome) => return outcome,
    };
    let watched = watch.program(program, |clients, _| {
        clients.tell(&Reply::Runs);
        if background {
            let_go();
        }
    });
    watched.unwrap_or_else(Outcome::from)
}

/// All that there are. As docker and podman have it, nothing else of `--privileged` is for a further program: the filter of
/// system calls stays.
fn all_capabilities() -> Capabilities {
    let all = capability::all(!rustix::process::geteuid().is_root());
    Capabilities::of(Changes::default().names(true, all))
}

/// What `config.json` would say if this were the container's own program.
fn changed(mut spec: Spec, wanted: &Wanted) -> Result<Spec> {
    let process = &mut spec.process;
    process.args.clone_from(&wanted.command);
    process.terminal = wanted.terminal;
    if wanted.terminal && !process.env.iter().any(|entry| entry.starts_with("TERM=")) {
        let term = std::env::var("TERM").ok().filter(|term| !term.is_empty());
        process.env.push(format!("TERM={}", term.as_deref().unwrap_or("xterm")));
    }
    environment::merge(&mut process.env, &wanted.env);
    if let Some(path) = &wanted.workdir {
        if !path.starts_with('/') {
            return Err(Error::Usage(format!("--workdir {path}: it must be an absolute path")));
        }
        process.cwd.clone_from(path);
    }
    if let Some(user) = &wanted.user {
        process.user = User::default();
        spec.annotations.insert(annotation::USER.into(), user.clone());
    }
    if wanted.capabilities.is_some() {
        process.capabilities.clone_from(&wanted.capabilities);
    }
    spec.annotations.remove(annotation::INIT);
    Ok(spec)
}
