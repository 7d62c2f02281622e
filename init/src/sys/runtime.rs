//! What std would bring: the entry from the C runtime, the end of a panic, and memory.

use super::{exit, write};
use core::ffi::{CStr, c_char, c_int, c_void};

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

/// The C library's allocator.
struct Malloc;

// SAFETY: malloc aligns for every type of this program (16 bytes), and free takes what malloc gave.
unsafe impl core::alloc::GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: core::alloc::Layout) -> *mut u8 {
        // SAFETY: any size may be asked for.
        unsafe { libc::malloc(layout.size()).cast() }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, _: core::alloc::Layout) {
        // SAFETY: the pointer came from `alloc`.
        unsafe { libc::free(pointer.cast::<c_void>()) };
    }
}

#[global_allocator]
static ALLOCATOR: Malloc = Malloc;
