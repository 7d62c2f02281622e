//! The clients of a supervisor: who is attached to the program, and who asks for something.

use crate::channel::{Reply, Request, Stream, send_packet, try_receive_packet, try_send_packet};
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One connection.
struct Client {
    socket: OwnedFd,
    attached: bool,
    /// The client that the container was started with: the program waits for it as for a terminal of its own.
    owner: bool,
    /// Packets that it has no room for yet.
    waiting: VecDeque<Vec<u8>>,
}

/// How many packets wait for a guest before it is let go.
const PATIENCE: usize = 32;

/// How many guests there can be that are attached, and how many that are not.
const GUESTS: usize = 64;

/// All connections; a place stays the same as long as its client lives.
#[derive(Default)]
pub struct Clients(Vec<Option<Client>>);

impl Clients {
    /// Adds the client that the container is started with.
    pub fn add_owner(&mut self, socket: OwnedFd) {
        self.add(Client { socket, attached: true, owner: true, waiting: VecDeque::new() });
    }

    /// Adds one that has connected. Those who only wait never keep out who has something to ask for.
    pub fn add_guest(&mut self, socket: OwnedFd) {
        if self.guests(false) >= GUESTS {
            self.let_one_go();
        }
        self.add(Client { socket, attached: false, owner: false, waiting: VecDeque::new() });
    }

    fn add(&mut self, client: Client) {
        match self.0.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(client),
            None => self.0.push(Some(client)),
        }
    }

    fn guests(&self, attached: bool) -> usize {
        self.0.iter().flatten().filter(|client| !client.owner && client.attached == attached).count()
    }

    /// Lets a guest go that is not attached, if there is one: what it waits for it can find out by itself.
    pub fn let_one_go(&mut self) -> bool {
        let idle = |place: &&mut Option<Client>| place.as_ref().is_some_and(|client| !client.attached);
        self.0.iter_mut().find(idle).map(|place| *place = None).is_some()
    }

    /// Each client's place and socket, and what is waited for there: room, where packets wait; and what it asks for, unless
    /// that may be input and there is no `room` for it.
    pub fn sockets(&self, room: bool) -> impl Iterator<Item = (usize, BorrowedFd<'_>, PollFlags)> {
        let all = self.0.iter().enumerate().filter_map(|(place, client)| Some((place, client.as_ref()?)));
        let all = all.map(move |(place, client)| {
            let mut events = PollFlags::empty();
            events.set(PollFlags::IN, room || !client.attached);
            events.set(PollFlags::OUT, !client.waiting.is_empty());
            (place, client.socket.as_fd(), events)
        });
        all.filter(|(.., events)| !events.is_empty())
    }

    /// Must the program wait for its owner to read?
    pub fn are_behind(&self) -> bool {
        self.0.iter().flatten().any(|client| client.owner && !client.waiting.is_empty())
    }

    /// What a client asks for; none, and it is forgotten, where it has gone, is malformed, or is one too many.
    pub fn receive(&mut self, place: usize) -> Option<Request> {
        let full = self.guests(true) >= GUESTS;
        let client = self.0.get_mut(place)?.as_mut()?;
        let packet = match try_receive_packet(&client.socket) {
            Err(Errno::AGAIN) => return None,
            other => other.unwrap_or_default(),
        };
        let request = Request::read(&packet);
        match request {
            Some(Request::Attach) if client.attached || !full => client.attached = true,
            Some(Request::Attach) | None => {
                self.0[place] = None;
                return None;
            }
            _ => {}
        }
        request
    }

    /// Answers one client.
    pub fn answer(&mut self, place: usize, reply: &Reply) {
        if let Some(client) = self.0.get_mut(place) {
            tell(client, &reply.packet());
        }
    }

    /// Tells all that are attached. One that does not read is let go: a program never waits for it.
    pub fn tell(&mut self, reply: &Reply) {
        if !self.0.is_empty() {
            self.tell_packet(&reply.packet());
        }
    }

    /// Hands what the program wrote to all that are attached.
    pub fn output(&mut self, stream: Stream, bytes: &[u8]) {
        if !self.0.is_empty() {
            self.tell_packet(&Reply::Output(stream, bytes.to_vec()).packet());
        }
    }

    fn tell_packet(&mut self, packet: &[u8]) {
        for client in self.0.iter_mut().filter(|client| client.as_ref().is_some_and(|client| client.attached)) {
            tell(client, packet);
        }
    }

    /// Sends what has been waiting for room.
    pub fn push(&mut self, place: usize) {
        let Some(slot) = self.0.get_mut(place) else { return };
        while let Some(client) = slot
            && let Some(packet) = client.waiting.pop_front()
        {
            match try_send_packet(&client.socket, &packet) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return client.waiting.push_front(packet),
                Err(_) => *slot = None,
            }
        }
    }

    /// Tells all of the end, and lets them go; the owner last, whatever it takes. Who is not attached may be waiting for
    /// nothing else.
    pub fn dismiss(&mut self, last: &Reply) {
        let (owners, guests): (Vec<_>, Vec<_>) = self.0.drain(..).flatten().partition(|client| client.owner);
        for client in guests.into_iter().chain(owners) {
            let packets = client.waiting.into_iter().chain([last.packet()]);
            for packet in packets {
                let send = if client.owner { send_packet } else { try_send_packet };
                let _ = send(&client.socket, &packet); // It has gone: then it need not be told.
            }
        }
    }
}

