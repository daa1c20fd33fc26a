//! One line of a CRI log: `<RFC3339 with nanoseconds> stdout|stderr F|P <text>`.
//!
//! `F` ends a line of the task's output, `P` stands for a part of one that goes on in the next entry of its stream, or
//! that the task never ended. Both stream names have six letters and the instant has a fixed width, so the head of an
//! entry is always [`HEAD`] bytes.

use std::fmt;
use std::io::Write;

use chrono::{DateTime, SecondsFormat, Utc};
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

/// Appends one entry to `line`, its newline included.
pub(super) fn format(line: &mut Vec<u8>, at: DateTime<Utc>, stream: Stream, partial: bool, text: &[u8]) {
    let at = at.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let tag = if partial { 'P' } else { 'F' };
    write!(line, "{at} {stream} {tag} ").expect("writing to memory cannot fail");
    line.extend_from_slice(text);
    line.push(b'\n');
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
