//! The journal in memory: for tests, and for programs that embed Petit and need nothing to survive them.
//!
//! What may leave is found in [`prune`].
//!
//! One locked struct. A commit applies its changes in place and notes how to undo each; a refused one is undone, so it
//! costs what it changes and not a copy of everything.

mod prune;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    hash::{BuildHasher, RandomState},
    ops::Bound::{Excluded, Unbounded},
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{TimeDelta, Utc};

use super::{
    Ack, Beside, Change, Clock, JournalSize, LatestRuns, NumberedFact, Prunable, PruneRule, PrunedTo, RunDetail,
    RunFilter, RunGlance, Storage, StorageError, Tally, TaskGlance,
    apply::{self, Rows},
    glance::{Held, minute},
    precision::to_micros,
};
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId, SpecHash, TaskId},
        pattern::Pattern,
        record::{
            ActiveRecord, AttemptRecord, PauseRecord, ReconcileRecord, RemovedRecord, RunRecord, SlotRecord,
            SpecRecord, StretchRecord, TaskRecord,
        },
        revision::RevisionPick,
        state::{RunStatus, SlotOutcome, Trigger},
    },
    events::Fact,
};

/// A journal that lives as long as its value.
pub struct Memory {
    clock: Clock,
    state: Mutex<State>,
}

