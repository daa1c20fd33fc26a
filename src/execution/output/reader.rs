//! Reads an attempt's log, whole or while it grows.
//!
//! A reader's place is the instant of the last entry it gave, not an offset: the writer rewrites the file when it
//! outgrows its cap, and instants survive that. A file that does not exist is an attempt that has said nothing yet.
//! Lines that are no entries (a log that somebody edited) are passed over.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::cri::{self, Entry};

/// Gives the entries of one log, each once.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: Option<File>,
    after: Option<DateTime<Utc>>,
    /// Bytes that do not make a whole line yet.
    rest: Vec<u8>,
    ready: VecDeque<Entry>,
}

/// How much is read at once: what bounds a batch.
const READ: usize = 256 * 1024;

impl LogReader {
    /// A reader that begins at the file's beginning; the file need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        LogReader {
            path,
            file: None,
            after: None,
            rest: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// A reader that goes on after the entry of this instant.
    pub fn after(path: PathBuf, at: DateTime<Utc>) -> Self {
        LogReader {
            after: Some(at),
            ..LogReader::new(path)
        }
    }

    /// The entries that are there and were not given yet, a bounded number at a time. Nothing means: nothing new now.
    pub fn next_batch(&mut self) -> io::Result<Vec<Entry>> {
        while self.ready.is_empty() {
            if !self.fill()? && !self.reopen()? {
                break;
            }
        }
        Ok(self.ready.drain(..).collect())
    }

    /// Reads once. False at the end of the open file.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else {
            return Ok(false);
        };
        if file.take(READ as u64).read_to_end(&mut self.rest)? == 0 {
            return Ok(false);
        }
        let whole = self.rest.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        for line in self.rest[..whole].split_inclusive(|&b| b == b'\n') {
            let Some(entry) = cri::parse(&line[..line.len() - 1]) else {
                continue;
            };
            if self.after.is_none_or(|after| entry.at > after) {
                self.after = Some(entry.at);
                self.ready.push_back(entry);
            }
        }
        self.rest.drain(..whole);
        Ok(true)
    }

    /// Opens the file that bears the name now. False when that is the open one, or none.
    fn reopen(&mut self) -> io::Result<bool> {
        let named = match fs::metadata(&self.path) {
            Ok(named) => named,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if let Some(file) = &self.file {
            let open = file.metadata()?;
            if (open.dev(), open.ino()) == (named.dev(), named.ino()) {
                return Ok(false);
            }
        }
        self.file = Some(File::open(&self.path)?);
        self.rest.clear();
        Ok(true)
    }
}

/// Gives the entries that are there; a reader can be iterated again when the file has grown.
impl Iterator for LogReader {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            match self.next_batch() {
                Ok(batch) => self.ready.extend(batch),
                Err(error) => return Some(Err(error)),
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
