//! Chunks of content on their way from one thread to another, and back to be filled again. std's channels do the same
//! and take 8 KB.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How many chunks wait between inflating and writing.
const LENGTH: usize = 4;

/// A queue between one thread that puts and one that takes.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The next one first.
    full: Vec<Vec<u8>>,
    used: Option<Vec<u8>>,
    /// Why nothing more comes.
    ended: Option<io::Result<()>>,
    abandoned: bool,
}

impl Queue {
    /// A chunk to fill, which may hold anything.
    pub fn used(&self) -> Vec<u8> {
        self.lock().used.take().unwrap_or_default()
    }

    /// Puts a chunk, which is not empty, when there is room; `false`: nobody takes it any more.
    pub fn put(&self, chunk: Vec<u8>) -> bool {
        let mut state = self.wait(|state| state.full.len() < LENGTH || state.abandoned);
        if state.abandoned {
            return false;
        }
        state.full.push(chunk);
        self.changed.notify_all();
        true
    }

    /// Says that nothing more comes.
    pub fn end(&self, result: io::Result<()>) {
        self.lock().ended = Some(result);
        self.changed.notify_all();
    }

    /// Takes a chunk when there is one, and gives back a used one; empty at the end. An error is told once.
    pub fn take(&self, used: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut state = self.wait(|state| !state.full.is_empty() || state.ended.is_some());
        state.used = Some(used);
        if state.full.is_empty() {
            return state.ended.replace(Ok(())).unwrap_or(Ok(())).map(|()| Vec::new());
        }
        let chunk = state.full.remove(0);
        self.changed.notify_all();
        Ok(chunk)
    }

    /// Says that nothing more is taken.
    pub fn abandon(&self) {
        self.lock().abandoned = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the state is such.
    fn wait(&self, until: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !until(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::thread;

    #[test]
    fn all_comes_in_order_and_an_error_last() {
        let queue = Queue::default();
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=100_u8 {
                    assert!(queue.put(vec![number]));
                }
                queue.end(Err(ErrorKind::InvalidData.into()));
            });
            for number in 1..=100_u8 {
                assert_eq!(queue.take(Vec::new()).unwrap(), [number]);
            }
            assert_eq!(queue.take(Vec::new()).unwrap_err().kind(), ErrorKind::InvalidData);
            assert!(queue.take(Vec::new()).unwrap().is_empty());
        });
    }

    #[test]
    fn who_puts_ends_when_nobody_takes() {
        let queue = Queue::default();
        thread::scope(|scope| {
            let put = scope.spawn(|| (0..1000).find(|_| !queue.put(vec![0])));
            queue.take(Vec::new()).unwrap();
            queue.abandon();
            assert!(put.join().unwrap().is_some_and(|count| count <= 1 + LENGTH));
        });
    }
}
