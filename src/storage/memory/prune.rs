//! Which rows may leave a journal in memory: the rules of [`super::super::prune`] over plain values.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::Range,
};

use super::{
    super::prune::{Bounds, MOST_FOUND, Prunable},
    State,
};
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId, SpecHash},
        record::RunRecord,
        state::RunStatus,
    },
    events::Fact,
};

/// Everything that may go within the bounds.
pub(super) fn find(state: &State, bounds: &Bounds) -> Prunable {
    if let Some(projected) = bounds.projected
        && !state.facts.iter().any(|fact| fact.number == projected)
    {
        return Prunable::default();
    }
    Prunable {
        runs: runs(state, bounds),
        slots: slots(state, bounds),
        stretches: stretches(state, bounds),
        specs: specs(state, bounds),
        reconciles: state.reconciles.len().saturating_sub(bounds.reconciles as usize) as u64,
        facts: facts(state, bounds),
    }
}

/// Whether a run, an active or a removed job names this version.
pub(super) fn is_named(state: &State, spec: &SpecHash) -> bool {
    state.runs.values().any(|detail| detail.run.spec_hash == *spec)
        || state.active.values().any(|active| active.spec_hash == *spec)
        || state.removed.values().any(|removed| removed.active.spec_hash == *spec)
}

fn runs(state: &State, bounds: &Bounds) -> Vec<RunId> {
    let mut newest: Vec<&RunRecord> = state.runs.values().map(|detail| &detail.run).collect();
    newest.sort_by_key(|run| Reverse((run.created_at, run.id)));
    let mut of_jobs: BTreeMap<&JobId, Vec<&RunRecord>> = BTreeMap::new();
    for &run in &newest {
        of_jobs.entry(&run.job).or_default().push(run);
    }
    let shown = bounds.shown_each(of_jobs.len()) as usize;
    let mut needed: HashSet<RunId> = newest.iter().filter_map(|run| run.retry_of).collect();
    for runs in of_jobs.values() {
        let latest = |fits: fn(&RunRecord) -> bool| {
            let fitting = runs.iter().filter(|run| fits(run));
            fitting.max_by_key(|run| (run.ended_at, run.id)).map(|run| run.id)
        };
        needed.extend(latest(|run| run.status.is_finished()));
        needed.extend(latest(|run| run.status == RunStatus::Succeeded));
        needed.extend(runs.iter().take(shown).map(|run| run.id));
    }
    let mut latest_made = BTreeMap::new();
    for id in &state.by_dependency {
        latest_made.extend(state.runs.get(id).map(|detail| (&detail.run.job, *id)));
    }
    needed.extend(latest_made.into_values());
    needed.extend(unprojected(state, bounds).filter_map(|fact| match fact {
        Fact::Run(run) => Some(run.id),
        Fact::Task(task) => Some(task.run),
        Fact::Attempt(attempt) => Some(attempt.run),
        Fact::Spec(_) | Fact::Reconcile(_) | Fact::Slot(_) | Fact::Stretch(_) | Fact::Supersede(_) | Fact::Pools(_) => {
            None
        }
    }));
    let beyond = nth(newest.iter().map(|run| run.created_at), bounds.most_runs);
    let is_old = |run: &RunRecord| {
        bounds
            .runs_before
            .max(beyond)
            .is_some_and(|before| run.created_at < before && run.ended_at.is_some_and(|ended| ended < before))
    };
    let may_go = |run: &&&RunRecord| run.status.is_finished() && !needed.contains(&run.id);
    let oldest = || newest.iter().rev().filter(may_go);
    let mut found: Vec<RunId> = oldest().filter(|run| is_old(run)).map(|run| run.id).collect();
    found.truncate(MOST_FOUND);
    if let Some(count) = bounds.count {
        let stays: HashSet<RunId> = of_jobs
            .values()
            .flat_map(|runs| runs.iter().take(count as usize).map(|run| run.id))
            .collect();
        let beyond = oldest().map(|run| run.id).filter(|run| !stays.contains(run));
        let known: HashSet<RunId> = found.iter().copied().collect();
        found.extend(beyond.take(MOST_FOUND).filter(|run| !known.contains(run)));
    }
    found
}

