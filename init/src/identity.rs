//! Who the program runs as: names are resolved in the container's own `/etc/passwd` and `/etc/group`.

use crate::error::{Error, Result};
use alloc::string::String;
use alloc::vec::Vec;

/// A resolved identity.
#[derive(Debug, PartialEq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups. The group itself is one of them, as login(1) has it: else a program could leave it
    /// by a set-group-ID file, and pass where files deny that group (CVE-2022-36109).
    pub groups: Vec<u32>,
    /// The home directory that `/etc/passwd` gives.
    pub home: Option<String>,
}

/// Resolves `user[:group]`, each a name or a number, in the texts of passwd(5) and group(5).
///
/// A number needs no entry; an entry gives the group, the home directory, and through its name the supplementary
/// groups, which a group that is asked for leaves out.
pub fn resolve(spec: &str, passwd: &[u8], group: &[u8]) -> Result<Identity> {
    let (user, wanted) = spec.split_once(':').map_or((spec, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let entry = lines(passwd).find(|fields| {
        fields.len() >= 4 && (fields[0] == user || number.is_some_and(|uid| fields[2].parse() == Ok(uid)))
    });
    let missing = || Error::new(&["the image has no user ", user]);
    let field = |place: usize| entry.as_ref().and_then(|fields| fields.get(place).copied());
    let uid = field(2).and_then(|text| text.parse().ok()).or(number).ok_or_else(missing)?;
    let home = field(5).filter(|home| home.starts_with('/')).map(String::from);
    let (gid, mut groups) = if let Some(name) = wanted.filter(|name| !name.is_empty()) {
        (group_id(name, group)?, Vec::new())
    } else {
        let gid = field(3).and_then(|text| text.parse().ok()).unwrap_or(0);
        (gid, field(0).map_or_else(Vec::new, |name| memberships(name, group)))
    };
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    Ok(Identity { uid, gid, groups, home })
}

fn group_id(name: &str, group: &[u8]) -> Result<u32> {
    let entry = lines(group).find(|fields| fields.len() >= 3 && fields[0] == name);
    let found = entry.and_then(|fields| fields[2].parse().ok()).or_else(|| name.parse().ok());
    found.ok_or_else(|| Error::new(&["the image has no group ", name]))
}

fn memberships(name: &str, group: &[u8]) -> Vec<u32> {
    let member = |fields: &Vec<&str>| fields.len() >= 4 && fields[3].split(',').any(|member| member == name);
    lines(group).filter(member).filter_map(|fields| fields[2].parse().ok()).collect()
}

fn lines(text: &[u8]) -> impl Iterator<Item = Vec<&str>> {
    let text = text.split(|byte| *byte == b'\n').filter_map(|line| core::str::from_utf8(line).ok());
    text.map(|line| line.trim_end().split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/var/www:/bin/sh\nbad\n\xff:x:1:1::/:\n";
    const GROUP: &[u8] = b"root:x:0:\nwww:x:34:\nstaff:x:50:www,other\ntape:x:26:www\n";

    fn ids(spec: &str) -> (u32, u32, Vec<u32>, Option<String>) {
        let identity = resolve(spec, PASSWD, GROUP).unwrap();
        (identity.uid, identity.gid, identity.groups, identity.home)
    }

    #[test]
    fn resolves_as_docker_does() {
        assert_eq!(ids(""), (0, 0, vec![0], Some("/root".into())));
        assert_eq!(ids("www"), (33, 34, vec![34, 50, 26], Some("/var/www".into())));
        assert_eq!(ids("33"), (33, 34, vec![34, 50, 26], Some("/var/www".into())));
        assert_eq!(ids("www:staff"), (33, 50, vec![50], Some("/var/www".into())));
        assert_eq!(ids("1000"), (1000, 0, vec![0], None));
        assert_eq!(ids("1000:7"), (1000, 7, vec![7], None));
        for bad in ["nobody", "www:nogroup", "-1", "4294967296"] {
            assert!(resolve(bad, PASSWD, GROUP).is_err(), "{bad}");
        }
    }
}
