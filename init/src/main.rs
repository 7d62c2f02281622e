//! crate-init: the first program inside a container's namespaces.
//!
//! It carries out a *plan*, a list of options in order: mounts, devices, identity, confinement; the last of them
//! is the program, which takes its place as process 1. crate-sup writes plans; the same options work by hand:
//!
//! ```text
//! unshare -r -m -p -f crate-init --private --root /srv/tree --mount proc proc /proc nosuid --pivot -- /bin/sh
//! ```
//!
//! No allocation of note, no threads, no standard library: the program is copied into memory at each start, so
//! every kilobyte counts.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code))] // Under test nothing enters through the C runtime.

extern crate alloc;

mod capability;
mod confine;
mod console;
mod dev;
mod error;
mod identity;
mod join;
mod mount;
mod options;
mod plan;
mod program;
mod reap;
mod rlimit;
mod root;
mod sys;
mod sysctl;

use alloc::vec::Vec;
use core::ffi::CStr;
use error::Error;

/// Carries out the plan of the command line; comes back only with what went wrong.
fn run(arguments: Vec<&'static CStr>) -> Error {
    // Among the processes of a container that runs, none may look into this one or stop it. The program is free again
    // (execve(2)). It cannot fail.
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0, 0);
    match plan::read(arguments).and_then(plan::carry_out) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

#[cfg(test)]
fn main() {}
