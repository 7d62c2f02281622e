//! The terminal of the program: made in the container's own devpts, and handed out as runc's console socket does
//! (`docs/terminals.md` there; `process.terminal` of the runtime-spec).

use crate::error::{Doing, Error, Result};
use crate::root::{Kind, Root};
use crate::sys::{self, Fd};
use alloc::ffi::CString;
use alloc::string::ToString;

/// The container's end of the terminal.
pub struct Console {
    slave: Fd,
}

impl Console {
    /// Makes a terminal of `rows` and `columns` (left alone if both are 0), and sends its master over `socket`.
    pub fn new(root: &Root, socket: &Fd, rows: u16, columns: u16) -> Result<Self> {
        let doing = "making a terminal in ";
        let (place, restricted) = (c"dev/pts", sys::NO_SYMLINKS | sys::NO_XDEV);
        let pts = sys::open_in_root(&root.dir, place, libc::O_PATH | libc::O_DIRECTORY, sys::NO_SYMLINKS);
        let pts = pts.doing(doing, place)?;
        if !sys::is_on(&pts, sys::DEVPTS).doing(doing, place)? {
            return Err(Error::new(&["the container's dev/pts is not a devpts"]));
        }
        let master = sys::open_in_root(&pts, c"ptmx", libc::O_RDWR | libc::O_NOCTTY, restricted).doing(doing, place)?;
        let (slave, number) = sys::slave(&master).doing(doing, place)?;
        if (rows, columns) != (0, 0) {
            sys::set_size(&master, rows, columns).doing("sizing ", c"the terminal")?;
        }
        let name = CString::new(["/dev/pts/", &number.to_string()].concat()).unwrap_or_default();
        sys::send(socket, &master, &name).doing("handing out ", &name)?;
        Ok(Self { slave })
    }

    /// Binds the terminal on `/dev/console`. What is bound is the open slave, whatever its name may lead to.
    pub fn bind(&self, root: &Root) -> Result<()> {
        let path = c"/dev/console";
        let place = root.place(path, Kind::File, sys::NO_SYMLINKS)?;
        let copy = sys::open_tree(Some(&self.slave), c"", false).doing("taking a mount of ", c"the terminal")?;
        sys::move_mount(&copy, &place).doing("binding ", path)
    }

    /// Gives the terminal to a user, so that the program can open it by its name. Its group stays that of all terminals.
    /// Where the kernel refuses it the terminal still serves as it is.
    pub fn give(&self, uid: u32) {
        let _ = sys::chown(&self.slave, uid, None);
        let _ = sys::chmod(&self.slave, 0o620);
    }

    /// Makes the terminal that of this process, which must lead a session.
    pub fn take(&self) -> Result<()> {
        sys::take_terminal(&self.slave).doing("taking ", c"the terminal")
    }
}
