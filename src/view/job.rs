//! Jobs: how each stands, when it fires next, how it last ran.

use serde::{Deserialize, Serialize};

use super::{
    RunView,
    next::next_fire,
    recent::{LATEST, RunMark, TaskGrid, Usual, latest_of_each},
};
use crate::{
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::{JobId, SpecHash},
        record::PauseRecord,
        spec::{JobSpec, ScheduleSpec},
        units::ByteSize,
    },
    reconcile::{Health, JobStatus, SyncState},
    storage::{RunFilter, Storage, StorageError},
};

/// A job. One whose file is bad and of which no version is active has no spec, schedule or next fire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// The name shown to people.
    pub name: String,
    /// Words to filter by.
    pub tags: Vec<String>,
    /// Its file, below the folder of jobs.
    pub file: String,
    /// Whether its schedule fires it.
    pub enabled: bool,
    /// Whether it, or everything, is paused.
    pub paused: bool,
    /// Whether what is active is what the file asks for.
    pub sync: SyncState,
    /// Whether that harms.
    pub health: Health,
    /// What somebody should know of it.
    pub conditions: Vec<JobCondition>,
    /// The version that is active.
    pub spec_hash: Option<SpecHash>,
    /// Grows with each version.
    pub generation: Option<u64>,
    /// Its schedule, as written.
    pub schedule: Vec<String>,
    /// The zone of its schedule.
    pub timezone: Option<String>,
    /// The next fire, with the offset of its zone.
    pub next: Option<String>,
    /// The latest run.
    pub last_run: Option<RunView>,
    /// The latest runs at a glance, newest first.
    #[serde(default)]
    pub last_runs: Vec<RunMark>,
    /// How long these took that succeeded.
    #[serde(flatten)]
    pub usual: Usual,
}

/// Something that somebody should know of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobCondition {
    /// Its kind: the sync state, or `paused`.
    pub reason: String,
    /// What is the matter, in a sentence.
    pub message: String,
    /// What to do about it, in a sentence.
    #[serde(default)]
    pub hint: Option<String>,
    /// Where, as `file:line:column`.
    pub at: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// One job, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobDetail {
    /// What a listing says of it.
    #[serde(flatten)]
    pub job: JobView,
    /// What was written, with its id and zone filled in.
    pub spec: Option<JobSpec>,
    /// The text of the file whose version is active.
    pub yaml: Option<String>,
    /// Its tasks, each after those it waits for.
    pub graph: Vec<GraphNode>,
    /// Its tasks by its latest runs.
    #[serde(default)]
    pub grid: TaskGrid,
}

/// A task and what it waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GraphNode {
    /// The task.
    pub id: String,
    /// The tasks above it.
    pub depends_on: Vec<String>,
    /// The most memory that it may hold with everything that it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<ByteSize>,
}

/// What a job is made of, beside its own standing.
pub(super) struct Around<'a> {
    pub storage: &'a dyn Storage,
    pub active: &'a ActiveSet,
    pub pauses: &'a [PauseRecord],
    pub now: Timestamp,
}

