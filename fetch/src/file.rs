//! Small files for other programs to read, changed only where what they say has changed: make(1) goes by their times.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use store::error::Doing;
use store::root::{random_hex, sync_dir};
use store::{Error, Result};

/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// Reads a text; `None`: there is no such file. What is no text, or too long, is [`Error::Refused`].
pub fn read(path: &Path) -> Result<Option<String>> {
    let shown = path.display();
    let doing = || format!("reading {shown}");
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.doing(doing)?,
    };
    if !metadata.is_file() {
        return Err(Error::Failed(format!("{shown} is no regular file")));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)).doing(doing)?;
    if bytes.len() as u64 > LIMIT {
        return Err(Error::Refused(format!("{shown} has more than the {LIMIT} bytes allowed")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| Error::Refused(format!("{shown} is no text")))
}

/// What is replaced where `path` is written: a link stays one.
pub fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The directory that a file is in.
pub fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a file hold what `change` makes of its text, or of none. If that is the same, the file is not touched;
/// otherwise a crash leaves the old one or the new one.
pub fn update(path: &Path, change: impl FnOnce(&str) -> Result<String>) -> Result<()> {
    let path = &target(path);
    let dir = directory(path);
    let lock = File::open(dir).doing(|| format!("writing {}", path.display()))?;
    // Against another pull that changes the same file; not every file system has locks.
    let _ = flock(&lock, FlockOperation::LockExclusive);
    let old = read(path)?;
    let new = change(old.as_deref().unwrap_or_default())?;
    if old.as_deref() == Some(&new) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = dir.join(format!(".{name}.{}", random_hex(8)?));
    let written = write(&beside, path, &new).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside); // What matters is the error that came first.
    }
    written.doing(|| format!("writing {}", path.display()))?;
    sync_dir(dir)
}

/// Writes a new file with the mode of an old one.
fn write(new: &Path, old: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(new)?;
    if let Ok(metadata) = fs::metadata(old) {
        file.set_permissions(metadata.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
