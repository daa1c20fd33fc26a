//! What the jobs of a resulting set wait for: which of it is missing, and where it leads back to itself.
//!
//! Knows nothing of files or actions. Jobs come in the order of their ids and are found by it; all that costs time is
//! spent on jobs that wait for something, which most do not.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::{id::JobId, spec::JobDependency};

/// Every job that was or will be active, in order, with what it waits for; `None` for those that will not be.
#[derive(Clone, Default)]
pub(super) struct Resulting<'a>(Vec<(&'a JobId, Option<&'a [JobDependency]>)>);

impl<'a> Resulting<'a> {
    /// Adds a job behind all that were added before.
    pub(super) fn push(&mut self, job: &'a JobId, needs: Option<&'a [JobDependency]>) {
        debug_assert!(
            self.0.last().is_none_or(|(last, _)| *last < job),
            "jobs come in their order"
        );
        self.0.push((job, needs));
    }

    /// Changes what a job that was added waits for, or whether it will be active.
    pub(super) fn set(&mut self, job: &JobId, needs: Option<&'a [JobDependency]>) {
        if let Some(place) = self.place(job) {
            self.0[place].1 = needs;
        }
    }

    /// Whether a job will be active.
    pub(super) fn contains(&self, job: &JobId) -> bool {
        self.needs(job).is_some()
    }

    /// The jobs that will be active and wait for others.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&'a JobId, &'a [JobDependency])> {
        self.0
            .iter()
            .filter_map(|(job, needs)| Some((*job, (*needs)?)))
            .filter(|(_, needs)| !needs.is_empty())
    }

    /// The first of the jobs that are waited for which will not be active.
    pub(super) fn missing(&self, needs: &'a [JobDependency]) -> Option<&'a JobId> {
        let mut needs = needs.iter().map(|needs| &needs.job);
        needs.find(|needs| !self.contains(needs))
    }

    /// The jobs that wait for themselves in the end, and those that wait for such: what is left when everything that can
    /// be put in an order was. Empty in a good folder, so that nobody looks for cycles from each job.
    pub(super) fn knotted(&self) -> BTreeSet<&'a JobId> {
        let waiting: Vec<_> = self.waiting().collect();
        let number = |job: &JobId| waiting.binary_search_by(|(other, _)| (*other).cmp(job)).ok();
        let mut waits_for = vec![0_usize; waiting.len()];
        let mut waited_for_by = vec![Vec::new(); waiting.len()];
        for (me, (_, needs)) in waiting.iter().enumerate() {
            for other in needs.iter().filter_map(|needs| number(&needs.job)) {
                waits_for[me] += 1;
                waited_for_by[other].push(me);
            }
        }
        let mut free: Vec<usize> = (0..waiting.len()).filter(|me| waits_for[*me] == 0).collect();
        while let Some(me) = free.pop() {
            for &other in &waited_for_by[me] {
                waits_for[other] -= 1;
                if waits_for[other] == 0 {
                    free.push(other);
                }
            }
        }
        let left = waiting.iter().zip(waits_for).filter(|(_, left)| *left > 0);
        left.map(|((job, _), _)| *job).collect()
    }

    /// A way from a job along its dependencies back to itself.
    pub(super) fn cycle_through(&self, job: &JobId) -> Option<Vec<JobId>> {
        let mut came_from: BTreeMap<&JobId, &JobId> = BTreeMap::new();
        let mut todo = vec![job];
        while let Some(from) = todo.pop() {
            for needs in self.needs(from).into_iter().flatten() {
                let needs = &needs.job;
                if needs == job {
                    let back = std::iter::successors(Some(from), |at| came_from.get(*at).copied());
                    let mut path: Vec<JobId> = back.cloned().collect();
                    path.reverse();
                    return Some(path);
                }
                if !came_from.contains_key(needs) {
                    came_from.insert(needs, from);
                    todo.push(needs);
                }
            }
        }
        None
    }

    fn needs(&self, job: &JobId) -> Option<&'a [JobDependency]> {
        self.place(job).and_then(|place| self.0[place].1)
    }

    fn place(&self, job: &JobId) -> Option<usize> {
        self.0.binary_search_by(|(other, _)| (*other).cmp(job)).ok()
    }
}
