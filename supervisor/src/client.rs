//! A client: shows what a container writes, gives it what is typed, and passes signals on.

use crate::channel::{self, CHUNK, Reply, Request, Stream};
use crate::keys;
use crate::outlet::{Outlet, reopened};
use crate::signals;
use crate::sys;
use crate::terminal::{self, Terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::{Errno, read, retry_on_intr};
use rustix::process::{Signal, kill_current_process_group};
use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use store::Result;
use store::error::Doing;

/// How often a client in the background, which has been told to go on there, looks whether the terminal is its own now.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// What a client does.
pub struct How {
    /// The program has a terminal.
    pub terminal: bool,
    /// Standard input is for the program.
    pub input: bool,
    /// The keys that end the client, but not the container; none where this is empty.
    pub keys: Vec<u8>,
    /// Signals are for the program.
    pub proxy: bool,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The program ended, with this code.
    Code(u8),
    /// The user left it.
    Detached,
    /// Nobody reads what the program writes: it would get `SIGPIPE` if it wrote there itself.
    Unheard,
    /// The program never ran: the code, and the line that says why.
    Failed(u8, String),
    /// The supervisor has gone without a word.
    Lost,
}

/// Talks with a supervisor until the program has ended, or the user leaves it.
pub fn converse(channel: &OwnedFd, how: &How) -> Result<Ended> {
    let signals = sys::signal_descriptor(&signals::forwarded()).doing(|| "blocking signals".into())?;
    let stdio = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let ended = Client::new(channel, how, &signals, stdio).run()?;
    if ended == Ended::Detached {
        let _ = std::io::stderr().write_all(b"\n"); // What follows is not on the program's line.
    }
    Ok(ended)
}

/// Standard input.
struct Input<'a> {
    given: BorrowedFd<'a>,
    /// Opened once more, so that it is read without waiting where somebody else has taken what was there.
    own: Option<OwnedFd>,
    terminal: Option<Terminal<'a>>,
    hold: Hold,
    watch: keys::Watch<'a>,
}

/// May standard input be read?
#[derive(Clone, Copy, PartialEq)]
enum Hold {
    /// To be found out.
    Unknown,
    /// Yes.
    Held,
    /// This process is in the background of its terminal, and was not stopped, or continued there.
    Background,
}

