//! What further attempts of failed tasks cost, and how many runs they saved. A run that somebody repeated is another run
//! and does not count here.

use super::{Found, columns, kept::Kept};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter},
};

/// By task, the dearest first. A retry costs the time from the end of the first attempt to that of the last: the pauses in
/// between hold the run up as well. A run is saved if the task passed in the end and the run succeeded.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    // How a run ended is asked of the runs in any case.
    let of_any_status = Filter {
        statuses: Vec::new(),
        ..filter.clone()
    };
    let attempts = Conditions::of_attempts(&of_any_status, now);
    let runs = Conditions::of_runs(filter, now);
    // A first attempt that is followed by another one did not pass, and nearly all others did.
    let samples = format!(
        "SELECT *, passed AND status = 'succeeded' AS saved,
                greatest((epoch_us(moment) - epoch_us(coalesce(first_ended, second_queued))) / 1000.0, ran) AS cost
         FROM (
             SELECT job, task, run_id, max(attempt) - 1 AS retries, max(ended_at) FILTER (attempt > 1) AS moment,
                    coalesce(bool_or(ending = 'exited' AND exit_code = 0), false) AS passed,
                    sum(epoch_us(ended_at) - epoch_us(granted_at)) FILTER (attempt > 1) / 1000.0 AS ran,
                    max(ended_at) FILTER (attempt = 1) AS first_ended, min(queued_at) FILTER (attempt > 1) AS second_queued
             FROM attempts WHERE (attempt > 1 OR ending <> 'exited' OR exit_code <> 0) AND {}
             GROUP BY job, task, run_id HAVING max(attempt) > 1
         ) JOIN (SELECT run_id, status FROM runs WHERE {}) USING (run_id)",
        attempts.sql(),
        runs.sql()
    );
    let samples = Kept::new(history, samples, [attempts.values, runs.values].concat())?;
    let ranked = samples.ranked(
        |samples| {
            format!(
                "SELECT job, task, count(*) AS n, sum(retries)::BIGINT, count(*) FILTER (passed), count(DISTINCT run_id) FILTER (saved),
                        round(count(*) FILTER (passed) / n, 4), round(sum(cost))::BIGINT AS total, round(sum(ran))::BIGINT,
                        round(sum(cost) FILTER (NOT saved))::BIGINT, max(moment)
                 FROM ({samples}) GROUP BY job, task ORDER BY total DESC, job, task"
            )
        },
        &[],
    )?;
    let lines = [("cost", "sum(cost)"), ("saved", "sum(cost) FILTER (saved)")];
    Ok(Found {
        columns: columns(&[
            ("job", ColumnKind::Text),
            ("task", ColumnKind::Text),
            ("retried", ColumnKind::Count),
            ("retries", ColumnKind::Count),
            ("passed", ColumnKind::Count),
            ("runs_saved", ColumnKind::Count),
            ("ratio", ColumnKind::Ratio),
            ("cost_ms", ColumnKind::Millis),
            ("running_ms", ColumnKind::Millis),
            ("in_vain_ms", ColumnKind::Millis),
            ("newest", ColumnKind::Time),
        ]),
        ranked,
        series: samples.over_time(&lines)?,
        ignored: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        history::questions::tests::{Hand, text},
        view::Question,
    };

    /// `load` fails for a second and passes 5 s later in 2 s, which saves its run. In another run it fails three times, a
    /// second each with pauses of 5 s. In a third it passes at the second attempt, but the run fails all the same.
    fn history() -> Hand {
        let hand = Hand::new();
        hand.run("r1", "etl", "s", "schedule", "succeeded", [0, 0, 8_000]);
        hand.attempt("r1", "etl", "load", 1, 1, [0, 0, 0, 1_000]);
        hand.attempt("r1", "etl", "load", 2, 0, [6_000, 6_000, 6_000, 8_000]);
        hand.attempt("r1", "etl", "calm", 1, 0, [0, 0, 0, 1_000]);
        hand.run("r2", "etl", "s", "schedule", "failed", [60_000, 60_000, 73_000]);
        for attempt in 1..=3 {
            let begun = 60_000 + i64::from(attempt - 1) * 6_000;
            hand.attempt("r2", "etl", "load", attempt, 1, [begun, begun, begun, begun + 1_000]);
        }
        hand.run("r3", "etl", "s", "manual", "failed", [120_000, 120_000, 122_000]);
        hand.attempt("r3", "etl", "load", 1, 1, [120_000, 120_000, 120_000, 121_000]);
        hand.attempt("r3", "etl", "load", 2, 0, [121_000, 121_000, 121_000, 122_000]);
        hand
    }

    #[test]
    fn retries_have_a_price_and_save_runs() {
        insta::assert_snapshot!(text(&history().ask(Question::Retries, "")));
        assert_eq!(history().ask(Question::Retries, "task=calm").rows.len(), 0);
        assert_eq!(history().ask(Question::Retries, "trigger=manual").rows[0][2], 1);
    }
}
