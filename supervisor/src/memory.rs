//! crate-init and its plan in memory files: through those, no process of a container can reach a file of the host.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use store::Result;
use store::error::Doing;

/// An empty file in memory.
pub fn file(name: &str) -> Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Since Linux 6.3 a memfd says whether it may be executed, and a system may insist on it.
    let made = memfd_create(name, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(name, flags));
    made.doing(|| "making a memory file".into()).map(File::from)
}

/// Fills a memory file, and seals it: nothing can change it any more.
pub fn fill<R: Read>(mut file: &File, content: &mut R) -> Result<()> {
    io::copy(content, &mut file).and_then(|_| file.rewind()).doing(|| "filling a memory file".into())?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(file, seals).doing(|| "sealing a memory file".into())
}

/// The crate-init that lies beside this program.
pub fn own_init() -> Result<File> {
    let own = fs::read_link("/proc/self/exe").doing(|| "finding this program".into())?;
    let path = own.with_file_name("crate-init");
    File::open(&path).doing(|| format!("opening {}", path.display()))
}
