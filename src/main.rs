//! `crate`: the front. A table from verb to program; the programs' exit codes decide what comes next.

mod cp;
mod flags;
mod help;
mod program;
mod pull;
mod run;

use lexopt::prelude::*;
use program::{Failure, Outcome};
use std::process::ExitCode;

/// What a verb leads to.
enum Leads {
    /// A verb of the front's own, and its help.
    Own(fn(lexopt::Parser) -> Outcome, &'static str),
    /// The same verb of `crate-store`.
    Store,
    /// The same verb of `crate-store`, among mapped ids: it may remove files of any of them.
    Mapped,
}

const VERBS: [(&str, &str, Leads); 13] = [
    ("run", "run a program in a new container", Leads::Own(run::run, help::RUN)),
    ("pull", "bring an image into the store", Leads::Own(pull::run, help::PULL)),
    ("images", "list images", Leads::Store),
    ("create", "make a container without starting it", Leads::Own(run::create, help::CREATE)),
    ("start", "start a container", Leads::Own(run::start, help::START)),
    ("cp", "copy files out of a container, or into it", Leads::Own(cp::run, cp::HELP)),
    ("rm", "remove containers", Leads::Mapped),
    ("rmi", "remove references and images", Leads::Mapped),
    ("inspect", "show images and containers as JSON", Leads::Store),
    ("tag", "give an image another reference", Leads::Store),
    ("path", "print where the store, or something in it, is", Leads::Store),
    ("gc", "remove what nothing leads to", Leads::Mapped),
    ("fsck", "check every blob, image and container", Leads::Store),
];

fn main() -> ExitCode {
    match dispatch(lexopt::Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn dispatch(mut args: lexopt::Parser) -> Outcome {
    let verb = match args.next()? {
        Some(Value(verb)) => verb,
        Some(Long("help") | Short('h')) => return program::print(&overview()),
        Some(Long("version") | Short('V')) => return program::print(&format!("crate {}", env!("CARGO_PKG_VERSION"))),
        Some(other) => return Err(other.unexpected().into()),
        None => return Err(Failure::usage(format!("a verb is missing\n{}", overview()))),
    };
    if verb == "help" {
        return program::print(&overview());
    }
    let Some((name, _, leads)) = VERBS.iter().find(|(name, ..)| verb == *name) else {
        return Err(Failure::usage(format!("no such verb: {}\nhint: see crate --help", verb.display())));
    };
    let rest: Vec<_> = args.raw_args()?.collect();
    // Before an operand, `--help` is never an argument of somebody else's program.
    let helped = rest.first().is_some_and(|first| first == "--help");
    match leads {
        Leads::Own(_, help) if helped => program::print(help),
        Leads::Own(own, _) => own(lexopt::Parser::from_args(rest)),
        Leads::Mapped if !helped => Err(program::exec(program::mapped(&["crate-store", name])?.args(rest))),
        Leads::Store | Leads::Mapped => Err(program::exec(program::sibling("crate-store")?.arg(name).args(rest))),
    }
}

fn overview() -> String {
    let mut text =
        String::from("usage: crate VERB [ARGUMENT…]\n\nRuns containers; each verb leads to one program.\n\n");
    for (name, summary, _) in VERBS {
        text.extend(["  ", name, &" ".repeat(9 - name.len()), summary, "\n"]);
    }
    text + "\n  crate run --rm alpine echo hi\n\ncrate VERB --help tells more."
}