impl Memory {
    /// An empty journal whose facts are dated by `clock`.
    pub fn with_clock(clock: Clock) -> Self {
        // Every RandomState has keys of its own; two of their hashes of nothing are 128 unpredictable bits.
        let random = || RandomState::new().hash_one(());
        let journal_id = format!("{:016x}{:016x}", random(), random());
        Self {
            clock,
            state: Mutex::new(State {
                journal_id,
                ..State::default()
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::with_clock(Box::new(Utc::now))
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Storage for Memory {
    fn commit(&self, changes: Vec<Change>) -> Ack {
        let (answer, ack) = Ack::new();
        let mut state = self.state();
        let mut step = Step {
            state: &mut state,
            undo: Vec::new(),
        };
        let result = apply::commit(&mut step, &changes, (self.clock)());
        if result.is_err() {
            step.take_back();
        }
        // Whoever dropped the Ack did not want the answer.
        let _ = answer.send(result);
        ack
    }

    fn journal_id(&self) -> Result<String, StorageError> {
        Ok(self.state().journal_id.clone())
    }

    fn active(&self) -> Result<Vec<ActiveRecord>, StorageError> {
        Ok(self.state().active.values().cloned().collect())
    }

    fn removed(&self) -> Result<Vec<RemovedRecord>, StorageError> {
        Ok(self.state().removed.values().cloned().collect())
    }

    fn held(&self) -> Result<Vec<JobId>, StorageError> {
        Ok(self.state().held.keys().cloned().collect())
    }

    fn spec(&self, hash: &SpecHash) -> Result<Option<SpecRecord>, StorageError> {
        Ok(self.state().specs.get(hash).cloned())
    }

    fn pauses(&self) -> Result<Vec<PauseRecord>, StorageError> {
        Ok(self.state().pauses.values().cloned().collect())
    }

    fn watermarks(&self) -> Result<Vec<(JobId, Timestamp)>, StorageError> {
        Ok(self
            .state()
            .watermarks
            .iter()
            .map(|(job, at)| (job.clone(), *at))
            .collect())
    }

    fn run(&self, run: RunId) -> Result<Option<RunDetail>, StorageError> {
        Ok(self.state().runs.get(&run).cloned())
    }

    fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, StorageError> {
        let RunFilter {
            job,
            jobs,
            tasks,
            statuses,
            triggers,
            revisions,
            since,
            until,
            retry_of,
            limit,
        } = filter;
        let (since, until) = (since.map(to_micros), until.map(to_micros));
        let named = |patterns: &[Pattern], name: &str| patterns.iter().any(|pattern| pattern.fits(name));
        let state = self.state();
        let mut runs: Vec<_> = state
            .runs
            .values()
            .filter(|detail| tasks.is_empty() || detail.tasks.iter().any(|task| named(tasks, task.task.as_str())))
            .map(|detail| &detail.run)
            .filter(|run| jobs.is_empty() || named(jobs, run.job.as_str()))
            .filter(|run| job.as_ref().is_none_or(|job| run.job == *job))
            .filter(|run| statuses.is_empty() || statuses.contains(&run.status))
            .filter(|run| triggers.is_empty() || triggers.contains(&run.trigger))
            .filter(|run| revisions.is_empty() || revisions.iter().any(|pick| state.is_of(run, pick)))
            .filter(|run| since.is_none_or(|since| run.created_at >= since))
            .filter(|run| until.is_none_or(|until| run.created_at < until))
            .filter(|run| retry_of.is_none() || run.retry_of == *retry_of)
            .collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.created_at, run.id)));
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        Ok(runs.into_iter().take(limit).cloned().collect())
    }

    fn latest_of_each(&self, jobs: &[JobId], most: u32) -> Result<Vec<RunGlance>, StorageError> {
        Ok(Held(self.state().runs.values()).latest_of_each(jobs, most))
    }

    fn latest_tasks(&self, job: &JobId, most: u32) -> Result<Vec<TaskGlance>, StorageError> {
        Ok(Held(self.state().runs.values()).latest_tasks(job, most))
    }

    fn beside(&self, run: &RunRecord) -> Result<Beside, StorageError> {
        Ok(Held(self.state().runs.values()).beside(run))
    }

    fn tally(&self, since: Timestamp, stretch: TimeDelta) -> Result<Vec<Tally>, StorageError> {
        let state = self.state();
        let gone = state
            .gone
            .iter()
            .map(|((minute, _), (status, runs))| (*minute, *status, *runs));
        Ok(Held(state.runs.values()).tally(to_micros(since), stretch, gone))
    }

    fn unfinished(&self) -> Result<Vec<RunDetail>, StorageError> {
        let state = self.state();
        let mut runs: Vec<_> = state
            .runs
            .values()
            .filter(|detail| !detail.run.status.is_finished())
            .cloned()
            .collect();
        runs.sort_by_key(|detail| (detail.run.created_at, detail.run.id));
        Ok(runs)
    }

    fn latest(&self, job: &JobId) -> Result<LatestRuns, StorageError> {
        let state = self.state();
        let of_job = || {
            state
                .runs
                .values()
                .map(|detail| &detail.run)
                .filter(|run| run.job == *job)
        };
        let finished = of_job().filter(|run| run.status.is_finished());
        let succeeded = of_job().filter(|run| run.status == RunStatus::Succeeded);
        let mut by_dependency = state.by_dependency.iter().rev().filter_map(|run| state.runs.get(run));
        Ok(LatestRuns {
            finished: finished.max_by_key(|run| (run.ended_at, run.id)).cloned(),
            succeeded: succeeded.max_by_key(|run| (run.ended_at, run.id)).cloned(),
            by_dependency: by_dependency
                .find(|detail| detail.run.job == *job)
                .map(|detail| detail.run.clone()),
        })
    }

    fn slots(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<SlotRecord>, StorageError> {
        let (from, to) = (to_micros(from), to_micros(to));
        if from > to {
            return Ok(Vec::new());
        }
        Ok(self
            .state()
            .slots
            .range((job.clone(), from)..=(job.clone(), to))
            .map(|(_, slot)| slot.clone())
            .collect())
    }

    fn claimed(&self) -> Result<Vec<SlotRecord>, StorageError> {
        let state = self.state();
        let mut claimed: Vec<_> = state
            .slots
            .values()
            .filter(|slot| slot.outcome.is_none())
            .cloned()
            .collect();
        claimed.sort_by(|a, b| (a.at, &a.job).cmp(&(b.at, &b.job)));
        Ok(claimed)
    }

    fn beyond_watermark(&self) -> Result<Vec<(JobId, Timestamp)>, StorageError> {
        let state = self.state();
        let beyond = |(job, at): (&JobId, &Timestamp)| {
            let slots = state.slots.range((Excluded((job.clone(), *at)), Unbounded));
            let of_job = slots.map(|(key, _)| key.clone()).take_while({
                let job = job.clone();
                move |(of, _)| *of == job
            });
            of_job.collect::<Vec<_>>()
        };
        Ok(state.watermarks.iter().flat_map(beyond).collect())
    }

    fn stretches(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<StretchRecord>, StorageError> {
        let (from, to) = (to_micros(from), to_micros(to));
        let state = self.state();
        let overlapping = state
            .stretches
            .iter()
            .filter(|row| row.job == *job && row.from <= to && row.to >= from);
        let mut stretches: Vec<_> = overlapping.cloned().collect();
        stretches.sort_by_key(|row| (row.from, row.to));
        Ok(stretches)
    }

    fn reconciles(&self, limit: u32) -> Result<Vec<ReconcileRecord>, StorageError> {
        Ok(self
            .state()
            .reconciles
            .iter()
            .rev()
            .take(limit as usize)
            .cloned()
            .collect())
    }

    fn facts(&self, after: i64, limit: u32) -> Result<Vec<NumberedFact>, StorageError> {
        let state = self.state();
        let first = state.facts.partition_point(|fact| fact.number <= after);
        Ok(state.facts.iter().skip(first).take(limit as usize).cloned().collect())
    }

    fn prunable(&self, rule: &PruneRule) -> Result<Prunable, StorageError> {
        Ok(prune::find(&self.state(), &rule.bounds()))
    }

    fn pruned_to(&self) -> Result<PrunedTo, StorageError> {
        Ok(self.state().pruned_to)
    }

    fn size(&self) -> Result<JournalSize, StorageError> {
        Ok(JournalSize::default())
    }
}

#[derive(Debug, Default)]
struct State {
    journal_id: String,
    specs: BTreeMap<SpecHash, SpecRecord>,
    active: BTreeMap<JobId, ActiveRecord>,
    removed: BTreeMap<JobId, RemovedRecord>,
    held: BTreeMap<JobId, ()>,
    reconciles: Vec<ReconcileRecord>,
    slots: BTreeMap<(JobId, Timestamp), SlotRecord>,
    stretches: Vec<StretchRecord>,
    watermarks: BTreeMap<JobId, Timestamp>,
    runs: BTreeMap<RunId, RunDetail>,
    /// Those that the success of other jobs made, as they were recorded.
    by_dependency: Vec<RunId>,
    pauses: BTreeMap<Option<JobId>, PauseRecord>,
    facts: Vec<NumberedFact>,
    /// How many facts there ever were; a number does not come back when its fact has gone.
    numbered: i64,
    pruned_to: PrunedTo,
    /// How many runs left early, by the minute of their creation and the name of their status.
    gone: BTreeMap<(Timestamp, &'static str), (RunStatus, u64)>,
}

impl State {
    /// Whether a run is of one of the versions that are meant.
    fn is_of(&self, run: &RunRecord, pick: &RevisionPick) -> bool {
        match pick {
            RevisionPick::Last(count) => self.specs.get(&run.spec_hash).is_some_and(|own| {
                let key = |spec: &SpecRecord| (spec.first_seen, spec.hash.clone());
                let newer = self
                    .specs
                    .values()
                    .filter(|spec| spec.job == own.job && key(spec) > key(own));
                newer.count() < count.get() as usize
            }),
            RevisionPick::Named(digits) => {
                let begins = |name: &str| name.starts_with(digits.as_str());
                begins(run.spec_hash.as_str()) || run.revision.as_deref().is_some_and(begins)
            }
        }
    }
}

/// A commit under way.
struct Step<'a> {
    state: &'a mut State,
    undo: Vec<Undo>,
}

type Undo = Box<dyn FnOnce(&mut State)>;

impl Step<'_> {
    fn take_back(self) {
        for undo in self.undo.into_iter().rev() {
            undo(self.state);
        }
    }

    /// Notes how to take back what is done next.
    fn or_else(&mut self, undo: impl FnOnce(&mut State) + 'static) {
        self.undo.push(Box::new(undo));
    }

    /// Puts, replaces or (with `None`) removes the row under a key.
    fn set<K: Ord + Clone + 'static, V: 'static>(
        &mut self,
        map: fn(&mut State) -> &mut BTreeMap<K, V>,
        key: K,
        value: Option<V>,
    ) {
        let replace = move |state: &mut State, key: K, value: Option<V>| match value {
            Some(value) => map(state).insert(key, value),
            None => map(state).remove(&key),
        };
        let was = replace(self.state, key.clone(), value);
        self.or_else(move |state| {
            replace(state, key, was);
        });
    }

    /// Puts the row under a key that is free.
    fn insert<K: Ord + Clone + 'static, V: 'static>(
        &mut self,
        map: fn(&mut State) -> &mut BTreeMap<K, V>,
        key: K,
        value: V,
    ) -> bool {
        match map(self.state).entry(key.clone()) {
            Entry::Occupied(_) => return false,
            Entry::Vacant(free) => free.insert(value),
        };
        self.or_else(move |state| {
            map(state).remove(&key);
        });
        true
    }

    fn push<T: 'static>(&mut self, list: fn(&mut State) -> &mut Vec<T>, row: T) {
        list(self.state).push(row);
        self.or_else(move |state| {
            list(state).pop();
        });
    }

    /// Changes a whole list.
    fn replace<T: Clone + 'static>(&mut self, list: fn(&mut State) -> &mut Vec<T>, change: impl FnOnce(&mut Vec<T>)) {
        let was = list(self.state).clone();
        change(list(self.state));
        self.or_else(move |state| *list(state) = was);
    }

    /// Changes a run that was found before.
    fn change_run(&mut self, id: RunId, change: impl FnOnce(&mut RunDetail) -> UndoRun) {
        if let Some(run) = self.state.runs.get_mut(&id) {
            let undo = change(run);
            self.or_else(move |state| {
                if let Some(run) = state.runs.get_mut(&id) {
                    undo(run);
                }
            });
        }
    }
}

type UndoRun = Box<dyn FnOnce(&mut RunDetail)>;

impl Rows for Step<'_> {
    fn insert_spec(&mut self, spec: &SpecRecord) -> Result<bool, StorageError> {
        Ok(self.insert(|state| &mut state.specs, spec.hash.clone(), spec.clone()))
    }

