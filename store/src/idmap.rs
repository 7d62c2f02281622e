//! The ids that the running program's user namespace has (user_namespaces(7)).

use crate::error::{Doing, Result};
use std::fs;

/// An id map, seen from inside: the first id and the number of ids of each line.
#[derive(Debug)]
pub struct IdMap(Vec<(u32, u32)>);

impl IdMap {
    /// The user ids.
    pub fn uids() -> Result<Self> {
        Self::read("/proc/self/uid_map")
    }

    /// The group ids.
    pub fn gids() -> Result<Self> {
        Self::read("/proc/self/gid_map")
    }

    fn read(path: &str) -> Result<Self> {
        fs::read_to_string(path).map(|text| Self::parse(&text)).doing(|| format!("reading {path}"))
    }

    /// Reads the text of a map.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.nth(1)?.ok()?))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// Is this id mapped?
    pub fn has(&self, id: u32) -> bool {
        self.0.iter().any(|(first, count)| id.checked_sub(*first).is_some_and(|offset| offset < *count))
    }

    /// How many ids are mapped.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| u64::from(*count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_which_ids_are_mapped() {
        assert!(IdMap::parse("         0          0 4294967295\n").has(5));
        assert!(IdMap::parse("0 1000 1\n1 100000 65536\n").has(5));
        assert!(!IdMap::parse("0 1000 1\n").has(5));
        assert!(!IdMap::parse("").has(0));
        assert_eq!(IdMap::parse("0 1000 1\n1 100000 65536\n").count(), 65537);
    }
}
