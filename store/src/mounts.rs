//! The mounts that a user asks for: `--volume`, `--mount` and `--tmpfs`, in docker's grammar.

use crate::error::{Doing, Error, Result};
use crate::spec::Mount;
use std::path::{Path, PathBuf};

/// What is written for the options of a mount that may hold programs and devices of somebody else.
const HARDENED: [&str; 2] = ["nosuid", "nodev"];

/// Reads `--volume SRC:DST[:OPTION,…]`.
pub fn volume(text: &str) -> Result<Mount> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, options) = match parts[..] {
        [destination] => return Err(no_volume(text, destination)),
        [source, destination] => (source, destination, ""),
        [source, destination, options] => (source, destination, options),
        _ => return Err(Error::Usage(format!("--volume wants SRC:DST[:OPTIONS], not {text}"))),
    };
    if !is_path(source) {
        return Err(no_volume(text, destination));
    }
    let mut mount = bind(source, clean(destination)?);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        volume_option(&mut mount.options, option).ok_or_else(|| unsupported(&format!("--volume {text}"), option))?;
    }
    Ok(mount)
}

/// Reads `--mount type=bind|tmpfs,src=…,dst=…,ro`.
pub fn mount(text: &str) -> Result<Mount> {
    let what = format!("--mount {text}");
    let (mut kind, mut source, mut destination) = (None, None, None);
    let mut read_only = false;
    let mut options = Vec::new();
    let fields = fields(text);
    for field in &fields {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        match (key, value) {
            ("type", Some(value)) => kind = Some(value),
            ("source" | "src", Some(value)) => source = Some(value),
            ("destination" | "dst" | "target", Some(value)) => destination = Some(clean(value)?),
            ("readonly" | "ro", None | Some("true" | "1")) => read_only = true,
            ("readonly" | "ro", Some("false" | "0")) => read_only = false,
            ("bind-propagation", Some("rprivate")) | ("consistency", Some(_)) => {}
            ("tmpfs-size", Some(value)) => options.push(format!("size={value}")),
            ("tmpfs-mode", Some(value)) => options.push(format!("mode={value}")),
            _ => return Err(unsupported(&what, field)),
        }
    }
    let destination = destination.ok_or_else(|| Error::Usage(format!("{what}: dst=PATH is missing")))?;
    let mut mount = match (kind, source) {
        (Some("bind"), Some(source)) if options.is_empty() => bind(source, destination),
        (Some("bind"), Some(_)) => return Err(Error::Usage(format!("{what}: a bind mount has no tmpfs options"))),
        (Some("bind"), None) => return Err(Error::Usage(format!("{what}: src=PATH is missing"))),
        (Some("tmpfs"), None) => memory(destination),
        (Some("tmpfs"), Some(_)) => return Err(Error::Usage(format!("{what}: a tmpfs has no source"))),
        (Some("volume") | None, _) => return Err(no_volume(text, &destination)),
        (Some(kind), _) => return Err(unsupported(&what, &format!("type={kind}"))),
    };
    mount.options.extend(options);
    if read_only {
        set_access(&mut mount.options, "ro");
    }
    Ok(mount)
}

/// Reads `--tmpfs DST[:OPTION,…]`.
pub fn tmpfs(text: &str) -> Result<Mount> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = memory(clean(destination)?);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        tmpfs_option(&mut mount.options, option).ok_or_else(|| unsupported(&format!("--tmpfs {text}"), option))?;
    }
    Ok(mount)
}

/// Makes the source of a bind mount absolute. One that does not exist is an error: making it, as docker does,
/// hides mistypings and leaves directories of root behind.
pub fn resolve(mount: &mut Mount) -> Result<()> {
    if mount.kind == "bind" {
        let here = std::env::current_dir().doing(|| "finding the working directory".into())?;
        let path = lexical(&here.join(&mount.source));
        std::fs::metadata(&path).doing(|| format!("mounting {} on {}", path.display(), mount.destination))?;
        mount.source = path.into_os_string().into_string().map_err(|path| not_text(Path::new(&path)))?;
    }
    Ok(())
}

/// Denies set-user-id programs and devices of a bind mount. Wanted where the container's root is the host's.
pub fn harden(mount: &mut Mount) {
    if mount.kind == "bind" {
        let missing = HARDENED.iter().filter(|option| !mount.options.iter().any(|own| own == *option));
        let missing: Vec<String> = missing.map(|option| (*option).to_owned()).collect();
        mount.options.extend(missing);
    }
}

/// How deep a destination is: mounts are made from the root downwards.
pub fn depth(mount: &Mount) -> usize {
    mount.destination.matches('/').count()
}

/// An absolute destination without `.` and doubled slashes. `..` is refused: what it means depends on symlinks
/// that the image holds.
pub fn clean(destination: &str) -> Result<String> {
    let refuse = |why: &str| Error::Usage(format!("destination {destination:?} of a mount {why}"));
    if !destination.starts_with('/') {
        return Err(refuse("is not absolute"));
    }
    let parts: Vec<&str> = destination.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err(refuse("holds .."));
    }
    if parts.is_empty() {
        return Err(refuse("is the root directory"));
    }
    Ok(format!("/{}", parts.join("/")))
}

