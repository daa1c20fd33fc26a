//! What an attempt said, as it is looked at: a window of lines out of a file of any size, and a place among them.
//!
//! The window holds what is around the screen; what lies before and behind it is asked for as a [`Part`] when the screen
//! comes near its edge, so that a log of any size opens at once and takes bounded memory. Places are offsets in one file;
//! a log that outgrew its cap is another file under the same name, and then the line on top is found by its instant.
//! Lines come harmless from the reader. Long lines of a task come as several of these, each of which but the last says
//! that it is partial.

use std::{collections::VecDeque, ops::Range};

use super::{
    command::{Side, Step},
    message::LogId,
    text,
};
use crate::{
    core::Timestamp,
    execution::output::{Direction, FileKey, Stream},
};

/// How many lines a window has at most, and how long they are together; more only where the screen is larger.
const MOST_LINES: usize = 10_000;
const MOST_BYTES: u64 = 2 << 20;
/// So many screens are there before and behind the one that is shown, if the file has them.
const SCREENS_AROUND: usize = 2;
/// The columns of a line's time.
pub const TIME_WIDTH: usize = "12:00:00.000 ".len();
/// The columns of what marks its stream.
pub const MARK_WIDTH: usize = 2;
/// How far `h` and `l` scroll.
const SIDE_STEP: usize = 16;

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it begins in the file.
    pub begin: u64,
    /// When it ended.
    pub at: Timestamp,
    /// Where it was written to.
    pub stream: Stream,
    /// Whether the task's line goes on in a further one.
    pub partial: bool,
    /// What it says, harmless.
    pub text: String,
}

/// Lines that follow each other in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// Of which file.
    pub file: FileKey,
    /// Where they begin and end in it.
    pub span: Range<u64>,
    /// The lines.
    pub lines: Vec<LogLine>,
}

/// A part of a log that is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its first lines.
    Begin,
    /// Its last lines.
    End,
    /// Those that end here.
    Before(u64),
    /// Those that begin here.
    After(u64),
    /// Those around an instant.
    Around(Timestamp),
}

/// What a search looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// A text, in letters of either case.
    Text(String),
    /// Words that tell of an error.
    Error,
}

/// A search over the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// What for.
    pub sought: Sought,
    /// From where on: lines that begin here or behind it are looked at first going forward, and last going backward.
    pub from: u64,
    /// Which way. Behind the end it goes on at the other one.
    pub direction: Direction,
}

/// What there is to tell of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogNews {
    /// What was asked for.
    Part(Part, LogPage),
    /// The latest lines, and how many came since the last time, which may be more than these.
    Grown(LogPage, u64),
    /// How far a search is: so many bytes of so many.
    Searching(Search, u64, u64),
    /// What it found: a line, with others around it.
    Found(Search, Option<(u64, LogPage)>),
}

/// A search that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searching {
    /// What for.
    pub search: Search,
    /// How much of the file it has looked at, in percent.
    pub percent: u64,
}

/// How much room there is for lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Columns of a line's text.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// A row of a line in the window; a line that is wrapped has several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Which line of the window.
    pub line: usize,
    /// Which of its rows.
    pub row: usize,
}

/// The log that is open.
#[derive(Debug, Clone, Default)]
pub struct LogView {
    /// Which.
    pub of: Option<LogId>,
    /// The lines of the window.
    pub lines: VecDeque<LogLine>,
    /// Where the window begins and ends in the file.
    pub span: Range<u64>,
    /// Where the file ends, as far as is known.
    pub end: u64,
    /// The first row on the screen, while the end is not followed.
    pub top: Spot,
    /// Whether the end is not followed.
    pub paused: bool,
    /// How many lines came since then.
    pub unseen: u64,
    /// How many columns are scrolled away.
    pub left: usize,
    /// Whether times are shown.
    pub times: bool,
    /// Whether long lines go on below.
    pub wrap: bool,
    /// What is searched for.
    pub search: String,
    /// Where the line begins that the search stands on.
    pub found: Option<u64>,
    /// A search that goes on.
    pub searching: Option<Searching>,
    /// Whether it is to be shown at its first error once it is there.
    pub error_first: bool,
    /// Why it cannot be read.
    pub problem: Option<String>,
    /// The file of the window.
    file: Option<FileKey>,
    /// The file that bears the log's name.
    latest: Option<FileKey>,
    /// A part that is on its way.
    asked: Option<Part>,
}

impl LogView {
    /// An empty view of another log, with the habits of the one before.
    pub fn open(&mut self, of: LogId) {
        self.close();
        self.of = Some(of);
    }

    /// Lets go what is open.
    pub fn close(&mut self) {
        *self = Self {
            times: self.times,
            wrap: self.wrap,
            search: std::mem::take(&mut self.search),
            ..Self::default()
        };
    }

