//! What the journal remembers: the rows that the rooms hand to `storage`, and read back from it.
//!
//! A record is plain data with public fields, because it crosses every wall: written by one room, stored by another, shown
//! by a third. Field names are those of the JSON and SQL interfaces.

use std::{collections::BTreeMap, fmt};

use chrono::SecondsFormat;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Timestamp,
    ending::Ending,
    id::{JobId, RunId, SpecHash, TaskId},
    job::Job,
    state::{RunStatus, SlotOutcome, SlotReason, TaskState, Trigger},
};

/// One version of a job, kept as long as a run or the active set refers to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpecRecord {
    /// The hash of `canonical`.
    pub hash: SpecHash,
    /// The job.
    pub job: JobId,
    /// The spec as JSON with sorted keys and defaults left out, from which the job is built again.
    pub canonical: String,
    /// The text of the file as the user wrote it.
    pub yaml: String,
    /// When this version was first applied.
    pub first_seen: Timestamp,
}

impl SpecRecord {
    /// This version of a job, with the text that it was read from.
    pub fn of(job: &Job, yaml: String, first_seen: Timestamp) -> Self {
        Self {
            hash: job.hash.clone(),
            job: job.id.clone(),
            canonical: job.spec.canonical(),
            yaml,
            first_seen,
        }
    }
}

/// A job of the active set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActiveRecord {
    /// The job.
    pub job: JobId,
    /// Its file, relative to the folder of jobs.
    pub file: String,
    /// The version that is active.
    pub spec_hash: SpecHash,
    /// Grows by one with each version that is applied.
    pub generation: u64,
    /// When this version was applied.
    pub applied_at: Timestamp,
    /// The instant from which `every` counts; kept by edits that leave the schedule alone.
    pub anchor: Timestamp,
    /// From when slots count: the last change of the schedule, enabling, or the file's return.
    pub scheduled_since: Timestamp,
}

/// A job that was taken out of the active set, as it was then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemovedRecord {
    /// Its last version.
    pub active: ActiveRecord,
    /// When it was removed.
    pub removed_at: Timestamp,
}

/// Who asked for a reconcile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The start of the daemon.
    Start,
    /// A change that the file watcher saw.
    Watcher,
    /// The regular look, whatever the watcher says.
    Resync,
    /// `petit sync`, or SIGHUP.
    Command,
}

/// Whether all that a reconcile found could be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconcileResult {
    /// It could.
    #[default]
    Applied,
    /// Something was changed, and something refused.
    Partly,
    /// All of it was refused, and nothing changed.
    Refused,
}

impl ReconcileResult {
    /// The name used in JSON and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Partly => "partly",
            Self::Refused => "refused",
        }
    }
}

/// What a reconcile did about a file, or why it did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Its job became active.
    Add,
    /// Its job got another version.
    Update,
    /// It is gone, and its job with it.
    Remove,
    /// It cannot be followed.
    Invalid,
    /// Another file states the same job.
    Conflict,
    /// Its job waits for one that does not exist.
    Block,
    /// It is gone, and its job stays for now.
    Hold,
}

/// One file that a reconcile was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// The file, below the folder of jobs.
    pub file: String,
    /// Its job, as far as it is known.
    pub job: Option<JobId>,
    /// What was done about it.
    pub change: ChangeKind,
    /// The version that was active before.
    pub old_hash: Option<SpecHash>,
    /// The version that is active after it.
    pub new_hash: Option<SpecHash>,
}

/// A reconcile that changed or refused something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReconcileRecord {
    /// When it was decided.
    pub at: Timestamp,
    /// Who asked for it.
    pub actor: Actor,
    /// The user who asked, if it was a command of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The identity of the plan that was carried out.
    pub plan_id: String,
    /// Whether all of it could be done.
    #[serde(default)]
    pub result: ReconcileResult,
    /// One line for each action, as `petit plan` prints them.
    pub actions: Vec<String>,
    /// The files that they are about. Records of old leave it out.
    #[serde(default)]
    pub files: Vec<FileChange>,
    /// The git commit of the folder of jobs, with `-dirty` at its end if the files are not those of the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The hash of the active set before.
    pub old_set: SpecHash,
    /// The hash of the active set after.
    pub new_set: SpecHash,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// A slot, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// The job.
    pub job: JobId,
    /// The scheduled instant: with the job, the slot's name.
    pub at: Timestamp,
    /// What became of it; `None` while it is claimed and its run has not started.
    pub outcome: Option<SlotOutcome>,
    /// Why it did not run as scheduled.
    pub reason: Option<SlotReason>,
    /// The reason in words: what was in the way.
    pub detail: Option<String>,
    /// When the outcome was decided.
    pub decided_at: Option<Timestamp>,
    /// The run of it, or the one it was merged into.
    pub run: Option<RunId>,
    /// The version of the job by which it was judged.
    pub spec_hash: SpecHash,
}

/// Several slots in a row that share an outcome, kept as one row: Petit was down, or the job was paused or disabled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StretchRecord {
    /// The job.
    pub job: JobId,
    /// The first slot.
    pub from: Timestamp,
    /// The last slot.
    pub to: Timestamp,
    /// How many there are.
    pub slots: u64,
    /// What became of each.
    pub outcome: SlotOutcome,
    /// Why.
    pub reason: SlotReason,
    /// The run they were merged into, if they were.
    pub run: Option<RunId>,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// The version of the job by which they were judged.
    pub spec_hash: SpecHash,
}

