//! Writes an attempt's output, and keeps the file within its cap whatever a task prints.
//!
//! The file is a whole CRI log at every instant, also after a crash. When it would outgrow the cap it is written anew
//! beside itself and renamed over: the head (up to a quarter of the cap), one line that says how much was cut, and the
//! latest quarter of the cap. Each rewrite copies as much as it makes room for, so a task that prints without end costs
//! twice its output, memory stays flat, and the disk holds at most one and a half times the cap, only while rewriting.
//! A ring of segment files was rejected: it is several files until the end, and needs mending after a crash.
//!
//! A write that fails never stops the task: what could not be written is counted and reported in the log once writing
//! works again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::cri::{self, HEAD, MAX_TEXT, Stamp, Stream};
use super::mask::{Mask, Veil};
use crate::core::beside::beside;

/// The writer of one attempt's log. The file is created with the first bytes: a silent attempt has none.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    cap: u64,
    mask: Arc<Mask>,
    /// How far each stream is through the mask.
    veils: [Veil; 2],
    file: Option<File>,
    /// How long the file is, which is also how much of it is sound.
    length: u64,
    /// What stands between head and tail, once something was cut.
    cut: Option<Cut>,
    /// The unfinished line of each stream.
    open_lines: [Vec<u8>; 2],
    /// Of the latest entry: readers find their place by it.
    last: Stamp,
    /// Entries that are not in the file yet; empty between calls.
    batch: Vec<u8>,
    bytes_in: u64,
    lost: Option<Lost>,
}

#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Where the head ends and the marker begins.
    head_end: u64,
    /// Where the marker ends and the tail begins.
    tail_start: u64,
    lines: u64,
    bytes: u64,
    at: DateTime<Utc>,
}

#[derive(Debug)]
struct Lost {
    bytes: u64,
    error: io::Error,
}

/// The most that is gathered before it goes to the file.
const BATCH: usize = 64 * 1024;

impl LogWriter {
    /// A log at `path`, whose folder is created when it is missing, of at most `cap` bytes.
    pub fn new(path: PathBuf, cap: u64) -> Self {
        LogWriter {
            path,
            cap,
            mask: Arc::default(),
            veils: [Veil::default(), Veil::default()],
            file: None,
            length: 0,
            cut: None,
            open_lines: [Vec::new(), Vec::new()],
            last: Stamp::new(DateTime::UNIX_EPOCH),
            batch: Vec::new(),
            bytes_in: 0,
            lost: None,
        }
    }

    /// The same log without what the mask hides.
    #[must_use]
    pub fn masked(mut self, mask: Arc<Mask>) -> Self {
        self.mask = mask;
        self
    }

    /// Takes what one read returned. Whole lines are in the file when this returns, except for what a secret may have
    /// begun in.
    pub fn write(&mut self, stream: Stream, bytes: &[u8], now: DateTime<Utc>) {
        self.bytes_in += bytes.len() as u64;
        if self.mask.is_empty() {
            self.lines(stream, bytes, now);
        } else {
            let mut shown = Vec::with_capacity(bytes.len());
            self.veils[stream as usize].pass(&self.mask, bytes, &mut shown);
            self.lines(stream, &shown, now);
        }
        self.flush();
    }