    fn has_spec(&mut self, hash: &SpecHash) -> Result<bool, StorageError> {
        Ok(self.state.specs.contains_key(hash))
    }

    fn put_active(&mut self, active: &ActiveRecord) -> Result<(), StorageError> {
        self.set(|state| &mut state.active, active.job.clone(), Some(active.clone()));
        self.set(|state| &mut state.removed, active.job.clone(), None);
        Ok(())
    }

    fn remove_active(&mut self, job: &JobId, at: Timestamp) -> Result<(), StorageError> {
        if let Some(active) = self.state.active.get(job).cloned() {
            self.set(|state| &mut state.active, job.clone(), None);
            let removed_at = at;
            let removed = RemovedRecord { active, removed_at };
            self.set(|state| &mut state.removed, job.clone(), Some(removed));
        }
        Ok(())
    }

    fn set_held(&mut self, jobs: &[JobId]) -> Result<(), StorageError> {
        let before: Vec<JobId> = self.state.held.keys().cloned().collect();
        for job in before {
            self.set(|state| &mut state.held, job, None);
        }
        for job in jobs {
            self.set(|state| &mut state.held, job.clone(), Some(()));
        }
        Ok(())
    }

    fn insert_reconcile(&mut self, reconcile: &ReconcileRecord) -> Result<(), StorageError> {
        self.push(|state| &mut state.reconciles, reconcile.clone());
        Ok(())
    }