struct Client<'a> {
    channel: &'a OwnedFd,
    how: &'a How,
    signals: &'a OwnedFd,
    stdio: [BorrowedFd<'a>; 3],
    /// None once it has ended, or the supervisor hears nothing any more.
    input: Option<Input<'a>>,
    /// What is to be sent: bounded, since nothing is read while something is in it.
    outbox: VecDeque<Vec<u8>>,
    /// Those of standard output and standard error; none where writing has failed.
    outlets: [Option<Outlet<'a>>; 2],
    /// What is to be written, and which outlet it is for. Nothing is received while something is in it.
    unwritten: (usize, Vec<u8>),
    runs: bool,
    /// The supervisor hears nothing any more.
    deaf: bool,
}

impl<'a> Client<'a> {
    fn new(channel: &'a OwnedFd, how: &'a How, signals: &'a OwnedFd, stdio: [BorrowedFd<'a>; 3]) -> Self {
        let input = how.input.then(|| Input::new(stdio[0], how));
        let outlets = [Some(Outlet::of(stdio[1])), Some(Outlet::of(stdio[2]))];
        let (outbox, unwritten) = (VecDeque::new(), (0, Vec::new()));
        Self { channel, how, signals, stdio, input, outbox, outlets, unwritten, runs: false, deaf: false }
    }

    fn run(mut self) -> Result<Ended> {
        self.queue_size();
        loop {
            self.send();
            self.claim_input();
            let [signalled, received, _, typed] = self.wait()?;
            if !signalled.is_empty() {
                self.hear_signals();
            }
            if let Some(ended) = self.write_out() {
                return Ok(ended);
            }
            if received.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
                && self.unwritten.1.is_empty()
                && let Some(ended) = self.receive()?
            {
                return Ok(ended);
            }
            if !typed.is_empty() && self.read_input() {
                return Ok(Ended::Detached);
            }
        }
    }

    /// Waits until something happens to the signals, the channel, the outlet and standard input; what.
    fn wait(&self) -> Result<[PollFlags; 4]> {
        let (outlet, bytes) = &self.unwritten;
        let outlet = self.outlets[*outlet].as_ref().filter(|_| !bytes.is_empty());
        let input = self.input.as_ref().filter(|_| self.runs && self.outbox.is_empty());
        let mut channel = if outlet.is_none() { PollFlags::IN } else { PollFlags::empty() };
        channel.set(PollFlags::OUT, !self.outbox.is_empty());
        let sources = [
            Some((self.signals.as_fd(), PollFlags::IN)),
            (!channel.is_empty()).then_some((self.channel.as_fd(), channel)), // An end would be told again and again.
            outlet.map(|outlet| (outlet.fd(), PollFlags::OUT)),
            input.filter(|input| input.hold == Hold::Held).map(|input| (input.fd(), PollFlags::IN)),
        ];
        let mut polled: Vec<_> =
            sources.iter().flatten().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let in_background = input.is_some_and(|input| input.hold == Hold::Background);
        retry_on_intr(|| poll(&mut polled, in_background.then_some(&LOOK_AGAIN)))
            .doing(|| "waiting for the container".into())?;
        let mut events = polled.iter().map(PollFd::revents);
        Ok(sources.map(|source| source.and_then(|_| events.next()).unwrap_or(PollFlags::empty())))
    }

    /// Sends what there is room for.
    fn send(&mut self) {
        while let Some(packet) = self.outbox.front() {
            match channel::try_send_packet(self.channel, packet) {
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.deaf = true;
                    self.input = None;
                    self.outbox.clear();
                }
                Ok(()) => drop(self.outbox.pop_front()),
            }
        }
    }

    fn queue(&mut self, request: &Request) {
        let packet = request.packet();
        // A signal that waits already is sent once, as the kernel does it.
        if !self.deaf && !self.outbox.contains(&packet) {
            self.outbox.push_back(packet);
        }
    }

    /// Tells the size of the caller's terminal; the last one counts.
    fn queue_size(&mut self) {
        let size = self.stdio.iter().find_map(|fd| terminal::size(*fd)).filter(|_| self.how.terminal);
        if let Some(size) = size {
            self.outbox.retain(|packet| packet.first() != Some(&b'S'));
            self.queue(&Request::Size(size));
        }
    }

    /// Makes sure, as long as the program runs, that what is typed is for it: the terminal is raw if the program has
    /// one too. In the background this process is stopped until a shell gives it the terminal (`SIGTTIN`, signal(7)).
    fn claim_input(&mut self) {
        let Some(input) = self.input.as_mut().filter(|input| self.runs && input.hold != Hold::Held) else {
            return;
        };
        let Some(terminal) = &mut input.terminal else {
            input.hold = Hold::Held;
            return;
        };
        if terminal.is_ours() {
            // A terminal that has been hung up cannot be set; reading it tells.
            let _ = if self.how.terminal { terminal.make_raw() } else { Ok(()) };
            input.hold = Hold::Held;
        } else if input.hold == Hold::Unknown {
            input.hold = Hold::Background;
            // Where no shell could continue it, the kernel does not stop it.
            let _ = kill_current_process_group(Signal::TTIN);
        }
    }

    fn hear_signals(&mut self) {
        let mut passed_on = false;
        while let Some(signal) = signals::next(self.signals) {
            match signal {
                libc::SIGTSTP => {
                    self.take_default(signal);
                    self.hold(Hold::Unknown);
                }
                libc::SIGCONT => {
                    // Told to end (kill %1), it must not stop once more before the program has.
                    self.hold(if passed_on { Hold::Background } else { Hold::Unknown });
                    self.queue_size();
                    self.queue(&Request::Attach); // It draws its screen anew.
                }
                libc::SIGWINCH if self.how.terminal => self.queue_size(),
                _ if self.how.proxy && !self.deaf => {
                    self.queue(&Request::Kill(signal));
                    passed_on = true;
                }
                _ => self.take_default(signal),
            }
        }
    }

    fn hold(&mut self, hold: Hold) {
        self.input.iter_mut().for_each(|input| input.hold = hold);
    }

    /// Ends or stops this process, as the signal does by default.
    fn take_default(&mut self, signal: i32) {
        if let Some(terminal) = self.input.as_mut().and_then(|input| input.terminal.as_mut())
            && signal != libc::SIGWINCH
        {
            terminal.restore();
        }
        sys::take_default(signal);
    }

    /// Writes as much as can be of what the program wrote.
    fn write_out(&mut self) -> Option<Ended> {
        let (to, bytes) = &mut self.unwritten;
        while !bytes.is_empty()
            && let Some(outlet) = &self.outlets[*to]
        {
            match outlet.try_write(bytes) {
                Ok(0) | Err(Errno::AGAIN) => return None,
                Ok(count) => drop(bytes.drain(..count)),
                Err(Errno::PIPE) => return Some(Ended::Unheard),
                Err(errno) => {
                    let name = ["standard output", "standard error"][*to];
                    crate::tell(&format!("writing to {name}: {errno}: the program's further output is dropped"));
                    self.outlets[*to] = None;
                }
            }
        }
        bytes.clear();
        None
    }

    /// Receives one message.
    fn receive(&mut self) -> Result<Option<Ended>> {
        let packet = match channel::try_receive_packet(self.channel) {
            // Reset: it has gone before it read all, which is told once, before what it had sent.
            Err(Errno::AGAIN | Errno::CONNRESET) => return Ok(None),
            other => other.doing(|| "hearing from the supervisor".into())?,
        };
        match Reply::read(&packet) {
            Some(Reply::Ended(code)) => return Ok(Some(Ended::Code(code))),
            Some(Reply::Failed(code, line)) => return Ok(Some(Ended::Failed(code, line))),
            Some(Reply::Output(stream, bytes)) => {
                self.unwritten = (usize::from(stream == Stream::Err), bytes);
                return Ok(self.write_out());
            }
            Some(Reply::Runs) => self.runs = true,
            _ if packet.is_empty() => return Ok(Some(Ended::Lost)),
            Some(Reply::Done) | None => {}
        }
        Ok(None)
    }

    /// Reads standard input, and sends it. Does the user leave?
    fn read_input(&mut self) -> bool {
        let Some(input) = &mut self.input else {
            return false;
        };
        let mut typed = vec![0; CHUNK];
        let (bytes, leaves, ended) = match retry_on_intr(|| read(input.fd(), &mut typed)) {
            Err(Errno::AGAIN) => return false,
            // An error is the end of it too: a terminal that has been hung up, a directory.
            Ok(0) | Err(_) => (input.watch.rest(), false, true),
            Ok(count) => {
                let (bytes, leaves) = input.watch.see(&typed[..count]);
                (bytes, leaves, false)
            }
        };
        for chunk in bytes.chunks(CHUNK) {
            self.outbox.push_back(Request::Input(chunk.to_vec()).packet());
        }
        if ended {
            self.input = None;
            self.queue(&Request::EndOfInput);
        }
        self.send();
        leaves
    }
}

