//! `crate-sup run` and `crate-sup start`: a container in the foreground, or with a supervisor in the background.

use crate::channel::{self, Reply, Request, Size, receive_packet, send_packet};
use crate::client::{Ended, How, converse};
use crate::events::Events;
use crate::keys;
use crate::stop::Chosen;
use crate::supervise::{Owner, supervise};
use crate::{child, signals, sys, terminal};
use lexopt::{Arg, Parser, ValueExt};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use store::error::Doing;
use store::spec::{Spec, annotation};
use store::{Error, Result, Store};

/// What the command line says besides containers.
struct Flags {
    attach: bool,
    input: Option<bool>,
    keys: Vec<u8>,
    events: Events,
    containers: Vec<String>,
}

fn flags(parser: &mut Parser, verb: &str) -> Result<Flags> {
    let mut flags = Flags {
        attach: false,
        input: None,
        keys: keys::parse(keys::DEFAULT)?,
        events: Events::default(),
        containers: Vec::new(),
    };
    let mut chosen = Chosen::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('a') | Arg::Long("attach") => flags.attach = true,
            Arg::Short('i') | Arg::Long("interactive") => flags.input = Some(true),
            Arg::Long("detach-keys") => flags.keys = keys::parse(&parser.value()?.string()?)?,
            Arg::Long("ready-fd") => flags.events.ready = Some(descriptor(parser, "--ready-fd", &flags.events)?),
            Arg::Long("events-fd") => flags.events.lines = Some(descriptor(parser, "--events-fd", &flags.events)?),
            Arg::Short('d') | Arg::Long("detach") if verb == "start" => {} // It does, unless told to attach.
            Arg::Long("all") if verb == "start" => chosen.all = true,
            Arg::Value(name) => chosen.named.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let with_one =
        flags.attach || flags.input.is_some() || flags.events.ready.is_some() || flags.events.lines.is_some();
    if with_one && (chosen.all || chosen.named.len() > 1) {
        return Err(Error::Usage("only one container can be attached to, or told of, at once".into()));
    }
    flags.containers = if chosen.all {
        chosen.names(&Store::open()?, verb, |state| !state.is_alive())?
    } else {
        chosen.given(verb)? // The store is opened when it is needed: all of this comes before the start.
    };
    Ok(flags)
}

/// A descriptor that the caller has opened for this program, and that is not `taken` yet.
fn descriptor(parser: &mut Parser, option: &str, taken: &Events) -> Result<File> {
    let number: RawFd = parser.value()?.parse()?;
    if number < 3 {
        return Err(Error::Usage(format!("{option} {number}: the first three descriptors have another meaning")));
    }
    // Closed twice, it would be another file that is closed.
    if [&taken.ready, &taken.lines].into_iter().flatten().any(|file| file.as_raw_fd() == number) {
        return Err(Error::Usage(format!("{option} {number}: the descriptor has been named already")));
    }
    sys::adopt(number).map(File::from).doing(|| format!("{option} {number}"))
}

/// `crate-sup run`: in the foreground; its exit code.
pub fn run(parser: &mut Parser) -> Result<u8> {
    let flags = flags(parser, "run")?;
    let [name] = flags.containers.as_slice() else {
        return Err(Error::Usage("one container can be run at once".into()));
    };
    let name = name.clone();
    foreground(&name, flags)
}

/// `crate-sup start`: in the background, unless told to attach.
pub fn start(parser: &mut Parser) -> Result<u8> {
    let mut flags = flags(parser, "start")?;
    if flags.attach || flags.input == Some(true) {
        flags.input.get_or_insert(false);
        let name = flags.containers[0].clone();
        return foreground(&name, flags);
    }
    let mut worst = 0;
    for name in std::mem::take(&mut flags.containers) {
        let started = start_detached(&name, std::mem::take(&mut flags.events));
        let code = started.unwrap_or_else(|error| {
            crate::tell(&error);
            crate::exit_code(&error)
        });
        if code == 0 {
            crate::say(&format!("{name}\n"))?;
        }
        worst = worst.max(code);
    }
    Ok(worst)
}

fn foreground(name: &str, flags: Flags) -> Result<u8> {
    let (id, spec) = found(name)?;
    let input = flags.input.unwrap_or(true) && spec.flag(annotation::INTERACTIVE);
    if !spec.process.terminal {
        let (code, line) = supervise(&id, spec, Owner::Streams(input), flags.events)?;
        return finish(line.map_or(Ended::Code(code), |line| Ended::Failed(code, line)));
    }
    at_terminal(|| background(&id, spec, terminal_size(), flags.events), input, flags.keys)
}

