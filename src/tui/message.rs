//! What goes into the screens and what comes out: messages from the world, effects on it, and what is asked for and
//! loaded in between.

use crate::{
    control::{Live, RetryReply},
    core::id::{JobId, RunId, TaskId},
    view::{Answer, AttemptView, JobDetail, JobView, PickedRuns, RunView, StatusView},
};

use super::{
    lend::Errand,
    log::{LogNews, Part, Search},
    past::KeptView,
};

/// What happened to the screens.
#[derive(Debug, Clone)]
pub enum Message {
    /// A key was pressed.
    Key(crossterm::event::KeyEvent),
    /// The terminal has another size.
    Resize(u16, u16),
    /// Time passed.
    Tick,
    /// What was asked for arrived, or could not be had.
    Loaded(Want, Result<Loaded, String>),
    /// The daemon tells what happens from now on.
    Connected,
    /// The daemon is not there, or not any more.
    Lost(String),
    /// Something happened in the daemon.
    Live(Live),
    /// There is something to tell of a log.
    Log(LogId, LogNews),
    /// A log cannot be read.
    LogFailed(LogId, String),
    /// The daemon says what a retry of this run would do, or why there is none.
    RetryPlanned(RunId, Result<Box<RetryReply>, String>),
    /// The daemon obeyed, and this is what came of it, or it refused.
    Obeyed(Result<String, String>),
    /// The program that had the terminal ended, or could not do what it was for.
    Returned(Result<(), String>),
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Load this.
    Load(Want),
    /// Read this log as it grows, and no other.
    Follow(LogId),
    /// Read a part of this log.
    ReadLog(LogId, Part),
    /// Search this log, and no other.
    SearchLog(LogId, Search),
    /// Stop searching.
    StopSearch,
    /// Command the daemon.
    Order(Order),
    /// Write all rows of a query to the history into a new file.
    Export {
        /// The query.
        sql: String,
        /// The file's name, which says its form.
        file: String,
    },
    /// Keep a view.
    Keep(KeptView),
    /// Ask the daemon what a retry of this run would do.
    PlanRetry(RunId),
    /// Put this into the clipboard.
    Copy(String),
    /// Let another program have the terminal.
    Lend(Errand),
    /// Leave.
    Quit,
}

/// Something to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// The daemon at a glance.
    Status,
    /// All jobs.
    Jobs,
    /// The latest runs of all jobs.
    Runs,
    /// One job with its latest runs.
    Job(JobId),
    /// One run with its tasks.
    Run(RunId),
    /// The text of a job file.
    Source(String),
    /// What the history says.
    Answer {
        /// The question.
        question: &'static str,
        /// What to ask about.
        filter: String,
    },
    /// The runs of the history that a filter picks.
    Picked(String),
    /// The rows of a query to the history.
    Rows(String),
    /// The views that were kept.
    Views,
}

impl Want {
    /// Whether it is asked of the history, which no command changes.
    pub(super) fn is_of_the_past(&self) -> bool {
        match self {
            Self::Answer { .. } | Self::Picked(_) | Self::Rows(_) | Self::Views => true,
            Self::Status | Self::Jobs | Self::Runs | Self::Job(_) | Self::Run(_) | Self::Source(_) => false,
        }
    }
}

/// What was loaded.
#[derive(Debug, Clone)]
pub enum Loaded {
    /// For [`Want::Status`].
    Status(Box<StatusView>),
    /// For [`Want::Jobs`].
    Jobs(Vec<JobView>),
    /// For [`Want::Runs`].
    Runs(Vec<RunView>),
    /// For [`Want::Job`].
    Job(Box<JobDetail>, Vec<RunView>),
    /// For [`Want::Run`].
    Run(Box<RunView>),
    /// For [`Want::Source`].
    Source(String),
    /// For [`Want::Answer`].
    Answer(Answer),
    /// For [`Want::Picked`].
    Picked(PickedRuns),
    /// For [`Want::Rows`].
    Rows(Answer),
    /// For [`Want::Views`].
    Views(Vec<KeptView>),
}

/// A command for the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Run a job now.
    Trigger(JobId),
    /// Pause a job.
    Pause(JobId),
    /// End a job's pause.
    Resume(JobId),
    /// Cancel a run.
    Cancel(RunId),
    /// Run again what failed in a run.
    Retry(RunId),
    /// Look at the files.
    Sync,
    /// Carry out the removals that this plan holds.
    Approve(String),
}

/// Names the log of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogId {
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// Counts from 1.
    pub attempt: u32,
}

impl From<&AttemptView> for LogId {
    fn from(attempt: &AttemptView) -> Self {
        Self {
            run: attempt.run,
            task: attempt.task.clone(),
            attempt: attempt.attempt,
        }
    }
}
