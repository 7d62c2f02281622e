//! `crate-sup stop`, `kill` and `restart`: several containers each, all at once.

use crate::ending::{Order, Until, carry_out};
use crate::events::Events;
use crate::run::start_detached;
use lexopt::{Arg, Parser, ValueExt};
use std::time::Duration;
use store::spec::{Spec, annotation};
use store::state::State;
use store::{Container, Error, Result, Store, signal};

/// How long a program is given to end after the stop signal, where nothing else is said.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// `stop`: sends each its stop signal, and kills what has not ended in time. What does not run is stopped already.
pub fn stop(parser: &mut Parser) -> Result<u8> {
    let (time, chosen) = read_time(parser)?;
    let store = Store::open()?;
    stop_each(&store, &chosen.names(&store, "stop", State::is_alive)?, time, say)
}

/// `restart`: stops each, and starts it detached. All of them are also those that do not run.
pub fn restart(parser: &mut Parser) -> Result<u8> {
    let (time, chosen) = read_time(parser)?;
    let store = Store::open()?;
    stop_each(&store, &chosen.names(&store, "restart", |_| true)?, time, start_again)
}

/// `kill`: sends each a signal, and with `--wait` waits for its end. One that asks a program to end (KILL, TERM, INT,
/// QUIT, and the container's own stop signal) ends its restarting too; after any other the restart policy holds.
/// `--quiet`: nothing is printed, and what is missing or does not run is no failure.
pub fn kill(parser: &mut Parser) -> Result<u8> {
    let (mut number, mut wait, mut quiet, mut chosen) = (libc::SIGKILL, false, false, Chosen::default());
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('s') | Arg::Long("signal") => {
                let text = parser.value()?.string()?;
                let known = if text == "0" { Some(0) } else { signal::parse(&text) };
                number = known.ok_or_else(|| Error::Usage(format!("--signal {text}: no such signal")))?;
            }
            Arg::Long("wait") => wait = true,
            Arg::Long("quiet") => quiet = true,
            Arg::Short('a') | Arg::Long("all") => chosen.all = true,
            Arg::Value(name) => chosen.named.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let store = Store::open()?;
    let names = chosen.names(&store, "kill", State::is_alive)?;
    let until = if wait { Until::Ended(None) } else { Until::Sent };
    let (orders, code) = order_each(&store, &names, quiet, |name, container| {
        let stop_signal = container.spec().map_or(libc::SIGTERM, |spec| stop_signal(&spec));
        let ends = [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, stop_signal].contains(&number);
        Order::new(name, container, number, until).restarting(!ends).must_run(!quiet && !chosen.all)
    });
    Ok(code.max(each_done(&store, orders, |name| if quiet { Ok(0) } else { say(name) })?))
}

/// Stops each, at once, and does `then` with the name of each that is stopped; the worst exit code.
fn stop_each(store: &Store, names: &[String], time: Time, then: impl FnMut(&str) -> Result<u8>) -> Result<u8> {
    let (orders, code) = order_each(store, names, false, |name, container| {
        // A container whose config.json has been damaged must be stopped all the same.
        let spec = container.spec().unwrap_or_default();
        let time = match time {
            Time::Given(time) => time,
            Time::Own => Some(stop_timeout(&spec)),
        };
        Order::new(name, container, stop_signal(&spec), Until::Ended(time))
    });
    Ok(code.max(each_done(store, orders, then)?))
}

/// Finds each container and makes its order; the exit code for those that are not found. `quiet`: there need be none.
fn order_each(
    store: &Store,
    names: &[String],
    quiet: bool,
    order: impl Fn(&str, Container) -> Order,
) -> (Vec<Order>, u8) {
    let (mut orders, mut code) = (Vec::new(), 0);
    for name in names {
        match store.find_container(name) {
            Ok(container) => orders.push(order(name, container)),
            Err(Error::NotFound(_)) if quiet => {}
            Err(error) => code = code.max(told(&error)),
        }
    }
    (orders, code)
}

/// Carries out the orders, and does `then` with the name of each container whose order is; the worst exit code.
fn each_done(store: &Store, orders: Vec<Order>, mut then: impl FnMut(&str) -> Result<u8>) -> Result<u8> {
    store.unlock()?; // Nothing of it is used that could be collected, and this may take long.
    let mut worst = 0;
    carry_out(store, orders, |name, result| {
        worst = worst.max(result.and_then(|()| then(name)).unwrap_or_else(|error| told(&error)));
    });
    Ok(worst)
}

fn say(name: &str) -> Result<u8> {
    crate::say(&format!("{name}\n"))
}