/// The client of a program with a terminal, which `begin` starts; its exit code.
pub fn at_terminal(begin: impl FnOnce() -> Result<OwnedFd>, input: bool, keys: Vec<u8>) -> Result<u8> {
    // Signals that come while it starts are passed on too.
    let _held = sys::signal_descriptor(&signals::forwarded()).doing(|| "blocking signals".into())?;
    let (channel, how) = (begin()?, How { terminal: true, input, keys, proxy: true });
    loop {
        match converse(&channel, &how)? {
            // As if the program itself had written where nobody reads. It may go on, and even write again.
            Ended::Unheard => {
                let packet = Request::Kill(libc::SIGPIPE).packet();
                let _ = send_packet(&channel, &packet); // That a supervisor has gone is told by its end.
            }
            ended => return finish(ended),
        }
    }
}

/// The exit code of what became of a client; what there is to say about it is told.
pub fn finish(ended: Ended) -> Result<u8> {
    match ended {
        Ended::Code(code) => Ok(code),
        Ended::Detached => Ok(0),
        Ended::Unheard => Ok(141), // 128 + SIGPIPE
        Ended::Failed(code, line) => {
            crate::tell(&line);
            Ok(code)
        }
        Ended::Lost => Err(Error::Failed("the supervisor was killed, and the container with it".into())),
    }
}

/// The size of the caller's terminal, where there is one.
pub fn terminal_size() -> Size {
    let stdio = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    stdio.into_iter().find_map(terminal::size).unwrap_or(Size::USUAL)
}

/// The id of a container, and its `config.json`, which never changes.
fn found(name: &str) -> Result<(String, Spec)> {
    let container = Store::open()?.find_container(name)?;
    container.spec().map(|spec| (container.id, spec))
}

/// Starts a container in the background and waits until its program runs; 0, or the code with which that failed.
pub fn start_detached(name: &str, events: Events) -> Result<u8> {
    let (id, spec) = found(name)?;
    until_it_runs(&background(&id, spec, Size::USUAL, events)?)
}

/// Waits until the program at the other end of the channel runs; 0, or the code with which that failed.
pub fn until_it_runs(channel: &OwnedFd) -> Result<u8> {
    let packet = receive_packet(channel).doing(|| "hearing from the supervisor".into())?;
    match Reply::read(&packet) {
        // A program that has ended already has run.
        Some(Reply::Runs | Reply::Output(..) | Reply::Ended(_)) => Ok(0),
        Some(Reply::Failed(code, line)) => finish(Ended::Failed(code, line)),
        _ => finish(Ended::Lost),
    }
}

/// Makes a supervisor in the background; the channel to it.
fn background(id: &str, spec: Spec, size: Size, events: Events) -> Result<OwnedFd> {
    let files = [events.ready.as_ref(), events.lines.as_ref()];
    let kept: Vec<RawFd> = files.into_iter().flatten().map(AsRawFd::as_raw_fd).collect();
    in_background(&kept, |client| supervise(id, spec, Owner::Client(client, size), events))
}

/// Runs `work` in a process of its own that has left the caller's session, and has of the caller's descriptors only those
/// that are `kept` and one end of a channel; the other end of that. Its result is the exit code of that process.
pub fn in_background(kept: &[RawFd], work: impl FnOnce(OwnedFd) -> Result<(u8, Option<String>)>) -> Result<OwnedFd> {
    let (own, other) = channel::pair()?;
    let Some(_) = child::fork("starting the supervisor")? else {
        drop(own);
        sys::close_all_but(&[kept, &[0, 1, 2, other.as_raw_fd()]].concat());
        let left = leave().inspect_err(|error| refuse(&other, error));
        let code = left.and_then(|()| work(other)).map_or(125, |(code, _)| code);
        std::process::exit(code.into());
    };
    Ok(own)
}

/// Tells a client that its program will never run.
pub fn refuse(client: &OwnedFd, error: &Error) {
    let failed = Reply::Failed(crate::exit_code(error), error.to_string());
    let _ = send_packet(client, &failed.packet()); // It has gone: then it need not be told.
}

/// Leaves the caller's session, and all of its streams but standard error, which tells of what comes before the program
/// runs.
fn leave() -> Result<()> {
    let doing = || "leaving the caller's session".into();
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").doing(doing)?;
    rustix::stdio::dup2_stdin(&null).and_then(|()| rustix::stdio::dup2_stdout(&null)).doing(doing)?;
    rustix::process::setsid().map(drop).doing(doing)
}