    /// Takes the latest lines.
    pub fn grow(&mut self, page: LogPage, count: u64, room: Room) {
        let same = self.file == Some(page.file);
        self.latest = Some(page.file);
        self.end = page.span.end;
        if self.paused {
            self.unseen += count;
            if self.file.is_none() {
                self.replace(page);
            } else if !same {
                // The places in the window mean nothing any more.
                self.asked = None;
            } else if page.span.start == self.span.end && !self.is_large() {
                self.append(page);
            }
            return;
        }
        if same && page.span.start == self.span.end {
            self.append(page);
        } else {
            self.replace(page);
        }
        let rows = room.height * (2 * SCREENS_AROUND + 1);
        while self.is_large() && self.lines.len() > rows {
            self.drop_first();
        }
    }

    /// Takes a part that was asked for; one that nobody waits for any more is let go.
    pub fn take(&mut self, part: Part, page: LogPage, room: Room) {
        if self.asked != Some(part) {
            return;
        }
        self.asked = None;
        let same = self.file == Some(page.file);
        match part {
            Part::Begin => {
                self.replace(page);
                self.pause_at(Spot::default());
            }
            Part::End => self.replace(page),
            Part::Around(at) => {
                self.replace(page);
                let line = self.lines.partition_point(|line| line.at < at);
                self.top = Spot {
                    line,
                    row: self.top.row,
                };
            }
            Part::Before(_) if same => {
                self.span.start = page.span.start;
                self.top.line += page.lines.len();
                for line in page.lines.into_iter().rev() {
                    self.lines.push_front(line);
                }
                let kept = self.spot(room).line + room.height * (SCREENS_AROUND + 1);
                while self.is_large() && self.lines.len() > kept {
                    self.drop_last();
                }
            }
            Part::After(_) if same => {
                self.append(page);
                while self.is_large() && self.top.line > room.height * SCREENS_AROUND {
                    self.drop_first();
                }
            }
            // The file was replaced meanwhile; what is needed now is asked for by the next look.
            Part::Before(_) | Part::After(_) => {}
        }
    }

    /// What has to be read for a screen of this size, if it is not on its way.
    pub fn needs(&mut self, room: Room) -> Option<Part> {
        if self.asked.is_some() || self.of.is_none() || self.file.is_none() {
            return None;
        }
        let spot = self.spot(room);
        let around = room.height * SCREENS_AROUND;
        let replaced = self.latest.is_some() && self.latest != self.file;
        let part = if replaced {
            let top = self.lines.get(spot.line).map(|line| line.at);
            top.filter(|_| self.paused).map_or(Part::End, Part::Around)
        } else if spot.line < around && self.span.start > 0 {
            Part::Before(self.span.start)
        } else if self.paused && self.lines.len() < spot.line + room.height + around && self.span.end < self.end {
            Part::After(self.span.end)
        } else {
            return None;
        };
        self.asked = Some(part);
        Some(part)
    }

    /// The first row on the screen.
    pub fn spot(&self, room: Room) -> Spot {
        let behind = Spot {
            line: self.lines.len(),
            row: 0,
        };
        let last = self.walk(behind, -offset(room.height), room);
        if self.paused { self.top.min(last) } else { last }
    }

    /// Scrolls; at the end the log is followed again, but only if `Last` asked for the end. What has to be read first is
    /// returned.
    pub fn scroll(&mut self, step: Step, room: Room) -> Option<Part> {
        let spot = self.spot(room);
        let page = offset(room.height.max(2) - 1);
        let spot = match step {
            Step::Up => self.walk(spot, -1, room),
            Step::Down => self.walk(spot, 1, room),
            Step::PageUp => self.walk(spot, -page, room),
            Step::PageDown => self.walk(spot, page, room),
            Step::First if self.span.start > 0 => return self.ask(Part::Begin),
            Step::First => Spot::default(),
            Step::Last => return self.follow(),
        };
        self.pause_at(spot);
        self.top = self.spot(room);
        None
    }

    /// Scrolls sideways.
    pub fn sideways(&mut self, side: Side) {
        self.left = match side {
            Side::Left => self.left.saturating_sub(SIDE_STEP),
            Side::Right => self.left + SIDE_STEP,
        };
    }

    /// Follows the end, which may have to be read.
    pub fn follow(&mut self) -> Option<Part> {
        self.paused = false;
        self.unseen = 0;
        if self.span.end < self.end {
            self.ask(Part::End)
        } else {
            None
        }
    }

    /// Stays at a row.
    pub fn pause_at(&mut self, top: Spot) {
        if !self.paused {
            self.paused = true;
            self.unseen = 0;
        }
        self.top = top;
    }

