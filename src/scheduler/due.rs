//! Which slots of a job are due: a function of its timeline and the time.
//!
//! A [`Timeline`] is all that matters of a job's past: the version that is active, up to where its slots are recorded,
//! and whether something holds it. It does not change by itself and holds no clock.

use std::{collections::BTreeSet, sync::Arc};

use chrono::TimeDelta;

use super::{
    backlog::{Due, Fate, Hold, Passed, judge, stretch},
    presence::Presence,
    series::Series,
};
use crate::core::{
    Timestamp,
    active::{ActiveJob, ActiveSet},
    state::SlotReason,
};

/// A job and how far its slots are recorded.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// The job as it is active.
    pub active: Arc<ActiveJob>,
    /// Every slot up to here is recorded.
    pub watermark: Option<Timestamp>,
    /// Slots beyond the watermark that have run already, before the clock was put back.
    pub taken: Arc<BTreeSet<Timestamp>>,
    /// What keeps the schedule from starting anything.
    pub hold: Option<Hold>,
}

impl Timeline {
    /// The job's slots, if it has a schedule.
    pub fn series(&self) -> Option<Series<'_>> {
        Some(Series::of(&self.active)?.without(&self.taken))
    }

    /// From where on slots are still to be looked at: a backlog begins at the latest of what is recorded and the instant
    /// from which the schedule counts. The end of a pause is among the former.
    pub fn begins(&self) -> Timestamp {
        let since = self.active.record.scheduled_since;
        self.watermark.map_or(since, |watermark| watermark.max(since))
    }

    /// Up to when the schedule counts: until now, unless in the active set that is about to take over another schedule
    /// counts from an earlier instant on.
    pub fn ends(&self, next: &ActiveSet, now: Timestamp) -> Timestamp {
        let old = &self.active.record;
        match next.get(&old.job) {
            Some(newer) if newer.record.scheduled_since > old.scheduled_since => newer.record.scheduled_since.min(now),
            Some(_) | None => now,
        }
    }

    /// When the job must be looked at again; never, while it is held or has no schedule.
    pub fn next_start(&self) -> Option<Timestamp> {
        if self.hold.is_some() {
            return None;
        }
        let series = self.series()?;
        series.next_after(self.begins()).map(|slot| series.start_of(slot))
    }

    /// Whether an instant is a slot that is not recorded yet.
    pub fn is_to_come(&self, at: Timestamp) -> bool {
        let before = (at - TimeDelta::milliseconds(1)).max(self.begins());
        self.series().and_then(|series| series.next_after(before)) == Some(at)
    }

    /// The slots up to an instant that are not decided, as skipped: those of a pause at its end, or those of a job that
    /// goes before their jitter has passed.
    pub fn skipped_until(&self, until: Timestamp, reason: SlotReason) -> Option<Passed> {
        stretch(&self.series()?, self.begins(), until, Fate::Skipped(reason))
    }
}

/// What is to be done about a job's slots up to `until` that are due and not recorded; `None` if there are none. `until`
/// is before `now` only when another schedule counts from then on. A job that is held owes nothing until the hold ends
/// ([`Timeline::skipped_until`]), so that its pause is one row. `waiting` is how many of its slots wait already.
pub fn due(timeline: &Timeline, until: Timestamp, now: Timestamp, presence: &Presence, waiting: usize) -> Option<Due> {
    if timeline.hold.is_some() {
        return None;
    }
    let series = timeline.series()?;
    let begins = timeline.begins();
    let last = last_due(&series, begins, until, now)?;
    let misfire = timeline.active.job.spec.schedule.as_ref()?.misfire;
    Some(judge(&series, begins, last, now, &misfire, presence, waiting))
}

