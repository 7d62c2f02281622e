//! When a supervisor starts its program again, and how long it waits before.

use std::time::Duration;
use store::{Error, Result};

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// A program that ran for so long counts as up: the pauses begin anew.
const UP: Duration = Duration::from_secs(10);

/// A restart policy, and how far it has come.
#[derive(Debug, PartialEq)]
pub struct Policy {
    always: bool,
    /// How often it may still be started again after a failure.
    tries: u64,
    pause: Duration,
}

impl Policy {
    /// Reads the annotation [`store::spec::annotation::RESTART`]: `no`, `always`, `unless-stopped`, `on-failure` or
    /// `on-failure:N`.
    pub fn read(text: Option<&str>) -> Result<Self> {
        let refused = || Error::Refused(format!("config.json: restart policy {:?}", text.unwrap_or_default()));
        let (always, tries) = match text {
            None | Some("no") => (false, 0),
            Some("always" | "unless-stopped") => (true, 0),
            Some("on-failure") => (false, u64::MAX),
            Some(other) => {
                let count = other.strip_prefix("on-failure:").ok_or_else(refused)?;
                (false, count.parse::<u32>().map_err(|_| refused())?.into())
            }
        };
        Ok(Self { always, tries, pause: FIRST })
    }

    /// How long to wait before the next start; none if there is none. The program ended with `code` after `up`.
    pub fn next(&mut self, code: u8, up: Duration) -> Option<Duration> {
        if up >= UP {
            self.pause = FIRST;
        }
        if !self.always {
            self.tries = self.tries.checked_sub(1).filter(|_| code != 0)?;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_longer_each_time_until_the_program_stays_up() {
        let mut policy = Policy::read(Some("always")).unwrap();
        let pauses: Vec<u128> = (0..12).map(|_| policy.next(0, Duration::ZERO).unwrap().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(policy.next(0, UP), Some(FIRST));
    }

    #[test]
    fn starts_again_as_often_as_it_may() {
        let counts = |text, code| {
            let mut policy = Policy::read(text).unwrap();
            (0..9).take_while(|_| policy.next(code, Duration::ZERO).is_some()).count()
        };
        assert_eq!((counts(None, 1), counts(Some("no"), 1)), (0, 0));
        assert_eq!((counts(Some("on-failure:3"), 1), counts(Some("on-failure:3"), 0)), (3, 0));
        assert_eq!((counts(Some("on-failure"), 1), counts(Some("unless-stopped"), 0)), (9, 9));
        for bad in ["", "sometimes", "on-failure:", "on-failure:-1", "on-failure:x"] {
            assert!(Policy::read(Some(bad)).is_err(), "{bad}");
        }
    }
}