    fn insert_slot(&mut self, slot: &SlotRecord) -> Result<bool, StorageError> {
        Ok(self.insert(|state| &mut state.slots, (slot.job.clone(), slot.at), slot.clone()))
    }

    fn slot(&mut self, job: &JobId, at: Timestamp) -> Result<Option<SlotRecord>, StorageError> {
        Ok(self.state.slots.get(&(job.clone(), at)).cloned())
    }

    fn update_slot(&mut self, slot: &SlotRecord) -> Result<(), StorageError> {
        self.set(
            |state| &mut state.slots,
            (slot.job.clone(), slot.at),
            Some(slot.clone()),
        );
        Ok(())
    }

    fn remove_slot(&mut self, job: &JobId, at: Timestamp) -> Result<(), StorageError> {
        self.set(|state| &mut state.slots, (job.clone(), at), None);
        Ok(())
    }

    fn insert_stretch(&mut self, stretch: &StretchRecord) -> Result<(), StorageError> {
        self.push(|state| &mut state.stretches, stretch.clone());
        Ok(())
    }

    fn remove_slots(&mut self, job: &JobId, after: Timestamp) -> Result<(), StorageError> {
        let slots = self.state.slots.range((Excluded((job.clone(), after)), Unbounded));
        let of_job = slots.take_while(|((of, _), _)| of == job);
        let void = of_job.filter(|(_, slot)| slot.outcome.is_some_and(|outcome| outcome != SlotOutcome::Ran));
        let void: Vec<_> = void.map(|(key, _)| key.clone()).collect();
        for key in void {
            self.set(|state| &mut state.slots, key, None);
        }
        Ok(())
    }

