//! Looks into an attempt's log at any place, whatever its size: a page from an offset on, the page before it, the page at
//! the end, the entry of an instant, the next entry that matches.
//!
//! Nothing is kept between two looks but the open file, and no look reads more than it was asked for, except a search,
//! which goes through the file in blocks. An offset means something in one file only: the writer rewrites a log that
//! outgrows its cap, under the same name. So every page says which file it is from ([`FileKey`]), and what has to survive
//! a rewrite is kept as an instant, since instants grow strictly from entry to entry.
//! A line without its newline is still being written, and not there yet.

use std::fs::{self, File};
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use regex::bytes::Regex;

use super::cri::{self, Entry, HEAD, MAX_TEXT};

/// Tells a log from the one that replaced it under its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileKey {
    device: u64,
    inode: u64,
}

/// Entries that follow each other in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Of which file.
    pub file: FileKey,
    /// Where the page begins and ends. Bytes that are no entries belong to it too.
    pub span: Range<u64>,
    /// The entries, with where each begins.
    pub entries: Vec<(u64, Entry)>,
    /// How long the file was.
    pub length: u64,
}

/// An open log.
#[derive(Debug)]
pub struct LogPages {
    path: PathBuf,
    file: File,
    key: FileKey,
}

/// In which direction a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Towards the end.
    Forward,
    /// Towards the beginning.
    Backward,
}

/// The longest line: a whole entry with its newline.
const LONGEST: u64 = (HEAD + MAX_TEXT + 1) as u64;
/// How much a search reads at once.
const BLOCK: u64 = 1 << 20;

impl LogPages {
    /// Opens the log that bears this name now; none if nothing was said yet.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let key = FileKey::of(&file.metadata()?);
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            key,
        }))
    }

    /// Which file this is.
    pub fn key(&self) -> FileKey {
        self.key
    }

    /// Whether another file bears the name by now. The open one does not grow any more then.
    pub fn is_replaced(&self) -> io::Result<bool> {
        match fs::metadata(&self.path) {
            Ok(named) => Ok(FileKey::of(&named) != self.key),
            // Its run was forgotten; what is open can still be read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How long the file is.
    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The entries of about `most` bytes that begin at `from`, where a line must begin, or behind it.
    pub fn after(&self, from: u64, most: u64) -> io::Result<Page> {
        let length = self.length()?;
        // Enough for one entry, so that a page is empty at the end of the file only.
        let bytes = self.read(from..from.saturating_add(most.max(LONGEST)).min(length))?;
        let Some(last) = bytes.iter().rposition(|&b| b == b'\n') else {
            // Petit writes no such line; what somebody put there is passed over once it is whole.
            let end = self.line_end(from)?;
            let is_whole = end > from && self.read(end - 1..end)? == b"\n";
            let end = if is_whole { end } else { from };
            return Ok(Page {
                span: from..end,
                ..self.page(from, &[], length)
            });
        };
        Ok(self.page(from, &bytes[..=last], length))
    }

    /// The entries of about `most` bytes that end at `to`, where a line must end.
    pub fn before(&self, to: u64, most: u64) -> io::Result<Page> {
        let length = self.length()?;
        let to = to.min(length);
        let from = to.saturating_sub(most.max(LONGEST));
        let bytes = self.read(from..to)?;
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        let begin = match from {
            0 => 0,
            _ => bytes.iter().position(|&b| b == b'\n').map_or(whole, |at| at + 1),
        };
        Ok(self.page(from + begin as u64, &bytes[begin..whole], length))
    }

    /// The last entries of the file.
    pub fn end(&self, most: u64) -> io::Result<Page> {
        self.before(self.length()?, most)
    }

    /// About `most` bytes of entries on both sides of the line that begins at `at`.
    pub fn around(&self, at: u64, most: u64) -> io::Result<Page> {
        let mut page = self.before(at, most / 2)?;
        let after = self.after(at, most / 2)?;
        page.entries.extend(after.entries);
        page.span.end = after.span.end;
        page.length = after.length;
        Ok(page)
    }

    /// Where the first entry of this instant or a later one begins; if there is none, where the next one will.
    pub fn place_of(&self, instant: DateTime<Utc>) -> io::Result<u64> {
        // Entries that begin before `low` are earlier; the first one that begins at `high` or behind it is not.
        let (mut low, mut high) = (0, self.length()?);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry_from(middle)? {
                (_, end, Some(at)) if at < instant => low = end,
                (_, _, Some(_) | None) => high = middle,
            }
        }
        Ok(self.entry_from(low)?.0)
    }

    /// The first entry that begins at `from` or behind it: its beginning, end and instant. Without one, where the whole
    /// lines end.
    fn entry_from(&self, from: u64) -> io::Result<(u64, u64, Option<DateTime<Utc>>)> {
        let mut begin = match from {
            0 => 0,
            // A line begins here if the one before ends right before.
            _ => self.line_end(from - 1)?,
        };
        loop {
            let end = self.line_end(begin)?;
            let line = self.read(begin..end)?;
            let Some(line) = line.strip_suffix(b"\n") else {
                return Ok((begin, begin, None));
            };
            if let Some(entry) = cri::parse(line) {
                return Ok((begin, end, Some(entry.at)));
            }
            begin = end;
        }
    }

    /// Behind the newline of the line in which a byte stands; the end of the file if it has none.
    fn line_end(&self, from: u64) -> io::Result<u64> {
        let length = self.length()?;
        let mut at = from;
        while at < length {
            let bytes = self.read(at..(at + LONGEST).min(length))?;
            match bytes.iter().position(|&b| b == b'\n') {
                Some(newline) => return Ok(at + newline as u64 + 1),
                None if bytes.is_empty() => break,
                None => at += bytes.len() as u64,
            }
        }
        Ok(length)
    }

    /// How many lines end in a part of the file.
    pub fn count(&self, part: Range<u64>) -> io::Result<u64> {
        let mut lines = 0;
        let mut at = part.start;
        while at < part.end {
            let bytes = self.read(at..(at + BLOCK).min(part.end))?;
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
            lines += bytes.iter().filter(|&&b| b == b'\n').count() as u64;
        }
        Ok(lines)
    }

    /// Looks for an entry whose text matches, among those that begin in `part`: the first one, or going backward the last.
    /// `step` is told how many bytes were looked at, and may end the search.
    pub fn find(
        &self,
        pattern: &Regex,
        part: Range<u64>,
        direction: Direction,
        mut step: impl FnMut(u64) -> ControlFlow<()>,
    ) -> io::Result<Option<u64>> {
        let mut left = part.start..part.end.min(self.length()?);
        while left.start < left.end {
            let (block, begin) = match direction {
                Direction::Forward => {
                    let to = (left.start + BLOCK).min(left.end);
                    (left.start..self.line_end(to - 1)?, left.start)
                }
                Direction::Backward => {
                    let from = left.end.saturating_sub(BLOCK).max(left.start);
                    let begin = if from == left.start {
                        from
                    } else {
                        self.line_end(from - 1)?
                    };
                    // Within a line that is longer than a block no other one begins.
                    let to = self.line_end(left.end - 1)?;
                    if begin < left.end {
                        (begin..to, begin)
                    } else {
                        (to..to, from)
                    }
                }
            };
            let bytes = self.read(block.clone())?;
            let mut found = matches(pattern, &bytes);
            let found = match direction {
                Direction::Forward => found.next(),
                Direction::Backward => found.last(),
            };
            if let Some(found) = found {
                return Ok(Some(block.start + found as u64));
            }
            let looked_at = match direction {
                Direction::Forward => {
                    let before = left.start;
                    left.start = block.end.max(before + 1);
                    left.start - before
                }
                Direction::Backward => {
                    let before = left.end;
                    left.end = begin;
                    before - begin
                }
            };
            if step(looked_at).is_break() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn read(&self, part: Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(part.end.saturating_sub(part.start)).unwrap_or(0)];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], part.start + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn page(&self, from: u64, bytes: &[u8], length: u64) -> Page {
        let mut entries = Vec::new();
        let mut begin = from;
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            entries.extend(
                line.strip_suffix(b"\n")
                    .and_then(cri::parse)
                    .map(|entry| (begin, entry)),
            );
            begin += line.len() as u64;
        }
        Page {
            file: self.key,
            span: from..begin,
            entries,
            length,
        }
    }
}

