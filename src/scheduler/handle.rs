//! Commands to the scheduler, as methods.
//!
//! Each is a message to the loop, answered after its commit. The queue holds [`QUEUE`] of them; whoever comes then waits
//! for a place, which the loop frees within a commit's time. Dropping a call does not take it back.

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    desk::{Retried, Triggered},
    params::ParamError,
    retry::{Choice, NoRetry},
};
use crate::{
    core::id::{JobId, RunId},
    storage::StorageError,
};

/// How many commands may wait: more than a person sends, and few enough that a script in a loop is slowed down.
const QUEUE: usize = 64;

/// The scheduler, as seen by everybody else.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    condition: watch::Receiver<Option<String>>,
}

/// Which run to retry, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The run, which has ended.
    pub run: RunId,
    /// What of it.
    pub choice: Choice,
    /// Whether to start although a run of the job is going.
    pub ignore_overlap: bool,
    /// Whether only to say what it would do: then no run is made, and the id in the answer names none.
    pub dry_run: bool,
    /// Who asks.
    pub by: String,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No such job is active.
    #[error("there is no active job `{0}`")]
    UnknownJob(JobId),
    /// The parameters are wrong.
    #[error("job `{job}` cannot be started with these parameters: {}", list(.errors))]
    Params {
        /// The job.
        job: JobId,
        /// Everything that is wrong.
        errors: Vec<ParamError>,
    },
    /// The job's policy lets no other run start.
    #[error(
        "run {run} of job `{job}` is still going, and the job's overlap policy is `skip`: use --ignore-overlap to start another beside it"
    )]
    Overlap {
        /// The job.
        job: JobId,
        /// The run in the way.
        run: RunId,
    },
    /// There is no such run.
    #[error("there is no run `{0}`")]
    UnknownRun(RunId),
    /// The job of the run to retry is gone.
    #[error("run {run} cannot be retried: no version of its job `{job}` is active any more")]
    NotActive {
        /// The run.
        run: RunId,
        /// Its job.
        job: JobId,
    },
    /// What the run to retry was given does not suit its job any more.
    #[error("run {run} cannot be retried with its parameters: {}", list(.errors))]
    OldParams {
        /// The run.
        run: RunId,
        /// Everything that is wrong.
        errors: Vec<ParamError>,
    },
    /// There is nothing to retry.
    #[error(transparent)]
    NoRetry(NoRetry),
    /// Nothing is paused that could be resumed.
    #[error("{}", .0.as_ref().map_or("there is no pause of everything".to_owned(), |job| format!("job `{job}` is not paused by itself")))]
    NotPaused(Option<JobId>),
    /// The journal did not take it.
    #[error("could not record the command")]
    Storage(#[source] StorageError),
    /// The scheduler has stopped.
    #[error("the scheduler has stopped")]
    Stopped,
}

fn list(errors: &[ParamError]) -> String {
    let texts: Vec<String> = errors.iter().map(ParamError::to_string).collect();
    texts.join("; ")
}

type Answer<T> = oneshot::Sender<Result<T, CommandError>>;

/// What the loop is asked.
#[derive(Debug)]
pub(super) enum Command {
    Trigger {
        job: JobId,
        params: Map<String, Value>,
        ignore_overlap: bool,
        by: String,
        answer: Answer<Triggered>,
    },
    Retry {
        asked: Retry,
        answer: Answer<Retried>,
    },
    Pause {
        job: Option<JobId>,
        by: String,
        reason: Option<String>,
        answer: Answer<()>,
    },
    Resume {
        job: Option<JobId>,
        by: String,
        answer: Answer<()>,
    },
    Cancel {
        run: RunId,
        reason: String,
        answer: Answer<()>,
    },
    Stop,
}

/// The loop's end of a [`Handle`].
#[derive(Debug)]
pub(super) struct Desked {
    pub commands: mpsc::Receiver<Command>,
    /// What keeps the loop from recording what is due.
    pub condition: watch::Sender<Option<String>>,
}

impl Handle {
    pub(super) fn new() -> (Self, Desked) {
        let (commands, received) = mpsc::channel(QUEUE);
        let (set_condition, condition) = watch::channel(None);
        let desked = Desked {
            commands: received,
            condition: set_condition,
        };
        let handle = Self { commands, condition };
        (handle, desked)
    }

    /// Makes a run by hand. It works on a paused or disabled job, and says so in the answer's note.
    pub async fn trigger(
        &self,
        job: JobId,
        params: Map<String, Value>,
        ignore_overlap: bool,
        by: String,
    ) -> Result<Triggered, CommandError> {
        let command = |answer| Command::Trigger {
            job,
            params,
            ignore_overlap,
            by,
            answer,
        };
        self.ask(command).await
    }

    /// Makes a run that repeats one that has ended, as its job is today. Like [`Self::trigger`] it works on a paused or
    /// disabled job.
    pub async fn retry(&self, asked: Retry) -> Result<Retried, CommandError> {
        self.ask(|answer| Command::Retry { asked, answer }).await
    }

    /// Pauses a job, or everything: slots are recorded as skipped until it is resumed. Pausing again says who and why anew.
    pub async fn pause(&self, job: Option<JobId>, by: String, reason: Option<String>) -> Result<(), CommandError> {
        let command = |answer| Command::Pause {
            job,
            by,
            reason,
            answer,
        };
        self.ask(command).await
    }

    /// Ends a pause, without making up for anything.
    pub async fn resume(&self, job: Option<JobId>, by: String) -> Result<(), CommandError> {
        self.ask(|answer| Command::Resume { job, by, answer }).await
    }

    /// Ends a run: at once if it waits here, else by an order to the executor. One that has ended stays as it is.
    pub async fn cancel(&self, run: RunId, reason: String) -> Result<(), CommandError> {
        self.ask(|answer| Command::Cancel { run, reason, answer }).await
    }

    /// What keeps slots from being recorded and started, in words; it passes by itself when its cause does.
    pub fn condition(&self) -> Option<String> {
        self.condition.borrow().clone()
    }

    /// Has the loop end after what it is doing. What was claimed has been ordered by then.
    pub async fn stop(&self) {
        let _ = self.commands.send(Command::Stop).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, CommandError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(command(answer)).await;
        sent.map_err(|_| CommandError::Stopped)?;
        answered.await.map_err(|_| CommandError::Stopped)?
    }
}