    fn remove_stretches(&mut self, job: &JobId, after: Timestamp) -> Result<(), StorageError> {
        let kept = |row: &StretchRecord| row.job != *job || row.to <= after;
        self.replace(|state| &mut state.stretches, |rows| rows.retain(kept));
        Ok(())
    }

    fn lower_watermark(&mut self, job: &JobId, at: Timestamp) -> Result<(), StorageError> {
        if self.state.watermarks.get(job).is_some_and(|was| *was > at) {
            self.set(|state| &mut state.watermarks, job.clone(), Some(at));
        }
        Ok(())
    }

    fn raise_watermark(&mut self, job: &JobId, at: Timestamp) -> Result<(), StorageError> {
        if self.state.watermarks.get(job).is_none_or(|was| *was < at) {
            self.set(|state| &mut state.watermarks, job.clone(), Some(at));
        }
        Ok(())
    }

    fn insert_run(&mut self, run: &RunRecord) -> Result<bool, StorageError> {
        let detail = RunDetail {
            run: run.clone(),
            tasks: Vec::new(),
            attempts: Vec::new(),
        };
        let is_new = self.insert(|state| &mut state.runs, run.id, detail);
        if is_new && run.trigger == Trigger::Dependency {
            self.push(|state| &mut state.by_dependency, run.id);
        }
        Ok(is_new)
    }

    fn run(&mut self, run: RunId) -> Result<Option<RunRecord>, StorageError> {
        Ok(self.state.runs.get(&run).map(|detail| detail.run.clone()))
    }

    fn remove_run(&mut self, run: RunId) -> Result<(), StorageError> {
        let by_dependency = |run: &RunDetail| run.run.trigger == Trigger::Dependency;
        if self.state.runs.get(&run).is_some_and(by_dependency) {
            self.replace(|state| &mut state.by_dependency, |rows| rows.retain(|row| *row != run));
        }
        self.set(|state| &mut state.runs, run, None);
        Ok(())
    }

    fn update_run(&mut self, run: &RunRecord) -> Result<(), StorageError> {
        self.change_run(run.id, |detail| {
            let was = std::mem::replace(&mut detail.run, run.clone());
            Box::new(move |detail| detail.run = was)
        });
        Ok(())
    }

    fn insert_task(&mut self, _: usize, task: &TaskRecord) -> Result<bool, StorageError> {
        if self.task(task.run, &task.task)?.is_some() {
            return Ok(false);
        }
        self.change_run(task.run, |detail| {
            detail.tasks.push(task.clone());
            Box::new(|detail| {
                detail.tasks.pop();
            })
        });
        Ok(true)
    }

    fn task(&mut self, run: RunId, task: &TaskId) -> Result<Option<TaskRecord>, StorageError> {
        let detail = self.state.runs.get(&run);
        Ok(detail.and_then(|detail| detail.tasks.iter().find(|row| row.task == *task).cloned()))
    }

    fn update_task(&mut self, task: &TaskRecord) -> Result<(), StorageError> {
        fn put(detail: &mut RunDetail, task: TaskRecord) -> Option<TaskRecord> {
            let row = detail.tasks.iter_mut().find(|row| row.task == task.task)?;
            Some(std::mem::replace(row, task))
        }
        self.change_run(task.run, |detail| {
            let was = put(detail, task.clone());
            Box::new(move |detail| {
                was.and_then(|was| put(detail, was));
            })
        });
        Ok(())
    }

    fn insert_attempt(&mut self, attempt: &AttemptRecord) -> Result<bool, StorageError> {
        if self.attempt(attempt.run, &attempt.task, attempt.attempt)?.is_some() {
            return Ok(false);
        }
        self.change_run(attempt.run, |detail| {
            detail.attempts.push(attempt.clone());
            Box::new(|detail| {
                detail.attempts.pop();
            })
        });
        Ok(true)
    }

