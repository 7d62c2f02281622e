//! `crate`: the front. A table from verb to program; the programs' exit codes decide what comes next.

mod cp;
mod export;
mod flags;
mod help;
mod load;
mod program;
mod pull;
mod remove;
mod run;

use lexopt::prelude::*;
use program::{Failure, Outcome};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::process::ExitCode;

/// What a verb leads to.
enum Leads {
    /// A verb of the front's own, and its help.
    Own(fn(lexopt::Parser) -> Outcome, &'static str),
    /// The same verb of `crate-store`.
    Store,
    /// The same verb of `crate-store`, among mapped ids: it may remove files of any of them.
    Mapped,
    /// The same verb of `crate-sup`, and its help.
    Sup(&'static str),
    /// The option `--VERB` of `crate-fetch`, and its help.
    Fetch(&'static str),
}

const VERBS: [(&str, &str, Leads); 30] = [
    ("run", "run a program in a new container", Leads::Own(run::run, help::RUN)),
    ("create", "make a container without starting it", Leads::Own(run::create, help::CREATE)),
    ("start", "start containers", Leads::Sup(help::START)),
    ("stop", "ask containers to end, and kill them after a while", Leads::Sup(help::STOP)),
    ("kill", "send containers a signal", Leads::Sup(help::KILL)),
    ("restart", "stop containers and start them again", Leads::Sup(help::RESTART)),
    ("wait", "wait until containers have ended", Leads::Sup(help::WAIT)),
    ("rm", "remove containers", Leads::Own(remove::run, help::RM)),
    ("ps", "list containers", Leads::Store),
    ("logs", "print what a container has written", Leads::Sup(help::LOGS)),
    ("exec", "run a program in a container that runs", Leads::Sup(help::EXEC)),
    ("attach", "go to a container's terminal or output", Leads::Sup(help::ATTACH)),
    ("top", "list the processes of a container", Leads::Sup(help::TOP)),
    ("rename", "give a container another name", Leads::Store),
    ("cp", "copy files out of a container, or into it", Leads::Own(cp::run, cp::HELP)),
    ("export", "write a container's root file system as tar", Leads::Own(export::run, help::EXPORT)),
    ("prune", "remove what is not in use", Leads::Mapped),
    ("pull", "bring an image into the store", Leads::Own(pull::run, help::PULL)),
    ("load", "bring images from an archive", Leads::Own(load::run, load::HELP)),
    ("save", "write images as an archive", Leads::Store),
    ("login", "keep a user name and password for a registry", Leads::Fetch(help::LOGIN)),
    ("logout", "remove what login has kept", Leads::Fetch(help::LOGOUT)),
    ("images", "list images", Leads::Store),
    ("rmi", "remove references and images", Leads::Mapped),
    ("tag", "give an image another reference", Leads::Store),
    ("inspect", "show images and containers as JSON", Leads::Store),
    ("path", "print where the store, or something in it, is", Leads::Store),
    ("gc", "remove what nothing leads to", Leads::Mapped),
    ("fsck", "check every blob, image and container", Leads::Mapped),
    ("check", "try what containers want of this system", Leads::Sup(help::CHECK)),
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
    let mut rest: VecDeque<OsString> = args.raw_args()?.collect();
    if verb == "help"
        && let Some(topic) = rest.pop_front()
    {
        return dispatch(lexopt::Parser::from_args([topic, "--help".into()]));
    }
    let mut words = vec![verb.to_string_lossy().into_owned()];
    if matches!(&words[0][..], "container" | "image") && rest.front().is_some_and(|next| next != "--help") {
        words.extend(rest.pop_front().map(|verb| verb.to_string_lossy().into_owned()));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if matches!(words[..], ["help" | "container" | "image"]) {
        return program::print(&overview());
    }
    let unknown = || Failure::usage(format!("no such verb: {}\nhint: see crate --help", words.join(" ")));
    let (verb, first) = plain(&words).ok_or_else(unknown)?;
    let (name, _, leads) = VERBS.iter().find(|(name, ..)| *name == verb).ok_or_else(unknown)?;
    let helped = asks_for_help(name, &rest);
    match leads {
        Leads::Own(_, help) | Leads::Sup(help) | Leads::Fetch(help) if helped => program::print(help),
        Leads::Own(own, _) => own(lexopt::Parser::from_args(rest)),
        Leads::Sup(_) => Err(program::exec(program::sibling("crate-sup")?.arg(name).args(rest))),
        Leads::Fetch(_) => Err(program::exec(program::sibling("crate-fetch")?.arg(format!("--{name}")).args(rest))),
        Leads::Mapped if !helped => Err(program::exec(program::mapped(&["crate-store", name])?.args(first).args(rest))),
        Leads::Store | Leads::Mapped => {
            Err(program::exec(program::sibling("crate-store")?.arg(name).args(first).args(rest)))
        }
    }
}

/// Is the help of the verb asked for? Where arguments may be those of somebody else's program, only the first counts;
/// and `-h` is the host name of a new container.
fn asks_for_help(verb: &str, arguments: &VecDeque<OsString>) -> bool {
    let own = if matches!(verb, "run" | "create" | "exec") { 1 } else { arguments.len() };
    let short = !matches!(verb, "run" | "create");
    let own = arguments.iter().take(own).take_while(|argument| *argument != "--");
    own.into_iter().any(|argument| argument == "--help" || short && argument == "-h")
}

/// The plain verb, and its first arguments, for the words that lead to it: docker has nouns before some.
fn plain<'a>(words: &[&'a str]) -> Option<(&'a str, &'static [&'static str])> {
    Some(match *words {
        ["container", "ls" | "list"] => ("ps", &[]),
        ["container", "prune"] => ("prune", &["containers"]),
        ["container", "inspect"] => ("inspect", &["--type=container"]),
        ["image", "ls" | "list"] => ("images", &[]),
        ["image", "rm" | "remove"] => ("rmi", &[]),
        ["image", "prune"] => ("prune", &["images"]),
        ["image", "inspect"] => ("inspect", &["--type=image"]),
        ["container", verb] if OF_IMAGES.contains(&verb) => return None,
        [verb] | ["container", verb] | ["image", verb @ ("pull" | "tag" | "load" | "save")] => (verb, &[]),
        _ => return None,
    })
}

/// Verbs that have nothing to do with containers.
const OF_IMAGES: [&str; 11] = ["pull", "load", "save", "images", "rmi", "tag", "path", "gc", "fsck", "login", "logout"];

fn overview() -> String {
    let mut text =
        String::from("usage: crate VERB [ARGUMENT…]\n\nRuns containers; each verb leads to one program.\n\n");
    for (name, summary, _) in VERBS {
        text.extend(["  ", name, &" ".repeat(9 - name.len()), summary, "\n"]);
    }
    text += "\ndocker's nouns lead to the same: container ls, container prune, image ls, image prune, …\n";
    text + "\n  crate run --rm alpine echo hi\n\ncrate VERB --help tells more."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_lead_to_plain_verbs() {
        let none: &[&str] = &[];
        for (words, verb, first) in [
            (&["ps"][..], "ps", none),
            (&["container", "ls"], "ps", none),
            (&["container", "rm"], "rm", none),
            (&["container", "prune"], "prune", &["containers"]),
            (&["image", "ls"], "images", none),
            (&["image", "rm"], "rmi", none),
            (&["image", "prune"], "prune", &["images"]),
            (&["image", "inspect"], "inspect", &["--type=image"]),
        ] {
            assert_eq!(plain(words), Some((verb, first)), "{words:?}");
            assert!(VERBS.iter().any(|(name, ..)| *name == verb), "{verb}");
        }
        for words in [["container", "pull"], ["image", "run"], ["image", "stop"], ["network", "ls"]] {
            assert_eq!(plain(&words), None, "{words:?}");
        }
        assert!(OF_IMAGES.iter().all(|verb| VERBS.iter().any(|(name, ..)| name == verb)));
    }

    #[test]
    fn knows_when_help_is_asked_for() {
        for (verb, arguments, helped) in [
            ("run", "--help", true),
            ("run", "-h host alpine", false),
            ("run", "alpine --help", false),
            ("exec", "-h", true),
            ("exec", "web ls --help", false),
            ("stop", "-t 1 web --help", true),
            ("stop", "-h", true),
            ("stop", "-- --help", false),
            ("ps", "-a", false),
        ] {
            let arguments = arguments.split(' ').map(OsString::from).collect();
            assert_eq!(asks_for_help(verb, &arguments), helped, "{verb} {arguments:?}");
        }
    }
}
