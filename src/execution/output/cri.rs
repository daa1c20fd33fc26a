//! One line of a CRI log: `<RFC3339 with nanoseconds> stdout|stderr F|P <text>`.
//!
//! `F` ends a line of the task's output, `P` stands for a part of one that goes on in the next entry of its stream, or
//! that the task never ended. Both stream names have six letters and the instant has a fixed width, so the head of an
//! entry is always [`HEAD`] bytes.

use std::{fmt, mem};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// The most text that one entry carries. The limit of containerd and CRI-O.
pub const MAX_TEXT: usize = 16 * 1024;

/// How many bytes stand before the text of an entry.
pub const HEAD: usize = "2026-01-02T03:04:05.000000000Z stdout F ".len();

/// Which of a task's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of a task's output, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Grows strictly from entry to entry of a file, so that it also serves as a place in it.
    pub at: DateTime<Utc>,
    /// Where it was said.
    pub stream: Stream,
    /// The line goes on in the next entry of its stream.
    pub partial: bool,
    /// Without the line's end.
    pub text: Vec<u8>,
}

impl Stream {
    /// The word in the file and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An instant and how it is written. To write it anew for each line was most of what a log cost: the lines of one read
/// follow each other by a nanosecond, which is to count in the last digits.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    at: DateTime<Utc>,
    written: [u8; INSTANT],
}

/// How long a written instant is.
const INSTANT: usize = "2026-01-02T03:04:05.000000000Z".len();
/// Where its nanoseconds stand.
const NANOSECONDS: std::ops::Range<usize> = INSTANT - 10..INSTANT - 1;

impl Stamp {
    /// Of this instant.
    pub fn new(at: DateTime<Utc>) -> Self {
        let mut written = [b'0'; INSTANT];
        let text = at.to_rfc3339_opts(SecondsFormat::Nanos, true);
        // Years of five digits are longer, and no clock shows them.
        let length = text.len().min(INSTANT);
        written[..length].copy_from_slice(&text.as_bytes()[..length]);
        Self { at, written }
    }

    /// The instant.
    pub fn at(&self) -> DateTime<Utc> {
        self.at
    }

    /// Goes on to this instant, but by a nanosecond at least: also when the clock was set back, instants grow strictly.
    pub fn advance(&mut self, now: DateTime<Utc>) {
        let next = self.at + TimeDelta::nanoseconds(1);
        if now > next || !count(&mut self.written[NANOSECONDS]) {
            *self = Self::new(now.max(next));
        } else {
            self.at = next;
        }
    }
}

/// Adds one to a number of decimal digits; `false`, and nothing of worth in them, when there is no room for it.
fn count(digits: &mut [u8]) -> bool {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return true;
        }
        *digit = b'0';
    }
    false
}

/// Appends one entry to `line`, its newline included.
pub(super) fn format(line: &mut Vec<u8>, at: &Stamp, stream: Stream, partial: bool, text: &[u8]) {
    line.extend_from_slice(&at.written);
    line.extend_from_slice(match stream {
        Stream::Stdout => b" stdout ",
        Stream::Stderr => b" stderr ",
    });
    line.extend_from_slice(if partial { b"P " } else { b"F " });
    line.extend_from_slice(text);
    line.push(b'\n');
}

/// Each line of some bytes with its newline, and whatever stands behind the last one.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr::memchr_iter(b'\n', bytes).map(|newline| newline + 1);
    let unended = bytes.last().is_some_and(|last| *last != b'\n').then_some(bytes.len());
    let mut from = 0;
    ends.chain(unended)
        .map(move |to| &bytes[mem::replace(&mut from, to)..to])
}

/// Reads one entry back; `line` comes without its newline. `None` for what is not an entry.
pub(super) fn parse(line: &[u8]) -> Option<Entry> {
    let mut parts = line.splitn(4, |&b| b == b' ');
    let at = str::from_utf8(parts.next()?).ok()?;
    let at = DateTime::parse_from_rfc3339(at).ok()?.with_timezone(&Utc);
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let partial = match parts.next()? {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    Some(Entry {
        at,
        stream,
        partial,
        text: parts.next()?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    #[test]
    fn lines_come_with_their_ends() {
        for (bytes, expected) in [
            ("", vec![]),
            ("\n", vec!["\n"]),
            ("a", vec!["a"]),
            ("a\n\nb\n", vec!["a\n", "\n", "b\n"]),
            ("a\nb", vec!["a\n", "b"]),
        ] {
            let found: Vec<&[u8]> = lines(bytes.as_bytes()).collect();
            assert_eq!(found, expected.iter().map(|line| line.as_bytes()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_stamp_goes_on_as_its_instant_is_written() {
        for (from, now, expected) in [
            // The clock stands still, or was set back.
            (
                "2026-01-02T03:04:05Z",
                "2026-01-02T03:04:05Z",
                "2026-01-02T03:04:05.000000001Z",
            ),
            (
                "2026-01-02T03:04:05.000000129Z",
                "2025-01-01T00:00:00Z",
                "2026-01-02T03:04:05.000000130Z",
            ),
            (
                "2026-01-02T03:04:05.099999999Z",
                "2026-01-02T03:04:05Z",
                "2026-01-02T03:04:05.100000000Z",
            ),
            (
                "2026-12-31T23:59:59.999999999Z",
                "2026-01-02T03:04:05Z",
                "2027-01-01T00:00:00.000000000Z",
            ),
            // It goes on, by what was expected and by more.
            (
                "2026-01-02T03:04:05Z",
                "2026-01-02T03:04:05.000000001Z",
                "2026-01-02T03:04:05.000000001Z",
            ),
            (
                "2026-01-02T03:04:05Z",
                "2026-01-02T03:04:05.000000002Z",
                "2026-01-02T03:04:05.000000002Z",
            ),
            (
                "2026-01-02T03:04:05.999999999Z",
                "2026-01-02T03:05:00.5Z",
                "2026-01-02T03:05:00.500000000Z",
            ),
        ] {
            let mut stamp = Stamp::new(at(from));
            stamp.advance(at(now));
            assert_eq!(stamp.at(), at(expected));
            assert_eq!(str::from_utf8(&stamp.written), Ok(expected));
        }
    }
}
