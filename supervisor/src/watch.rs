//! The loop: waits for a program to run and to end, passes signals and input on to it, and its output to the log, the
//! caller and the clients.

use crate::channel::{Reply, Request, Size, Stream};
use crate::child;
use crate::clients::Clients;
use crate::own::Own;
use crate::program::{Outcome, Program};
use crate::signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use store::Result;
use store::error::Doing;
use store::log::Log;

/// How long the outputs of a program that has ended are read on while nothing comes: another process may have them.
const DRAIN: Duration = Duration::from_millis(300);

/// How long to wait before another client is let in, where there are no descriptors for it.
const MOMENT: Duration = Duration::from_millis(10);

/// What is waited on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Source {
    Signal,
    Door,
    Client(usize),
    OwnInput,
    OwnOutput(Stream),
    Ended,
    Ready,
    Kills,
    Input,
    Output(Stream),
}

/// What a supervisor keeps while its program runs, and from one run to the next.
pub struct Watch {
    /// Reads the signals that this process gets.
    pub signals: OwnedFd,
    /// Where clients connect.
    pub door: Option<OwnedFd>,
    /// Who is connected.
    pub clients: Clients,
    /// The caller's streams, where the program runs in the foreground.
    pub own: Option<Own>,
    /// What the program writes is kept here.
    pub log: Option<Log>,
    /// The size that the program's terminal has or gets.
    pub size: Size,
    /// It was asked for that the program ends for good.
    pub stopping: bool,
    /// It was asked for that the program is killed: then nobody waits for those who do not read what it wrote.
    killed: bool,
}

impl Watch {
    /// Nothing but signals.
    pub fn new() -> Result<Self> {
        let signals = crate::sys::signal_descriptor(&signals::forwarded()).doing(|| "blocking signals".into())?;
        let (clients, size) = (Clients::default(), Size::default());
        Ok(Self { signals, door: None, clients, own: None, log: None, size, stopping: false, killed: false })
    }

    /// Watches a program until it has ended and everything that it wrote has gone where it belongs; `runs` is called
    /// when it runs.
    pub fn program(&mut self, mut program: Program, runs: impl FnOnce(&mut Clients, &Program)) -> Result<Outcome> {
        let (mut runs, mut ended) = (Some(runs), None);
        while !self.is_done(&program) {
            let draining = program.has_ended() && !self.is_behind();
            let happened = self.happened(Some(&program), draining.then_some(DRAIN))?;
            if program.has_ended() {
                let late = ended.get_or_insert_with(Instant::now).elapsed() >= DRAIN;
                if draining && happened.is_empty() || self.killed && late {
                    program.streams.close();
                }
            }
            for (source, events) in happened {
                self.serve(source, events, &mut program)?;
            }
            if program.runs()
                && let Some(runs) = runs.take()
            {
                runs(&mut self.clients, &program);
            }
        }
        if let Some(log) = &mut self.log {
            log.finish();
        }
        Ok(program.outcome())
    }