fn tell(slot: &mut Option<Client>, packet: &[u8]) {
    let Some(client) = slot else { return };
    let sent = if client.waiting.is_empty() { try_send_packet(&client.socket, packet) } else { Err(Errno::AGAIN) };
    match sent {
        Ok(()) => {}
        Err(Errno::AGAIN) if client.owner || client.waiting.len() < PATIENCE => {
            client.waiting.push_back(packet.to_vec());
        }
        Err(_) => *slot = None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{pair, receive_packet, send_packet};

    fn guest(clients: &mut Clients) -> OwnedFd {
        let (own, other) = pair().unwrap();
        clients.add_guest(own);
        other
    }

    fn attach(clients: &mut Clients, guest: &OwnedFd, place: usize) -> Option<Request> {
        send_packet(guest, &Request::Attach.packet()).unwrap();
        clients.receive(place)
    }

    fn is_let_go(guest: &OwnedFd) -> bool {
        try_receive_packet(guest).is_ok_and(|packet| packet.is_empty())
    }

    #[test]
    fn nothing_is_taken_that_there_is_no_room_for() {
        let mut clients = Clients::default();
        let (reader, _idle) = (guest(&mut clients), guest(&mut clients));
        let events = |clients: &Clients, room| clients.sockets(room).map(|(.., events)| events).collect::<Vec<_>>();
        assert_eq!(attach(&mut clients, &reader, 0), Some(Request::Attach));
        assert_eq!(events(&clients, true), [PollFlags::IN; 2]);
        assert_eq!(events(&clients, false), [PollFlags::IN]); // Of the idle one, who sends no input.
        while clients.0[0].as_ref().unwrap().waiting.is_empty() {
            clients.output(Stream::Out, &[0; 1000]);
        }
        assert_eq!(events(&clients, true), [PollFlags::IN | PollFlags::OUT, PollFlags::IN]);
        assert_eq!(events(&clients, false), [PollFlags::OUT, PollFlags::IN]);
        while !clients.0[0].as_ref().unwrap().waiting.is_empty() {
            receive_packet(&reader).unwrap();
            clients.push(0);
        }
        assert_eq!(events(&clients, true), [PollFlags::IN; 2]);
    }

    #[test]
    fn who_waits_makes_room_for_who_asks() {
        let mut clients = Clients::default();
        let attached = guest(&mut clients);
        assert_eq!(attach(&mut clients, &attached, 0), Some(Request::Attach));
        let guests: Vec<OwnedFd> = (0..=GUESTS).map(|_| guest(&mut clients)).collect();
        assert_eq!(guests.iter().filter(|guest| is_let_go(guest)).count(), 1);
        assert!(!is_let_go(&attached) && !is_let_go(&guests[GUESTS]));
        assert!(clients.let_one_go());
    }

    #[test]
    fn only_so_many_are_attached() {
        let mut clients = Clients::default();
        let guests: Vec<OwnedFd> = (0..GUESTS).map(|_| guest(&mut clients)).collect();
        for (place, guest) in guests.iter().enumerate() {
            assert_eq!(attach(&mut clients, guest, place), Some(Request::Attach));
        }
        assert!(!clients.let_one_go());
        let more = guest(&mut clients);
        assert_eq!(attach(&mut clients, &guests[0], 0), Some(Request::Attach));
        assert_eq!(attach(&mut clients, &more, GUESTS), None);
        assert!(is_let_go(&more));
    }
}
