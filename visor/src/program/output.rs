//! What a program writes, in visor's log: line by line, bounded in length and rate.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// Longer lines are cut. No line that a person reads is longer.
const MAX_LINE: usize = 1024;
/// Lines that are logged at once, such as a whole stack trace or the help text of a program called wrongly.
const BURST: u32 = 200;
/// And then one in so long: 20 a second tell what goes on, and fill no disk within a hook's time.
const REFILL: Duration = Duration::from_millis(50);
/// The size of a pipe: one read takes all that is there.
const CHUNK: usize = 1 << 16;

/// Both streams of one program.
pub(super) struct Output {
    name: &'static str,
    budget: RefCell<Budget>,
}

struct Budget {
    lines: u32,
    refilled: Instant,
    /// Not logged since the last line that was.
    left_out: u64,
}

impl Output {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            budget: RefCell::new(Budget {
                lines: BURST,
                refilled: Instant::now(),
                left_out: 0,
            }),
        }
    }

    /// Reads a stream to its end, and logs what the budget allows.
    pub(super) async fn read(&self, from: Option<pipe::Receiver>, stream: &'static str) {
        let Some(mut from) = from else {
            return;
        };
        let mut lines = Lines::default();
        let mut chunk = vec![0; CHUNK];
        loop {
            // An error of a pipe is its end.
            let count = from.read(&mut chunk).await.unwrap_or(0);
            if count == 0 {
                lines.finish(|line| self.log(stream, line));
                return;
            }
            lines.take(&chunk[..count], |line| self.log(stream, line));
        }
    }

    /// Says what was left out at the end.
    pub(super) fn finish(&self) {
        let left_out = std::mem::take(&mut self.budget.borrow_mut().left_out);
        self.tell_left_out(left_out);
    }

    fn log(&self, stream: &'static str, line: &Line<'_>) {
        let left_out = {
            let mut budget = self.budget.borrow_mut();
            if !budget.spend(Instant::now()) {
                budget.left_out += 1;
                return;
            }
            std::mem::take(&mut budget.left_out)
        };
        self.tell_left_out(left_out);
        let text = line.readable();
        tracing::info!(
            program.name = self.name,
            program.stream = stream,
            program.line_cut = line.cut.then_some(true),
            program.line = %text,
            "output of a program"
        );
    }

    fn tell_left_out(&self, left_out: u64) {
        if left_out > 0 {
            tracing::info!(
                program.name = self.name,
                program.lines_left_out = left_out,
                "a program writes more than is logged"
            );
        }
    }
}

impl Budget {
    fn spend(&mut self, now: Instant) -> bool {
        if self.lines == 0 {
            let elapsed = now.saturating_duration_since(self.refilled).as_millis();
            let earned = elapsed / REFILL.as_millis().max(1);
            self.lines = u32::try_from(earned).unwrap_or(BURST).min(BURST);
        }
        if self.lines == 0 {
            return false;
        }
        self.lines -= 1;
        self.refilled = now;
        true
    }
}

/// A line without its end.
struct Line<'a> {
    bytes: &'a [u8],
    cut: bool,
}

impl Line<'_> {
    /// Without anything that a terminal or a log reader would take for an order.
    fn readable(&self) -> String {
        let text = String::from_utf8_lossy(self.bytes);
        let mut readable = String::with_capacity(text.len());
        for letter in text.trim_end_matches('\r').chars() {
            if letter.is_control() && letter != '\t' {
                readable.extend(letter.escape_default());
            } else {
                readable.push(letter);
            }
        }
        readable
    }
}

/// Bytes put together to lines.
#[derive(Default)]
struct Lines {
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
    cut: bool,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], mut line: impl FnMut(&Line<'_>)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            let room = MAX_LINE - self.begun.len();
            self.cut |= text.len() > room;
            self.begun.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                self.end(&mut line);
            }
        }
    }

    fn finish(&mut self, mut line: impl FnMut(&Line<'_>)) {
        if !self.begun.is_empty() {
            self.end(&mut line);
        }
    }

    fn end(&mut self, line: &mut impl FnMut(&Line<'_>)) {
        if !self.begun.is_empty() {
            line(&Line {
                bytes: &self.begun,
                cut: self.cut,
            });
        }
        self.begun.clear();
        self.cut = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<(String, bool)> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.take(chunk, |line| seen.push((line.readable(), line.cut)));
        }
        lines.finish(|line| seen.push((line.readable(), line.cut)));
        seen
    }

    #[test]
    fn lines_are_put_together_cut_and_made_harmless() {
        let whole = |text: &str| (text.to_owned(), false);
        assert_eq!(
            lines_of(&[b"on", b"e\r\ntwo\n\n", b"end"]),
            [whole("one"), whole("two"), whole("end")]
        );
        assert_eq!(lines_of(&[b"\x1b[2J\xff\t.\n"]), [whole("\\u{1b}[2J\u{fffd}\t.")]);
        let long = vec![b'x'; 3 * MAX_LINE];
        let seen = lines_of(&[&long, &long, b"\nshort\n"]);
        assert_eq!(seen, [("x".repeat(MAX_LINE), true), whole("short")]);
    }

    #[test]
    fn a_burst_is_logged_and_then_a_line_at_a_time() {
        let now = Instant::now();
        let mut budget = Budget {
            lines: BURST,
            refilled: now,
            left_out: 0,
        };
        for _ in 0..BURST {
            assert!(budget.spend(now));
        }
        assert!(!budget.spend(now));
        let later = now + REFILL;
        assert!(budget.spend(later));
        assert!(!budget.spend(later));
        // A quiet minute earns one burst and no more.
        let minute = later + Duration::from_secs(60);
        for _ in 0..BURST {
            assert!(budget.spend(minute));
        }
        assert!(!budget.spend(minute));
    }
}