    /// Waits between two runs; ends early when the container is to stop.
    pub fn pause(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while !self.stopping {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            for (source, events) in self.happened(None, Some(left))? {
                match source {
                    Source::Signal => {
                        self.stopping |= signals::next(&self.signals).is_some_and(signals::means_end);
                    }
                    Source::Door => self.open_door(),
                    Source::Client(place) => self.attend(place, events, None),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Is everything told that there is to tell?
    fn is_done(&self, program: &Program) -> bool {
        program.has_ended() && program.streams.are_read() && !self.is_behind()
    }

    /// Does somebody who reads slowly hold the program's outputs up?
    fn is_behind(&self) -> bool {
        let own = |own: &Own| own.is_behind(Stream::Out) || own.is_behind(Stream::Err);
        !self.killed && (self.clients.are_behind() || self.own.as_ref().is_some_and(own))
    }

    /// Waits until something can be done.
    fn happened(&self, program: Option<&Program>, time: Option<Duration>) -> Result<Vec<(Source, PollFlags)>> {
        let mut sources = self.sources(program);
        if let Some(program) = program {
            self.program_sources(program, &mut sources);
        }
        let mut polled: Vec<_> = sources.iter().map(|(_, fd, events)| PollFd::from_borrowed_fd(*fd, *events)).collect();
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        while let Err(errno) = poll(&mut polled, time.as_ref()) {
            if errno != Errno::INTR {
                return Err(errno).doing(|| "waiting for the container".into());
            }
        }
        let events = polled.iter().map(PollFd::revents);
        Ok(sources.iter().map(|(source, ..)| *source).zip(events).filter(|(_, events)| !events.is_empty()).collect())
    }

    fn sources(&self, program: Option<&Program>) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let room = program.is_none_or(|program| program.streams.has_room());
        let mut sources = vec![(Source::Signal, self.signals.as_fd(), PollFlags::IN)];
        sources.extend(self.clients.sockets(room).map(|(place, fd, events)| (Source::Client(place), fd, events)));
        // After the clients: what has been asked for is done before somebody has to go for one who comes.
        sources.extend(self.door.as_ref().map(|door| (Source::Door, door.as_fd(), PollFlags::IN)));
        let Some(own) = &self.own else { return sources };
        for stream in [Stream::Out, Stream::Err] {
            sources.extend(own.output(stream).map(|fd| (Source::OwnOutput(stream), fd, PollFlags::OUT)));
        }
        if program.is_some_and(|program| program.streams.takes_input() && program.streams.input().is_none()) {
            sources.extend(own.input().map(|fd| (Source::OwnInput, fd, PollFlags::IN)));
        }
        sources
    }

    fn program_sources<'a>(&self, program: &'a Program, sources: &mut Vec<(Source, BorrowedFd<'a>, PollFlags)>) {
        let waits = [
            (Source::Ended, program.ended()),
            (Source::Ready, program.ready()),
            (Source::Kills, program.kills()),
            (Source::Output(Stream::Out), program.streams.output(Stream::Out)),
            (Source::Output(Stream::Err), program.streams.output(Stream::Err)),
        ];
        let held_up = |source| match source {
            Source::Output(stream) if !self.killed => {
                self.clients.are_behind() || self.own.as_ref().is_some_and(|own| own.is_behind(stream))
            }
            _ => false,
        };
        let waits = waits.into_iter().filter(|(source, _)| !held_up(*source));
        sources.extend(waits.filter_map(|(source, fd)| Some((source, fd?, PollFlags::IN))));
        sources.extend(program.streams.input().map(|fd| (Source::Input, fd, PollFlags::OUT)));
    }

    fn serve(&mut self, source: Source, events: PollFlags, program: &mut Program) -> Result<()> {
        match source {
            Source::Signal => {
                while let Some(signal) = signals::next(&self.signals) {
                    self.signalled(signal, program);
                }
            }
            Source::Door => self.open_door(),
            Source::Client(place) => self.attend(place, events, Some(program)),
            Source::OwnInput => match self.own.as_mut().and_then(Own::read) {
                Some(bytes) if bytes.is_empty() => program.streams.end_input(),
                Some(bytes) => program.streams.give(&bytes),
                None => {}
            },
            Source::OwnOutput(stream) => {
                let pushed = self.own.as_mut().map_or(Ok(()), |own| own.push(stream));
                refused(pushed, stream, program);
            }
            Source::Ended => program.end()?,
            Source::Ready => program.hear(self.size)?,
            Source::Kills => program.answer(events),
            Source::Input => program.streams.push(),
            Source::Output(stream) => self.pass(stream, program),
        }
        Ok(())
    }

    /// Passes on what the program wrote.
    fn pass(&mut self, stream: Stream, program: &mut Program) {
        let bytes = program.streams.read(stream);
        if bytes.is_empty() {
            return;
        }
        if let Some(log) = &mut self.log {
            log.append(stream, &bytes);
        }
        self.clients.output(stream, &bytes);
        let written = self.own.as_mut().map_or(Ok(()), |own| own.write(stream, &bytes));
        refused(written, stream, program);
    }

    fn signalled(&mut self, signal: i32, program: &mut Program) {
        match signal {
            // The job of a shell is stopped and continued as a whole: the container with this process.
            libc::SIGTSTP if self.own.is_some() => {
                program.freeze(true);
                crate::sys::take_default(signal);
                program.freeze(false);
            }
            libc::SIGCONT if self.own.is_some() => program.freeze(false),
            _ if program.has_ended() => {
                // What is left is to tell somebody who does not listen.
                if signals::means_end(signal)
                    && let Some(own) = &mut self.own
                {
                    own.give_up();
                    program.streams.close(); // Another process may go on writing for ever.
                }
            }
            _ => {
                self.stopping |= signals::means_end(signal);
                program.signal(signal);
            }
        }
    }

    fn open_door(&mut self) {
        let Some(door) = &self.door else { return };
        match acceptfrom_with(door, SocketFlags::CLOEXEC) {
            Ok((socket, _)) => self.clients.add_guest(socket),
            // It would be told of again at once.
            Err(_) if !self.clients.let_one_go() => std::thread::sleep(MOMENT),
            Err(_) => {}
        }
    }

    /// Sends a client what waits for it, and does what it asks for.
    fn attend(&mut self, place: usize, events: PollFlags, program: Option<&mut Program>) {
        if events.contains(PollFlags::OUT) {
            self.clients.push(place);
        }
        if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.hear(place, program);
        }
    }

    /// Does what a client asks for.
    fn hear(&mut self, place: usize, program: Option<&mut Program>) {
        let Some(request) = self.clients.receive(place) else { return };
        if let Request::Size(size) = request {
            self.size = size;
        }
        self.stopping |= matches!(request, Request::Stop(_));
        self.killed |= matches!(request, Request::Stop(libc::SIGKILL));
        let Some(program) = program else {
            return if matches!(request, Request::Kill(_) | Request::Stop(_)) {
                self.clients.answer(place, &Reply::Done);
            };
        };
        match request {
            Request::Attach => {
                program.streams.redraw();
                if program.runs() {
                    self.clients.answer(place, &Reply::Runs);
                }
            }
            Request::Input(bytes) => program.give(&bytes),
            Request::EndOfInput => program.streams.end_input(),
            Request::Size(size) => program.streams.resize(size),
            Request::Kill(signal) | Request::Stop(signal) => {
                program.signal(signal);
                self.clients.answer(place, &Reply::Done);
            }
        }
    }
}

/// Where the caller takes no more of an output, the program is told so by its own pipe.
fn refused(written: rustix::io::Result<()>, stream: Stream, program: &mut Program) {
    let Err(error) = written else { return };
    if error != Errno::PIPE {
        crate::tell(&format!("passing the program's output on: {}", child::reason(&error.into())));
    }
    program.streams.close_output(stream);
}