    fn attempt(&mut self, run: RunId, task: &TaskId, attempt: u32) -> Result<Option<AttemptRecord>, StorageError> {
        let mut attempts = self
            .state
            .runs
            .get(&run)
            .into_iter()
            .flat_map(|detail| &detail.attempts);
        Ok(attempts
            .find(|row| row.task == *task && row.attempt == attempt)
            .cloned())
    }

    fn update_attempt(&mut self, attempt: &AttemptRecord) -> Result<(), StorageError> {
        fn put(detail: &mut RunDetail, attempt: AttemptRecord) -> Option<AttemptRecord> {
            let mut rows = detail.attempts.iter_mut();
            let row = rows.find(|row| row.task == attempt.task && row.attempt == attempt.attempt)?;
            Some(std::mem::replace(row, attempt))
        }
        self.change_run(attempt.run, |detail| {
            let was = put(detail, attempt.clone());
            Box::new(move |detail| {
                was.and_then(|was| put(detail, was));
            })
        });
        Ok(())
    }

    fn put_pause(&mut self, pause: &PauseRecord) -> Result<(), StorageError> {
        self.set(|state| &mut state.pauses, pause.job.clone(), Some(pause.clone()));
        Ok(())
    }

    fn remove_pause(&mut self, job: Option<&JobId>) -> Result<(), StorageError> {
        self.set(|state| &mut state.pauses, job.cloned(), None);
        Ok(())
    }

    fn append_fact(&mut self, at: Timestamp, fact: &Fact) -> Result<(), StorageError> {
        self.state.numbered += 1;
        self.or_else(|state| state.numbered -= 1);
        let number = self.state.numbered;
        self.push(
            |state| &mut state.facts,
            NumberedFact {
                number,
                at,
                fact: fact.clone(),
            },
        );
        Ok(())
    }

    fn is_repeated(&mut self, run: RunId) -> Result<bool, StorageError> {
        Ok(self.state.runs.values().any(|other| other.run.retry_of == Some(run)))
    }

    fn is_named(&mut self, spec: &SpecHash) -> Result<bool, StorageError> {
        Ok(prune::is_named(self.state, spec))
    }

    fn remove_spec(&mut self, hash: &SpecHash) -> Result<(), StorageError> {
        self.set(|state| &mut state.specs, hash.clone(), None);
        Ok(())
    }

    fn remove_stretch(&mut self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<(), StorageError> {
        let kept = |row: &StretchRecord| (&row.job, row.from, row.to) != (job, from, to);
        self.replace(|state| &mut state.stretches, |rows| rows.retain(kept));
        Ok(())
    }

    fn remove_reconciles(&mut self, keep: u32) -> Result<(), StorageError> {
        let beyond = self.state.reconciles.len().saturating_sub(keep as usize);
        self.replace(|state| &mut state.reconciles, |rows| drop(rows.drain(..beyond)));
        Ok(())
    }

    fn remove_facts(&mut self, below: i64) -> Result<(), StorageError> {
        self.replace(
            |state| &mut state.facts,
            |rows| rows.retain(|fact| fact.number >= below),
        );
        Ok(())
    }

    fn count_gone(&mut self, run: &RunRecord, oldest: Timestamp) -> Result<(), StorageError> {
        let early: Vec<_> = self.state.gone.keys().filter(|(at, _)| *at < oldest).copied().collect();
        for key in early {
            self.set(|state| &mut state.gone, key, None);
        }
        let key = (minute(run.created_at), run.status.as_str());
        let so_far = self.state.gone.get(&key).map_or(0, |(_, runs)| *runs);
        self.set(|state| &mut state.gone, key, Some((run.status, so_far + 1)));
        Ok(())
    }

    fn raise_pruned_to(&mut self, to: PrunedTo) -> Result<(), StorageError> {
        let was = self.state.pruned_to;
        self.state.pruned_to = PrunedTo {
            runs: was.runs.max(to.runs),
            slots: was.slots.max(to.slots),
        };
        self.or_else(move |state| state.pruned_to = was);
        Ok(())
    }
}