fn slots(state: &State, bounds: &Bounds) -> Vec<(JobId, Timestamp)> {
    let mut instants: Vec<Timestamp> = state.slots.keys().map(|(_, at)| *at).collect();
    instants.sort_by_key(|at| Reverse(*at));
    let Some(before) = bounds.slots_before.max(nth(instants.into_iter(), bounds.most_slots)) else {
        return Vec::new();
    };
    let decided = || state.slots.values().filter(|slot| slot.outcome.is_some());
    let mut latest: BTreeMap<&JobId, Timestamp> = BTreeMap::new();
    for slot in decided() {
        latest.insert(&slot.job, slot.at);
    }
    let may_go = |job: &JobId, at: Timestamp| {
        at < before
            && latest.get(job).is_some_and(|latest| at < *latest)
            && state.watermarks.get(job).is_none_or(|watermark| at <= *watermark)
    };
    let goes = decided().filter(|slot| may_go(&slot.job, slot.at));
    let mut found: Vec<_> = goes.map(|slot| (slot.job.clone(), slot.at)).collect();
    // Those of one time stand together in a file.
    found.sort_by(|(job, at), (other, also)| (at, job).cmp(&(also, other)));
    found.truncate(MOST_FOUND);
    found
}

fn stretches(state: &State, bounds: &Bounds) -> Vec<(JobId, Timestamp, Timestamp)> {
    let Some(before) = bounds.slots_before else {
        return Vec::new();
    };
    let mut latest: BTreeMap<&JobId, Timestamp> = BTreeMap::new();
    for row in &state.stretches {
        let last = latest.entry(&row.job).or_insert(row.to);
        *last = row.to.max(*last);
    }
    let goes = state.stretches.iter().filter(|row| {
        row.to < before
            && latest.get(&row.job).is_some_and(|latest| row.to < *latest)
            && state
                .watermarks
                .get(&row.job)
                .is_none_or(|watermark| row.to <= *watermark)
    });
    let named: BTreeSet<_> = goes.map(|row| (row.job.clone(), row.from, row.to)).collect();
    named.into_iter().take(MOST_FOUND).collect()
}

fn specs(state: &State, bounds: &Bounds) -> Vec<SpecHash> {
    let Some(before) = bounds.runs_before else {
        return Vec::new();
    };
    let in_ledger: HashSet<&SpecHash> = (state.slots.values().map(|slot| &slot.spec_hash))
        .chain(state.stretches.iter().map(|row| &row.spec_hash))
        .collect();
    let unprojected: HashSet<&SpecHash> = unprojected(state, bounds)
        .filter_map(|fact| match fact {
            Fact::Spec(spec) => Some(&spec.hash),
            Fact::Reconcile(_)
            | Fact::Slot(_)
            | Fact::Stretch(_)
            | Fact::Supersede(_)
            | Fact::Run(_)
            | Fact::Task(_)
            | Fact::Attempt(_)
            | Fact::Pools(_) => None,
        })
        .collect();
    let goes = state.specs.values().filter(|spec| {
        spec.first_seen < before
            && !is_named(state, &spec.hash)
            && !in_ledger.contains(&spec.hash)
            && !unprojected.contains(&spec.hash)
    });
    goes.map(|spec| spec.hash.clone()).take(MOST_FOUND).collect()
}

fn facts(state: &State, bounds: &Bounds) -> Range<i64> {
    let (Some(first), Some(last)) = (state.facts.first(), state.facts.last()) else {
        return 0..0;
    };
    let end = match (bounds.projected, bounds.runs_before) {
        (Some(projected), _) => projected,
        (None, Some(before)) => {
            let kept = state.facts.iter().find(|fact| fact.at >= before);
            kept.unwrap_or(last).number
        }
        (None, None) => first.number,
    };
    first.number..end.min(last.number).max(first.number)
}

/// The facts that the history does not have yet; without a history nobody waits for any.
fn unprojected<'a>(state: &'a State, bounds: &Bounds) -> impl Iterator<Item = &'a Fact> {
    let projected = bounds.projected.unwrap_or(i64::MAX);
    let behind = state.facts.iter().filter(move |fact| fact.number > projected);
    behind.map(|fact| &fact.fact)
}

/// Of instants from the newest on the one with this place, counted from one.
fn nth(mut newest: impl Iterator<Item = Timestamp>, place: Option<u32>) -> Option<Timestamp> {
    newest.nth(place? as usize - 1)
}
