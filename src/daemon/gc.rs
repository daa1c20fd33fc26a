//! One collection: what is too old leaves the history and the logs, and what nobody needs any more the journal.
//!
//! Two parts that know nothing of each other's files. [`tidy`] is about the history and the folders of logs; it blocks,
//! opens DuckDB, and is done wherever that does no harm. [`prune`] is about the journal; it goes in steps with pauses between
//! them, so that a claim of a slot never waits for it. What may go is decided in [`storage`](crate::storage),
//! [`history`](crate::history) and [`folders`]. [`collect`] is both without a daemon.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{
    StateDirError,
    state_dir::{StateDir, journal_path},
};
use crate::{
    config::settings::Retention,
    core::{Timestamp, id::RunId},
    execution::folders::{self, EndedRun, FolderError},
    storage::{Change, Elsewhere, Forget, JournalSize, PruneRule, Sqlite, Storage, StorageError},
    view::{Collected, FromHistory, FromJournal, FromLogs},
};
#[cfg(feature = "history")]
use crate::{
    core::error_text::chain,
    history::{self, History, HistoryError, history_path},
};

/// What is to be collected.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The folder of journal, history and logs.
    pub state_dir: PathBuf,
    /// How long things are kept.
    pub retention: Retention,
    /// Whether only to say what would go.
    pub dry_run: bool,
    /// As of when.
    pub now: Timestamp,
}

/// What came of the part that is not about the journal. It travels between processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tidied {
    /// Up to which fact the history has the journal for good; `None` where there is no history.
    pub cursor: Option<i64>,
    /// What left the history.
    pub history: Option<FromHistory>,
    /// What left the logs.
    pub logs: FromLogs,
    /// What kept something from going.
    pub notes: Vec<String>,
}

/// Why something could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The state folder is somebody else's.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] StorageError),
    /// A folder of logs cannot be read or removed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The history failed.
    #[cfg(feature = "history")]
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Whoever was to do a part of it did not.
    #[error("could not tidy the history and the logs: {0}")]
    Elsewhere(String),
}

/// How long the history is waited for, while somebody else has it.
#[cfg(feature = "history")]
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two steps the journal is left alone for so many times as long as the step took, and at least so long.
const REST: u32 = 4;
const LEAST_REST: Duration = Duration::from_millis(5);

/// Collects everything in a state folder that no daemon has.
pub async fn collect(state_dir: &Path, retention: Retention, dry_run: bool) -> Result<Collected, GcError> {
    let order = Order {
        state_dir: state_dir.to_owned(),
        retention,
        dry_run,
        now: Utc::now(),
    };
    let path = journal_path(state_dir);
    // Looking takes nothing away from a daemon that may start meanwhile.
    let state = if dry_run {
        None
    } else {
        Some(StateDir::hold(state_dir)?)
    };
    let storage: Arc<dyn Storage> = if dry_run {
        Arc::new(Sqlite::open_read_only(&path)?)
    } else {
        Arc::new(Sqlite::open(&path)?)
    };
    let before = whole(&storage.size()?);
    let tidied = tidy(storage.as_ref(), &order, &|| true)?;
    let mut journal = prune(&storage, &order, elsewhere(tidied.cursor)).await?;
    if !dry_run {
        drop(storage);
        Sqlite::shrink(&path)?;
    }
    let size = Sqlite::open_read_only(&path)?.size()?;
    measured(&mut journal, &size, before);
    drop(state);
    Ok(collected(dry_run, journal, tidied))
}

/// Both parts in one.
pub(super) fn collected(dry_run: bool, journal: FromJournal, tidied: Tidied) -> Collected {
    Collected {
        dry_run,
        journal,
        history: tidied.history,
        logs: tidied.logs,
        notes: tidied.notes,
    }
}

/// Who has what leaves the journal, by what a history said of itself.
pub(super) fn elsewhere(cursor: Option<i64>) -> Elsewhere {
    match cursor {
        Some(cursor) => Elsewhere::History(cursor),
        // A build that has a history and could not ask it lets nothing go.
        None if cfg!(feature = "history") => Elsewhere::History(0),
        None => Elsewhere::Nowhere,
    }
}

