//! Whether a run may start: the overlap policy and the dependencies between jobs, as a function of values.
//!
//! In: the version of the job that the run binds, who asks, which runs of the job are ahead of it, and how the jobs that it
//! depends on stand. Out: one [`Verdict`]. Asking again with the same values gives the same verdict, so that a run that
//! waits can be judged anew whenever something ended. Nothing here knows of the journal, of processes or of resources.

use std::collections::BTreeMap;

use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId},
        record::RunRecord,
        spec::{JobCondition, JobDependency, JobSpec, Overlap},
        state::{RunStatus, SlotReason, Trigger},
    },
    storage::LatestRuns,
};

/// Who asks to start.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer {
    /// What made the run.
    pub trigger: Trigger,
    /// When it was made: waiting for other jobs counts from here.
    pub created_at: Timestamp,
    /// Until when it may wait for other jobs, if that was said before.
    pub wait_until: Option<Timestamp>,
    /// Whether it was let in before and waits: it is not turned away for another run then.
    pub waits: bool,
    /// Whether it belongs to late slots that are made up for one by one. Such runs line up behind whatever is in their way
    /// and behind each other, since a policy that let them push each other out would make up for one of them only.
    pub in_line: bool,
    /// Whether it starts beside others whatever the policy says.
    pub ignore_overlap: bool,
}

/// An unfinished run of the same job, older than the newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// The run.
    pub run: RunId,
    /// What made it.
    pub trigger: Trigger,
    /// Whether it has been held back so far.
    pub waits: bool,
    /// Whether it makes up for a late slot: nothing takes its place while it waits.
    pub made_up: bool,
}

/// How a job stands that another depends on.
#[derive(Debug, Clone, PartialEq)]
pub enum Upstream {
    /// It is not active: its file is gone, or was never valid.
    Absent,
    /// A slot of it is due, or a run that it made by itself is unfinished, in these words.
    Unfinished(String),
    /// What its latest runs were.
    Settled(Box<LatestRuns>),
}

/// What becomes of a run that asks to start.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It starts.
    Start,
    /// It never starts.
    Skip {
        /// Why, as the ledger names it.
        reason: SlotReason,
        /// Why, in words.
        detail: String,
        /// The run in its way, if one is.
        blocker: Option<RunId>,
    },
    /// It waits for other jobs.
    Wait {
        /// Until when.
        until: Timestamp,
        /// What for.
        detail: String,
        /// Runs that have waited so far, and whose place it takes.
        supersede: Vec<RunId>,
    },
    /// It waits for the runs ahead of it.
    Queue {
        /// Which.
        detail: String,
        /// Runs that have waited so far, and whose place it takes.
        supersede: Vec<RunId>,
    },
    /// It waits until the runs ahead of it, which are to be cancelled, have ended.
    Replace {
        /// Which.
        detail: String,
        /// The runs to cancel.
        cancel: Vec<RunId>,
    },
}

