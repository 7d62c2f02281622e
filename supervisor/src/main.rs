//! crate-sup: makes the namespaces of a container, watches it, and ends with its exit code.

mod attach;
mod cgroup;
mod channel;
mod check;
mod child;
mod client;
mod clients;
mod confinement;
mod describe;
mod devices;
mod ending;
mod events;
mod exec;
mod idmap;
mod join;
mod keys;
mod launch;
mod logs;
mod memory;
mod outlet;
mod own;
mod plan;
mod policy;
mod program;
mod run;
mod seccomp;
mod signals;
mod stop;
mod streams;
mod supervise;
mod sys;
mod terminal;
mod top;
mod unshare;
mod visit;
mod wait;
mod watch;

use lexopt::{Parser, ValueExt};
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use store::error::Doing;
use store::{Error, Result};

const HELP: &str = "\
usage: crate-sup run [FLAG…] ID     run a container of the store, in the foreground
       crate-sup start [-a] [-i] [FLAG…] ID…|--all
                                    run containers in the background, each with a supervisor of its own
       crate-sup attach [FLAG…] ID  show what a running container writes, and give it what is typed
       crate-sup logs [-f] ID       print what a container has written
       crate-sup exec [FLAG…] ID CMD…
                                    run a further program in a container
       crate-sup plan ID            print what `run` would do, for people and for a shell, and do nothing
       crate-sup stop [-t SECONDS] ID…|--all
                                    ask containers to end; kill what has not ended in time
       crate-sup kill [-s SIGNAL] [--wait] [--quiet] ID…|--all
                                    send containers a signal
       crate-sup restart [-t SECONDS] ID…|--all
                                    stop containers, and start them detached
       crate-sup wait ID…           print the exit codes of containers when they have ended
       crate-sup top ID             list the processes of a container
       crate-sup check [--format table|json]
                                    try what containers want of this system, and say how to get it
       crate-sup unshare [--] CMD…  run CMD as root of a user namespace with all of this user's ids
       crate-sup visit ID -- CMD…   run CMD, a program of the host, among the container's files
ID is a container's id, its first digits, or its name.

  -a, --attach        in the foreground after all; -i, --interactive: with standard input
  --detach-keys KEYS  what leaves a terminal to itself (ctrl-p,ctrl-q)
  --no-stdin, --sig-proxy=false
                      of attach: give it no input, or no signals
  -w, --write         of visit: let CMD write; --bare: leave out what is mounted
  --ready-fd N        write a newline to descriptor N when the program runs
  --events-fd N       write a line of JSON to it for each start, exit and oom

example: crate-sup run \"$(crate-store create busybox -- echo hello)\"
";

fn main() -> ExitCode {
    match dispatch(&mut Parser::from_env()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tell(&error);
            ExitCode::from(exit_code(&error))
        }
    }
}

/// The exit code of an error: any that is not the caller's to act on is 125, so that it is not taken for the program's.
fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Usage(_) | Error::NotFound(_) | Error::Busy(_) => error.exit_code(),
        _ => 125,
    }
}

fn dispatch(parser: &mut Parser) -> Result<u8> {
    let first = parser.next()?;
    let verb = match first {
        Some(lexopt::Arg::Value(verb)) => verb.string()?,
        Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h')) => return say(HELP),
        Some(lexopt::Arg::Long("version")) => return say(concat!("crate-sup ", env!("CARGO_PKG_VERSION"), "\n")),
        Some(other) => return Err(other.unexpected().into()),
        None => return Err(Error::Usage(format!("no verb is given\n{HELP}"))),
    };
    match verb.as_str() {
        "run" => run::run(parser),
        "start" => run::start(parser),
        "exec" => exec::exec(parser),
        "attach" => attach::attach(parser),
        "logs" => plainly(logs::logs(parser)),
        "plan" => describe::print(&container_argument(parser)?),
        "stop" => plainly(stop::stop(parser)),
        "kill" => plainly(stop::kill(parser)),
        "restart" => plainly(stop::restart(parser)),
        "wait" => plainly(wait::wait(parser)),
        "check" => plainly(check::check(parser)),
        "top" => plainly(container_argument(parser).and_then(|name| top::top(&name))),
        "unshare" => unshare::unshare(parser),
        "visit" => visit::visit(parser),
        other => Err(Error::Usage(format!("no such verb: {other}"))),
    }
}

/// Verbs that run no program end with the exit code of their own error, where `main` would say 125.
fn plainly(result: Result<u8>) -> Result<u8> {
    result.or_else(|error| Ok(stop::told(&error)))
}

/// Prints on standard output. Whoever has stopped reading it wants no more, and the work goes on.
fn say(text: &str) -> Result<u8> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        other => other.doing(|| "writing to standard output".into()).map(|()| 0),
    }
}

/// Says something on standard error; where nobody can read it, the work goes on all the same.
fn tell(what: &impl Display) {
    // What crate-init says may quote an image: it must not steer a terminal.
    let what = what.to_string().replace(|c: char| c.is_control() && c != '\n', "?");
    let _ = writeln!(io::stderr(), "crate-sup: {what}");
}

fn container_argument(parser: &mut Parser) -> Result<String> {
    let missing = || Error::Usage("a container's id or name is wanted".into());
    let name = match parser.next()?.ok_or_else(missing)? {
        lexopt::Arg::Value(name) => name.string()?,
        other => return Err(other.unexpected().into()),
    };
    match parser.next()? {
        Some(more) => Err(more.unexpected().into()),
        None => Ok(name),
    }
}
