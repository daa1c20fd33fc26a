//! What may leave the journal, and what stays whatever its age.
//!
//! In: a [`PruneRule`], which says what time it is, how far the history has come, and how long runs are kept. Out: the rows
//! that nobody needs any more ([`Prunable`]), and the commits by which they go, each of a few rows ([`Prunable::steps`]).
//! [`Bounds`] makes instants and numbers of the rule; each backend looks for the rows that lie outside of them.
//!
//! Whatever the rule says, these stay: what has not ended and what is not decided; a run of which a fact is not yet in the
//! history, since the history looks its job up here; of each job the latest finished run, the latest success and the
//! latest that other jobs made, on which dependencies are judged, and a few more that listings show; a run that another
//! one which stays repeats, and with it what that one reuses, because a retry reuses nothing but what the run it repeats did
//! or reused; of each job the latest row of the ledger, and every row beyond its watermark, which must not run again when
//! the clock was put back; a version that is active, that was the last of its job, or that a row names; the last fact that
//! the history took in, by which it recognises a journal that was put back. Where that fact is missing the journal was put
//! back, the history's word is about another one, and nothing goes. Active jobs, with the anchors of their schedules,
//! watermarks and pauses are never touched.

use std::ops::Range;

use chrono::TimeDelta;

use super::Change;
use crate::core::{
    Timestamp,
    id::{JobId, RunId, SpecHash},
    keep::Keep,
};

/// What is to be pruned, as of a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PruneRule {
    /// The moment.
    pub now: Timestamp,
    /// Who else has what leaves.
    pub elsewhere: Elsewhere,
    /// How long runs are kept in all.
    pub keep: Keep,
}

/// Who else has what leaves the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// The history has every fact up to this number, and will have it after a crash too.
    History(i64),
    /// Nobody: this journal is all there is.
    Nowhere,
}

/// How long the journal keeps for itself what the history has as well.
const A_DAY: TimeDelta = TimeDelta::days(1);
/// How long it keeps the ledger then: a clock that is put back by less finds there what ran.
const A_WEEK: TimeDelta = TimeDelta::days(7);
/// Of runs and slots that the history has, no more than so many stay, whatever their age, beside those that are needed: at
/// about a kilobyte for a run they keep the file small on a machine on which a day is a quarter of a million runs.
const MOST_RUNS: u32 = 20_000;
const MOST_SLOTS: u32 = 40_000;
/// How many runs of a job listings show at a glance; they stay, if the jobs are not too many for that.
const SHOWN: u32 = 20;
/// How many reconciles stay.
const RECONCILES: u32 = 100;

/// A rule as instants and numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    /// Runs that were created and have ended before may go; so may versions that were first seen before.
    pub runs_before: Option<Timestamp>,
    /// The newest runs of which none may go for its number, and behind which each may.
    pub most_runs: Option<u32>,
    /// Of each job only so many stay.
    pub count: Option<u32>,
    /// Of each job so many stay in any case.
    pub shown: Option<u32>,
    /// Of all jobs together no more than so many stay for being shown.
    pub most_shown: u32,
    /// Slots before may go.
    pub slots_before: Option<Timestamp>,
    /// The same for slots as `most_runs` is for runs.
    pub most_slots: Option<u32>,
    /// The last fact that the history has, if there is one.
    pub projected: Option<i64>,
    /// How many reconciles stay.
    pub reconciles: u32,
}

impl PruneRule {
    pub(super) fn bounds(&self) -> Bounds {
        let oldest = self.keep.oldest(self.now);
        let since = |age| self.now.checked_sub_signed(age);
        let shown = Some(SHOWN.min(self.keep.count.unwrap_or(SHOWN)));
        match self.elsewhere {
            Elsewhere::History(projected) => Bounds {
                runs_before: since(A_DAY).max(oldest),
                most_runs: Some(MOST_RUNS),
                count: self.keep.count,
                shown,
                most_shown: MOST_RUNS,
                slots_before: since(A_WEEK).max(oldest),
                most_slots: Some(MOST_SLOTS),
                projected: Some(projected),
                reconciles: RECONCILES,
            },
            Elsewhere::Nowhere => Bounds {
                runs_before: oldest,
                most_runs: None,
                count: self.keep.count,
                shown,
                most_shown: MOST_RUNS,
                slots_before: oldest,
                most_slots: None,
                projected: None,
                reconciles: RECONCILES,
            },
        }
    }
}

impl Bounds {
    /// How many runs of each of so many jobs stay to be shown.
    pub fn shown_each(&self, jobs: usize) -> u32 {
        let jobs = u32::try_from(jobs).unwrap_or(u32::MAX).max(1);
        self.shown.map_or(0, |shown| shown.min((self.most_shown / jobs).max(1)))
    }
}

/// Rows that may go. More may be left: a look finds no more than [`MOST_FOUND`] of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prunable {
    /// Runs, with their tasks and attempts, the oldest first.
    pub runs: Vec<RunId>,
    /// Decided slots.
    pub slots: Vec<(JobId, Timestamp)>,
    /// Stretches, by their first and last slot.
    pub stretches: Vec<(JobId, Timestamp, Timestamp)>,
    /// Versions.
    pub specs: Vec<SpecHash>,
    /// How many reconciles.
    pub reconciles: u64,
    /// Facts, by their numbers.
    pub facts: Range<i64>,
}

