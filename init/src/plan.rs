//! The plan: options that are carried out one after the other, and the program at their end.

use crate::capability;
use crate::confine::{Capabilities, Confinement, Filter};
use crate::console::Console;
use crate::error::{Doing, Error, Result};
use crate::identity::{self, Identity};
use crate::join::Joined;
use crate::mount::{Covers, Writable};
use crate::rlimit::Limit;
use crate::root::{Kind, Root};
use crate::sys::{Errno, Fd};
use crate::{dev, mount, program, reap, sys, sysctl};
use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, Ordering};

/// The largest plan, in bytes: more than execve(2) takes of arguments and environment.
const LIMIT: usize = 8 << 20;

/// What limits keyrings (keyrings(7)).
const KEYRINGS: &str = "the limits are in /proc/sys/kernel/keys; --security-opt seccomp=unconfined needs a keyring";

/// Where the one error line goes; standard error unless the plan says otherwise.
static ERROR_FD: AtomicI32 = AtomicI32::new(2);

/// Reads the whole plan. `--plan FD` as the only option stands for the NUL-terminated options in that file.
pub fn read(arguments: Vec<&'static CStr>) -> Result<Vec<&'static CStr>> {
    let [option, fd] = arguments[..] else {
        return Ok(arguments);
    };
    if option != c"--plan" {
        return Ok(arguments);
    }
    let fd = sys::adopt(number(fd)?);
    let bytes = Vec::leak(sys::read(&fd, LIMIT).doing("reading ", c"the plan")?);
    if bytes.len() > LIMIT {
        return Err(Error::new(&["the plan is longer than 8 MiB"]));
    }
    let strings = bytes.split_inclusive(|byte| *byte == 0).map(CStr::from_bytes_with_nul);
    strings.collect::<core::result::Result<_, _>>().map_err(|_| Error::new(&["the plan ends within an option"]))
}

/// What the options have said so far.
#[derive(Default)]
struct State {
    root: Option<Root>,
    lower: Vec<&'static CStr>,
    covers: Option<Covers>,
    environment: Vec<&'static CStr>,
    user: Option<Identity>,
    limits: Vec<Limit>,
    confinement: Confinement,
    keyring_refused: Option<Errno>,
    /// The root is that of a container that runs.
    joined: bool,
    join: Option<Joined>,
    console: Option<Console>,
    reap: bool,
    program: Option<Fd>,
}

/// Carries the plan out; comes back only with what went wrong.
pub fn carry_out(plan: Vec<&'static CStr>) -> Result<Infallible> {
    let mut state = State::default();
    let mut words = plan.into_iter();
    sys::umask(0);
    while let Some(option) = words.next() {
        if option == c"--" {
            return state.start(&words.collect::<Vec<_>>());
        }
        state.step(option, &mut || words.next().ok_or_else(|| Error::about("", option, ": a value is missing")))?;
    }
    Err(Error::new(&["the plan names no program"]))
}

impl State {
    fn step(&mut self, option: &CStr, next: &mut dyn FnMut() -> Result<&'static CStr>) -> Result<()> {
        match option.to_str().unwrap_or_default() {
            "--error-fd" => ERROR_FD.store(number(next()?)?, Ordering::Relaxed),
            "--no-stdin" => sys::null_stdin().doing("opening ", c"/dev/null")?,
            "--private" => mount::make_private()?,
            "--hostname" => {
                let name = next()?;
                sys::sethostname(name).doing("setting the host name to ", name)?;
            }
            "--loopback" => sys::loopback_up().doing("bringing up ", c"lo")?,
            "--sysctl" => sysctl::set(next()?, next()?)?,
            "--lower" => self.lower.push(next()?),
            "--join" => {
                let (first, namespaces, socket) = (number(next()?)?, number(next()?)?, number(next()?)?);
                self.join = Some(Joined::enter(sys::adopt(first), namespaces, sys::adopt(socket))?);
            }
            "--overlay" => {
                let (upper, work, target, options) = (next()?, next()?, next()?, next()?);
                self.root = Some(mount::overlay(&self.lower, Some(&Writable { upper, work, options }), target)?);
            }
            "--view" => self.root = Some(mount::view(&self.lower, next()?)?),
            "--joined" => {
                self.root = Some(Root::open(c"/")?);
                self.joined = true;
            }
            "--root" => self.root = Some(mount::plain(next()?)?),
            "--env" => self.environment.push(next()?),
            "--reap" => self.reap = true,
            "--program-fd" => self.program = Some(sys::adopt(number(next()?)?)),
            "--rlimit" => self.limits.push(Limit::read(next()?, next()?, next()?)?),
            "--session-keyring" => self.keyring_refused = sys::new_session_keyring().err(),
            "--seccomp" => self.confinement.filter = Some(Filter::read(&sys::adopt(number(next()?)?))?),
            "--no-new-privs" => self.confinement.no_new_privs = true,
            "--bounding" => self.sets().bounding = capability::mask(next()?)?,
            "--effective" => self.sets().effective = capability::mask(next()?)?,
            "--permitted" => self.sets().permitted = capability::mask(next()?)?,
            "--inheritable" => self.sets().inheritable = capability::mask(next()?)?,
            "--ambient" => self.sets().ambient = capability::mask(next()?)?,
            _ => return self.step_in_root(option, next),
        }
        Ok(())
    }

    /// The options that need the root filesystem.
    fn step_in_root(&mut self, option: &CStr, next: &mut dyn FnMut() -> Result<&'static CStr>) -> Result<()> {
        let root =
            self.root.as_ref().ok_or_else(|| Error::about("", option, ": unknown, or before a root filesystem"))?;
        match option.to_str().unwrap_or_default() {
            "--mount" => mount::mount(root, next()?, next()?, next()?, next()?),
            "--devices" => dev::fill(root, true),
            "--all-devices" => dev::fill(root, false),
            "--text" => mount::text(root, next()?, next()?),
            "--mask" => {
                if self.covers.is_none() {
                    self.covers = Some(Covers::new()?);
                }
                let path = next()?;
                self.covers.as_ref().map_or(Ok(()), |covers| covers.mask(root, path))
            }
            "--read-only-path" => mount::read_only_path(root, next()?),
            "--keep-writable" => mount::keep_writable(root, next()?),
            "--read-only" => mount::read_only_root(root),
            "--pivot" => mount::pivot(root),
            "--directory" => root.place(next()?, Kind::Directory, 0).map(drop),
            "--console" => {
                let socket = sys::adopt(number(next()?)?);
                let console = Console::new(root, &socket, number(next()?)?, number(next()?)?)?;
                if !self.joined {
                    console.bind(root)?;
                }
                self.console = Some(console);
                Ok(())
            }
            "--bare" => mount::enter_bare(),
            // A container that runs is not changed: what is missing there is the caller's mistake.
            "--cwd" if self.joined => program::enter(root, next()?).map_err(|error| Error { code: 126, ..error }),
            "--cwd" => program::enter(root, next()?),
            "--user" => {
                let spec = next()?.to_str().map_err(|_| Error::about("", option, ": not in UTF-8"))?;
                self.user = Some(identity::resolve(spec, &root.read(c"etc/passwd")?, &root.read(c"etc/group")?)?);
                Ok(())
            }
            "--group" => {
                self.user(option)?.groups.push(number(next()?)?);
                Ok(())
            }
            "--own-stdio" => {
                program::own_pipes(self.user(option)?);
                Ok(())
            }
            _ => Err(Error::about("", option, ": no such option")),
        }
    }

    fn user(&mut self, option: &CStr) -> Result<&mut Identity> {
        self.user.as_mut().ok_or_else(|| Error::about("", option, ": before --user"))
    }

    fn sets(&mut self) -> &mut Capabilities {
        self.confinement.capabilities.get_or_insert_default()
    }

    /// Becomes the program.
    fn start(mut self, arguments: &[&CStr]) -> Result<Infallible> {
        let (uid, gid) = sys::own_ids();
        let user = self.user.unwrap_or(Identity { uid, gid, groups: Vec::new(), home: None });
        let home = user.home.as_deref().unwrap_or("/");
        if !self.environment.iter().any(|entry| entry.to_bytes().starts_with(b"HOME=")) {
            let home = CString::new([b"HOME=", home.as_bytes()].concat()).unwrap_or_default();
            self.environment.push(Box::leak(home.into_boxed_c_str()));
        }
        if let Some(console) = &self.console {
            console.give(user.uid);
        }
        sys::close_on_exec().doing("closing ", c"descriptors")?;
        sys::umask(0o022);
        sys::reset_signals();
        sys::block_signals(false);
        self.limits.iter().try_for_each(Limit::set)?;
        self.confinement.confine(&user)?;
        // The change of identity may have allowed it again.
        sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).doing("keeping ", c"others out")?;
        let early = self.join.as_ref().is_some_and(Joined::can_be_traced);
        if early {
            self.confinement.load_early()?;
        }
        if let Some(joined) = self.join {
            joined.come_into_sight()?;
        }
        sys::setsid();
        // A change of identity clears it, hence so late: if the supervisor is killed, so is the container.
        sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0).doing("setting ", c"the parent-death signal")?;
        // One that was killed before that sends no signal any more, but no longer waits for errors either.
        let errors = ERROR_FD.load(Ordering::Relaxed);
        if errors != 2 && sys::is_abandoned(errors) {
            return Err(Error::new(&["the supervisor is gone"]));
        }
        if self.reap {
            reap::fork(&self.confinement)?;
        }
        // From here on standard error is the program's. Errors go where --error-fd says.
        if let Some(console) = &self.console {
            console.take()?;
        }
        if !early {
            self.confinement.load()?;
        }
        if let Some(errno) = self.keyring_refused.filter(|_| !sys::has_no_keys()) {
            return Err(Error::new(&["making a session keyring: ", errno.text()]).hint(KEYRINGS));
        }
        program::execute(self.program.as_ref(), arguments, &self.environment)
    }
}

/// Tells the one error line to whoever waits for it, and ends.
///
/// A supervisor gets the exit code as one byte and then the text; a terminal gets the text after the program's name.
pub fn fail(error: &Error) -> ! {
    match ERROR_FD.load(Ordering::Relaxed) {
        2 => sys::write(2, &[b"crate-init: ", error.text.as_bytes(), b"\n"].concat()),
        fd => sys::write(fd, &[&[error.code], error.text.as_bytes()].concat()),
    }
    sys::exit(error.code)
}

/// Reads a decimal number that fits the type that is wanted.
pub fn number<N: TryFrom<u64>>(text: &CStr) -> Result<N> {
    let digits = text.to_str().unwrap_or_default();
    let number = digits.parse().ok().and_then(|number: u64| N::try_from(number).ok());
    number.ok_or_else(|| Error::about("not a number: ", text, ""))
}