/// Lets go of what the journal need not keep, in small steps. Without a history what goes is gone, and its logs go first.
pub(super) async fn prune(
    storage: &Arc<dyn Storage>,
    order: &Order,
    elsewhere: Elsewhere,
) -> Result<FromJournal, GcError> {
    let rule = PruneRule {
        now: order.now,
        elsewhere,
        keep: order.retention.runs,
    };
    let mut gone = FromJournal::default();
    loop {
        let look = {
            let storage = Arc::clone(storage);
            tokio::task::spawn_blocking(move || storage.prunable(&rule))
        };
        let found = look.await.map_err(|panic| GcError::Elsewhere(panic.to_string()))??;
        if found.is_empty() {
            break;
        }
        gone.runs += found.runs.len() as u64;
        gone.slots += (found.slots.len() + found.stretches.len()) as u64;
        gone.specs += found.specs.len() as u64;
        gone.reconciles += found.reconciles;
        gone.facts += u64::try_from(found.facts.end - found.facts.start).unwrap_or(0);
        if order.dry_run {
            break;
        }
        for step in found.steps() {
            if let (Elsewhere::Nowhere, Change::Forget(Forget::Runs(runs))) = (elsewhere, &step) {
                for run in runs {
                    folders::remove(&order.state_dir, *run)?;
                }
            }
            let begun = Instant::now();
            storage.commit(vec![step]).wait().await?;
            sleep((begun.elapsed() * REST).max(LEAST_REST)).await;
        }
    }
    Ok(gone)
}

/// How much room a journal takes with its log, which comes and goes.
pub(super) fn whole(size: &JournalSize) -> u64 {
    size.bytes + size.log_bytes
}

/// Fills in how large the journal is, and how much smaller than it was.
pub(super) fn measured(journal: &mut FromJournal, size: &JournalSize, before: u64) {
    journal.file_bytes = whole(size);
    journal.reusable_bytes = size.free_bytes;
    journal.freed_bytes = before.saturating_sub(whole(size));
}

/// Lets go of what is too old in the history and among the logs, while `go_on` says so.
pub(super) fn tidy(journal: &dyn Storage, order: &Order, go_on: &dyn Fn() -> bool) -> Result<Tidied, GcError> {
    let mut tidied = Tidied::default();
    let needed = needed(journal)?;
    #[cfg(feature = "history")]
    let counted = tidy_history(journal, order, &needed, go_on, &mut tidied)?;
    #[cfg(not(feature = "history"))]
    let counted = HashSet::new();
    remove_logs(journal, order, (&needed, &counted), go_on, &mut tidied.logs)?;
    #[cfg(feature = "history")]
    if let (Some(of_history), false, true) = (&mut tidied.history, order.dry_run, go_on()) {
        let path = history_path(&order.state_dir);
        match history::rewrite_if_worth_it(&path, PATIENCE) {
            Ok(rewritten) => {
                of_history.freed_bytes = rewritten.map_or(0, |size| size.before.saturating_sub(size.after));
                of_history.file_bytes = history::length(&path);
            }
            Err(error) => tidied
                .notes
                .push(format!("the history was not made smaller: {}", chain(&error))),
        }
    }
    Ok(tidied)
}

/// The part of [`tidy`] that is about logs, for a journal of which nobody keeps a history.
pub(super) fn tidy_logs(journal: &dyn Storage, order: &Order) -> Result<Tidied, GcError> {
    let mut tidied = Tidied::default();
    remove_logs(
        journal,
        order,
        (&needed(journal)?, &HashSet::new()),
        &|| true,
        &mut tidied.logs,
    )?;
    Ok(tidied)
}

/// The runs that go on, and what they refer to: what they repeat and reuse.
fn needed(journal: &dyn Storage) -> Result<HashSet<RunId>, StorageError> {
    let mut needed = HashSet::new();
    for detail in journal.unfinished()? {
        needed.insert(detail.run.id);
        needed.extend(detail.run.retry_of);
        needed.extend(detail.tasks.iter().filter_map(|task| task.reused_from));
    }
    Ok(needed)
}

/// Removes the logs that are too old, but for those of runs that are needed and of those that are counted already.
fn remove_logs(
    journal: &dyn Storage,
    order: &Order,
    (needed, counted): (&HashSet<RunId>, &HashSet<RunId>),
    go_on: &dyn Fn() -> bool,
    logs: &mut FromLogs,
) -> Result<(), GcError> {
    let keep = order.retention.logs;
    let mut runs = folders::of_runs(&order.state_dir)?;
    runs.retain(|run| !counted.contains(run));
    // A run that was made after the limit has ended after it too.
    if let (None, Some(oldest)) = (keep.count, keep.oldest(order.now)) {
        runs.retain(|run| run.created_at() < oldest);
    }
    let ended = known(journal, order, &runs)?;
    for run in folders::may_go(&runs, &ended, needed, keep, order.now) {
        if !go_on() {
            break;
        }
        remove_log(order, run, logs)?;
    }
    Ok(())
}

