//! What std would bring: the entry from the C runtime, the end of a panic, and memory.

use super::{exit, write};
use core::ffi::{CStr, c_char, c_int};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

// Nothing else asks for the C library in a program without std.
#[link(name = "c")]
unsafe extern "C" {}

/// Where the C runtime enters.
// SAFETY: no other symbol of this program has this name.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: the C runtime hands over `count` NUL-terminated strings that live as long as the process.
    let arguments = (1..count).map(|i| unsafe { CStr::from_ptr(*arguments.add(i)) }).collect();
    crate::plan::fail(&crate::run(arguments))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    write(2, b"crate-init: stopped by a fault of its own\n");
    exit(125)
}

/// The compiled core library refers to these two for unwinding, which a program that aborts never does.
// SAFETY: no other symbol of this program has this name.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(125)
}

/// Memory that is only taken: the program lives for a moment, or waits and takes none.
struct Arena {
    /// Where the free part of the current piece begins.
    next: AtomicUsize,
    /// Where it ends.
    end: AtomicUsize,
}

/// The least that is asked of the kernel at once, in bytes.
const PIECE: usize = 64 << 10;

// SAFETY: what is handed out lies within a mapping, aligned, and overlaps nothing that was handed out before. There is
// one thread.
unsafe impl core::alloc::GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: core::alloc::Layout) -> *mut u8 {
        let mut start = self.next.load(Ordering::Relaxed).next_multiple_of(layout.align());
        if start + layout.size() > self.end.load(Ordering::Relaxed) {
            let size = layout.size().next_multiple_of(PIECE);
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: a new mapping, wherever the kernel likes.
            let piece = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
            if piece == libc::MAP_FAILED {
                return ptr::null_mut();
            }
            start = piece.expose_provenance();
            self.end.store(start + size, Ordering::Relaxed);
        }
        self.next.store(start + layout.size(), Ordering::Relaxed);
        ptr::with_exposed_provenance_mut(start)
    }

    unsafe fn dealloc(&self, _: *mut u8, _: core::alloc::Layout) {}
}

#[global_allocator]
static ALLOCATOR: Arena = Arena { next: AtomicUsize::new(0), end: AtomicUsize::new(0) };