/// Judges a run. Only runs made by the schedule wait for other jobs: one by hand is somebody's decision, and one made by the
/// success of other jobs has what it needs.
pub fn gate(
    spec: &JobSpec,
    newcomer: &Newcomer,
    ahead: &[Ahead],
    upstreams: &BTreeMap<JobId, Upstream>,
    now: Timestamp,
) -> Verdict {
    let overlap = match spec.overlap {
        _ if newcomer.ignore_overlap => Overlap::Allow,
        Overlap::Skip | Overlap::Queue | Overlap::Replace if newcomer.in_line => Overlap::Queue,
        policy => policy,
    };
    if let (Overlap::Skip, Some(first), false) = (overlap, ahead.first(), newcomer.waits) {
        return Verdict::Skip {
            reason: SlotReason::Overlap,
            detail: format!("run {} of the job was still going", first.run),
            blocker: Some(first.run),
        };
    }
    // A run that the success of other jobs makes is as good as the next one, as slots are: without this, a job that is slower
    // than those it follows would leave a line that only grows.
    let takes_places = !newcomer.trigger.is_by_hand() && !newcomer.waits && !newcomer.in_line;
    let superseded = || match overlap {
        Overlap::Queue | Overlap::Replace if takes_places => ahead
            .iter()
            .filter(|older| older.waits && !older.trigger.is_by_hand() && !older.made_up)
            .map(|older| older.run)
            .collect(),
        Overlap::Skip | Overlap::Queue | Overlap::Replace | Overlap::Allow => Vec::new(),
    };
    if newcomer.trigger == Trigger::Schedule
        && let Some(unmet) = first_unmet(&spec.depends_on, upstreams, now)
    {
        let until = newcomer.wait_until.unwrap_or(newcomer.created_at + unmet.wait);
        return if until > now {
            Verdict::Wait {
                until,
                detail: unmet.detail,
                supersede: superseded(),
            }
        } else {
            Verdict::Skip {
                reason: SlotReason::Dependency,
                detail: unmet.detail,
                blocker: None,
            }
        };
    }
    let (Some(first), Some(last)) = (ahead.first(), ahead.last()) else {
        return Verdict::Start;
    };
    // Of a long line only the first says which run it waits for, so that a step forward changes one note and not all.
    let detail = if last.waits {
        "waits for its turn behind older runs of the job".to_owned()
    } else {
        format!("waits for run {} of the job to end", first.run)
    };
    match overlap {
        Overlap::Allow => Verdict::Start,
        Overlap::Replace if !ahead.iter().any(|older| older.waits && older.made_up) => Verdict::Replace {
            detail,
            cancel: ahead.iter().map(|older| older.run).collect(),
        },
        Overlap::Skip | Overlap::Queue | Overlap::Replace => Verdict::Queue {
            detail,
            supersede: superseded(),
        },
    }
}

/// The run of another job by which a dependency is met, or in words why it is not.
pub fn met<'a>(dependency: &JobDependency, upstream: &'a Upstream, now: Timestamp) -> Result<&'a RunRecord, String> {
    let job = &dependency.job;
    let latest = match upstream {
        Upstream::Absent => return Err(format!("job `{job}`, which it depends on, is not active")),
        Upstream::Unfinished(why) => return Err(format!("job `{job}`, which it depends on, {why}")),
        Upstream::Settled(latest) => latest,
    };
    let finished = || {
        let none = || format!("job `{job}`, which it depends on, has no finished run");
        latest.finished.as_ref().ok_or_else(none)
    };
    match dependency.condition {
        JobCondition::LastComplete => finished(),
        JobCondition::LastSuccess => {
            let run = finished()?;
            if run.status == RunStatus::Succeeded {
                Ok(run)
            } else {
                Err(format!(
                    "the latest run of job `{job}`, which it depends on, {} ({})",
                    run.status, run.id
                ))
            }
        }
        JobCondition::WithinWindow => {
            // Without a window, which validation asks for, no success is recent enough.
            let window = dependency.window.unwrap_or_default();
            let recent = |run: &&RunRecord| run.ended_at.is_some_and(|ended| ended >= now - window.to_delta());
            let none = || format!("job `{job}`, which it depends on, has not succeeded in the last {window}");
            latest.succeeded.as_ref().filter(recent).ok_or_else(none)
        }
    }
}

struct Unmet {
    detail: String,
    wait: chrono::TimeDelta,
}

