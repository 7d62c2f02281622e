//! Connections to hosts: all addresses of a name are tried, in turns of both families, each begun shortly after the
//! one before (RFC 8305, "Happy Eyeballs"); the first that answers is taken.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long an address is waited for before the next one is tried beside it (RFC 8305, 8).
const HEAD_START: Duration = Duration::from_millis(250);
/// How many addresses of a name are tried.
const ADDRESS_LIMIT: usize = 48;

/// Connects to a host, which is a name or an address without brackets.
pub fn dial(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let stream = match host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect_timeout(&SocketAddr::new(address, port), left(deadline)?)?,
        Err(_) => race(take_turns(resolve(host, port, deadline)?), deadline)?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The time until `deadline`; an error once it has passed.
pub fn left(deadline: Instant) -> io::Result<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(ErrorKind::TimedOut.into())
}

/// The addresses of a name. getaddrinfo(3) knows no deadline: a thread of its own waits for it.
fn resolve(host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    thread::Builder::new().spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(|found| found.take(ADDRESS_LIMIT).collect());
        let _ = sender.send(found); // Too late, perhaps.
    })?;
    receiver.recv_timeout(left(deadline)?).map_err(|_| io::Error::from(ErrorKind::TimedOut))?
}

/// The addresses of both families in turns, beginning with that of the first; else in their order (RFC 8305, 4).
fn take_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (own, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut own, mut other) = (own.into_iter(), other.into_iter());
    let mut turns = Vec::new();
    while own.len() + other.len() > 0 {
        turns.extend(own.next().into_iter().chain(other.next()));
    }
    turns
}

/// Tries the addresses side by side, each a little after the one before or as soon as one has failed.
fn race(addresses: Vec<SocketAddr>, deadline: Instant) -> io::Result<TcpStream> {
    let (sender, receiver) = mpsc::channel();
    let mut waiting = addresses.into_iter();
    let mut running = 0;
    let mut failure = None;
    loop {
        let rest = left(deadline)?;
        if let Some(address) = waiting.next() {
            let sender = sender.clone();
            thread::Builder::new().spawn(move || {
                let _ = sender.send(TcpStream::connect_timeout(&address, rest)); // Another one was faster, perhaps.
            })?;
            running += 1;
        } else if running == 0 {
            return Err(failure.unwrap_or_else(|| io::Error::other("it has no address")));
        }
        let patience = if waiting.len() == 0 { rest } else { rest.min(HEAD_START) };
        match receiver.recv_timeout(patience) {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                running -= 1;
                failure.get_or_insert(error);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn families_take_turns() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let turns = take_turns(addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]));
        assert_eq!(turns, addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]));
        let turns = take_turns(addresses(&["1.1.1.1:1", "1.1.1.2:1", "[::1]:1"]));
        assert_eq!(turns, addresses(&["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"]));
        assert_eq!(take_turns(Vec::new()), []);
    }

    // P16: nineteen addresses where nobody listens, and one where somebody does.
    #[test]
    fn the_last_of_many_addresses_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let mut addresses: Vec<SocketAddr> =
            (2..21).map(|last| SocketAddr::new(format!("127.0.0.{last}").parse().unwrap(), here.port())).collect();
        addresses.push(here);
        assert_eq!(race(addresses, soon()).unwrap().peer_addr().unwrap(), here);
    }

    #[test]
    fn failures_are_told() {
        let refused = race(vec!["127.0.0.1:1".parse().unwrap(), "127.0.0.2:1".parse().unwrap()], soon());
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(race(Vec::new(), soon()).is_err());
        assert_eq!(dial("127.0.0.1", 1, Instant::now()).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
