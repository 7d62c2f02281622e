//! Classic BPF (seccomp(2), `Documentation/networking/filter.rst`), made from its end to its beginning: it jumps forward
//! only, so where a jump goes is known when it is made.

use super::verdict::Verdict;
use libc::sock_filter;
use store::seccomp::{Condition, Operator};

/// `A` is the word of struct seccomp_data at `k`.
const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const GREATER: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Where struct seccomp_data has the number of the call, the architecture, and the arguments of 64 bits each.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// A program, its last instruction first.
#[derive(Default)]
pub struct Code(Vec<sock_filter>);

/// A place in the program: how many instructions there are from it to the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

impl Code {
    /// How many instructions it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The program as the kernel has it in memory.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size_of::<sock_filter>() * self.len());
        for step in self.0.iter().rev() {
            bytes.extend(step.code.to_ne_bytes());
            bytes.extend([step.jt, step.jf]);
            bytes.extend(step.k.to_ne_bytes());
        }
        bytes
    }

    /// Ends with this action.
    pub fn end(&mut self, action: u32) -> Label {
        self.step(RETURN, action)
    }

    /// Goes to the part of the architecture, or to `foreign`; the last of the parts is looked at first.
    pub fn dispatch(&mut self, parts: &[(u32, Label)], foreign: Label) {
        let mut next = foreign;
        for (architecture, part) in parts {
            next = self.branch(EQUAL, *architecture, *part, next);
        }
        self.step(LOAD, ARCHITECTURE);
    }

    /// Decides by the number of the call, in which `ranges` are in order and begin with 0.
    pub fn machine(&mut self, ranges: &[(u32, &Verdict)]) -> Label {
        self.tree(ranges);
        self.step(LOAD, NUMBER)
    }

    fn tree(&mut self, ranges: &[(u32, &Verdict)]) -> Label {
        let (low, high) = ranges.split_at(ranges.len() / 2);
        match (low, high) {
            ([], [(_, verdict), ..]) => self.verdict(verdict),
            (_, [(first, _), ..]) => {
                let high = self.tree(high);
                let low = self.tree(low);
                self.branch(AT_LEAST, *first, high, low)
            }
            (_, []) => self.here(), // There is always a range.
        }
    }

    fn verdict(&mut self, verdict: &Verdict) -> Label {
        let mut next = self.end(verdict.otherwise);
        for (conditions, action) in verdict.checks.iter().rev() {
            let mut holds = self.end(*action);
            for condition in conditions.iter().rev() {
                holds = self.condition(condition, holds, next);
            }
            next = holds;
        }
        next
    }

    /// Compares an argument, the high half first: kernels have no words of 64 bits in classic BPF.
    fn condition(&mut self, condition: &Condition, yes: Label, no: Label) -> Label {
        let Condition { argument, operator, value, second } = *condition;
        let (high, low) = halves(value);
        match operator {
            Operator::Equal => self.both(argument, (EQUAL, yes, no), (high, low), no, no),
            Operator::NotEqual => self.both(argument, (EQUAL, no, yes), (high, low), yes, yes),
            Operator::Greater => self.both(argument, (GREATER, yes, no), (high, low), yes, no),
            Operator::GreaterOrEqual => self.both(argument, (AT_LEAST, yes, no), (high, low), yes, no),
            Operator::Less => self.both(argument, (AT_LEAST, no, yes), (high, low), no, yes),
            Operator::LessOrEqual => self.both(argument, (GREATER, no, yes), (high, low), no, yes),
            Operator::MaskedEqual => {
                let wanted = halves(second);
                self.branch(EQUAL, wanted.1, yes, no);
                self.step(AND, low);
                let next = self.load(argument, false);
                if high == 0 && wanted.0 == 0 {
                    return next;
                }
                self.branch(EQUAL, wanted.0, next, no);
                self.step(AND, high);
                self.load(argument, true)
            }
        }
    }

    /// Compares the low half where the high ones are equal, else goes to `above` or `below`.
    fn both(
        &mut self,
        argument: u8,
        (operator, yes, no): (u32, Label, Label),
        (high, low): (u32, u32),
        above: Label,
        below: Label,
    ) -> Label {
        self.branch(operator, low, yes, no);
        let equal = self.load(argument, false);
        let unequal = if above == below { above } else { self.branch(GREATER, high, above, below) };
        self.branch(EQUAL, high, equal, unequal);
        self.load(argument, true)
    }

    fn load(&mut self, argument: u8, high: bool) -> Label {
        let half = if high == cfg!(target_endian = "little") { 4 } else { 0 };
        self.step(LOAD, ARGUMENTS + 8 * u32::from(argument) + half)
    }

    /// Goes to `yes` or `no`, over instructions of their own where these are too far.
    fn branch(&mut self, operator: u32, k: u32, yes: Label, no: Label) -> Label {
        let [near_yes, near_no] = [yes, no].map(|label| u8::try_from(self.len() - label.0));
        let (jt, jf) = match (near_yes, near_no) {
            (Ok(jt), Ok(jf)) => (jt, jf),
            (Err(_), Ok(jf)) if jf < u8::MAX => {
                self.jump(yes);
                (0, jf + 1)
            }
            _ => {
                self.jump(no);
                self.jump(yes);
                (0, 1)
            }
        };
        self.push(operator, jt, jf, k)
    }

    fn jump(&mut self, to: Label) {
        let distance = u32::try_from(self.len() - to.0).unwrap_or(u32::MAX); // The kernel refuses what is too far.
        self.step(JUMP, distance);
    }

    fn step(&mut self, code: u32, k: u32) -> Label {
        self.push(code, 0, 0, k)
    }

    #[allow(clippy::cast_possible_truncation)] // The codes are small.
    fn push(&mut self, code: u32, jt: u8, jf: u8, k: u32) -> Label {
        self.0.push(sock_filter { code: code as u16, jt, jf, k });
        self.here()
    }

    fn here(&self) -> Label {
        Label(self.len())
    }
}

/// The upper and the lower 32 bits.
#[allow(clippy::cast_possible_truncation)] // That is what they are.
fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}