    fn lines(&mut self, stream: Stream, bytes: &[u8], now: DateTime<Utc>) {
        let mut open = std::mem::take(&mut self.open_lines[stream as usize]);
        for piece in cri::lines(bytes) {
            let (mut text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            // A full entry is only written when more text follows, so a line of exactly the limit is one entry.
            while open.len() + text.len() > MAX_TEXT {
                let (fits, rest) = text.split_at(MAX_TEXT - open.len());
                open.extend_from_slice(fits);
                self.entry(stream, true, &open, now);
                open.clear();
                text = rest;
            }
            if !ended {
                open.extend_from_slice(text);
            } else if open.is_empty() {
                self.entry(stream, false, text, now);
            } else {
                open.extend_from_slice(text);
                self.entry(stream, false, &open, now);
                open.clear();
            }
        }
        self.open_lines[stream as usize] = open;
    }

    /// Writes down the lines that the task left unfinished. Another call adds nothing.
    pub fn finish(&mut self, now: DateTime<Utc>) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut shown = Vec::new();
            self.veils[stream as usize].finish(&mut shown);
            self.lines(stream, &shown, now);
            let open = std::mem::take(&mut self.open_lines[stream as usize]);
            if !open.is_empty() {
                self.entry(stream, true, &open, now);
            }
        }
        self.flush();
    }

    /// Whether writing this many bytes may rewrite the file, which takes milliseconds.
    pub fn may_rewrite(&self, bytes: usize) -> bool {
        let held: usize = self.veils.iter().map(Veil::held).sum();
        // The worst that text can do is to be nothing but newlines.
        self.length + ((held + bytes) * (HEAD + 1)) as u64 > self.cap
    }

    /// How many bytes the task has written so far, kept or not.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in
    }

    /// Why output is missing that no marker accounts for yet, if any is.
    pub fn error(&self) -> Option<String> {
        let lost = self.lost.as_ref()?;
        Some(format!(
            "{} bytes of output could not be written to {}: {}",
            lost.bytes,
            self.path.display(),
            lost.error
        ))
    }

    fn entry(&mut self, stream: Stream, partial: bool, text: &[u8], now: DateTime<Utc>) {
        self.last.advance(now);
        let chunk = BATCH.min(usize::try_from(self.cap / 8).unwrap_or(BATCH));
        if !self.batch.is_empty() && self.batch.len() + HEAD + text.len() + 1 > chunk {
            self.flush();
        }
        cri::format(&mut self.batch, &self.last, stream, partial, text);
    }

    fn flush(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        if !batch.is_empty()
            && let Err(error) = self.append(&batch)
        {
            let before = self.lost.take().map_or(0, |lost| lost.bytes);
            self.lost = Some(Lost {
                bytes: before + text_of(&batch).1,
                error,
            });
            // The next attempt opens the file afresh: the folder may have been removed, or the disk replaced.
            self.file = None;
        }
        batch.clear();
        self.batch = batch;
    }

    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        let mut note = Vec::new();
        if let Some(lost) = &self.lost {
            let text = format!(
                "[petit: {} bytes of output could not be written here: {}]",
                lost.bytes, lost.error
            );
            // Between the last entry that was written and the first of this batch lie those that were lost.
            let first = cri::parse(batch.split(|&b| b == b'\n').next().unwrap_or_default());
            let at = first.map_or(self.last.at(), |entry| entry.at) - TimeDelta::nanoseconds(1);
            cri::format(&mut note, &Stamp::new(at), Stream::Stderr, false, text.as_bytes());
        }
        let more = (note.len() + batch.len()) as u64;
        if self.length + more > self.cap && self.length > 0 {
            self.rewrite()?;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path, self.length)?,
        };
        let written = file.write_all(&note).and_then(|()| file.write_all(batch));
        match written {
            Ok(()) => {
                self.length += more;
                self.file = Some(file);
                self.lost = None;
                Ok(())
            }
            Err(error) => {
                // A torn entry must not be glued to a later one. If this fails too, reopening tries it again.
                let _ = file.set_len(self.length);
                Err(error)
            }
        }
    }

    /// Cuts the middle out of the file.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut old = File::open(&self.path)?;
        let (head_end, cut_from) = match self.cut {
            Some(cut) => (cut.head_end, cut.tail_start),
            None => {
                let end = start_of_line(&mut old, (self.cap / 4).min(self.length))?;
                (end, end)
            }
        };
        let tail_from = start_of_line(&mut old, self.length.saturating_sub(self.cap / 4))?.max(cut_from);
        let gone = survey(&mut old, cut_from, tail_from)?;
        let before = self.cut.map_or((0, 0), |cut| (cut.lines, cut.bytes));
        let (lines, bytes) = (before.0 + gone.lines, before.1 + gone.bytes);
        let at = gone.last.or(self.cut.map(|cut| cut.at)).unwrap_or(self.last.at());
        let text = format!(
            "[petit: {lines} lines ({bytes} bytes) cut here to keep this log within {} bytes]",
            self.cap
        );
        let mut marker = Vec::new();
        // With the instant of the last entry that was cut, a reader who has seen that one already skips the marker.
        cri::format(&mut marker, &Stamp::new(at), Stream::Stderr, false, text.as_bytes());

        let copy = beside(&self.path, ".rewrite");
        // Not for appending: the kernel copies by itself from file to file, but not into one that is.
        let mut new = File::create(&copy)?;
        let copied = (|| {
            old.seek(SeekFrom::Start(0))?;
            io::copy(&mut (&old).take(head_end), &mut new)?;
            new.write_all(&marker)?;
            old.seek(SeekFrom::Start(tail_from))?;
            io::copy(&mut (&old).take(self.length - tail_from), &mut new)?;
            fs::rename(&copy, &self.path)
        })();
        if let Err(error) = copied {
            // Half a copy only takes room on a disk that may be full.
            let _ = fs::remove_file(&copy);
            return Err(error);
        }
        let tail_start = head_end + marker.len() as u64;
        self.length = tail_start + (self.length - tail_from);
        self.cut = Some(Cut {
            head_end,
            tail_start,
            lines,
            bytes,
            at,
        });
        self.file = Some(new);
        Ok(())
    }
}

/// Opens for appending, without whatever a failed write may have left after the sound part.
fn open(path: &Path, length: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            options.open(path)?
        }
        other => other?,
    };
    file.set_len(length)?;
    Ok(file)
}

/// The start of the first line that begins at `from` or after it, but no further than the file's end.
fn start_of_line(file: &mut File, from: u64) -> io::Result<u64> {
    let Some(before) = from.checked_sub(1) else {
        return Ok(0);
    };
    file.seek(SeekFrom::Start(before))?;
    let mut rest = BufReader::new(file);
    Ok(before + rest.skip_until(b'\n')? as u64)
}

struct Survey {
    lines: u64,
    bytes: u64,
    last: Option<DateTime<Utc>>,
}

/// What the entries between two places of the file hold.
fn survey(file: &mut File, from: u64, to: u64) -> io::Result<Survey> {
    file.seek(SeekFrom::Start(from))?;
    let mut entries = BufReader::with_capacity(BATCH, file.take(to - from));
    let mut survey = Survey {
        lines: 0,
        bytes: 0,
        last: None,
    };
    let (mut line, mut last) = (Vec::new(), Vec::new());
    while entries.read_until(b'\n', &mut line)? > 0 {
        let (lines, bytes) = text_of_entry(&line);
        survey.lines += lines;
        survey.bytes += bytes;
        std::mem::swap(&mut line, &mut last);
        line.clear();
    }
    survey.last = cri::parse(&last).map(|entry| entry.at);
    Ok(survey)
}

/// How many lines, and bytes of the task, some whole entries hold.
fn text_of(entries: &[u8]) -> (u64, u64) {
    cri::lines(entries)
        .map(text_of_entry)
        .fold((0, 0), |(lines, bytes), (ends, text)| (lines + ends, bytes + text))
}

fn text_of_entry(entry: &[u8]) -> (u64, u64) {
    // The newline of a partial entry is the format's, not the task's.
    let ends = u64::from(entry.get(HEAD - 2) == Some(&b'F'));
    (ends, entry.len().saturating_sub(HEAD + 1) as u64 + ends)
}
