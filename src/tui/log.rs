//! What an attempt said, as it is read: lines in memory, a place among them, and a search.
//!
//! Lines come harmless from the reader. Only the last [`MOST_LINES`] are kept, so that a log of any size takes bounded
//! memory; drawing looks at no more lines than fit on the screen.

use std::collections::VecDeque;

use super::{
    command::{Side, Step},
    state::LogId,
};
use crate::{core::Timestamp, execution::output::Stream};

/// How many lines are kept.
pub const MOST_LINES: usize = 100_000;

/// How far `h` and `l` scroll.
const SIDE_STEP: usize = 16;

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it ended.
    pub at: Timestamp,
    /// Where it was written to.
    pub stream: Stream,
    /// What it says, harmless.
    pub text: String,
}

/// The log that is open.
#[derive(Debug, Clone, Default)]
pub struct LogView {
    /// Which.
    pub of: Option<LogId>,
    /// Its last lines.
    pub lines: VecDeque<LogLine>,
    /// How many lines before these were let go.
    pub dropped: usize,
    /// The first line on the screen, while the end is not followed.
    pub top: usize,
    /// Whether the end is not followed.
    pub paused: bool,
    /// How many lines came since then.
    pub unseen: usize,
    /// How many columns are scrolled away.
    pub left: usize,
    /// Whether times are shown.
    pub times: bool,
    /// What is searched for.
    pub search: String,
    /// The line that the search stands on.
    pub found: Option<usize>,
    /// Why it cannot be read.
    pub problem: Option<String>,
}

impl LogView {
    /// An empty view of another log, with the habits of the one before.
    pub fn open(&mut self, of: LogId) {
        *self = Self {
            of: Some(of),
            times: self.times,
            search: std::mem::take(&mut self.search),
            ..Self::default()
        };
    }

    /// Takes new lines.
    pub fn extend(&mut self, lines: Vec<LogLine>) {
        if self.paused {
            self.unseen += lines.len();
        }
        self.lines.extend(lines);
        let excess = self.lines.len().saturating_sub(MOST_LINES);
        self.lines.drain(..excess);
        self.dropped += excess;
        self.top = self.top.saturating_sub(excess);
        self.found = self.found.and_then(|line| line.checked_sub(excess));
    }

    /// The first line on a screen of this height.
    pub fn first(&self, height: usize) -> usize {
        let last = self.lines.len().saturating_sub(height);
        if self.paused { self.top.min(last) } else { last }
    }

    /// Scrolls; at the end the log is followed again, but only if `Last` asked for the end.
    pub fn scroll(&mut self, step: Step, height: usize) {
        let top = self.first(height);
        let page = height.max(2) - 1;
        let top = match step {
            Step::Up => top.saturating_sub(1),
            Step::Down => top + 1,
            Step::PageUp => top.saturating_sub(page),
            Step::PageDown => top + page,
            Step::First => 0,
            Step::Last => return self.follow(),
        };
        self.pause_at(top.min(self.lines.len().saturating_sub(height)));
    }

    /// Scrolls sideways.
    pub fn sideways(&mut self, side: Side) {
        self.left = match side {
            Side::Left => self.left.saturating_sub(SIDE_STEP),
            Side::Right => self.left + SIDE_STEP,
        };
    }

    /// Follows the end.
    pub fn follow(&mut self) {
        self.paused = false;
        self.unseen = 0;
    }

    /// Stays at a line.
    pub fn pause_at(&mut self, top: usize) {
        if !self.paused {
            self.paused = true;
            self.unseen = 0;
        }
        self.top = top;
    }

    /// Goes to the next line, or the one before, that contains the search, around the end; false if none does.
    pub fn find(&mut self, forward: bool, height: usize) -> bool {
        let needle = self.search.to_lowercase();
        let count = self.lines.len();
        let from = self.found.unwrap_or_else(|| self.first(height));
        let matches = |line: &usize| self.lines[*line].text.to_lowercase().contains(&needle);
        // The line that the search stands on comes last, and first if it stands on none yet.
        let skip = usize::from(self.found.is_some());
        let mut around = (skip..count + skip).map(|step| match forward {
            true => (from + step) % count,
            false => (from + 2 * count - step) % count,
        });
        let found = around.find(matches);
        self.show(found, height)
    }

    /// Goes to the first line that looks like an error; false if none does.
    pub fn first_error(&mut self, height: usize) -> bool {
        const WORDS: [&str; 5] = ["error", "fatal", "panic", "exception", "traceback"];
        let found = self.lines.iter().position(|line| {
            let text = line.text.to_lowercase();
            WORDS.iter().any(|word| text.contains(word))
        });
        self.show(found, height)
    }

    fn show(&mut self, line: Option<usize>, height: usize) -> bool {
        let Some(line) = line else { return false };
        self.found = Some(line);
        self.pause_at(line.saturating_sub(height / 2));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<LogLine> {
        let line = |n| LogLine {
            at: Timestamp::UNIX_EPOCH,
            stream: Stream::Stdout,
            text: format!("line {n}"),
        };
        (0..count).map(line).collect()
    }

    fn open(count: usize) -> LogView {
        let mut view = LogView::default();
        view.extend(lines(count));
        view
    }

    #[test]
    fn the_end_is_followed_until_somebody_scrolls() {
        let mut view = open(100);
        assert_eq!(view.first(10), 90);
        view.scroll(Step::Up, 10);
        view.extend(lines(7));
        assert_eq!((view.first(10), view.unseen), (89, 7));
        view.scroll(Step::Last, 10);
        assert_eq!((view.first(10), view.unseen), (97, 0));
    }

    #[test]
    fn a_long_log_keeps_its_end_and_the_place_in_it() {
        let mut view = open(MOST_LINES);
        view.pause_at(500);
        view.extend(lines(100));
        assert_eq!((view.lines.len(), view.dropped, view.top), (MOST_LINES, 100, 400));
    }

    #[test]
    fn a_search_goes_round_in_both_directions() {
        let mut view = open(30);
        view.search = "LINE 2".to_owned();
        let mut found = |forward| {
            assert!(view.find(forward, 10));
            view.found
        };
        // It begins at the first line on the screen, which is line 20.
        let forth = [found(true), found(true)];
        assert_eq!(forth, [Some(20), Some(21)]);
        let back = [found(false), found(false), found(false)];
        assert_eq!(back, [Some(20), Some(2), Some(29)]);
        view.search = "nowhere".to_owned();
        assert!(!view.find(true, 10));
        assert!(!LogView::default().find(true, 10));
    }

    #[test]
    fn the_first_error_is_found_by_its_words() {
        let mut view = open(30);
        assert!(!view.first_error(10));
        view.lines[12].text = "thread 'main' PANICKED".to_owned();
        assert!(view.first_error(10));
        assert_eq!((view.found, view.first(10)), (Some(12), 7));
    }
}
