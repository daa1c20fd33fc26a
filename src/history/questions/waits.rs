//! Where the time of a run's tasks goes: waiting for other jobs and tasks, waiting for slots, processors and memory, and
//! running.

use super::{Found, columns, series};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter},
};

/// Means of an attempt, by job; with `task=` by task. A first attempt waits for what comes before its task from the run's
/// creation on; a later one follows a pause that the retry policy wants, which is no wait and counts in `retries`. Tasks that
/// wait side by side count one by one, so that a job's three parts may add up to more than its run took.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let attempts = Conditions::of_attempts(filter, now);
    let samples = format!(
        "SELECT job, task, ended_at AS moment,
                CASE WHEN attempt = 1 THEN greatest(epoch_us(queued_at) - epoch_us(run_created_at), 0) ELSE 0 END AS dependencies,
                epoch_us(granted_at) - epoch_us(queued_at) AS slots, epoch_us(ended_at) - epoch_us(granted_at) AS running
         FROM attempts WHERE ended_at IS NOT NULL AND {}",
        attempts.sql()
    );
    let values = attempts.values;
    let by_task = !filter.tasks.is_empty();
    let of = if by_task { "job, task" } else { "job" };
    let ranked = history.ranked(
        &format!(
            "WITH sums AS (
                 SELECT {of}, count(*) AS n, sum(dependencies) / 1000.0 AS before, sum(slots) / 1000.0 AS waited,
                        sum(running) / 1000.0 AS ran, quantile_cont(slots, 0.95) / 1000.0 AS p95,
                        nullif(before + waited + ran, 0) AS whole
                 FROM ({samples}) GROUP BY {of}
             )
             SELECT {of}, n, round(before / whole, 4), round(waited / whole, 4), round(ran / whole, 4),
                    round(before / n)::BIGINT, round(waited / n)::BIGINT, round(p95)::BIGINT, round(ran / n)::BIGINT,
                    round(waited)::BIGINT
             FROM sums ORDER BY waited DESC, before DESC, {of}"
        ),
        &values,
    )?;
    let task = by_task.then_some(("task", ColumnKind::Text));
    let shown: Vec<_> = [("job", ColumnKind::Text)]
        .into_iter()
        .chain(task)
        .chain([
            ("attempts", ColumnKind::Count),
            ("dependencies", ColumnKind::Ratio),
            ("slots", ColumnKind::Ratio),
            ("running", ColumnKind::Ratio),
            ("dependencies_ms", ColumnKind::Millis),
            ("slots_ms", ColumnKind::Millis),
            ("slots_p95_ms", ColumnKind::Millis),
            ("running_ms", ColumnKind::Millis),
            ("slots_total_ms", ColumnKind::Millis),
        ])
        .collect();
    let lines = [
        ("dependencies", "avg(dependencies) / 1000"),
        ("slots", "avg(slots) / 1000"),
        ("running", "avg(running) / 1000"),
    ];
    Ok(Found {
        columns: columns(&shown),
        ranked,
        series: series::over_time(history, &samples, &values, &lines)?,
        ignored: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        history::questions::tests::{Hand, text},
        view::Question,
    };

    /// `load` is ready a second after the run's creation, waits 2 s for a slot, fails after 1 s, is ready again 5 s later,
    /// and then runs 2 s. `quick` waits for nothing.
    fn history() -> Hand {
        let hand = Hand::new();
        hand.run("r1", "etl", "s", "schedule", "succeeded", [0, 3_000, 11_000]);
        hand.attempt("r1", "etl", "load", 1, 1, [1_000, 3_000, 3_000, 4_000]);
        hand.attempt("r1", "etl", "load", 2, 0, [9_000, 9_000, 9_000, 11_000]);
        hand.run("r2", "quick", "s", "manual", "succeeded", [0, 0, 500]);
        hand.attempt("r2", "quick", "go", 1, 0, [0, 0, 0, 500]);
        hand
    }

    #[test]
    fn the_parts_of_a_wait_are_told_apart() {
        insta::assert_snapshot!(text(&history().ask(Question::Waits, "")));
    }

    #[test]
    fn waits_are_those_of_the_runs_and_tasks_that_are_picked() {
        let answer = history().ask(Question::Waits, "trigger=schedule task=l*");
        assert_eq!(answer.rows.len(), 1);
        assert_eq!(answer.rows[0][..3], ["etl".into(), "load".into(), serde_json::json!(2)]);
    }
}