    /// The search for the next line that contains the text, or the one before; around the ends.
    pub fn search(&self, direction: Direction, room: Room) -> Search {
        let top = self.lines.get(self.spot(room).line).map_or(0, |line| line.begin);
        let from = match (self.found, direction) {
            // The line that the search stands on comes last.
            (Some(found), Direction::Forward) => found + 1,
            (Some(found), Direction::Backward) => found,
            (None, Direction::Forward | Direction::Backward) => top,
        };
        Search {
            sought: Sought::Text(self.search.clone()),
            from,
            direction,
        }
    }

    /// Notes that a search goes on.
    pub fn begin_search(&mut self, search: Search) {
        self.searching = Some(Searching { search, percent: 0 });
    }

    /// Notes how far a search is.
    pub fn progress(&mut self, search: &Search, looked: u64, of: u64) {
        if let Some(searching) = self.searching.as_mut().filter(|searching| searching.search == *search) {
            searching.percent = (looked * 100).checked_div(of).unwrap_or(0).min(100);
        }
    }

    /// Takes what a search found; false if nothing was. Of one that was given up nothing is taken.
    pub fn take_found(&mut self, search: &Search, found: Option<(u64, LogPage)>, room: Room) -> Option<bool> {
        self.searching.take_if(|searching| searching.search == *search)?;
        let Some((begin, page)) = found else {
            return Some(false);
        };
        // Where the line stands in the window already, the screen need not jump to another one.
        if self.file != Some(page.file) || !self.span.contains(&begin) {
            self.replace(page);
        }
        self.asked = None;
        self.found = Some(begin);
        let line = self.lines.partition_point(|line| line.begin < begin);
        let middle = self.walk(Spot { line, row: 0 }, -offset(room.height / 2), room);
        self.pause_at(middle);
        Some(true)
    }

    /// The line that stands out: the one the search found if it is on the screen, else the first one there.
    pub fn line_in_view(&self, room: Room) -> Option<&LogLine> {
        let top = self.spot(room).line;
        let on_screen = || self.lines.iter().skip(top).take(room.height);
        let found = on_screen().find(|line| Some(line.begin) == self.found);
        found.or_else(|| on_screen().next())
    }

    /// How far down the file the screen is, in percent.
    pub fn percent(&self, room: Room) -> u64 {
        let begin = self.lines.get(self.spot(room).line).map_or(0, |line| line.begin);
        (begin * 100).checked_div(self.end).unwrap_or(100)
    }

    /// How many rows a line takes.
    pub fn rows(&self, line: &LogLine, room: Room) -> usize {
        // No text takes more columns than bytes, so most are not looked at.
        if !self.wrap || line.text.len() <= room.width {
            return 1;
        }
        text::wrap(&text::clean(&line.text), room.width.max(1)).len()
    }

    /// So many rows further down, or up.
    fn walk(&self, from: Spot, by: isize, room: Room) -> Spot {
        let mut at = from;
        for _ in 0..by.unsigned_abs() {
            if by > 0 {
                let Some(line) = self.lines.get(at.line) else { break };
                if at.row + 1 < self.rows(line, room) {
                    at.row += 1;
                } else {
                    at = Spot {
                        line: at.line + 1,
                        row: 0,
                    };
                }
            } else if at.row > 0 {
                at.row -= 1;
            } else {
                let Some(before) = at.line.checked_sub(1) else { break };
                let rows = self.lines.get(before).map_or(1, |line| self.rows(line, room));
                at = Spot {
                    line: before,
                    row: rows - 1,
                };
            }
        }
        at
    }

    /// Asks for a part, whatever else is on its way.
    fn ask(&mut self, part: Part) -> Option<Part> {
        self.asked = Some(part);
        Some(part)
    }

    fn replace(&mut self, page: LogPage) {
        self.end = self.end.max(page.span.end);
        if self.file != Some(page.file) {
            self.end = page.span.end;
            self.found = None;
        }
        self.file = Some(page.file);
        self.span = page.span;
        self.lines = page.lines.into();
    }

    fn append(&mut self, page: LogPage) {
        self.end = self.end.max(page.span.end);
        self.span.end = page.span.end;
        self.lines.extend(page.lines);
    }

    fn is_large(&self) -> bool {
        self.lines.len() > MOST_LINES || self.span.end - self.span.start > MOST_BYTES
    }

    fn drop_first(&mut self) {
        self.lines.pop_front();
        self.top.line = self.top.line.saturating_sub(1);
        self.span.start = self.lines.front().map_or(self.span.end, |line| line.begin);
    }

    fn drop_last(&mut self) {
        if let Some(line) = self.lines.pop_back() {
            self.span.end = line.begin;
        }
    }
}

fn offset(rows: usize) -> isize {
    isize::try_from(rows).unwrap_or(isize::MAX)
}
