//! Process 1 that stays (`--init` of other runtimes): it forwards signals, takes note of processes that have ended, and
//! ends with the program.

use crate::error::{Doing, Result};
use crate::sys::{self, Fd};
use core::ffi::c_int;

/// Comes back in a child, which is to become the program; this process stays, and ends as the child does.
pub fn fork() -> Result<()> {
    // What arrives before anybody waits for it is not lost.
    sys::block_signals(true);
    let signals = sys::signal_source().doing("listening to ", c"signals")?;
    if let Some(program) = sys::fork().doing("forking ", c"the program")? {
        stay(program, &signals);
    }
    sys::block_signals(false);
    sys::setsid();
    Ok(())
}

fn stay(program: c_int, signals: &Fd) -> ! {
    // Standard input, output and error must end with the program, and the pipe for errors when it runs: that is how the
    // supervisor knows. Of all that is open only this source of signals is left, as number 0. It is read rather than
    // waited for by sigwaitinfo(2), which unblocks signals meanwhile: to others they would look as if they were lost.
    if sys::dup_onto(signals, 0).is_err() {
        sys::exit(125);
    }
    sys::close_others();
    // The change of identity may have allowed it again.
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0, 0);
    let signals = sys::adopt(0);
    loop {
        match sys::next_signal(&signals) {
            Some(libc::SIGCHLD) => reap(program),
            Some(signal) => sys::kill(program, signal),
            None => {}
        }
    }
}

/// Takes note of all children that have ended, orphans among them; ends with the program. Several may share one signal.
fn reap(program: c_int) {
    while let Some((child, code)) = sys::reap() {
        if child == program {
            sys::exit(code);
        }
    }
}
