//! The journal: what is going on, kept through crashes.
//!
//! Rooms decide and return [`Change`]s; a [`Storage`] commits a list of them as one transaction, or none of them. Facts for
//! the history come out of the same transaction. The rules by which runs, tasks and slots move on are elsewhere: this room
//! keeps what it is told. It refuses only what would make the journal contradict itself: a second row for a slot, a run or
//! an attempt, a change of a row that is not there, and a change of what has ended.
//!
//! What a change does to the rows, and which fact it is, stands once, in `apply`. Two backends hold the rows and pass one
//! test suite: [`Memory`] for tests and library users, [`Sqlite`] for the daemon. Both keep instants to the microsecond and
//! cut off what is finer, so that what works with one works with the other.

mod apply;
mod glance;
mod memory;
mod precision;
mod prune;
mod sqlite;
#[cfg(test)]
mod suite;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::TimeDelta;
pub use glance::{Beside, RunGlance, Tally, TaskGlance};
pub use memory::Memory;
pub use prune::{Elsewhere, Forget, JournalSize, Prunable, PruneRule, PrunedTo};
pub use sqlite::{Lost, Salvage, SavedTable, Sqlite};
use tokio::sync::oneshot;

use crate::{
    core::{
        Timestamp,
        ending::Ending,
        id::{JobId, RunId, SpecHash, TaskId},
        pattern::Pattern,
        record::{
            ActiveRecord, AttemptRecord, PauseRecord, PoolsRecord, ReconcileRecord, RemovedRecord, RunRecord,
            SlotRecord, SpecRecord, StretchRecord, SupersedeRecord, TaskRecord,
        },
        revision::RevisionPick,
        state::{RunStatus, SlotOutcome, SlotReason, Trigger},
    },
    events::Fact,
};

/// The clock by which facts are dated. Only their date comes from it; every other instant is in the changes.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// One change of the journal.
///
/// What has ended stays as it is: a change of a decided slot, an ended run or attempt, or a finished task is answered with
/// [`StorageError::Missing`], so that each ending is one fact and no more.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Keeps a version of a job; one that is already kept stays as it is. A new one is a fact.
    PutSpec(SpecRecord),
    /// Makes a version of a job the active one, in place of the one that was. The version must be kept.
    SetActive(ActiveRecord),
    /// Takes a job out of the active set, if it is there. Its runs, slots and watermark stay, and its last version is
    /// kept among the removed until it is active again.
    RemoveActive(JobId),
    /// Says which jobs the prune guard holds, in place of those that it held.
    SetHeld(Vec<JobId>),
    /// Records a reconcile. A fact.
    Reconcile(ReconcileRecord),
    /// Records a new slot, claimed (`outcome: None`) or decided at once. Fails if it is recorded already, and nothing
    /// of the transaction takes place. Decided, it is a fact.
    PutSlot(SlotRecord),
    /// Takes back the claim of a slot whose run has not begun: slot and run are gone as if they had never been.
    Unclaim {
        /// The job.
        job: JobId,
        /// The slot.
        at: Timestamp,
    },
    /// Decides a claimed slot. A fact.
    DecideSlot {
        /// The job.
        job: JobId,
        /// The slot.
        at: Timestamp,
        /// What became of it.
        outcome: SlotOutcome,
        /// Why it did not run as scheduled.
        reason: Option<SlotReason>,
        /// The reason in words.
        detail: Option<String>,
        /// When that was decided.
        decided_at: Timestamp,
    },
    /// Records slots in a row that share an outcome. A fact.
    PutStretch(StretchRecord),
    /// Every slot of the job up to this instant is recorded. Moves back only when slots are superseded.
    SetWatermark {
        /// The job.
        job: JobId,
        /// The instant.
        at: Timestamp,
    },
    /// Voids what is recorded of a job's slots after an instant, because the clock was put back: decided slots that did not
    /// run, and every stretch that reaches beyond it, are gone, and the watermark is back at that instant. Slots that ran
    /// stay, and so do those that are claimed. A fact.
    Supersede(SupersedeRecord),
    /// Records a new run, with its tasks as they stand at the beginning. The version it runs must be kept.
    CreateRun {
        /// The run.
        run: RunRecord,
        /// Its tasks.
        tasks: Vec<TaskRecord>,
    },
    /// A run's first task was granted: it runs, and waits for nothing. A second start keeps the first instant.
    StartRun {
        /// The run.
        run: RunId,
        /// When.
        at: Timestamp,
    },
    /// Says why a run waits.
    NoteRun {
        /// The run.
        run: RunId,
        /// Why.
        reason: Option<String>,
    },
    /// A run ended. A fact.
    EndRun {
        /// The run.
        run: RunId,
        /// How.
        status: RunStatus,
        /// When.
        at: Timestamp,
        /// Why, in words.
        reason: Option<String>,
    },
    /// A task of a run changed. A finished one is a fact.
    SetTask(TaskRecord),
    /// An attempt of a task is about to start: committed before its process exists.
    LaunchAttempt(AttemptRecord),
    /// An attempt runs.
    StartAttempt {
        /// The run.
        run: RunId,
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: u32,
        /// When it started.
        at: Timestamp,
        /// Its process, if it is one of its own.
        pid: Option<u32>,
        /// Its start time in ticks since boot.
        pid_start: Option<u64>,
    },
    /// An attempt ended: the whole row, which is new if nothing was launched. A fact.
    EndAttempt(AttemptRecord),
    /// Pauses a job, or everything, in place of an earlier pause of the same.
    Pause(PauseRecord),
    /// Ends a pause, if there is one.
    Resume(Option<JobId>),
    /// Records how large pools are from now on. No row of the journal's own, but a fact.
    Pools(PoolsRecord),
    /// Lets rows go that nobody needs any more. No fact: it says nothing of what happened.
    Forget(Forget),
}