/// Takes what is too old out of the history, each step in a file that is opened anew, so that others can ask in between.
/// Returns the runs whose logs would go with them, and are counted.
#[cfg(feature = "history")]
fn tidy_history(
    journal: &dyn Storage,
    order: &Order,
    needed: &HashSet<RunId>,
    go_on: &dyn Fn() -> bool,
    tidied: &mut Tidied,
) -> Result<HashSet<RunId>, GcError> {
    let path = history_path(&order.state_dir);
    if !path.exists() && journal.facts(0, 1)?.is_empty() {
        return Ok(HashSet::new());
    }
    let (keep, now) = (order.retention.runs, order.now);
    let needed: Vec<RunId> = needed.iter().copied().collect();
    let active: Vec<_> = journal.active()?.into_iter().map(|active| active.spec_hash).collect();
    let history = history::up_to_date(&path, Some(journal), PATIENCE, now, go_on)?;
    tidied.cursor = history.caught_up().map(|last| last.cursor);
    let mut gone = FromHistory::default();
    let others = history.others(keep, &active, now)?;
    (gone.slots, gone.specs, gone.reconciles) = (others.slots, others.specs, others.reconciles);
    if order.dry_run {
        let runs = history.expired(keep, &needed, now, 1 << 40)?;
        gone.runs = runs.len() as u64;
        for run in &runs {
            remove_log(order, *run, &mut tidied.logs)?;
        }
        tidied.history = Some(gone);
        return Ok(runs.into_iter().collect());
    }
    if let Some(holder) = history.held_by() {
        tidied
            .notes
            .push(format!("{holder} reads the history, so nothing left it"));
        (gone.slots, gone.specs, gone.reconciles) = (0, 0, 0);
        tidied.history = Some(gone);
        return Ok(HashSet::new());
    }
    drop(history);
    while go_on() {
        let mut history = History::open(&path, PATIENCE)?;
        let runs = history.expired(keep, &needed, now, history::RUNS_AT_ONCE)?;
        if runs.is_empty() || history.held_by().is_some() {
            break;
        }
        // The logs first: rows without logs are found again, logs without rows only by their age.
        for run in &runs {
            remove_log(order, *run, &mut tidied.logs)?;
        }
        history.forget(&runs)?;
        gone.runs += runs.len() as u64;
    }
    if go_on() {
        let mut history = History::open(&path, PATIENCE)?;
        if history.held_by().is_none() {
            history.forget_others(keep, &active, now)?;
        }
    }
    tidied.history = Some(gone);
    Ok(HashSet::new())
}

/// What is known of those runs that have ended: by the journal, and of older ones by the history.
fn known(
    journal: &dyn Storage,
    #[cfg_attr(
        not(feature = "history"),
        expect(unused_variables, reason = "only the journal knows")
    )]
    order: &Order,
    runs: &[RunId],
) -> Result<HashMap<RunId, EndedRun>, GcError> {
    let mut known = HashMap::new();
    let mut rest = Vec::new();
    for run in runs {
        match journal.run(*run)? {
            Some(detail) => {
                let ended_at = detail.run.ended_at;
                let job = detail.run.job;
                known.extend(ended_at.map(|ended_at| (*run, EndedRun { job, ended_at })));
            }
            None => rest.push(*run),
        }
    }
    #[cfg(feature = "history")]
    {
        let path = history_path(&order.state_dir);
        if !rest.is_empty() && path.exists() {
            let history = History::open(&path, PATIENCE)?;
            for runs in rest.chunks(history::RUNS_AT_ONCE) {
                let found = history.ended(runs)?.into_iter();
                known.extend(found.map(|(run, job, ended_at)| (run, EndedRun { job, ended_at })));
            }
        }
    }
    Ok(known)
}

fn remove_log(order: &Order, run: RunId, logs: &mut FromLogs) -> Result<(), FolderError> {
    let freed = if order.dry_run {
        folders::of_run(&order.state_dir, run)
            .exists()
            .then(|| folders::size(&order.state_dir, run))
    } else {
        folders::remove(&order.state_dir, run)?
    };
    if let Some(freed) = freed {
        logs.runs += 1;
        logs.freed_bytes += freed;
    }
    Ok(())
}
