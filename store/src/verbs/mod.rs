//! The verbs of `crate-store`, one file each.

mod confinement;
mod create;
mod filter;
mod format;
mod fsck;
mod gc;
mod images;
mod inspect;
mod load;
mod path;
mod prune;
mod ps;
mod rename;
mod rm;
mod rmi;
mod save;
mod tag;
mod tar;
mod unpack;
mod untar;

use lexopt::ValueExt;
use lexopt::prelude::*;
use std::io::{ErrorKind, Write};
use store::error::Doing;
use store::json::Value as Json;
use store::{Error, Result};

/// A verb: its name, what it does in a line, and what runs it.
type Verb = (&'static str, &'static str, fn(lexopt::Parser) -> Result<()>);

const VERBS: [Verb; 17] = [
    ("create", "make a container of an image", create::run),
    ("fsck", "check every blob, image and container", fsck::run),
    ("gc", "remove what nothing leads to", gc::run),
    ("images", "list images", images::run),
    ("inspect", "show images and containers as JSON", inspect::run),
    ("load", "bring images from layouts and archives", load::run),
    ("path", "print where the store, or something in it, is", path::run),
    ("prune", "remove what is not in use", prune::run),
    ("ps", "list containers", ps::run),
    ("rename", "give a container another name", rename::run),
    ("rm", "remove containers", rm::run),
    ("rmi", "remove references and images", rmi::run),
    ("save", "write images as an archive", save::run),
    ("tag", "give an image another reference", tag::run),
    ("tar", "write files as a tar archive on standard output", tar::run),
    ("unpack", "unpack the layers of images", unpack::run),
    ("untar", "unpack a tar archive on standard input", untar::run),
];

/// Runs the verb that the arguments begin with.
pub fn run(mut args: lexopt::Parser) -> Result<()> {
    match args.next()? {
        Some(Value(verb)) => {
            let known = VERBS.iter().find(|(name, ..)| verb.to_str() == Some(name));
            let unknown = || Error::Usage(format!("no such verb: {}\nhint: see crate-store --help", verb.display()));
            known.ok_or_else(unknown)?.2(args)
        }
        Some(Long("help") | Short('h')) => print(&overview()),
        Some(Long("version") | Short('V')) => print(&format!("crate-store {}", env!("CARGO_PKG_VERSION"))),
        Some(argument) => Err(argument.unexpected().into()),
        None => Err(Error::Usage(format!("a verb is missing\n{}", overview()))),
    }
}

fn overview() -> String {
    let mut text = String::from(
        "usage: crate-store VERB [ARGUMENT…]\n\n\
         Keeps images, their unpacked layers and containers in a directory: $CRATE_ROOT, else\n\
         /var/lib/crate for root, else $XDG_DATA_HOME/crate. It is an OCI image layout.\n\n",
    );
    for (name, summary, _) in VERBS {
        text.extend(["  ", name, &" ".repeat(9 - name.len()), summary, "\n"]);
    }
    text + "\ncrate-store VERB --help tells more. Exit codes: 1 failed, 2 usage, 3 no such thing, 4 busy, 6 refused."
}

/// Prints a line, or several, on standard output. Whoever has stopped reading it wants no more, and the work goes on.
pub fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.doing(|| "writing to standard output".into()),
    }
}

/// The arguments of a verb do not fit: what it wants.
pub fn misused(verb: &str, wants: &str) -> Error {
    Error::Usage(format!("{verb} {wants}\nhint: see crate-store {verb} --help"))
}

/// Prints a line on standard error, where it is told and not asked for.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "crate-store: {text}"); // Nobody reads it, if this fails.
}

/// Prints JSON for people and for jq(1) alike.
pub fn print_json(value: &Json) -> Result<()> {
    print(&value.pretty())
}

/// The value of the flag at hand, as text.
pub fn value(args: &mut lexopt::Parser) -> Result<String> {
    Ok(args.value()?.string()?)
}

/// Reads the arguments of a verb that has no flags but `--help`. `None`: the help was asked for, and printed.
pub fn operands(args: lexopt::Parser, help: &str) -> Result<Option<Vec<String>>> {
    operands_and(args, help, |_| false)
}

/// Does [`operands`], with `flag` taking the flags that it knows.
pub fn operands_and(
    mut args: lexopt::Parser,
    help: &str,
    mut flag: impl FnMut(&lexopt::Arg<'_>) -> bool,
) -> Result<Option<Vec<String>>> {
    let mut all = Vec::new();
    while let Some(argument) = args.next()? {
        match argument {
            Value(text) => all.push(text.string()?),
            Long("help") | Short('h') => return print(help).map(|()| None),
            other if flag(&other) => {}
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(all))
}

/// Does [`operands`] for a verb that wants some of what `wants` says, and knows `--force`; says whether that is there.
pub fn operands_and_force(
    args: lexopt::Parser,
    help: &str,
    verb: &str,
    wants: &str,
) -> Result<Option<(Vec<String>, bool)>> {
    let mut force = false;
    let flag = |argument: &lexopt::Arg<'_>| {
        let known = matches!(argument, Short('f') | Long("force"));
        force |= known;
        known
    };
    match operands_and(args, help, flag)? {
        Some(all) if all.is_empty() => Err(misused(verb, wants)),
        all => Ok(all.map(|all| (all, force))),
    }
}

/// Does `what` for each operand, whatever fails; the last failure is the outcome, and earlier ones are told.
pub fn each(all: &[String], mut what: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut failed: Option<Error> = None;
    for error in all.iter().filter_map(|one| what(one).err()) {
        if let Some(earlier) = failed.replace(error) {
            tell(&earlier.to_string());
        }
    }
    failed.map_or(Ok(()), Err)
}

/// What may help a user who cannot remove files of mapped ids.
pub fn removal(error: Error) -> Error {
    let root = rustix::process::geteuid().is_root();
    match error {
        Error::Io { doing, source } if !root && source.kind() == std::io::ErrorKind::PermissionDenied => {
            let hint = "hint: files of mapped ids want crate-sup unshare crate-store … in front; gc removes the rest";
            Error::Failed(format!("{doing}: Permission denied\n{hint}"))
        }
        other => other,
    }
}
