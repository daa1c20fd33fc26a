//! Reads logs for the screens: the open one as it grows, any part of it, and searches over all of it.
//!
//! One log is followed at a time and one search goes on at a time; the next one ends the one before. Each look opens the
//! file anew, so that nothing is held of a log that nobody sees, and reads a page and no more, whatever the file's size.

use std::{
    io,
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use regex::bytes::{Regex, RegexBuilder};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, spawn_blocking},
    time::sleep,
};

use super::{
    log::{LogLine, LogNews, LogPage, Part, Search, Sought},
    message::{LogId, Message},
};
use crate::{
    core::{Timestamp, harmless::harmless},
    execution::{
        log_path,
        output::{Direction, LogPages, Page},
    },
};

/// How much is read at once.
const PAGE: u64 = 128 * 1024;
/// How often the open log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How often a search tells how far it is.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// Words that tell of an error.
const ERRORS: &str = "error|fatal|panic|exception|traceback";

/// Reads the logs of a state folder, and tells of them.
#[derive(Clone)]
pub struct Logs {
    state_dir: PathBuf,
    messages: mpsc::Sender<Message>,
    /// The reader of the open log.
    following: Arc<Mutex<Option<AbortHandle>>>,
    /// What ends the search that goes on.
    searching: Arc<Mutex<Arc<AtomicBool>>>,
}

impl Logs {
    pub(super) fn new(state_dir: &Path, messages: mpsc::Sender<Message>) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            messages,
            following: Arc::default(),
            searching: Arc::default(),
        }
    }

    /// Where an attempt's log is.
    pub fn path(&self, of: &LogId) -> PathBuf {
        log_path(&self.state_dir, of.run, &of.task, of.attempt)
    }

    /// Tells what is at the end of a log as it grows, and of no other one any more.
    pub fn follow(&self, of: LogId) {
        self.stop_search();
        let task = tokio::spawn(follow(of.clone(), self.path(&of), self.messages.clone()));
        self.follow_only(Some(task.abort_handle()));
    }

    /// Reads a part of a log.
    pub fn read(&self, of: LogId, part: Part) {
        let (path, messages) = (self.path(&of), self.messages.clone());
        spawn_blocking(move || {
            let message = match read(&path, part) {
                Ok(Some(page)) => Message::Log(of, LogNews::Part(part, page)),
                Ok(None) => Message::LogFailed(of, gone(&path)),
                Err(error) => Message::LogFailed(of, unreadable(&path, &error)),
            };
            // The receiver is gone only when the screens are.
            let _ = messages.blocking_send(message);
        });
    }

    /// Searches a whole log; a search that goes on is given up.
    pub fn search(&self, of: LogId, search: Search) {
        let given_up = self.next_search();
        let (path, messages) = (self.path(&of), self.messages.clone());
        spawn_blocking(move || {
            let mut told = Instant::now();
            let found = find(&path, &search, |looked, all| {
                if given_up.load(Ordering::Relaxed) {
                    return ControlFlow::Break(());
                }
                if told.elapsed() >= TELL_EVERY {
                    told = Instant::now();
                    let news = LogNews::Searching(search.clone(), looked, all);
                    let _ = messages.blocking_send(Message::Log(of.clone(), news));
                }
                ControlFlow::Continue(())
            });
            if given_up.load(Ordering::Relaxed) {
                return;
            }
            let message = match found {
                Ok(found) => Message::Log(of, LogNews::Found(search, found)),
                Err(error) => Message::LogFailed(of, unreadable(&path, &error)),
            };
            let _ = messages.blocking_send(message);
        });
    }

    /// Gives up the search that goes on.
    pub fn stop_search(&self) {
        self.next_search();
    }

    /// Stops reading.
    pub fn stop(&self) {
        self.stop_search();
        self.follow_only(None);
    }

    fn follow_only(&self, reader: Option<AbortHandle>) {
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut *following, reader) {
            before.abort();
        }
    }

    fn next_search(&self) -> Arc<AtomicBool> {
        let next = Arc::new(AtomicBool::new(false));
        let mut searching = self.searching.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *searching, Arc::clone(&next)).store(true, Ordering::Relaxed);
        next
    }
}

async fn follow(of: LogId, path: PathBuf, messages: mpsc::Sender<Message>) {
    let mut tail = Tail::new(path.clone());
    loop {
        let looked = spawn_blocking(move || {
            let news = tail.look();
            (tail, news)
        });
        let Ok((back, news)) = looked.await else { return };
        tail = back;
        let message = match news {
            Ok(None) => {
                sleep(LOOK_EVERY).await;
                continue;
            }
            Ok(Some((page, count))) => Message::Log(of.clone(), LogNews::Grown(page, count)),
            Err(error) => Message::LogFailed(of.clone(), unreadable(&path, &error)),
        };
        let over = matches!(message, Message::LogFailed(..));
        if messages.send(message).await.is_err() || over {
            return;
        }
    }
}