impl FileKey {
    fn of(file: &fs::Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
        }
    }
}

/// Where the lines begin whose text matches. What stands before the text of an entry is not searched.
fn matches<'a>(pattern: &'a Regex, bytes: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        while from < bytes.len() {
            let found = pattern.find_at(bytes, from)?;
            let begin = bytes[..found.start()]
                .iter()
                .rposition(|&b| b == b'\n')
                .map_or(0, |at| at + 1);
            let end = bytes[found.start()..].iter().position(|&b| b == b'\n');
            let end = end.map_or(bytes.len(), |end| found.start() + end + 1);
            if found.start() < begin + HEAD {
                // The search goes on in the text of the same line, if it has any.
                from = (begin + HEAD).clamp(found.start() + 1, end);
                continue;
            }
            from = end;
            let line = &bytes[begin..end];
            if line.strip_suffix(b"\n").and_then(cri::parse).is_some() {
                return Some(begin);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::{LogWriter, Stream};
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_323_045 + seconds, 0).unwrap()
    }

    /// A log of `count` lines, one a second.
    fn log(folder: &tempfile::TempDir, count: i64) -> PathBuf {
        let path = folder.path().join("task.1.log");
        let mut writer = LogWriter::new(path.clone(), 1 << 30);
        for n in 0..count {
            writer.write(Stream::Stdout, format!("line {n}\n").as_bytes(), at(n));
        }
        path
    }

    fn open(path: &Path) -> LogPages {
        LogPages::open(path).unwrap().expect("a log")
    }

    fn texts(page: &Page) -> Vec<String> {
        let text = |(_, entry): &(u64, Entry)| String::from_utf8_lossy(&entry.text).into_owned();
        page.entries.iter().map(text).collect()
    }

    fn pattern(text: &str) -> Regex {
        Regex::new(text).unwrap()
    }

    fn whole(pages: &LogPages) -> Range<u64> {
        0..pages.length().unwrap()
    }

    const GO_ON: fn(u64) -> ControlFlow<()> = |_| ControlFlow::Continue(());

    #[test]
    fn a_silent_attempt_has_no_pages() {
        let folder = tempfile::tempdir().unwrap();
        assert!(LogPages::open(&folder.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn pages_from_the_end_to_the_beginning_hold_every_line_once() {
        let folder = tempfile::tempdir().unwrap();
        let pages = open(&log(&folder, 5_000));
        let mut page = pages.end(1).unwrap();
        let mut all = texts(&page);
        assert!(all.len() < 1_000 && all.last().unwrap() == "line 4999");
        while page.span.start > 0 {
            page = pages.before(page.span.start, 1).unwrap();
            all.splice(0..0, texts(&page));
        }
        let expected: Vec<String> = (0..5_000).map(|n| format!("line {n}")).collect();
        assert_eq!(all, expected);
        let mut forward = Vec::new();
        let mut from = 0;
        loop {
            let page = pages.after(from, 1).unwrap();
            if page.entries.is_empty() {
                break;
            }
            from = page.span.end;
            forward.extend(texts(&page));
        }
        assert_eq!(forward, expected);
    }

    #[test]
    fn an_unfinished_line_and_foreign_lines_are_no_entries() {
        let folder = tempfile::tempdir().unwrap();
        let path = log(&folder, 3);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"not an entry\n2026-01-02T03:04:09.000000000Z stdout F ha")
            .unwrap();
        let pages = open(&path);
        for page in [pages.end(1).unwrap(), pages.after(0, 1).unwrap()] {
            assert_eq!(texts(&page), ["line 0", "line 1", "line 2"]);
            assert!(page.span.end < page.length);
        }
        let next = pages.place_of(at(99)).unwrap();
        assert!(pages.after(next, 1).unwrap().entries.is_empty());
        file.write_all(b"lf\n").unwrap();
        assert_eq!(texts(&pages.after(next, 1).unwrap()), ["half"]);
    }

    #[test]
    fn instants_lead_to_their_entries() {
        let folder = tempfile::tempdir().unwrap();
        let pages = open(&log(&folder, 300));
        for n in [0, 1, 150, 299] {
            for instant in [at(n), at(n) - chrono::TimeDelta::milliseconds(1)] {
                let page = pages.after(pages.place_of(instant).unwrap(), 1).unwrap();
                assert_eq!(texts(&page)[0], format!("line {n}"));
            }
        }
        assert_eq!(pages.place_of(at(300)).unwrap(), pages.length().unwrap());
        assert_eq!(pages.count(whole(&pages)).unwrap(), 300);
    }

    #[test]
    fn a_search_goes_both_ways_over_many_blocks_and_not_into_heads() {
        let folder = tempfile::tempdir().unwrap();
        let pages = open(&log(&folder, 60_000));
        assert!(pages.length().unwrap() > 2 * BLOCK);
        let all = whole(&pages);
        let find =
            |text: &str, part: Range<u64>, direction| pages.find(&pattern(text), part, direction, GO_ON).unwrap();
        let line = |at: u64| texts(&pages.after(at, 1).unwrap())[0].clone();
        for (text, direction, expected) in [
            ("line 59999", Direction::Forward, "line 59999"),
            ("line 59", Direction::Forward, "line 59"),
            ("line 59", Direction::Backward, "line 59999"),
            ("line 3\n", Direction::Backward, "line 3"),
        ] {
            let found = find(text, all.clone(), direction).expect(text);
            assert_eq!(line(found), expected, "{text}");
        }
        assert_eq!(find("stdout|2027-", all.clone(), Direction::Forward), None);
        let first = find("line 12", all.clone(), Direction::Forward).expect("a match");
        let next = find("line 12", first + 1..all.end, Direction::Forward).expect("a further one");
        assert_eq!((line(first), line(next)), ("line 12".to_owned(), "line 120".to_owned()));
        assert_eq!(find("line 12", 0..next, Direction::Backward), Some(first));
        let mut looks = 0;
        let stopped = pages.find(&pattern("nowhere"), all, Direction::Forward, |_| {
            looks += 1;
            ControlFlow::Break(())
        });
        assert_eq!((stopped.unwrap(), looks), (None, 1));
    }

    #[test]
    fn a_rewritten_log_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("task.1.log");
        let mut writer = LogWriter::new(path.clone(), 8 * 1024);
        writer.write(Stream::Stdout, b"first\n", at(0));
        let pages = open(&path);
        assert!(!pages.is_replaced().unwrap());
        for n in 0..500 {
            writer.write(Stream::Stdout, format!("line {n}\n").as_bytes(), at(n));
        }
        assert!(pages.is_replaced().unwrap());
        assert_ne!(open(&path).key(), pages.key());
        fs::remove_file(&path).unwrap();
        assert!(!pages.is_replaced().unwrap());
    }
}