/// A stored fact, with its number in the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberedFact {
    /// Grows by one with each fact of this journal.
    pub number: i64,
    /// When it was committed, by the clock of that moment. The order of facts is that of their numbers.
    pub at: Timestamp,
    /// What happened.
    pub fact: Fact,
}

/// A run with everything known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunDetail {
    /// The run.
    pub run: RunRecord,
    /// Its tasks, in the order of the job's file.
    pub tasks: Vec<TaskRecord>,
    /// Their attempts, in the order in which they began.
    pub attempts: Vec<AttemptRecord>,
}

/// Which runs to list; an empty filter lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only of this job.
    pub job: Option<JobId>,
    /// Only of jobs with one of these names, if any are given.
    pub jobs: Vec<Pattern>,
    /// Only with a task of one of these names, if any are given.
    pub tasks: Vec<Pattern>,
    /// Only with one of these statuses, if any are given.
    pub statuses: Vec<RunStatus>,
    /// Only with one of these triggers, if any are given.
    pub triggers: Vec<Trigger>,
    /// Only of one of these versions of their job, if any are given.
    pub revisions: Vec<RevisionPick>,
    /// Only created at or after.
    pub since: Option<Timestamp>,
    /// Only created before.
    pub until: Option<Timestamp>,
    /// Only those that repeat this run.
    pub retry_of: Option<RunId>,
    /// At most so many, the newest first.
    pub limit: Option<u32>,
}

/// The latest finished runs of a job, by the time of their end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LatestRuns {
    /// The latest that finished, however.
    pub finished: Option<RunRecord>,
    /// The latest that succeeded.
    pub succeeded: Option<RunRecord>,
    /// The latest, finished or not, that the success of other jobs made: the one that was recorded last, whatever the clock
    /// showed. Its claim to what it consumed must hold even when the clock was put back before it.
    pub by_dependency: Option<RunRecord>,
}

