//! Who files of a layer belong to, as the running program's user namespace allows (`user_namespaces(7)`).

use crate::error::{Error, Result};
use crate::idmap::IdMap;
use rustix::process::{getegid, geteuid};

/// The ids that can own files here.
#[derive(Debug)]
pub struct Owners {
    uids: IdMap,
    gids: IdMap,
    /// What new files get of themselves.
    own: (u32, u32),
}

impl Owners {
    /// Those of the running program.
    pub fn here() -> Result<Self> {
        let own = (geteuid().as_raw(), getegid().as_raw());
        Ok(Self { uids: IdMap::uids()?, gids: IdMap::gids()?, own })
    }

    /// Is one id all there is, so that everything has to belong to it?
    pub fn is_single(&self) -> bool {
        self.uids.count() == 1 || self.gids.count() == 1 || self.own.0 != 0
    }

    /// Who the file gets that belongs to these in the archive; `None`: it is so of itself.
    pub fn of(&self, uid: u32, gid: u32) -> Result<Option<(u32, u32)>> {
        if self.is_single() || (uid, gid) == self.own {
            return Ok(None);
        }
        for (what, id, map) in [("user", uid, &self.uids), ("group", gid, &self.gids)] {
            if !map.has(id) {
                let count = map.count();
                return Err(Error::Failed(format!(
                    "it belongs to {what} {id}, but only {count} ids are mapped\n\
                     hint: give the user a larger range in /etc/sub{}id",
                    if what == "user" { "u" } else { "g" }
                )));
            }
        }
        Ok(Some((uid, gid)))
    }
}

/// What could not be kept, told once when all is done.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// Files that belong to the one id there is instead of their owner.
    pub owners: u64,
    /// Devices that were not made.
    pub devices: u64,
    /// Layers whose image was never named.
    pub layers: u64,
    /// Extended attributes that the filesystem or the namespace refused.
    pub xattrs: u64,
}

impl LeftOut {
    /// Adds what another layer could not keep.
    pub fn add(&mut self, other: &Self) {
        self.owners += other.owners;
        self.devices += other.devices;
        self.layers += other.layers;
        self.xattrs += other.xattrs;
    }

    /// One line for each kind.
    pub fn lines(&self) -> Vec<String> {
        let lines = [
            (self.owners, "files that belong to you instead of their owners, for only one id is mapped"),
            (self.devices, "devices left out"),
            (self.layers, "layers left for later, for they depend on those below and no manifest was named"),
            (self.xattrs, "extended attributes left out, for the file system or the namespace refuses them"),
        ];
        lines.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{what}: {count}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(uids: &str, own: u32) -> Owners {
        Owners { uids: IdMap::parse(uids), gids: IdMap::parse(uids), own: (own, own) }
    }

    #[test]
    fn maps_what_is_mapped() {
        let root = owners("         0          0 4294967295\n", 0);
        assert_eq!(root.of(0, 0).unwrap(), None);
        assert_eq!(root.of(0, 42).unwrap(), Some((0, 42)));
        assert_eq!(root.of(4_294_967_294, 0).unwrap(), Some((4_294_967_294, 0)));
        let range = owners("0 1000 1\n1 100000 65536\n", 0);
        assert_eq!(range.of(65536, 1).unwrap(), Some((65536, 1)));
        let error = range.of(1, 65537).unwrap_err().to_string();
        assert!(error.contains("group 65537") && error.contains("65537 ids") && error.contains("hint: "), "{error}");
        assert!(owners("0 1000 1\n", 0).is_single());
        assert_eq!(owners("0 1000 1\n", 0).of(33, 33).unwrap(), None);
    }
}