/// Says what went wrong with one of several, and hands back its exit code.
pub fn told(error: &Error) -> u8 {
    crate::tell(error);
    error.exit_code()
}

/// At least one container is wanted.
pub fn some(verb: &str, names: &[String]) -> Result<()> {
    if names.is_empty() { Err(Error::Usage(format!("{verb} wants a container"))) } else { Ok(()) }
}

/// The containers that a command line names, or all of them.
#[derive(Debug, Default)]
pub struct Chosen {
    /// `--all` was given.
    pub all: bool,
    /// The operands.
    pub named: Vec<String>,
}

impl Chosen {
    /// Those that are named, of which there is at least one.
    pub fn given(&self, verb: &str) -> Result<Vec<String>> {
        some(verb, &self.named).map(|()| self.named.clone())
    }

    /// Those to work on, of which there is at least one if they are named; of all, those whose state is `wanted`.
    pub fn names(&self, store: &Store, verb: &str, wanted: impl Fn(State) -> bool) -> Result<Vec<String>> {
        match (self.all, self.named.is_empty()) {
            (false, _) => self.given(verb),
            (true, false) => Err(Error::Usage(format!("{verb} wants containers or --all, not both"))),
            (true, true) => {
                let mut all = store.containers()?;
                // One that is removed meanwhile is none of them.
                all.retain(|container| container.state(store).is_ok_and(&wanted));
                Ok(all.into_iter().map(|container| container.id).collect())
            }
        }
    }
}

/// How long containers are given to end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Time {
    /// As each of them was made.
    Own,
    /// As the caller says; none: as long as it takes.
    Given(Option<Duration>),
}

fn read_time(parser: &mut Parser) -> Result<(Time, Chosen)> {
    let (mut time, mut chosen) = (Time::Own, Chosen::default());
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('t') | Arg::Long("time" | "timeout") => {
                let text = parser.value()?.string()?;
                let wrong =
                    || Error::Usage(format!("--time {text}: seconds are wanted, or -1 for as long as it takes"));
                time = seconds(&text).ok_or_else(wrong)?;
            }
            Arg::Short('a') | Arg::Long("all") => chosen.all = true,
            Arg::Value(name) => chosen.named.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok((time, chosen))
}

fn seconds(text: &str) -> Option<Time> {
    if text == "-1" {
        return Some(Time::Given(None));
    }
    text.parse::<u32>().ok().map(|seconds| Time::Given(Some(Duration::from_secs(seconds.into()))))
}

/// How long a container is given after its stop signal.
pub fn stop_timeout(spec: &Spec) -> Duration {
    let text = spec.annotation(annotation::STOP_TIMEOUT);
    text.and_then(|text| text.parse::<u32>().ok()).map_or(STOP_TIMEOUT, |seconds| Duration::from_secs(seconds.into()))
}

/// The signal that asks a container to end. An image may name one that there is not; then it is the usual one.
pub fn stop_signal(spec: &Spec) -> i32 {
    spec.annotation(annotation::STOP_SIGNAL).and_then(signal::parse).unwrap_or(libc::SIGTERM)
}

/// Starts a container again; its exit code if it does not run: why has been told.
fn start_again(name: &str) -> Result<u8> {
    match start_detached(name, Events::default())? {
        0 => say(name),
        code => Ok(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_how_long_to_wait() {
        let given = |seconds| Some(Time::Given(Some(Duration::from_secs(seconds))));
        for (text, time) in [
            ("0", given(0)),
            ("10", given(10)),
            ("4294967295", given(4_294_967_295)),
            ("-1", Some(Time::Given(None))),
            ("-2", None),
            ("", None),
            ("1s", None),
            ("1.5", None),
            ("99999999999", None),
        ] {
            assert_eq!(seconds(text), time, "{text}");
        }
    }

    #[test]
    fn containers_say_how_they_are_stopped() {
        let spec = |key: &str, text: &str| {
            let annotations = [(key.to_owned(), text.to_owned())].into();
            Spec { annotations, ..Spec::default() }
        };
        assert_eq!(stop_signal(&spec(annotation::STOP_SIGNAL, "SIGRTMIN+3")), 37);
        assert_eq!(stop_signal(&spec(annotation::STOP_SIGNAL, "nonsense")), libc::SIGTERM);
        assert_eq!(stop_signal(&Spec::default()), libc::SIGTERM);
        assert_eq!(stop_timeout(&spec(annotation::STOP_TIMEOUT, "3")), Duration::from_secs(3));
        assert_eq!(stop_timeout(&Spec::default()), STOP_TIMEOUT);
    }
}
