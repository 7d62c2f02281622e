//! `--device`: nodes of the host, bound to where the container wants them.

use crate::error::{Doing, Error, Result};
use crate::mounts;
use crate::spec::Mount;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// What a container has of its own in `/dev`.
const OWN: [&str; 7] = ["console", "fd", "mqueue", "ptmx", "pts", "shm", "tty"];

/// Reads `--device HOST[:CONTAINER][:rwm]`.
pub fn read(text: &str) -> Result<Mount> {
    let wrong = |why: &str| Error::Usage(format!("--device {text}: {why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, mode] if is_mode(mode) => (source, source, mode),
        [source, destination] => (source, destination, "rwm"),
        [source, destination, mode] => (source, destination, mode),
        _ => return Err(wrong("it wants HOST[:CONTAINER][:rwm]")),
    };
    if !source.starts_with('/') {
        return Err(wrong("HOST is an absolute path"));
    }
    if !is_mode(mode) || !mode.contains('r') || !mode.contains('w') {
        return Err(wrong("only rwm or rw: who has a device here may read and write it"));
    }
    let destination = mounts::clean(destination).map_err(|_| wrong("CONTAINER is an absolute path, without .."))?;
    Ok(node(source.to_owned(), destination))
}

fn is_mode(text: &str) -> bool {
    let once = |letter| text.matches(letter).count() <= 1;
    !text.is_empty() && text.bytes().all(|byte| b"rwm".contains(&byte)) && "rwm".chars().all(once)
}

fn node(source: String, destination: String) -> Mount {
    // Root of the container could change owner and mode of the host's node otherwise; reading and writing is not affected.
    let options = ["bind", "ro", "nosuid", "noexec"].map(str::to_owned).into();
    Mount { destination, kind: "bind".into(), source, options }
}

/// The nodes that are there: each asked for, and for a directory those below it that a container has none of its own of.
pub fn find(wanted: &[Mount]) -> Result<Vec<Mount>> {
    let mut found = Vec::new();
    for device in wanted {
        let path = Path::new(&device.source);
        let kind = fs::metadata(path).doing(|| format!("--device {}", device.source))?.file_type();
        if is_node(kind) {
            found.push(device.clone());
        } else if kind.is_dir() {
            let before = found.len();
            below(path, path, &device.destination, &mut found)?;
            if found.len() == before {
                return Err(Error::Usage(format!("--device {}: there is no device in it", device.source)));
            }
        } else {
            return Err(Error::Usage(format!("--device {}: that is no device\nhint: see --volume", device.source)));
        }
    }
    Ok(found)
}

fn is_node(kind: fs::FileType) -> bool {
    kind.is_char_device() || kind.is_block_device()
}

/// Adds the nodes below `dir`, which is `top` or below it; no link is followed.
fn below(dir: &Path, top: &Path, destination: &str, found: &mut Vec<Mount>) -> Result<()> {
    let doing = || format!("--device {}", dir.display());
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).doing(doing)? {
        entries.push(entry.doing(doing)?.path());
    }
    entries.sort();
    for path in entries {
        if path.file_name().is_some_and(|name| OWN.iter().any(|own| name == *own)) {
            continue;
        }
        let kind = fs::symlink_metadata(&path).doing(doing)?.file_type();
        if kind.is_dir() {
            below(&path, top, destination, found)?;
        } else if is_node(kind) {
            let inside = path.strip_prefix(top).ok().and_then(Path::to_str);
            let (Some(source), Some(inside)) = (path.to_str(), inside) else {
                return Err(Error::Usage(format!("{} is not UTF-8, which config.json must be", path.display())));
            };
            found.push(node(source.to_owned(), format!("{destination}/{inside}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_devices() {
        for (text, source, destination) in [
            ("/dev/null", "/dev/null", "/dev/null"),
            ("/dev/null:rwm", "/dev/null", "/dev/null"),
            ("/dev/null:/dev/x", "/dev/null", "/dev/x"),
            ("/dev/null:/dev//x:wr", "/dev/null", "/dev/x"),
        ] {
            let mount = read(text).unwrap();
            assert_eq!((mount.source.as_str(), mount.destination.as_str()), (source, destination), "{text}");
            assert_eq!((mount.kind.as_str(), mount.options.join(",").as_str()), ("bind", "bind,ro,nosuid,noexec"));
        }
        for bad in [
            "",
            "null",
            "vendor.com/class=x",
            "/dev/null:r",
            "/dev/null:/dev/x:r",
            "/dev/null:/dev/x:rwx",
            "/dev/null:/dev/x:rrw",
            "/dev/null:/dev/x:",
            "/dev/null:x",
            "/dev/null::rw",
            "/dev/null:/dev/../x",
            "/dev/null:/a:rw:x",
        ] {
            assert_eq!(read(bad).unwrap_err().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn finds_nodes_and_nothing_else() {
        let find = |text: &str| find(&[read(text).unwrap()]);
        assert_eq!(find("/dev/null:/dev/x").unwrap()[0].destination, "/dev/x");
        assert_eq!(find("/dev/no-such-device").unwrap_err().exit_code(), 1);
        for bad in ["/etc/passwd", env!("CARGO_MANIFEST_DIR"), "/dev/pts:/x/../y"] {
            assert!(
                read(bad).and_then(|device| super::find(&[device])).is_err_and(|error| error.exit_code() == 2),
                "{bad}"
            );
        }
        let all = find("/dev:/host").unwrap();
        assert!(
            all.iter().any(|node| (node.source.as_str(), node.destination.as_str()) == ("/dev/null", "/host/null"))
        );
        assert!(!all.iter().any(|node| node.destination.starts_with("/host/pts/") || node.destination == "/host/tty"));
    }
}