/// Why the journal could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// The slot is recorded already; nothing was changed.
    #[error("the slot of `{job}` at {at} is recorded already")]
    SlotTaken {
        /// The job.
        job: JobId,
        /// The slot.
        at: Timestamp,
    },
    /// A run, a task or an attempt is recorded already; nothing was changed.
    #[error("{what} is recorded already")]
    Exists {
        /// What was to be new.
        what: String,
    },
    /// A change names a row that does not exist, or that has ended; nothing was changed.
    #[error("{what} is not in the journal")]
    Missing {
        /// What was looked for.
        what: String,
    },
    /// The file was written by a newer version of Petit.
    #[error("the journal {} has format {found}, this version of Petit knows up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// The file was written by an older version of Petit and is open for reading only.
    #[error(
        "the journal {} has format {found}, this version of Petit reads {known}: start the daemon once to bring it up to date",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The one that is known.
        known: i64,
    },
    /// The system refused, before the database was asked.
    #[error("could not {operation} the journal {}", path.display())]
    System {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The database refused.
    #[error("could not {operation} the journal {}", path.display())]
    Database {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// A row does not read as what it should be.
    #[error("the journal {} holds a row of {table} that cannot be read: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The writer has stopped, because the daemon is shutting down, or the journal was opened for reading only.
    #[error("the journal is closed")]
    Closed,
}

impl StorageError {
    pub(crate) fn database(operation: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        Self::Database {
            operation,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn system(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::System {
            operation,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    /// Whether the same commit may succeed later, when a disk has space again or a lock is gone.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Database { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    rusqlite::ErrorCode::DiskFull
                        | rusqlite::ErrorCode::SystemIoFailure
                        | rusqlite::ErrorCode::DatabaseBusy
                        | rusqlite::ErrorCode::DatabaseLocked
                        | rusqlite::ErrorCode::CannotOpen
                        | rusqlite::ErrorCode::OutOfMemory
                )
            ),
            Self::SlotTaken { .. }
            | Self::Exists { .. }
            | Self::Missing { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::System { .. }
            | Self::Damaged { .. }
            | Self::Closed => false,
        }
    }
}

/// The answer to a commit: resolves once the changes are on disk, or none of them is.
#[derive(Debug)]
pub struct Ack(oneshot::Receiver<Result<(), StorageError>>);

impl Ack {
    /// An answer to come, and the end that gives it.
    pub(crate) fn new() -> (oneshot::Sender<Result<(), StorageError>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }

    /// Waits for the answer. Dropping the wait does not undo the commit.
    pub async fn wait(self) -> Result<(), StorageError> {
        self.0.await.unwrap_or(Err(StorageError::Closed))
    }

    /// Waits for the answer on a thread that may block.
    pub fn wait_blocking(self) -> Result<(), StorageError> {
        self.0.blocking_recv().unwrap_or(Err(StorageError::Closed))
    }
}

/// A journal. Reads block for a moment (below a millisecond for SQLite) and see every commit that was acknowledged.
pub trait Storage: Send + Sync {
    /// Commits all of `changes`, in their order, as one transaction. Commits take effect in the order of these calls.
    fn commit(&self, changes: Vec<Change>) -> Ack;

    /// The journal's own id, made when it was created.
    fn journal_id(&self) -> Result<String, StorageError>;
    /// The journals that this one goes on from, because they were damaged: the id of each, empty if it could not be read,
    /// and the last of its facts that are here, under the same numbers.
    fn continues(&self) -> Result<Vec<(String, i64)>, StorageError> {
        Ok(Vec::new())
    }
    /// The active set, by job.
    fn active(&self) -> Result<Vec<ActiveRecord>, StorageError>;
    /// The jobs that were active once and are not now, by job.
    fn removed(&self) -> Result<Vec<RemovedRecord>, StorageError>;
    /// The jobs that the prune guard holds, in order.
    fn held(&self) -> Result<Vec<JobId>, StorageError>;
    /// A version of a job.
    fn spec(&self, hash: &SpecHash) -> Result<Option<SpecRecord>, StorageError>;
    /// All pauses.
    fn pauses(&self) -> Result<Vec<PauseRecord>, StorageError>;
    /// Up to when each job's slots are recorded.
    fn watermarks(&self) -> Result<Vec<(JobId, Timestamp)>, StorageError>;
    /// One run, whole.
    fn run(&self, run: RunId) -> Result<Option<RunDetail>, StorageError>;
    /// The runs that match, newest first.
    fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, StorageError>;
    /// The latest `most` runs of each of these jobs: in the order of the jobs, and of each the newest first.
    fn latest_of_each(&self, jobs: &[JobId], most: u32) -> Result<Vec<RunGlance>, StorageError>;
    /// The tasks of the latest `most` runs of a job: the newest run first, its tasks in the order of the file.
    fn latest_tasks(&self, job: &JobId, most: u32) -> Result<Vec<TaskGlance>, StorageError>;
    /// The neighbours of a run among those of its job.
    fn beside(&self, run: &RunRecord) -> Result<Beside, StorageError>;
    /// How the runs stand that were created since an instant, counted for stretches of this length.
    fn tally(&self, since: Timestamp, stretch: TimeDelta) -> Result<Vec<Tally>, StorageError>;
    /// Every run that has not ended, whole, oldest first.
    fn unfinished(&self) -> Result<Vec<RunDetail>, StorageError>;
    /// The latest finished runs of a job.
    fn latest(&self, job: &JobId) -> Result<LatestRuns, StorageError>;
    /// The slots of a job from one instant to another, both included, in order.
    fn slots(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<SlotRecord>, StorageError>;
    /// Every slot that is claimed and undecided.
    fn claimed(&self) -> Result<Vec<SlotRecord>, StorageError>;
    /// Every slot that is recorded beyond its job's watermark: it ran before the clock was put back.
    fn beyond_watermark(&self) -> Result<Vec<(JobId, Timestamp)>, StorageError>;
    /// The stretches of a job that overlap from one instant to another, both included, in order.
    fn stretches(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<StretchRecord>, StorageError>;
    /// The latest reconciles, newest first.
    fn reconciles(&self, limit: u32) -> Result<Vec<ReconcileRecord>, StorageError>;
    /// Facts with a number above `after`, in order, at most `limit` of them.
    fn facts(&self, after: i64, limit: u32) -> Result<Vec<NumberedFact>, StorageError>;

    /// What may leave by a rule. It goes with the commits of [`Prunable::steps`]. A journal that keeps everything finds
    /// nothing.
    fn prunable(&self, _: &PruneRule) -> Result<Prunable, StorageError> {
        Ok(Prunable::default())
    }
    /// Up to when rows have left.
    fn pruned_to(&self) -> Result<PrunedTo, StorageError> {
        Ok(PrunedTo::default())
    }
    /// How much room the journal takes on a disk; nothing, if it is on none.
    fn size(&self) -> Result<JournalSize, StorageError> {
        Ok(JournalSize::default())
    }
}

/// The columns in which an [`Ending`] is kept.
pub(crate) fn ending_parts(ending: Option<Ending>) -> (Option<&'static str>, Option<i32>, Option<i32>) {
    (
        ending.map(Ending::name),
        ending.and_then(Ending::exit_code),
        ending.and_then(Ending::signal),
    )
}
