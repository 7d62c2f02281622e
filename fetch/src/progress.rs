//! Progress on standard error: bars on a terminal, one line for each blob elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the bars are redrawn at most.
const REDRAW: Duration = Duration::from_millis(80);

/// What is shown of the blobs that are on their way.
pub struct Progress {
    quiet: bool,
    /// Draw bars; `None`: one line for each blob instead.
    bars: Option<Style>,
    state: Mutex<State>,
}

struct Style {
    /// As `COLUMNS` says; else the terminal is asked, which may change.
    width: Option<usize>,
    colour: bool,
}

#[derive(Default)]
struct State {
    bars: Vec<Bar>,
    /// How many lines of bars are on the screen.
    drawn: usize,
    last: Option<Instant>,
}

struct Bar {
    label: String,
    done: u64,
    total: u64,
}

impl Progress {
    /// `quiet`: show nothing.
    pub fn new(quiet: bool) -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let terminal = std::io::stderr().is_terminal() && variable("TERM") != "dumb";
        let width = variable("COLUMNS").parse().ok();
        let bars = terminal.then(|| Style { width, colour: variable("NO_COLOR").is_empty() });
        Self { quiet, bars, state: Mutex::default() }
    }

    /// Says one line, above the bars.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            self.print(&mut self.lock(), &format!("crate-fetch: {line}\n"));
        }
    }

    /// A blob of `total` bytes, `done` of which are here, begins to arrive.
    pub fn begin(&self, label: &str, done: u64, total: u64) {
        let mut state = self.lock();
        state.bars.push(Bar { label: label.to_owned(), done, total });
        state.last = None;
        self.redraw(&mut state);
    }

    /// So much of the blob is here now.
    pub fn advance(&self, label: &str, done: u64) {
        let mut state = self.lock();
        if let Some(bar) = state.bars.iter_mut().find(|bar| bar.label == label) {
            bar.done = done;
        }
        self.redraw(&mut state);
    }

    /// The blob is complete; `how` says how it came to be.
    pub fn end(&self, label: &str, total: u64, how: &str) {
        let mut state = self.lock();
        state.bars.retain(|bar| bar.label != label);
        if !self.quiet {
            self.print(&mut state, &format!("{label} {:>9} {how}\n", bytes(total)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints `text` in the place of the bars, and the bars again below it, all in one write.
    fn print(&self, state: &mut State, text: &str) {
        let mut out = String::new();
        if state.drawn > 0 {
            let _ = write!(out, "\x1b[{}A\x1b[J", state.drawn); // Writing to a String cannot fail.
        }
        out.push_str(text);
        state.drawn = 0;
        if let Some(style) = self.bars.as_ref().filter(|_| !state.bars.is_empty()) {
            let asked = || rustix::termios::tcgetwinsize(std::io::stderr()).ok().map(|size| usize::from(size.ws_col));
            let width = style.width.or_else(asked).filter(|width| (20..=1000).contains(width)).unwrap_or(80);
            for bar in &state.bars {
                out.push_str(&bar.line(width, style.colour));
            }
            state.drawn = state.bars.len();
        }
        let _ = std::io::stderr().write_all(out.as_bytes()); // Progress that cannot be shown is no failure.
    }

    fn redraw(&self, state: &mut State) {
        if self.quiet || self.bars.is_none() || state.last.is_some_and(|last| last.elapsed() < REDRAW) {
            return;
        }
        state.last = Some(Instant::now());
        self.print(state, "");
    }
}

impl Bar {
    fn line(&self, width: usize, colour: bool) -> String {
        let percent = self.done.saturating_mul(100).checked_div(self.total).unwrap_or(100);
        let percent = usize::try_from(percent).unwrap_or(100).min(100);
        let text = format!("{} {:>9} {percent:>3}%", self.label, bytes(self.total));
        let space = width.saturating_sub(text.len() + 4);
        if space < 5 {
            let short: String = text.chars().take(width.saturating_sub(1)).collect();
            return format!("{short}\n");
        }
        let full = space * percent / 100;
        let (begin, end) = if colour { ("\x1b[32m", "\x1b[0m") } else { ("", "") };
        format!("{text} [{begin}{}{end}{}]\n", "=".repeat(full), " ".repeat(space - full))
    }
}

/// A size in decimal units, as registries show them.
pub fn bytes(count: u64) -> String {
    let mut unit = 1_u64;
    for name in ["B", "kB", "MB", "GB"] {
        if count < unit.saturating_mul(1000) || name == "GB" {
            let tenths = u128::from(count) * 10 / u128::from(unit);
            return if unit == 1 { format!("{count} B") } else { format!("{}.{} {name}", tenths / 10, tenths % 10) };
        }
        unit = unit.saturating_mul(1000);
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fit_the_width() {
        let bar = |done, total| Bar { label: "layer 0123456789ab".into(), done, total };
        for width in [80, 40, 20] {
            for (done, total) in [(0, 0), (0, 10), (5, 10), (10, 10), (20, 10), (u64::MAX, u64::MAX)] {
                assert!(bar(done, total).line(width, false).trim_end().len() < width);
            }
        }
        let line = bar(5, 10).line(60, false);
        assert!(line.contains(" 50% ["));
    }

    #[test]
    fn sizes_are_short() {
        for (count, text) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (48_200_000, "48.2 MB"), (5_000_000_000, "5.0 GB")]
        {
            assert_eq!(bytes(count), text);
        }
        assert!(bytes(u64::MAX).ends_with(" GB"));
    }
}
