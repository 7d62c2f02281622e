//! The clients of a supervisor: who is attached to the program, and who asks for something.

use crate::channel::{Reply, Request, Stream, send_packet, try_receive_packet, try_send_packet};
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

/// All connections; a place stays the same as long as its client lives.
#[derive(Default)]
pub struct Clients(Vec<Option<Client>>);

impl Clients {
    /// Adds the client that the container is started with.
    pub fn add_owner(&mut self, socket: OwnedFd) {
        self.add(Client { socket, attached: true, owner: true, waiting: VecDeque::new() });
    }

    /// Adds one that has connected.
    pub fn add_guest(&mut self, socket: OwnedFd) {
        self.add(Client { socket, attached: false, owner: false, waiting: VecDeque::new() });
    }

    fn add(&mut self, client: Client) {
        match self.0.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(client),
            None => self.0.push(Some(client)),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// Each client's place and socket, and whether it waits for room. Of those whose input there is no room for,
    /// nothing is wanted.
    pub fn sockets(&self, room: bool) -> impl Iterator<Item = (usize, BorrowedFd<'_>, bool)> {
        let all = self.0.iter().enumerate().filter_map(|(place, client)| Some((place, client.as_ref()?)));
        let wanted = all.filter(move |(_, client)| room || !client.attached || !client.waiting.is_empty());
        wanted.map(|(place, client)| (place, client.socket.as_fd(), !client.waiting.is_empty()))
    }

    /// Must the program wait for its owner to read?
    pub fn are_behind(&self) -> bool {
        self.0.iter().flatten().any(|client| client.owner && !client.waiting.is_empty())
    }

    /// What a client asks for; none, and it is forgotten, where it has gone or is malformed.
    pub fn receive(&mut self, place: usize) -> Option<Request> {
        let client = self.0.get_mut(place)?.as_mut()?;
        let packet = match try_receive_packet(&client.socket) {
            Err(Errno::AGAIN) => return None,
            other => other.unwrap_or_default(),
        };
        let request = Request::read(&packet);
        match request {
            Some(Request::Attach) => client.attached = true,
            None => self.0[place] = None,
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
        if self.count() > 0 {
            self.tell_packet(&reply.packet());
        }
    }

    /// Hands what the program wrote to all that are attached.
    pub fn output(&mut self, stream: Stream, bytes: &[u8]) {
        if self.count() > 0 {
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