impl<'a> Input<'a> {
    fn new(given: BorrowedFd<'a>, how: &'a How) -> Self {
        let (own, terminal) = (reopened(given, OFlags::RDONLY), Terminal::of(given));
        // Without terminals on both sides, keys are bytes like others.
        let keys = if how.terminal && terminal.is_some() { how.keys.as_slice() } else { &[] };
        Self { given, own, terminal, hold: Hold::Unknown, watch: keys::Watch::new(keys) }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.own.as_ref().map_or(self.given, AsFd::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Size, pair, receive_packet, send_packet};
    use crate::terminal::tests::{is_raw, pty};
    use rustix::io::write;
    use std::fs::File;
    use std::io::Read;
    use std::thread::{JoinHandle, spawn};

    /// A client in a thread, the supervisor's side of its channel, and the other ends of its input and outputs.
    struct Play {
        client: JoinHandle<Ended>,
        channel: OwnedFd,
        input: OwnedFd,
        outputs: [File; 2],
    }

    fn how(terminal: bool, input: bool) -> How {
        How { terminal, input, keys: vec![16, 17], proxy: true }
    }

    fn play_at(how: How, (other, input): (OwnedFd, OwnedFd)) -> Play {
        let (channel, own) = pair().unwrap();
        let (out, to_out) = rustix::pipe::pipe().unwrap();
        let (err, to_err) = rustix::pipe::pipe().unwrap();
        let client = spawn(move || {
            let signals = sys::signal_descriptor(&[]).unwrap();
            let stdio = [input.as_fd(), to_out.as_fd(), to_err.as_fd()];
            Client::new(&own, &how, &signals, stdio).run().unwrap()
        });
        Play { client, channel, input: other, outputs: [out.into(), err.into()] }
    }

    fn play(how: How) -> Play {
        let (input, other) = rustix::pipe::pipe().unwrap();
        play_at(how, (other, input))
    }

    impl Play {
        fn say(&self, reply: &Reply) {
            send_packet(&self.channel, &reply.packet()).unwrap();
        }

        fn hear(&self) -> Option<Request> {
            Request::read(&receive_packet(&self.channel).unwrap())
        }

        fn typed(&self, bytes: &[u8]) {
            assert_eq!(write(&self.input, bytes), Ok(bytes.len()));
        }

        /// The end of the client, and what it wrote.
        fn end(self) -> (Ended, String, String) {
            let [out, err] = self.outputs.map(|mut output| {
                spawn(move || {
                    let mut text = String::new();
                    output.read_to_string(&mut text).unwrap();
                    text
                })
            });
            (self.client.join().unwrap(), out.join().unwrap(), err.join().unwrap())
        }
    }

    #[test]
    fn writes_everything_before_it_ends_however_slow_the_reader_is() {
        let play = play(how(false, false));
        play.say(&Reply::Runs);
        let channel = play.channel.try_clone().unwrap();
        let supervisor = spawn(move || {
            for _ in 0..40 {
                send_packet(&channel, &Reply::Output(Stream::Out, vec![b'x'; CHUNK]).packet()).unwrap();
                send_packet(&channel, &Reply::Output(Stream::Err, b"e".into()).packet()).unwrap();
            }
            send_packet(&channel, &Reply::Ended(7).packet()).unwrap();
        });
        // It waits for its reader and does not take everything in meanwhile.
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!supervisor.is_finished());
        let (ended, out, err) = play.end();
        assert_eq!((ended, out.len(), err.len()), (Ended::Code(7), 40 * CHUNK, 40));
        supervisor.join().unwrap();
    }

