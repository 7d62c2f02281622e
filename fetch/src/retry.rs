//! Waiting before something is tried again.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

/// How long one run waits in all, so that a registry which comes and goes cannot hold it for ever.
const BUDGET: Duration = Duration::from_secs(900);
/// What a wait costs at least: trying again takes time, too.
const LEAST: Duration = Duration::from_secs(1);

/// What is left of the run's waiting time.
pub struct Patience(Mutex<Duration>);

impl Patience {
    /// All of it.
    pub fn new() -> Self {
        Self(Mutex::new(BUDGET))
    }

    /// Waits; `false`, and at once, if the run has waited for too long by now.
    pub fn wait(&self, time: Duration) -> bool {
        let spent = self.spend(time);
        if spent {
            sleep(time);
        }
        spent
    }

    fn spend(&self, time: Duration) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = left.checked_sub(time.max(LEAST));
        *left = rest.unwrap_or(*left);
        rest.is_some()
    }
}

/// How long to wait where a host `asked` for so many seconds, which may be any number; else about `pause`.
pub fn until(asked: Option<u64>, pause: Duration) -> Duration {
    asked.map_or(Duration::ZERO, Duration::from_secs).saturating_add(jitter(pause))
}

/// A time between half and all of `time`, so that many clients do not come back at the same moment.
fn jitter(time: Duration) -> Duration {
    let random = u32::from(RandomState::new().hash_one(0).to_le_bytes()[0]);
    time * (256 + random) / 512
}

#[cfg(test)]
mod tests {
    use super::*;

    // P9: whatever is asked for, the sum is bounded.
    #[test]
    fn patience_ends() {
        let patience = Patience::new();
        assert!(!patience.spend(BUDGET * 2));
        let waits = (0..2000).filter(|_| patience.spend(Duration::ZERO)).count();
        assert_eq!(waits, 900);
        assert!(!patience.wait(Duration::ZERO));
    }

    #[test]
    fn any_number_of_seconds_can_be_asked_for() {
        assert!(until(Some(u64::MAX), Duration::from_secs(4)) > BUDGET);
        assert!(until(None, Duration::from_secs(4)) <= Duration::from_secs(4));
    }

    #[test]
    fn jitter_stays_near() {
        let second = Duration::from_secs(1);
        let times: Vec<Duration> = (0..100).map(|_| jitter(second)).collect();
        assert!(times.iter().all(|time| *time >= second / 2 && *time <= second));
        assert!(times.iter().any(|time| *time != times[0]));
    }
}
