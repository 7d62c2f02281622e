//! `crate-sup unshare`: a program as root of the caller's id-mapped user namespace.

use crate::child;
use crate::idmap::{IdMaps, Mapping};
use crate::sys;
use lexopt::Parser;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use store::error::Doing;
use store::root::run_dir;
use store::{Error, Result, Store};

/// Executes the command that the arguments give; comes back only with an error, or code 126 or 127.
pub fn unshare(parser: &mut Parser) -> Result<u8> {
    let mut command: Vec<_> = parser.raw_args()?.collect();
    if command.first().is_some_and(|first| first == "--") {
        command.remove(0);
    }
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::Usage("unshare: a command is wanted".into()));
    };
    let maps = IdMaps::of_caller();
    let mut inside = Command::new(program);
    if maps.has_namespace() {
        // Inside, the caller is root and would look for root's store: it is told where the caller's own is.
        let store = Store::default_path()?;
        inside.env("CRATE_RUN", run_dir(&store)?).env("CRATE_ROOT", store);
        enter(&maps)?;
    }
    let error = inside.args(arguments).exec();
    crate::tell(&format!("executing {}: {error}", program.display()));
    Ok(if error.kind() == ErrorKind::NotFound { 127 } else { 126 })
}

/// Moves this very process into a new user namespace, so that it stays the child that the shell knows. A child
/// that stays outside maps its ids.
fn enter(maps: &IdMaps) -> Result<()> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let (wait, go) = child::pipe()?;
    let (wait, go) = (std::fs::File::from(wait), std::fs::File::from(go));
    let Some(mapper) = child::fork("starting a child")? else {
        drop(go);
        // Nobody is left to map ids for where the parent could not make the namespace; it says why.
        let released = (&wait).read_exact(&mut [0]).is_ok();
        let begun = |maps: &IdMaps| maps.begin(own).and_then(Mapping::finish);
        let instead = |error: Error| match maps.instead(&error) {
            Some(maps) => begun(&maps),
            None => Err(error),
        };
        let mapped = if released { begun(maps).or_else(instead) } else { Ok(()) };
        std::process::exit(mapped.map_or_else(
            |error| {
                crate::tell(&error);
                1
            },
            |()| 0,
        ));
    };
    sys::unshare(sys::NEW_USER).map_err(|error| child::explain(error, maps))?;
    (&go).write_all(b"g").doing(|| "releasing the child".into())?;
    match child::wait_for(&mapper)? {
        0 => child::take_ids().doing(|| "becoming root of the user namespace".into()),
        _ => Err(Error::Failed("the ids of the user namespace could not be mapped".into())),
    }
}