/// The last slot that is due. One whose jitter has not passed stops the search, even if a later one is ready: slots are
/// decided in their order, because the watermark cannot pass an undecided one. No slot is delayed by more than the
/// jitter for that.
fn last_due(series: &Series<'_>, begins: Timestamp, until: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let surely = (now - series.jitter()).min(until).max(begins);
    let mut last = series.last_in(begins, surely);
    let mut reached = last.unwrap_or(begins);
    let is_due = |slot: &Timestamp| *slot <= until && series.start_of(*slot) <= now;
    while let Some(slot) = series.next_after(reached).filter(is_due) {
        last = Some(slot);
        reached = slot;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{
        fixtures::{active, at},
        presence::Leap,
    };

    fn timeline(yaml: &str, since: &str, watermark: Option<&str>) -> Timeline {
        Timeline {
            active: active("job", yaml, since),
            watermark: watermark.map(at),
            taken: Arc::default(),
            hold: None,
        }
    }

    /// What is due to a Petit that has just begun.
    fn judged(timeline: &Timeline, now: &str) -> String {
        judged_by(timeline, now, &Presence::since(at(now)))
    }

    /// Starts, then `(from, to, slots, fate)` of the others, as text.
    fn judged_by(timeline: &Timeline, now: &str, presence: &Presence) -> String {
        let show = |instant: Timestamp| instant.format("%dT%H:%M:%S").to_string();
        let Some(due) = due(timeline, at(now), at(now), presence, 0) else {
            return "nothing".to_owned();
        };
        let starts: Vec<String> = due.starts.iter().map(|slot| show(*slot)).collect();
        let mut text = match &starts[..] {
            [] => "none".to_owned(),
            starts => format!("start {}", starts.join(" ")),
        };
        for passed in due.passed {
            text += &format!(
                "; {}..{} {} {:?}",
                show(passed.from),
                show(passed.to),
                passed.slots,
                passed.fate
            );
        }
        text
    }

    #[test]
    fn late_slots_follow_the_policy() {
        let since = "2026-01-01T00:00:00Z";
        let minutely = |misfire: &str| format!("schedule: {{cron: '* * * * *', misfire: {{{misfire}}}}}");
        let cases = [
            // Nothing new; exactly on time; late within the grace.
            ("policy: once", "10T10:00:00", "10T10:00:59.999", "nothing"),
            ("policy: once", "10T10:00:00", "10T10:01:00", "start 10T10:01:00"),
            ("policy: skip", "10T10:00:00", "10T10:01:59.999", "start 10T10:01:00"),
            // Ten minutes away: the newest is within the grace.
            (
                "policy: once",
                "10T10:00:00",
                "10T10:10:30",
                "start 10T10:10:00; 10T10:01:00..10T10:09:00 9 Merged(Down)",
            ),
            (
                "policy: skip",
                "10T10:00:00",
                "10T10:10:30",
                "start 10T10:10:00; 10T10:01:00..10T10:09:00 9 Missed(Down)",
            ),
            // The newest is too late to run as normal.
            (
                "policy: skip, grace: 10s",
                "10T10:00:00",
                "10T10:10:30",
                "none; 10T10:01:00..10T10:10:00 10 Missed(Down)",
            ),
            (
                "policy: once, grace: 10s",
                "10T10:00:00",
                "10T10:10:30",
                "start 10T10:10:00; 10T10:01:00..10T10:09:00 9 Merged(Down)",
            ),
            // Older than the window; the slot on its edge is inside.
            (
                "policy: once, window: 5m",
                "10T10:00:00",
                "10T10:10:00",
                "start 10T10:10:00; 10T10:01:00..10T10:04:00 4 TooOld; 10T10:05:00..10T10:09:00 5 Merged(Down)",
            ),
            (
                "policy: once, window: 10s, grace: 5s",
                "10T10:00:00",
                "10T10:10:30",
                "none; 10T10:01:00..10T10:10:00 10 TooOld",
            ),
            // Each late slot is made up for, oldest first, and the newest runs as normal beyond the limit.
            (
                "policy: all",
                "10T10:00:00",
                "10T10:04:30",
                "start 10T10:01:00 10T10:02:00 10T10:03:00 10T10:04:00",
            ),
            (
                "policy: all, limit: 2",
                "10T10:00:00",
                "10T10:05:30",
                "start 10T10:01:00 10T10:02:00 10T10:05:00; 10T10:03:00..10T10:04:00 2 OverLimit",
            ),
            (
                "policy: all, limit: 2, grace: 10s",
                "10T10:00:00",
                "10T10:05:30",
                "start 10T10:01:00 10T10:02:00; 10T10:03:00..10T10:05:00 3 OverLimit",
            ),
            (
                "policy: all, limit: 2, window: 3m, grace: 10s",
                "10T10:00:00",
                "10T10:05:30",
                "start 10T10:03:00 10T10:04:00; 10T10:01:00..10T10:02:00 2 TooOld; 10T10:05:00..10T10:05:00 1 OverLimit",
            ),
            (
                "policy: all, window: 10s, grace: 5s",
                "10T10:00:00",
                "10T10:02:30",
                "none; 10T10:01:00..10T10:02:00 2 TooOld",
            ),
        ];
        for (misfire, watermark, now, expected) in cases {
            let timeline = timeline(&minutely(misfire), since, Some(&format!("2026-01-{watermark}Z")));
            assert_eq!(
                judged(&timeline, &format!("2026-01-{now}Z")),
                expected,
                "{misfire} at {now}"
            );
        }
    }

    #[test]
    fn a_backlog_begins_at_the_latest_of_watermark_and_schedule() {
        let hourly = "schedule: '0 * * * *'";
        let now = "2026-01-10T10:00:30Z";
        let new = timeline(hourly, "2026-01-10T09:59:59Z", None);
        assert_eq!(judged(&new, now), "start 10T10:00:00");
        let newer = timeline(hourly, "2026-01-10T10:00:00Z", None);
        assert_eq!(judged(&newer, now), "nothing");
        let changed = timeline(hourly, "2026-01-10T09:59:59Z", Some("2026-01-09T00:00:00Z"));
        assert_eq!(judged(&changed, now), "start 10T10:00:00");
    }

    #[test]
    fn a_clock_that_went_back_fires_nothing_until_it_has_caught_up() {
        let minutely = timeline(
            "schedule: '* * * * *'",
            "2026-01-01T00:00:00Z",
            Some("2026-01-10T10:00:00Z"),
        );
        assert_eq!(judged(&minutely, "2026-01-10T09:00:00Z"), "nothing");
        assert_eq!(minutely.next_start(), Some(at("2026-01-10T10:01:00Z")));
    }

    #[test]
    fn a_held_job_owes_one_row_at_the_end() {
        let mut paused = timeline("schedule: '* * * * *'", "2026-01-10T10:00:00Z", None);
        paused.hold = Some(Hold::Paused);
        assert_eq!(judged(&paused, "2026-01-10T12:00:00Z"), "nothing");
        assert_eq!(paused.next_start(), None);
        assert_eq!(
            paused.skipped_until(at("2026-01-10T12:00:00Z"), SlotReason::Paused),
            Some(Passed {
                from: at("2026-01-10T10:01:00Z"),
                to: at("2026-01-10T12:00:00Z"),
                slots: 120,
                fate: Fate::Skipped(SlotReason::Paused),
            })
        );
    }

    #[test]
    fn jitter_delays_a_slot_and_is_not_held_against_it() {
        let jittered = timeline(
            "schedule: {cron: '* * * * *', jitter: 50s, misfire: {policy: skip, grace: 1s}}",
            "2026-01-10T10:00:00Z",
            None,
        );
        let start = jittered.next_start().expect("a schedule");
        let slot = at("2026-01-10T10:01:00Z");
        assert!(start >= slot && start < slot + chrono::TimeDelta::seconds(50));
        let millisecond = chrono::TimeDelta::milliseconds(1);
        let ask = |now| due(&jittered, now, now, &Presence::since(now), 0);
        assert_eq!(ask(start - millisecond), None);
        // Grace counts from the delayed start, whatever the slot is called.
        for on_time in [start + millisecond, start + chrono::TimeDelta::seconds(1)] {
            let due = ask(on_time).expect("it is due");
            assert_eq!((due.starts, due.last, due.passed), (vec![slot], slot, vec![]));
        }
        let late = ask(start + chrono::TimeDelta::milliseconds(1_001)).expect("it is due");
        assert_eq!((late.starts, late.last), (vec![], slot));
    }

    #[test]
    fn an_undecided_slot_holds_up_the_ones_behind_it() {
        // Of two slots in a row, the second of which is delayed less, the second waits for the first.
        let begin = at("2026-01-10T10:00:00Z");
        let jittered = timeline(
            "schedule: {cron: '* * * * * *', jitter: 30s}",
            "2026-01-10T10:00:00Z",
            None,
        );
        let series = jittered.series().expect("a schedule");
        let starts: Vec<_> = series
            .slots_in(begin, begin + chrono::TimeDelta::seconds(60))
            .map(|slot| (slot, series.start_of(slot)))
            .collect();
        let pair = starts.windows(2).find(|pair| pair[1].1 < pair[0].1);
        let &[(first, start), (second, _)] = pair.expect("one such pair among sixty") else {
            panic!("a pair is two");
        };
        let mut before = jittered.clone();
        before.watermark = Some(first - chrono::TimeDelta::seconds(1));
        let ask = |now| due(&before, now, now, &Presence::since(begin), 0);
        assert_eq!(ask(start - chrono::TimeDelta::milliseconds(1)), None);
        assert_eq!(before.next_start(), Some(start));
        assert!(ask(start).expect("both are due").last >= second);
    }

    #[test]
    fn slots_that_wait_in_line_count_against_the_limit() {
        let all = timeline(
            "schedule: {cron: '* * * * *', misfire: {policy: all, limit: 3}}",
            "2026-01-10T10:00:00Z",
            None,
        );
        let now = at("2026-01-10T10:06:00Z");
        let made_up = |waiting| {
            let due = due(&all, now, now, &Presence::since(now), waiting).expect("six are");
            let over: u64 = due.passed.iter().map(|passed| passed.slots).sum();
            (due.starts.len(), over)
        };
        // The newest is in time and runs as normal, whatever waits.
        assert_eq!([0, 2, 3, 9].map(made_up), [(4, 2), (2, 4), (1, 5), (1, 5)]);
    }

    #[test]
    fn a_slot_is_late_because_of_the_clock_when_petit_was_there() {
        let skip = timeline(
            "schedule: {cron: '* * * * *', misfire: {policy: skip, grace: 10s}}",
            "2026-01-01T00:00:00Z",
            Some("2026-01-10T10:00:00Z"),
        );
        let mut presence = Presence::since(at("2026-01-10T10:02:30Z"));
        assert_eq!(
            judged_by(&skip, "2026-01-10T10:03:30Z", &presence),
            "none; 10T10:01:00..10T10:03:00 3 Missed(Down)"
        );
        presence.leap = Some(Leap {
            from: at("2026-01-10T10:03:00Z"),
            to: at("2026-01-10T10:30:30Z"),
        });
        assert_eq!(
            judged_by(&skip, "2026-01-10T10:30:30Z", &presence),
            "none; 10T10:01:00..10T10:03:00 3 Missed(Down); 10T10:04:00..10T10:30:00 27 Missed(Clock)"
        );
    }

    #[test]
    fn what_ran_before_the_clock_went_back_is_no_slot_again() {
        let mut again = timeline(
            "schedule: {cron: '* * * * *', misfire: {policy: skip, grace: 10s}}",
            "2026-01-01T00:00:00Z",
            Some("2026-01-10T10:00:00Z"),
        );
        let taken = ["2026-01-10T10:01:00Z", "2026-01-10T10:03:00Z", "2026-01-10T10:05:00Z"];
        again.taken = Arc::new(taken.map(at).into());
        assert_eq!(again.next_start(), Some(at("2026-01-10T10:02:00Z")));
        assert_eq!(judged(&again, "2026-01-10T10:02:00Z"), "start 10T10:02:00");
        assert_eq!(
            judged(&again, "2026-01-10T10:05:30Z"),
            "none; 10T10:02:00..10T10:04:00 2 Missed(Down)"
        );
    }
}