impl Around<'_> {
    /// The view of a job that the reconciler reports, with its latest runs.
    pub(super) fn job(&self, status: &JobStatus, last_runs: Vec<RunMark>) -> Result<JobView, StorageError> {
        let entry = self.active.get(&status.job);
        let spec = entry.map(|entry| &entry.job.spec);
        let pause = self.pauses.iter().find(|pause| pause.covers(&status.job));
        let latest = RunFilter {
            job: Some(status.job.clone()),
            limit: Some(1),
            ..RunFilter::default()
        };
        let next = entry.and_then(|entry| next_fire(entry, self.pauses, self.now));
        let schedule = spec.and_then(|spec| spec.schedule.as_ref());
        Ok(JobView {
            id: status.job.clone(),
            name: entry.map_or(status.job.as_str(), |entry| entry.job.name()).to_owned(),
            tags: spec.map(|spec| spec.tags.clone()).unwrap_or_default(),
            file: status.file.clone(),
            enabled: spec.is_none_or(|spec| spec.enabled),
            paused: pause.is_some(),
            sync: status.standing.sync,
            health: status.standing.health,
            conditions: conditions(status, pause),
            spec_hash: status.spec_hash.clone(),
            generation: status.generation,
            schedule: schedule.map(written).unwrap_or_default(),
            timezone: schedule.and(entry).and_then(zone),
            next: next.map(|fire| fire.at),
            last_run: self.storage.runs(&latest)?.into_iter().next().map(RunView::from),
            usual: Usual::of_runs(&last_runs),
            last_runs,
        })
    }

    /// The same, whole.
    pub(super) fn detail(&self, status: &JobStatus) -> Result<JobDetail, StorageError> {
        let entry = self.active.get(&status.job);
        let yaml = match entry {
            Some(entry) => self.storage.spec(&entry.record.spec_hash)?.map(|spec| spec.yaml),
            None => None,
        };
        let mut latest = latest_of_each(self.storage, std::slice::from_ref(&status.job))?;
        let latest = latest.remove(&status.job).unwrap_or_default();
        let tasks = self.storage.latest_tasks(&status.job, LATEST)?;
        Ok(JobDetail {
            grid: TaskGrid::new(latest.clone(), &tasks),
            job: self.job(status, latest)?,
            spec: entry.map(|entry| entry.job.spec.clone()),
            yaml,
            graph: entry.map(|entry| graph(entry)).unwrap_or_default(),
        })
    }
}

impl GraphNode {
    /// Beyond what it is ended, in words; nothing if there is no limit.
    pub fn limit_text(&self) -> Option<String> {
        self.memory_limit.map(|memory| format!("at most {memory} of memory"))
    }
}

impl JobView {
    /// Whether there is nothing that somebody should look at.
    pub fn is_well(&self) -> bool {
        self.sync == SyncState::Synced && self.health == Health::Ok
    }

    /// Sync state and health in a few words.
    pub fn state_text(&self) -> String {
        match self.health {
            Health::Ok => self.sync.as_str().to_owned(),
            Health::Degraded | Health::Failing => format!("{}, {}", self.sync.as_str(), self.health.as_str()),
        }
    }

    /// The schedule in one line.
    pub fn schedule_text(&self) -> String {
        if self.schedule.is_empty() {
            "-".to_owned()
        } else {
            self.schedule.join(", ")
        }
    }
}

fn conditions(status: &JobStatus, pause: Option<&PauseRecord>) -> Vec<JobCondition> {
    let standing = &status.standing;
    let own = standing.message.as_ref().map(|message| JobCondition {
        reason: standing.sync.as_str().to_owned(),
        message: message.clone(),
        hint: standing.hint.clone(),
        at: standing
            .line
            .map(|line| format!("{}:{line}:{}", status.file, standing.column.unwrap_or(1))),
        since: standing.since,
    });
    let paused = pause.map(|pause| JobCondition {
        reason: SyncState::Paused.as_str().to_owned(),
        message: pause.to_string(),
        hint: Some(match &pause.job {
            Some(job) => format!("`petit resume {job}` lets it fire again"),
            None => "`petit resume` lets everything fire again".to_owned(),
        }),
        at: None,
        since: pause.since,
    });
    own.into_iter().chain(paused).collect()
}

fn written(schedule: &ScheduleSpec) -> Vec<String> {
    schedule
        .every
        .iter()
        .map(|every| format!("every {every}"))
        .chain(schedule.cron.iter().cloned())
        .collect()
}

fn zone(entry: &std::sync::Arc<ActiveJob>) -> Option<String> {
    entry
        .job
        .schedule
        .as_ref()
        .map(|schedule| schedule.zone().name().to_owned())
}

fn graph(entry: &ActiveJob) -> Vec<GraphNode> {
    let dag = &entry.job.dag;
    let name = |&task: &usize| dag.id(task).as_str().to_owned();
    dag.order()
        .iter()
        .map(|task| GraphNode {
            id: name(task),
            depends_on: dag.upstream(*task).iter().map(name).collect(),
            memory_limit: entry.job.task(*task).limits.memory,
        })
        .collect()
}
