//! The executor's side of the journal: commits that outlast a full disk, and what listeners are told after them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    core::{
        Timestamp,
        error_text::chain,
        id::{RunId, TaskId},
        record::{RunRecord, SlotRecord},
        state::RunStatus,
    },
    events::Event,
    execution::engine::AttemptKey,
    storage::{Change, Storage, StorageError},
};

/// The first pause after which a refused commit is tried again; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// What keeps the executor from doing its work. All of it passes by itself when its cause does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Why the journal cannot be written. Nothing starts and no end is told until it can.
    pub journal: Option<String>,
    /// Attempts that the system cannot start for now, and what is short.
    pub starting: BTreeMap<AttemptKey, String>,
}

impl Conditions {
    /// A sentence for each.
    pub fn messages(&self) -> Vec<String> {
        let journal = self
            .journal
            .iter()
            .map(|problem| format!("{problem}; nothing starts and no end is told until it can be written again"));
        let starting = self
            .starting
            .iter()
            .map(|(AttemptKey { run, task, attempt }, because)| {
                format!("attempt {attempt} of task `{task}` of run {run} cannot be started for now: {because}")
            });
        journal.chain(starting).collect()
    }
}

/// The journal is closed: nothing can be kept any more.
#[derive(Debug)]
pub(super) struct Closed;

pub(super) struct Journal {
    storage: Arc<dyn Storage>,
    conditions: watch::Sender<Conditions>,
    /// Whether Petit wants to stop even if that means that the latest changes are lost, as in a crash.
    hurried: watch::Receiver<bool>,
}

impl Journal {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        conditions: watch::Sender<Conditions>,
        hurried: watch::Receiver<bool>,
    ) -> Self {
        Self {
            storage,
            conditions,
            hurried,
        }
    }

    /// Notes that an attempt cannot be started for now, or that it can.
    pub(super) fn starting(&self, key: &AttemptKey, because: Option<String>) {
        self.conditions.send_if_modified(|conditions| match because {
            Some(because) => conditions.starting.insert(key.clone(), because.clone()) != Some(because),
            None => conditions.starting.remove(key).is_some(),
        });
    }

    /// Commits everything as one transaction and waits until it is on disk. A refusal that may pass is waited out. When
    /// the journal refuses for good, each run's changes are tried alone, so that one that is broken does not take the
    /// others along; returns the runs that were refused.
    ///
    /// The record of a process is not waited for: what is lost with it in a crash is recognised by its environment, and
    /// starting is the hot path.
    pub(super) async fn commit(&mut self, changes: Vec<(RunId, Change)>) -> Result<HashSet<RunId>, Closed> {
        let mut refused = HashSet::new();
        if changes.is_empty() {
            return Ok(refused);
        }
        let all: Vec<Change> = changes.iter().map(|(_, change)| change.clone()).collect();
        if all.iter().all(|change| matches!(change, Change::StartAttempt { .. })) {
            drop(self.storage.commit(all));
            return Ok(refused);
        }
        match self.persist(all).await {
            Ok(()) => return Ok(refused),
            Err(StorageError::Closed) => return Err(Closed),
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "the journal refused a commit; trying each run alone"
                );
            }
        }
        for (run, changes) in by_run(changes) {
            match self.persist(changes).await {
                Ok(()) => {}
                Err(StorageError::Closed) => return Err(Closed),
                Err(error) => {
                    tracing::error!(%run, error = chain(&error), "the journal refused the changes of a run");
                    refused.insert(run);
                }
            }
        }
        Ok(refused)
    }

    /// Commits, again and again with growing pauses while the disk is full or the like.
    async fn persist(&mut self, changes: Vec<Change>) -> Result<(), StorageError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.storage.commit(changes.clone()).wait().await {
                Ok(()) => {
                    self.set_journal_condition(None);
                    return Ok(());
                }
                Err(error) if error.is_passing() => {
                    if *self.hurried.borrow() {
                        return Err(StorageError::Closed);
                    }
                    self.set_journal_condition(Some(chain(&error)));
                }
                Err(error) => return Err(error),
            }
            let again_at = Instant::now() + pause;
            tokio::select! {
                () = sleep_until(again_at) => {}
                // No handle is left that could hurry; the pause goes on.
                Err(_) = self.hurried.changed() => sleep_until(again_at).await,
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    fn set_journal_condition(&self, condition: Option<String>) {
        self.conditions.send_if_modified(|conditions| {
            let changed = conditions.journal.is_some() != condition.is_some();
            if changed {
                match &condition {
                    Some(problem) => {
                        tracing::error!(problem, "the journal cannot be written; trying again until it can")
                    }
                    None => tracing::info!("the journal can be written again"),
                }
            }
            conditions.journal = condition;
            changed
        });
    }
}

fn by_run(changes: Vec<(RunId, Change)>) -> BTreeMap<RunId, Vec<Change>> {
    let mut runs: BTreeMap<RunId, Vec<Change>> = BTreeMap::new();
    for (run, change) in changes {
        runs.entry(run).or_default().push(change);
    }
    runs
}

/// Of several states that a task went through within one commit, only the last is worth a row. Finished states are
/// always last.
pub(super) fn latest_of_each_task(changes: Vec<(RunId, Change)>) -> Vec<(RunId, Change)> {
    let mut latest: HashMap<(RunId, TaskId), usize> = HashMap::new();
    for (index, (run, change)) in changes.iter().enumerate() {
        if let Change::SetTask(record) = change {
            latest.insert((*run, record.task.clone()), index);
        }
    }
    let is_latest = |index: usize, run: RunId, change: &Change| match change {
        Change::SetTask(record) => latest.get(&(run, record.task.clone())) == Some(&index),
        _ => true,
    };
    let numbered = changes.into_iter().enumerate();
    let kept = numbered.filter(|(index, (run, change))| is_latest(*index, *run, change));
    kept.map(|(_, change)| change).collect()
}

/// What listeners are told of a change, once it is on disk.
pub(super) fn event(run: &RunRecord, change: &Change, now: Timestamp) -> Option<Event> {
    let job = || run.job.clone();
    match change {
        Change::StartRun { run, at } => Some(Event::Run {
            at: *at,
            run: *run,
            job: job(),
            status: RunStatus::Running,
        }),
        Change::EndRun { run, status, at, .. } => Some(Event::Run {
            at: *at,
            run: *run,
            job: job(),
            status: *status,
        }),
        Change::SetTask(record) => Some(Event::Task {
            at: now,
            run: record.run,
            job: job(),
            task: record.task.clone(),
            state: record.state,
            attempts: record.attempts,
        }),
        Change::DecideSlot {
            job,
            at,
            outcome,
            reason,
            detail,
            decided_at,
        } => Some(Event::Slot(SlotRecord {
            job: job.clone(),
            at: *at,
            outcome: Some(*outcome),
            reason: *reason,
            detail: detail.clone(),
            decided_at: Some(*decided_at),
            run: Some(run.id),
            spec_hash: run.spec_hash.clone(),
        })),
        _ => None,
    }
}