/// Of the dependencies that are not met the one that may be waited for least: when its time is over, so is the wait.
fn first_unmet(dependencies: &[JobDependency], upstreams: &BTreeMap<JobId, Upstream>, now: Timestamp) -> Option<Unmet> {
    dependencies
        .iter()
        .filter_map(|dependency| {
            let upstream = upstreams.get(&dependency.job).unwrap_or(&Upstream::Absent);
            met(dependency, upstream, now).err().map(|detail| Unmet {
                detail,
                wait: dependency.wait.to_delta(),
            })
        })
        .min_by_key(|unmet| unmet.wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::fixtures::{at, finished, job, run_id};

    const NOW: &str = "2026-01-10T10:00:00Z";

    fn newcomer(trigger: Trigger) -> Newcomer {
        Newcomer {
            trigger,
            created_at: at(NOW),
            wait_until: None,
            waits: false,
            in_line: false,
            ignore_overlap: false,
        }
    }

    fn ahead(number: u128, trigger: Trigger, waits: bool) -> Ahead {
        Ahead {
            run: run_id(number),
            trigger,
            waits,
            made_up: false,
        }
    }

    fn overlap(policy: &str, newcomer: Newcomer, ahead: &[Ahead]) -> Verdict {
        let job = job("job", &format!("overlap: {policy}"));
        gate(&job.spec, &newcomer, ahead, &BTreeMap::new(), at(NOW))
    }

    #[test]
    fn nothing_in_the_way_is_a_start() {
        for policy in ["skip", "queue", "replace", "allow"] {
            assert_eq!(overlap(policy, newcomer(Trigger::Schedule), &[]), Verdict::Start);
        }
    }

    #[test]
    fn each_policy_answers_a_run_in_the_way() {
        let going = [ahead(1, Trigger::Schedule, false)];
        let slot = newcomer(Trigger::Schedule);
        let Verdict::Skip {
            reason,
            detail,
            blocker,
        } = overlap("skip", slot, &going)
        else {
            panic!("skip must skip");
        };
        assert_eq!((reason, blocker), (SlotReason::Overlap, Some(run_id(1))));
        assert!(detail.contains(&run_id(1).to_string()), "{detail}");
        assert!(matches!(overlap("queue", slot, &going), Verdict::Queue { supersede, .. } if supersede.is_empty()));
        assert!(matches!(overlap("replace", slot, &going), Verdict::Replace { cancel, .. } if cancel == [run_id(1)]));
        assert_eq!(overlap("allow", slot, &going), Verdict::Start);
    }

    #[test]
    fn a_newer_slot_takes_the_place_of_one_that_waits_but_not_of_a_run_by_hand() {
        let ahead = [
            ahead(1, Trigger::Schedule, false),
            ahead(2, Trigger::Schedule, true),
            ahead(3, Trigger::Manual, true),
        ];
        let superseded = |trigger| match overlap("queue", newcomer(trigger), &ahead) {
            Verdict::Queue { supersede, .. } => supersede,
            other => panic!("{other:?}"),
        };
        assert_eq!(superseded(Trigger::Schedule), [run_id(2)]);
        assert_eq!(superseded(Trigger::Manual), []);
        // Nor do runs pile up that the success of other jobs makes.
        assert_eq!(superseded(Trigger::Dependency), [run_id(2)]);
        let ahead = [
            self::ahead(1, Trigger::Dependency, false),
            self::ahead(2, Trigger::Dependency, true),
        ];
        let made = overlap("queue", newcomer(Trigger::Dependency), &ahead);
        assert!(
            matches!(&made, Verdict::Queue { supersede, .. } if *supersede == [run_id(2)]),
            "{made:?}"
        );
    }

    #[test]
    fn late_slots_that_are_made_up_for_line_up() {
        let mut older = ahead(2, Trigger::Schedule, true);
        older.made_up = true;
        let line = [ahead(1, Trigger::Schedule, false), older];
        let made_up = Newcomer {
            in_line: true,
            ..newcomer(Trigger::Schedule)
        };
        for policy in ["skip", "queue", "replace"] {
            assert!(
                matches!(overlap(policy, made_up, &line), Verdict::Queue { supersede, .. } if supersede.is_empty()),
                "{policy}"
            );
            assert_eq!(overlap(policy, made_up, &[]), Verdict::Start);
        }
        assert_eq!(overlap("allow", made_up, &line), Verdict::Start);

        // A slot of its own time does not push them out either.
        let slot = newcomer(Trigger::Schedule);
        assert!(matches!(overlap("skip", slot, &line), Verdict::Skip { .. }));
        for policy in ["queue", "replace"] {
            assert!(
                matches!(overlap(policy, slot, &line), Verdict::Queue { supersede, .. } if supersede.is_empty()),
                "{policy}"
            );
        }
    }

    #[test]
    fn runs_by_hand_obey_unless_told_otherwise() {
        let going = [ahead(1, Trigger::Schedule, false)];
        let by_hand = newcomer(Trigger::Manual);
        assert!(matches!(overlap("skip", by_hand, &going), Verdict::Skip { .. }));
        let insists = Newcomer {
            ignore_overlap: true,
            ..by_hand
        };
        assert_eq!(overlap("skip", insists, &going), Verdict::Start);
        let waits = Newcomer { waits: true, ..by_hand };
        assert!(matches!(overlap("skip", waits, &going), Verdict::Queue { .. }));
    }

    fn dependency(condition: &str, upstream: Upstream, wait: &str, trigger: Trigger) -> Verdict {
        let yaml = format!("depends_on: [{{job: up, condition: {condition}, window: 1h, wait: {wait}}}]");
        let job = job("job", &yaml);
        let upstreams = BTreeMap::from([(JobId::new("up").expect("a slug"), upstream)]);
        gate(&job.spec, &newcomer(trigger), &[], &upstreams, at(NOW))
    }

    fn latest(finished: Option<RunRecord>, succeeded: Option<RunRecord>) -> Upstream {
        Upstream::Settled(Box::new(LatestRuns {
            finished,
            succeeded,
            by_dependency: None,
        }))
    }

    #[test]
    fn each_condition_is_met_by_what_it_names() {
        let run = |number, status, ended: &str| Some(finished("up", number, status, at(ended)));
        let failed = || run(2, RunStatus::Failed, "2026-01-10T09:50:00Z");
        let old = || run(1, RunStatus::Succeeded, "2026-01-10T08:00:00Z");
        let recent = || run(1, RunStatus::Succeeded, "2026-01-10T09:00:00Z");
        for (condition, upstream, starts) in [
            ("last_success", latest(recent(), recent()), true),
            ("last_success", latest(failed(), recent()), false),
            ("last_success", latest(None, None), false),
            ("last_complete", latest(failed(), None), true),
            ("last_complete", latest(None, None), false),
            ("within_window", latest(failed(), recent()), true),
            ("within_window", latest(old(), old()), false),
            ("last_complete", Upstream::Absent, false),
            (
                "last_success",
                Upstream::Unfinished("has a slot that is due".to_owned()),
                false,
            ),
        ] {
            match dependency(condition, upstream, "0s", Trigger::Schedule) {
                Verdict::Start => assert!(starts, "{condition}"),
                Verdict::Skip { reason, detail, .. } => {
                    assert!(!starts && reason == SlotReason::Dependency, "{condition}");
                    assert!(detail.contains("`up`"), "{detail}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_slot_waits_for_other_jobs_as_long_as_it_may() {
        let unmet = || latest(None, None);
        let verdict = dependency("last_success", unmet(), "30m", Trigger::Schedule);
        assert!(matches!(verdict, Verdict::Wait { until, .. } if until == at("2026-01-10T10:30:00Z")));
        assert_eq!(
            dependency("last_success", unmet(), "30m", Trigger::Manual),
            Verdict::Start
        );

        let job = job("job", "depends_on: [{job: up, wait: 30m}]");
        let mut waits = newcomer(Trigger::Schedule);
        waits.wait_until = Some(at("2026-01-10T10:30:00Z"));
        let late = gate(&job.spec, &waits, &[], &BTreeMap::new(), at("2026-01-10T10:30:00Z"));
        assert!(matches!(
            late,
            Verdict::Skip {
                reason: SlotReason::Dependency,
                ..
            }
        ));
    }
}
