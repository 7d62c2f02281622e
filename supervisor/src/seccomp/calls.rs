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
    /// The calls by the hash of their names, each in the first place from there on that was free.
    places: [Call; PLACES],
}

/// A call: its number, and where its name is in the text.
#[derive(Clone, Copy)]
struct Call {
    number: u16,
    start: u16,
    /// 0 in a place that is free.
    length: u16,
}

/// More than twice as many as there are calls, and a power of 2.
const PLACES: usize = 1024;

/// All numbers of calls are less than this.
pub const NUMBERS: usize = 512;

static X86_64: Machine = Machine::new("SCMP_ARCH_X86_64", 0xc000_003e, 64, include_str!("x86_64.txt"));
static X86: Machine = Machine::new("SCMP_ARCH_X86", 0x4000_0003, 32, include_str!("x86.txt"));
static AARCH64: Machine = Machine::new("SCMP_ARCH_AARCH64", 0xc000_00b7, 64, include_str!("aarch64.txt"));

/// The architecture that this program is for.
pub static NATIVE: &Machine = if cfg!(target_arch = "x86_64") { &X86_64 } else { &AARCH64 };

/// Further ones that its kernel can run. 32-bit programs of ARM are not let in: their calls are not known here.
pub static OTHERS: &[&Machine] = if cfg!(target_arch = "x86_64") { &[&X86] } else { &[] };

impl Machine {
    /// Done when this program is built: looking for some hundred names at each start is then quick.
    #[allow(clippy::cast_possible_truncation)] // The texts are short, which the tests prove.
    const fn new(name: &'static str, audit: u32, bits: u32, text: &'static str) -> Self {
        let mut places = [Call { number: 0, start: 0, length: 0 }; PLACES];
        let bytes = text.as_bytes();
        let (mut at, mut next) = (0, 0);
        while at < bytes.len() {
            let (start, mut value) = (at, 0);
            while at < bytes.len() && !bytes[at].is_ascii_whitespace() {
                value =
                    if bytes[at].is_ascii_digit() { 10 * (value % 1000) + (bytes[at] - b'0') as u16 } else { value };
                at += 1;
            }
            if at > start && bytes[start].is_ascii_digit() {
                next = value;
            } else if at > start {
                let mut place = hash(bytes, start, at);
                while places[place].length > 0 {
                    place = (place + 1) % PLACES;
                }
                places[place] = Call { number: next, start: start as u16, length: (at - start) as u16 };
                next += 1;
            }
            at += 1;
        }
        Self { name, audit, bits, text, places }
    }

    /// The number of a call.
    pub fn number(&self, name: &str) -> Option<usize> {
        let mut place = hash(name.as_bytes(), 0, name.len());
        loop {
            let call = self.places[place];
            if call.length == 0 {
                return None;
            }
            if self.text_of(call) == name {
                return Some(call.number.into());
            }
            place = (place + 1) % PLACES;
        }
    }

    /// Number and name of each call.
    pub fn calls(&self) -> impl Iterator<Item = (usize, &str)> {
        let calls = self.places.iter().filter(|call| call.length > 0);
        calls.map(|call| (call.number.into(), self.text_of(*call)))
    }

    fn text_of(&self, Call { start, length, .. }: Call) -> &str {
        &self.text[usize::from(start)..usize::from(start + length)]
    }
}

/// FNV-1a of a part of the bytes, as a place.
const fn hash(bytes: &[u8], mut at: usize, end: usize) -> usize {
    let mut hash = 0x811c_9dc5_u32;
    while at < end {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ hash >> 16) as usize % PLACES
}