    #[test]
    fn sends_its_input_once_the_program_runs_and_then_the_end_of_it() {
        let mut play = play(how(false, true));
        play.say(&Reply::Runs);
        let mut input = File::from(std::mem::replace(&mut play.input, pair().unwrap().0));
        let writer = spawn(move || std::io::Write::write_all(&mut input, &vec![b'i'; 40 * CHUNK]).unwrap());
        // With nobody to take it, it is not read on and on.
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!writer.is_finished());
        let mut count = 0;
        loop {
            match play.hear() {
                Some(Request::Input(bytes)) => count += bytes.len(),
                other => {
                    assert_eq!((other, count), (Some(Request::EndOfInput), 40 * CHUNK));
                    break;
                }
            }
        }
        writer.join().unwrap();
        play.say(&Reply::Ended(0));
        assert_eq!(play.end().0, Ended::Code(0));
    }

    #[test]
    fn leaves_standard_input_alone_where_it_is_not_wanted() {
        let (input, other) = rustix::pipe::pipe().unwrap();
        let play = play_at(how(false, false), (other, input.try_clone().unwrap()));
        play.typed(b"kept");
        play.say(&Reply::Runs);
        play.say(&Reply::Ended(0));
        assert_eq!(play.end().0, Ended::Code(0));
        assert_eq!(read(&input, &mut [0; 8]), Ok(4));
    }

    #[test]
    fn hears_the_end_even_of_a_supervisor_that_has_not_read_everything() {
        let play = play(how(false, true));
        play.say(&Reply::Runs);
        play.typed(b"never read");
        while rustix::io::ioctl_fionread(&play.channel).unwrap() == 0 {}
        play.say(&Reply::Output(Stream::Out, b"last".into()));
        play.say(&Reply::Ended(3));
        let Play { client, channel, input: _input, outputs: [mut out, _err] } = play;
        drop(channel);
        assert_eq!(client.join().unwrap(), Ended::Code(3));
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, "last");
    }

    #[test]
    fn tells_how_it_ended() {
        for (reply, want) in [
            (Some(Reply::Failed(127, "no such program".into())), Ended::Failed(127, "no such program".into())),
            (None, Ended::Lost),
        ] {
            let mut play = play(how(false, true));
            if let Some(reply) = reply {
                play.say(&reply);
            }
            drop(std::mem::replace(&mut play.channel, pair().unwrap().0));
            assert_eq!(play.end().0, want);
        }
        let mut play = play(how(false, false));
        play.outputs[0] = File::open("/dev/null").unwrap();
        play.say(&Reply::Output(Stream::Out, b"x".into()));
        assert_eq!(play.end().0, Ended::Unheard);
    }

    #[test]
    fn leaves_by_keys_and_the_terminal_is_as_it_was() {
        let (master, slave) = pty();
        let (_held, caller) = (master.try_clone().unwrap(), slave.try_clone().unwrap());
        let play = play_at(how(true, true), (master, slave));
        assert_eq!(play.hear(), Some(Request::Size(Size::default())));
        play.say(&Reply::Output(Stream::Out, b"before\n".into()));
        assert_eq!((&play.outputs[0]).read(&mut [0; 16]).unwrap(), 7);
        assert!(!is_raw(&caller));
        play.say(&Reply::Runs);
        while !is_raw(&caller) {}
        play.typed(b"ab\x03\x10");
        assert_eq!(play.hear(), Some(Request::Input(b"ab\x03".into())));
        play.typed(b"c");
        assert_eq!(play.hear(), Some(Request::Input(b"\x10c".into())));
        play.typed(b"\x10");
        play.typed(b"\x11");
        assert_eq!(play.end().0, Ended::Detached);
        assert!(!is_raw(&caller));
    }
}