/// The most rows of a kind that one look finds.
pub(super) const MOST_FOUND: usize = 20_000;

/// How many rows one commit takes away: so few that whoever commits next, a claim of a slot perhaps, waits a few milliseconds
/// at most. A run brings its tasks and attempts along.
const RUNS_AT_ONCE: usize = 50;
const ROWS_AT_ONCE: usize = 200;

/// Rows that leave the journal. One that is not there any more, or that is needed after all because something has happened
/// since the look, is passed over.
#[derive(Debug, Clone, PartialEq)]
pub enum Forget {
    /// These finished runs.
    Runs(Vec<RunId>),
    /// These decided slots.
    Slots(Vec<(JobId, Timestamp)>),
    /// These stretches.
    Stretches(Vec<(JobId, Timestamp, Timestamp)>),
    /// These versions.
    Specs(Vec<SpecHash>),
    /// All reconciles but the latest so many.
    Reconciles {
        /// How many stay.
        keep: u32,
    },
    /// The facts below a number.
    Facts {
        /// The first that stays.
        below: i64,
    },
}

/// Up to when runs and slots have left the journal. Newer ones are all there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrunedTo {
    /// The creation of the newest run that left.
    pub runs: Option<Timestamp>,
    /// The newest slot that left, by itself or at the end of a stretch.
    pub slots: Option<Timestamp>,
}

/// How much room a journal takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalSize {
    /// The file.
    pub bytes: u64,
    /// The log beside it, whose content moves into the file when nobody waits.
    pub log_bytes: u64,
    /// How much of it is free for new rows.
    pub free_bytes: u64,
}

impl Prunable {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        let Self {
            runs,
            slots,
            stretches,
            specs,
            reconciles,
            facts,
        } = self;
        runs.is_empty()
            && slots.is_empty()
            && stretches.is_empty()
            && specs.is_empty()
            && *reconciles == 0
            && facts.is_empty()
    }

    /// The commits by which they go, one after another.
    pub fn steps(self) -> impl Iterator<Item = Change> {
        let Self {
            runs,
            slots,
            stretches,
            specs,
            reconciles,
            facts,
        } = self;
        let at_once = i64::try_from(ROWS_AT_ONCE).unwrap_or(i64::MAX);
        let facts = (facts.start..facts.end)
            .step_by(ROWS_AT_ONCE)
            .map(move |first| Forget::Facts {
                below: first.saturating_add(at_once).min(facts.end),
            });
        chunks(runs, RUNS_AT_ONCE)
            .map(Forget::Runs)
            .chain(chunks(slots, ROWS_AT_ONCE).map(Forget::Slots))
            .chain(chunks(stretches, ROWS_AT_ONCE).map(Forget::Stretches))
            .chain(chunks(specs, ROWS_AT_ONCE).map(Forget::Specs))
            .chain((reconciles > 0).then_some(Forget::Reconciles { keep: RECONCILES }))
            .chain(facts)
            .map(Change::Forget)
    }
}

fn chunks<T>(mut rows: Vec<T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let rest = rows.split_off(size.min(rows.len()));
        let chunk = std::mem::replace(&mut rows, rest);
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_goes_in_small_steps() {
        let run = |n: u64| RunId::from_parts(Timestamp::UNIX_EPOCH, n.into());
        let found = Prunable {
            runs: (0..120).map(run).collect(),
            reconciles: 3,
            facts: 7..410,
            ..Prunable::default()
        };
        let steps: Vec<String> = found
            .steps()
            .map(|change| match change {
                Change::Forget(Forget::Runs(runs)) => format!("{} runs", runs.len()),
                Change::Forget(Forget::Facts { below }) => format!("below {below}"),
                Change::Forget(Forget::Reconciles { keep }) => format!("all but {keep}"),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            steps,
            [
                "50 runs",
                "50 runs",
                "20 runs",
                "all but 100",
                "below 207",
                "below 407",
                "below 410"
            ]
        );
        assert!(Prunable::default().is_empty() && Prunable::default().steps().next().is_none());
    }

    #[test]
    fn many_jobs_are_shown_with_fewer_runs() {
        let rule = PruneRule {
            now: Timestamp::UNIX_EPOCH,
            elsewhere: Elsewhere::History(1),
            keep: Keep::days(90),
        };
        let each = |jobs| rule.bounds().shown_each(jobs);
        assert_eq!([0, 1, 1_000, 2_000, 100_000].map(each), [20, 20, 20, 10, 1]);
    }

    #[test]
    fn the_history_makes_the_journal_short_and_without_it_the_settings_count() {
        let now = "2026-04-01T00:00:00Z".parse().expect("an instant");
        let before = |elsewhere, keep| PruneRule { now, elsewhere, keep }.bounds().runs_before;
        let ago = |hours| Some(now - TimeDelta::hours(hours));
        let hour = Keep {
            age: "1h".parse().ok(),
            count: None,
        };
        assert_eq!(before(Elsewhere::History(9), Keep::days(90)), ago(24));
        assert_eq!(before(Elsewhere::History(9), hour), ago(1));
        assert_eq!(before(Elsewhere::Nowhere, Keep::days(90)), ago(24 * 90));
        assert_eq!(before(Elsewhere::Nowhere, Keep::FOR_EVER), None);
    }
}
