//! Tasks that failed and then passed in the same run, which runs one version of its job to the end: nothing but chance,
//! or the world outside, made the difference.

use super::{Found, columns, kept::Kept};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter},
};

/// Attempts that somebody cancelled or that Petit's own end interrupted say nothing about the task, and are no failures.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let attempts = Conditions::of_attempts(filter, now);
    // Nearly all attempts are the first and only one and pass: only of the others does anything have to be put together.
    let samples = format!(
        "SELECT * FROM (
             SELECT job, task, run_id, max(attempt) FILTER (ending = 'exited' AND exit_code = 0) AS passed,
                    min(attempt) FILTER (failed) AS failed_first,
                    coalesce(sum(epoch_us(ended_at) - epoch_us(started_at)) FILTER (failed), 0) / 1000.0 AS lost,
                    max(ended_at) AS moment
             FROM (SELECT *, (ending <> 'exited' OR exit_code <> 0) AND ending NOT IN ('cancelled', 'interrupted') AS failed
                   FROM attempts WHERE {})
             WHERE failed OR attempt > 1 GROUP BY job, task, run_id
         ) WHERE failed_first < passed",
        attempts.sql()
    );
    let tried = format!(
        "SELECT job, task, count(*) AS n FROM attempts WHERE attempt = 1 AND {} GROUP BY job, task",
        attempts.sql()
    );
    let values = attempts.values;
    let samples = Kept::new(history, samples, values.clone())?;
    let ranked = samples.ranked(
        |samples| {
            format!(
                "SELECT job, task, count(*) AS times, n, round(times / n, 4) AS ratio, round(sum(lost))::BIGINT, max(moment),
                        arg_max(run_id, (moment, run_id))
                 FROM ({samples}) JOIN ({tried}) USING (job, task) GROUP BY job, task, n
                 ORDER BY times DESC, ratio DESC, job, task"
            )
        },
        &values,
    )?;
    Ok(Found {
        columns: columns(&[
            ("job", ColumnKind::Text),
            ("task", ColumnKind::Text),
            ("flaky", ColumnKind::Count),
            ("runs", ColumnKind::Count),
            ("ratio", ColumnKind::Ratio),
            ("lost_ms", ColumnKind::Millis),
            ("newest", ColumnKind::Time),
            ("newest_run", ColumnKind::Text),
        ]),
        ranked,
        series: samples.over_time(&[("flaky", "count(*)")])?,
        ignored: Vec::new(),
    })
}