fn bind(source: &str, destination: String) -> Mount {
    let options = ["rbind", "rprivate", "rw"].map(str::to_owned).to_vec();
    Mount { destination, kind: "bind".into(), source: source.to_owned(), options }
}

fn memory(destination: String) -> Mount {
    let options = ["nosuid", "nodev", "noexec", "rw"].map(str::to_owned).to_vec();
    Mount { destination, kind: "tmpfs".into(), source: "tmpfs".into(), options }
}

/// A path of the host, not the name of a volume.
fn is_path(source: &str) -> bool {
    source.starts_with('/') || matches!(source, "." | "..") || source.starts_with("./") || source.starts_with("../")
}

fn volume_option(options: &mut Vec<String>, option: &str) -> Option<()> {
    match option {
        "ro" | "rw" => set_access(options, option),
        "nosuid" | "nodev" | "noexec" => options.push(option.to_owned()),
        // Labels of SELinux, caches of Docker Desktop, and what is the default: nothing to do here.
        "z" | "Z" | "cached" | "delegated" | "consistent" | "rprivate" | "rbind" => {}
        _ => return None,
    }
    Some(())
}

fn tmpfs_option(options: &mut Vec<String>, option: &str) -> Option<()> {
    match option {
        "ro" | "rw" => set_access(options, option),
        "exec" | "suid" | "dev" => options.retain(|own| own.strip_prefix("no") != Some(option)),
        "nosuid" | "nodev" | "noexec" => {
            options.retain(|own| own != option);
            options.push(option.to_owned());
        }
        "noatime" | "nodiratime" | "relatime" | "strictatime" => options.push(option.to_owned()),
        _ => match option.split_once('=') {
            Some(("size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks", value)) if !value.is_empty() => {
                options.push(option.to_owned());
            }
            _ => return None,
        },
    }
    Some(())
}

fn set_access(options: &mut Vec<String>, access: &str) {
    options.retain(|option| option != "ro" && option != "rw");
    options.push(access.to_owned());
}

/// Comma-separated fields; one in double quotes may hold commas, and a quote written twice.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let last = fields.len() - 1;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                fields[last].push('"');
                characters.next();
            }
            '"' if quoted || fields[last].is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields[last].push(character),
        }
    }
    fields
}

/// The path without `.` and `..`, taken as text: what a shell's user means by `../src`.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(clean.pop()),
            std::path::Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

fn no_volume(text: &str, destination: &str) -> Error {
    Error::Usage(format!(
        "{text}: volumes are not supported yet, only directories and files of the host\n\
         hint: give a path that begins with / or ./, as in --volume ./data:{destination}"
    ))
}

fn unsupported(what: &str, option: &str) -> Error {
    Error::Usage(format!("{what}: {option} is not supported yet"))
}

fn not_text(path: &Path) -> Error {
    Error::Usage(format!("{} is not UTF-8, which config.json must be", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: Result<Mount>) -> u8 {
        result.unwrap_err().exit_code()
    }

    #[test]
    fn reads_volumes() {
        let mount = volume("/a:/b//./c/").unwrap();
        assert_eq!((mount.source.as_str(), mount.destination.as_str()), ("/a", "/b/c"));
        assert_eq!(mount.options, ["rbind", "rprivate", "rw"]);
        assert_eq!(volume("./x:/y:ro,z").unwrap().options, ["rbind", "rprivate", "ro"]);
        for bad in ["/a", "name:/b", "/a:b", "/a:/", "/a:/b/../c", "/a:/b:rshared", "/a:/b:ro:x", ":/b", "~/a:/b", ""] {
            assert_eq!(code(volume(bad)), 2, "{bad}");
        }
    }

    #[test]
    fn reads_mounts() {
        let read_only = mount("type=bind,src=/a,dst=/b,ro").unwrap();
        assert_eq!((read_only.kind.as_str(), read_only.options.last().unwrap().as_str()), ("bind", "ro"));
        assert_eq!(mount("type=bind,\"source=/a,b\",target=/b,readonly=false").unwrap().source, "/a,b");
        let memory = mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
        assert_eq!(memory.options, ["nosuid", "nodev", "noexec", "rw", "size=1m", "mode=1770"]);
        for bad in [
            "",
            "type=bind,src=/a",
            "type=bind,dst=/b",
            "type=volume,dst=/b",
            "src=/a,dst=/b",
            "type=bind,src=/a,dst=/b,x",
        ] {
            assert_eq!(code(mount(bad)), 2, "{bad}");
        }
    }

    #[test]
    fn reads_tmpfs() {
        assert_eq!(tmpfs("/t").unwrap().options, ["nosuid", "nodev", "noexec", "rw"]);
        assert_eq!(tmpfs("/t:exec,size=64m,ro").unwrap().options, ["nosuid", "nodev", "size=64m", "ro"]);
        assert_eq!(code(tmpfs("/t:size=")), 2);
        assert_eq!(code(tmpfs("t")), 2);
    }

    #[test]
    fn finds_what_a_relative_source_means() {
        assert_eq!(lexical(Path::new("/a/b/../c/./d")), Path::new("/a/c/d"));
        let mut mount = volume("/nonexistent-source:/b").unwrap();
        assert_eq!(resolve(&mut mount).unwrap_err().exit_code(), 1);
    }
}
