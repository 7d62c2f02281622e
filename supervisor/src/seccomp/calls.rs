//! The system calls of each architecture: their names by their numbers (`arch/x86/entry/syscalls/syscall_64.tbl`,
//! `syscall_32.tbl` and `scripts/syscall.tbl` of Linux 6.18, and what came since).

/// An architecture's calls.
pub struct Machine {
    /// What the runtime-spec calls it.
    pub name: &'static str,
    /// What the kernel calls it: `AUDIT_ARCH_*`, in struct seccomp_data.
    pub audit: u32,
    /// How many bits an argument has.
    pub bits: u32,
    /// The names in the order of their numbers, from 0 on; a number is that of the next name.
    text: &'static str,
}

const X86_64: Machine =
    Machine { name: "SCMP_ARCH_X86_64", audit: 0xc000_003e, bits: 64, text: include_str!("x86_64.txt") };
const X86: Machine = Machine { name: "SCMP_ARCH_X86", audit: 0x4000_0003, bits: 32, text: include_str!("x86.txt") };
const AARCH64: Machine =
    Machine { name: "SCMP_ARCH_AARCH64", audit: 0xc000_00b7, bits: 64, text: include_str!("aarch64.txt") };

/// The architecture that this program is for.
pub const NATIVE: Machine = if cfg!(target_arch = "x86_64") { X86_64 } else { AARCH64 };

/// Further ones that its kernel can run. 32-bit programs of ARM are not let in: their calls are not known here.
pub const OTHERS: &[Machine] = if cfg!(target_arch = "x86_64") { &[X86] } else { &[] };

impl Machine {
    /// Number and name of each call, in the order of the numbers.
    pub fn calls(&self) -> impl Iterator<Item = (u32, &'static str)> {
        let mut next = 0;
        self.text.split_ascii_whitespace().filter_map(move |word| {
            if let Ok(number) = word.parse() {
                next = number;
                return None;
            }
            next += 1;
            Some((next - 1, word))
        })
    }
}
