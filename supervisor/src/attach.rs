//! `crate-sup attach`: a client of a container that runs already.

use crate::channel::{Request, connect_in, send_packet};
use crate::client::{Ended, How, converse};
use crate::keys;
use crate::run::finish;
use lexopt::{Arg, Parser, ValueExt};
use store::error::Doing;
use store::spec::annotation;
use store::state::State;
use store::{Container, Error, Result, Store};

/// What the arguments ask for.
struct Wanted {
    container: String,
    input: bool,
    keys: Vec<u8>,
    proxy: bool,
}

/// Attaches to the container that the arguments name; the exit code of its program, 0 if the user leaves it, 1 if it
/// does not run.
pub fn attach(parser: &mut Parser) -> Result<u8> {
    let wanted = read(parser)?;
    let store = Store::open()?;
    let container = store.find_container(&wanted.container)?;
    let spec = container.spec()?;
    // A container that does not run has no directory, and gets none.
    let Some(channel) = connect_in(&store.run_dir()?.join(&container.id))? else {
        let state = container.state(&store)?.word();
        crate::tell(&format!("attaching to {}: its state is {state}, not running", wanted.container));
        return Ok(1);
    };
    drop(store); // While it is held, nothing is collected.
    send_packet(&channel, &Request::Attach.packet()).doing(|| format!("attaching to {}", wanted.container))?;
    let how = How {
        terminal: spec.process.terminal,
        input: wanted.input && spec.flag(annotation::INTERACTIVE),
        keys: wanted.keys,
        proxy: wanted.proxy,
    };
    match converse(&channel, &how)? {
        Ended::Lost => let_go(&container),
        ended => finish(ended),
    }
}

/// The exit code where the supervisor has closed the channel without a word: it does that to one who does not read.
fn let_go(container: &Container) -> Result<u8> {
    let state = container.state(&Store::open()?)?;
    let code = match state {
        State::Exited(code) => u8::try_from(code).unwrap_or(125),
        State::Starting | State::Running | State::Restarting => 125,
        _ => return finish(Ended::Lost),
    };
    crate::tell(&format!("what container {} wrote was not read in time: the rest is in its log", container.short()));
    Ok(code)
}

fn read(parser: &mut Parser) -> Result<Wanted> {
    let mut wanted = Wanted { container: String::new(), input: true, keys: keys::parse(keys::DEFAULT)?, proxy: true };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("no-stdin") => wanted.input = switch(parser).map(|set| !set)?,
            Arg::Long("sig-proxy") => wanted.proxy = switch(parser)?,
            Arg::Long("detach-keys") => wanted.keys = keys::parse(&parser.value()?.string()?)?,
            Arg::Value(name) if wanted.container.is_empty() => wanted.container = name.string()?,
            other => return Err(other.unexpected().into()),
        }
    }
    if wanted.container.is_empty() {
        return Err(Error::Usage("a container's id or name is wanted".into()));
    }
    Ok(wanted)
}

/// The value of a switch: true without one.
fn switch(parser: &mut Parser) -> Result<bool> {
    match parser.optional_value().as_ref().map(|value| value.to_str()) {
        None | Some(Some("true")) => Ok(true),
        Some(Some("false")) => Ok(false),
        _ => Err(Error::Usage("a switch is true or false".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(arguments: &str) -> Result<Wanted> {
        read(&mut Parser::from_args(arguments.split(' ')))
    }

    #[test]
    fn reads_its_arguments() {
        let plain = wanted("web").unwrap();
        assert_eq!((plain.container.as_str(), plain.input, plain.proxy), ("web", true, true));
        assert_eq!(plain.keys, [16, 17]);
        let all = wanted("--no-stdin --detach-keys=ctrl-a,x --sig-proxy=false web").unwrap();
        assert_eq!((all.input, all.proxy, all.keys.as_slice()), (false, false, b"\x01x".as_slice()));
        assert!(wanted("--detach-keys= web").unwrap().keys.is_empty());
        for bad in ["", "a b", "--sig-proxy=maybe a", "--detach-keys=long a", "--other a"] {
            assert!(matches!(wanted(bad), Err(Error::Usage(_))), "{bad}");
        }
    }
}