/// The clock was put back so far that a job's slots begin again: what the ledger says of the slots after an instant is void,
/// save of those that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupersedeRecord {
    /// The job.
    pub job: JobId,
    /// What the clock showed when that was decided: slots after it come again.
    pub after: Timestamp,
}

/// How many slots each pool has from an instant on: a setting, which the next start may find changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolsRecord {
    /// When Petit began with these sizes.
    pub since: Timestamp,
    /// The slots of each pool.
    pub sizes: BTreeMap<String, u32>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run.
    pub id: RunId,
    /// Its job.
    pub job: JobId,
    /// How far it is.
    pub status: RunStatus,
    /// What made it.
    pub trigger: Trigger,
    /// The slot it is the run of, if its schedule made it.
    pub slot: Option<Timestamp>,
    /// The slot, or the run's creation: what `run.scheduled_at` says.
    pub scheduled_at: Timestamp,
    /// The version of the job that it runs, to its end.
    pub spec_hash: SpecHash,
    /// The git commit of the folder of jobs, if it is in a repository.
    pub revision: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its first task was granted.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its inputs, rendered.
    pub params: Map<String, Value>,
    /// The runs of other jobs that made it, when they did.
    pub consumed: Vec<RunId>,
    /// The run that it repeats.
    pub retry_of: Option<RunId>,
    /// Until when it may wait for other jobs.
    pub wait_until: Option<Timestamp>,
    /// Why it waits, or why it ended as it did.
    pub reason: Option<String>,
}

impl RunRecord {
    /// A new run, made and scheduled at one instant: of no slot, without inputs, and nothing has happened to it.
    pub fn queued(id: RunId, job: JobId, spec_hash: SpecHash, trigger: Trigger, at: Timestamp) -> Self {
        Self {
            id,
            job,
            status: RunStatus::Queued,
            trigger,
            slot: None,
            scheduled_at: at,
            spec_hash,
            revision: None,
            created_at: at,
            started_at: None,
            ended_at: None,
            params: Map::new(),
            consumed: Vec::new(),
            retry_of: None,
            wait_until: None,
            reason: None,
        }
    }
}

/// A task of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// How far it is.
    pub state: TaskState,
    /// How many attempts have begun.
    pub attempts: u32,
    /// When the next attempt may begin, while it is retrying.
    pub retry_at: Option<Timestamp>,
    /// What it published.
    pub outputs: BTreeMap<String, Value>,
    /// Why it is in this state.
    pub reason: Option<String>,
    /// The run in which it did its work, if a retry reuses it from there: such a task ended before its run began, it has
    /// no attempts, and its end is no fact of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<RunId>,
}

impl TaskRecord {
    /// A task of a new run, of which nothing has happened.
    pub fn pending(run: RunId, task: TaskId) -> Self {
        Self {
            run,
            task,
            state: TaskState::Pending,
            attempts: 0,
            retry_at: None,
            outputs: BTreeMap::new(),
            reason: None,
            reused_from: None,
        }
    }

    /// The tasks of a new run of a job, as they stand at its beginning, in the order of the job's file.
    pub fn of_new_run(job: &Job, run: RunId) -> Vec<Self> {
        let tasks = job.dag.ids().iter();
        tasks.map(|task| Self::pending(run, task.clone())).collect()
    }
}

/// One try of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// Counts from 1.
    pub attempt: u32,
    /// When the task was ready.
    pub queued_at: Timestamp,
    /// When it got its resources; it is recorded before the process starts.
    pub granted_at: Timestamp,
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// When its process ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// The process, which is also its session and group.
    pub pid: Option<u32>,
    /// The process's start time in the kernel's ticks since boot: with `pid`, its identity.
    pub pid_start: Option<u64>,
    /// Processor time in user mode, in milliseconds.
    pub cpu_user_ms: Option<u64>,
    /// Processor time in the kernel, in milliseconds.
    pub cpu_system_ms: Option<u64>,
    /// The most memory that its processes were seen to hold, in bytes.
    pub max_rss_bytes: Option<u64>,
    /// How much it printed, in bytes.
    pub bytes_out: Option<u64>,
    /// The ending in words, where the name says too little.
    pub error: Option<String>,
}

impl AttemptRecord {
    /// An attempt that got its resources at once, and whose process has not started.
    pub fn granted(run: RunId, task: TaskId, attempt: u32, at: Timestamp) -> Self {
        Self {
            run,
            task,
            attempt,
            queued_at: at,
            granted_at: at,
            started_at: None,
            ended_at: None,
            ending: None,
            pid: None,
            pid_start: None,
            cpu_user_ms: None,
            cpu_system_ms: None,
            max_rss_bytes: None,
            bytes_out: None,
            error: None,
        }
    }
}

/// A pause of one job, or of everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PauseRecord {
    /// The job; `None` for everything.
    pub job: Option<JobId>,
    /// Since when.
    pub since: Timestamp,
    /// Who paused it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

impl PauseRecord {
    /// Whether a job is held by this pause.
    pub fn covers(&self, job: &JobId) -> bool {
        self.job.as_ref().is_none_or(|paused| paused == job)
    }
}

/// Who paused what, when and why.
impl fmt::Display for PauseRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.job.as_ref().map_or("everything", JobId::as_str);
        let since = self.since.to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(f, "{} paused {what} at {since}", self.by)?;
        self.reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
    }
}