/// The end of a log that may grow, and that may be replaced by another file under its name.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    pages: Option<LogPages>,
    /// Up to where all is told.
    at: u64,
    /// The instant of the last line that was told, by which the place is found again in another file.
    last: Option<Timestamp>,
}

impl Tail {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            pages: None,
            at: 0,
            last: None,
        }
    }

    /// The lines that came since the last look, or the last page of them, and how many came.
    fn look(&mut self) -> io::Result<Option<(LogPage, u64)>> {
        let Some(pages) = &self.pages else {
            return self.begin();
        };
        let length = pages.length()?;
        let page = if length - self.at.min(length) > 2 * PAGE {
            pages.end(PAGE)?
        } else {
            pages.after(self.at, 2 * PAGE)?
        };
        if page.span.end > self.at {
            let count = pages.count(self.at..page.span.end)?;
            return Ok(Some((self.told(page), count)));
        }
        // What was written to the old file before it was replaced has been told by now.
        if pages.is_replaced()? {
            return self.begin();
        }
        Ok(None)
    }

    /// Opens the file that bears the name now, and tells its end.
    fn begin(&mut self) -> io::Result<Option<(LogPage, u64)>> {
        let Some(pages) = LogPages::open(&self.path)? else {
            return Ok(None);
        };
        let page = pages.end(PAGE)?;
        let count = match self.last {
            Some(last) => pages.count(pages.place_of(last + chrono::TimeDelta::nanoseconds(1))?..page.span.end)?,
            None => pages.count(page.span.clone())?,
        };
        self.pages = Some(pages);
        self.at = 0;
        let empty = page.entries.is_empty();
        let page = self.told(page);
        Ok((!empty).then_some((page, count)))
    }

    fn told(&mut self, page: Page) -> LogPage {
        self.at = page.span.end;
        self.last = page.entries.last().map(|(_, entry)| entry.at).or(self.last);
        lines(page)
    }
}

fn read(path: &Path, part: Part) -> io::Result<Option<LogPage>> {
    let Some(pages) = LogPages::open(path)? else {
        return Ok(None);
    };
    let page = match part {
        Part::Begin => pages.after(0, PAGE),
        Part::End => pages.end(PAGE),
        Part::Before(to) => pages.before(to, PAGE),
        Part::After(from) => pages.after(from, PAGE),
        Part::Around(at) => pages.around(pages.place_of(at)?, PAGE),
    };
    Ok(Some(lines(page?)))
}

/// Looks at the file from where the search begins to one end, and then from the other end on.
fn find(
    path: &Path,
    search: &Search,
    mut step: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> io::Result<Option<(u64, LogPage)>> {
    let Some(pages) = LogPages::open(path)? else {
        return Ok(None);
    };
    let length = pages.length()?;
    let from = search.from.min(length);
    let parts: [Range<u64>; 2] = match search.direction {
        Direction::Forward => [from..length, 0..from],
        Direction::Backward => [0..from, from..length],
    };
    let pattern = pattern(&search.sought);
    let (mut looked, mut over) = (0, false);
    for part in parts {
        let found = pages.find(&pattern, part, search.direction, |bytes| {
            looked += bytes;
            let flow = step(looked, length);
            over |= flow.is_break();
            flow
        })?;
        if let Some(begin) = found {
            return Ok(Some((begin, lines(pages.around(begin, PAGE)?))));
        }
        if over {
            break;
        }
    }
    Ok(None)
}

/// Letters of ASCII are found in either case, all others as they are: bytes are searched, whatever their encoding.
fn pattern(sought: &Sought) -> Regex {
    let text = match sought {
        Sought::Text(text) => regex::escape(text),
        Sought::Error => ERRORS.to_owned(),
    };
    let pattern = RegexBuilder::new(&text).case_insensitive(true).unicode(false).build();
    // Only a text too long to be typed makes a pattern that is too large; it is on no line.
    pattern.unwrap_or_else(|_| Regex::new("$.^").expect("a pattern that matches nothing"))
}

fn lines(page: Page) -> LogPage {
    let line = |(begin, entry): (u64, crate::execution::output::Entry)| LogLine {
        begin,
        at: entry.at,
        stream: entry.stream,
        partial: entry.partial,
        text: harmless(&entry.text),
    };
    LogPage {
        file: page.file,
        span: page.span,
        lines: page.entries.into_iter().map(line).collect(),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("could not read {}: {error}", path.display())
}

fn gone(path: &Path) -> String {
    format!("{} is not there any more", path.display())
}
