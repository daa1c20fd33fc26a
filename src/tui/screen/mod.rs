//! What each screen holds, one file each: a function of the state that returns rows, and paints nothing.
//!
//! A screen is a list of sections, a section a small table with a title. The cursor walks over all rows of a screen; a row's
//! target says what Enter opens and what a command is about, and lets the cursor stay on the same thing when rows change.

mod difference;
mod file;
mod history;
mod job;
mod jobs;
mod live;
mod run;
mod runs;
mod sql;
mod sync;

use std::borrow::Cow;

use super::{
    look::{Sign, Tone},
    message::LogId,
    state::{Screen, State},
};
use crate::core::{
    Timestamp,
    id::{JobId, RunId, TaskId},
};
use crate::view::{LATEST, RunMark};

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A job.
    Job(JobId),
    /// A run of a job.
    Run {
        /// The run.
        run: RunId,
        /// Its job.
        job: JobId,
    },
    /// An attempt, with its log.
    Attempt(LogId),
    /// A task that was not attempted.
    Task(TaskId),
    /// A file of the folder of jobs.
    File(String),
    /// The screen Sync.
    Sync,
    /// A row of an answer.
    Ranked {
        /// Which.
        row: usize,
        /// The job that it is about, if it is about one.
        job: Option<JobId>,
    },
}

/// A table with a title.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// What stands above it.
    pub title: String,
    /// What its rows hold; without names there is no line of names.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Row>,
    /// What stands there instead of rows.
    pub empty: String,
    /// Whether rows of text go on below where the screen ends.
    pub wraps: bool,
    /// Whether its rows are the lines of a job's file, the first one first.
    pub is_source: bool,
    /// How many rows the filter hides.
    pub hidden: usize,
}

/// What stands in a column.
#[derive(Debug, Clone, Default)]
pub struct Column {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Columns of the highest rank go first when there is too little room; those of rank 0 stay.
    pub rank: u8,
    /// Whether it stands at the right.
    pub right: bool,
    /// Whether it takes the room that is left.
    pub grows: bool,
}

/// A row.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// What it is about, if about anything.
    pub target: Option<Target>,
    /// A cell for each column.
    pub cells: Vec<Cell>,
}

/// What stands in a cell.
#[derive(Debug, Clone)]
pub enum Cell {
    /// Texts one after the other.
    Text(Vec<(Tone, String)>),
    /// A bar over the column's width.
    Bar(Vec<Stretch>),
}

/// A part of a bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// Where it begins, from 0 to 1.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// What it is drawn with.
    pub sign: Sign,
    /// How it looks.
    pub tone: Tone,
}

/// The sections of the screen that is shown; those of a log are none, because its lines are no rows.
pub fn sections(state: &State, now: Timestamp) -> Vec<Section> {
    match state.screen {
        Screen::Live => live::sections(state, now),
        Screen::Jobs => jobs::sections(state, now),
        Screen::Job => job::sections(state, now),
        Screen::Run => run::sections(state, now),
        Screen::Log => Vec::new(),
        Screen::Sync => sync::sections(state, now),
        Screen::File => file::sections(state),
        Screen::History => history::sections(state, now),
        Screen::Runs => runs::sections(state, now),
        Screen::Sql => sql::sections(state, now),
    }
}

impl Section {
    fn new(title: impl Into<String>, columns: &[Column], empty: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            columns: columns.to_vec(),
            empty: empty.into(),
            ..Self::default()
        }
    }

    /// Lines of text below each other.
    fn lines(title: impl Into<String>, lines: impl IntoIterator<Item = Cell>) -> Self {
        let row = |cell| Row {
            target: None,
            cells: vec![cell],
        };
        Self {
            rows: lines.into_iter().map(row).collect(),
            wraps: true,
            ..Self::new(title, &[Column::grows("")], "")
        }
    }

    fn with(mut self, rows: impl IntoIterator<Item = Row>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// Hides the rows that do not contain a text in lower case.
    pub(super) fn narrow(&mut self, filter: &str) {
        if filter.is_empty() {
            return;
        }
        let before = self.rows.len();
        self.rows.retain(|row| row.text().to_lowercase().contains(filter));
        self.hidden = before - self.rows.len();
    }
}

impl Column {
    const fn new(name: &'static str, rank: u8) -> Self {
        Self {
            name: Cow::Borrowed(name),
            rank,
            right: false,
            grows: false,
        }
    }

    fn grows(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            rank: 0,
            right: false,
            grows: true,
        }
    }

    fn right(mut self) -> Self {
        self.right = true;
        self
    }
}

impl Row {
    fn new(target: Option<Target>, cells: impl IntoIterator<Item = Cell>) -> Self {
        Self {
            target,
            cells: cells.into_iter().collect(),
        }
    }

    pub(super) fn text(&self) -> String {
        let texts = self.cells.iter().flat_map(|cell| match cell {
            Cell::Text(spans) => spans.as_slice(),
            Cell::Bar(_) => &[],
        });
        texts.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(" ")
    }
}

impl Cell {
    fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self::Text(vec![(tone, text.into())])
    }

    fn muted(text: impl Into<String>) -> Self {
        Self::toned(Tone::Muted, text)
    }

    fn sign(state: &State, (sign, tone): (Sign, Tone)) -> Self {
        Self::toned(tone, state.look.sign(sign))
    }

    /// A name and what stands behind it, as in a form.
    fn field(name: &str, value: impl Into<String>) -> Self {
        Self::Text(vec![(Tone::Muted, format!("{name:<10} ")), (Tone::Plain, value.into())])
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(Tone::Plain, text)
    }
}

/// The sections as plain text: titles, then rows.
pub(super) fn plain(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        if !section.title.is_empty() {
            text.push_str(&format!("{}\n", section.title));
        }
        section
            .rows
            .iter()
            .for_each(|row| text.push_str(&format!("  {}\n", row.text())));
        if section.rows.is_empty() {
            text.push_str(&format!("  {}\n", section.empty));
        }
    }
    text
}

/// What a screen says while it has nothing to show yet.
fn pending(state: &State) -> String {
    match state.problem() {
        Some(problem) => format!("{problem}; `u` asks again"),
        None => "loading".to_owned(),
    }
}

/// Runs, which come newest first, as a strip of signs with the newest at the right: all strips of a column end at the same
/// place, so that the same time stands below itself as far as that is so.
fn marks(state: &State, runs: &[RunMark]) -> Cell {
    let missing = (LATEST as usize).saturating_sub(runs.len());
    let mut signs = vec![(Tone::Muted, " ".repeat(missing))];
    signs.extend(runs.iter().rev().map(|run| {
        let (sign, tone) = super::look::of_run(run.status);
        (tone, state.look.sign(sign).to_owned())
    }));
    Cell::Text(signs)
}
