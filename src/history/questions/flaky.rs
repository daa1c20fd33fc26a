//! Tasks that failed and then passed in the same run, which runs one version of its job to the end: nothing but chance,
//! or the world outside, made the difference.

use super::{Found, columns, series};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter},
};

/// Attempts that somebody cancelled or that Petit's own end interrupted say nothing about the task, and are no failures.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let runs = Conditions::of_runs(filter, now);
    let mut tasks = Conditions::default();
    tasks.named("task", &filter.tasks);
    let of_runs = format!(
        "SELECT attempts.job AS job, task, run_id,
                max(attempt) FILTER (ending = 'exited' AND exit_code = 0) AS passed,
                min(attempt) FILTER (failed) AS failed_first,
                coalesce(sum(epoch_us(ended_at) - epoch_us(started_at)) FILTER (failed), 0) / 1000.0 AS lost,
                max(ended_at) AS moment
         FROM (SELECT *, (ending <> 'exited' OR exit_code <> 0) AND ending NOT IN ('cancelled', 'interrupted') AS failed
               FROM attempts)
         AS attempts JOIN (SELECT run_id FROM runs WHERE {}) USING (run_id)
         WHERE {} GROUP BY ALL",
        runs.sql(),
        tasks.sql()
    );
    let samples = format!("SELECT *, coalesce(failed_first < passed, false) AS flaky FROM ({of_runs})");
    let values = [runs.values, tasks.values].concat();
    let ranked = history.ranked(
        &format!(
            "SELECT job, task, count(*) FILTER (flaky) AS times, count(*), round(times / count(*), 4) AS ratio,
                    round(sum(lost) FILTER (flaky))::BIGINT, max(moment) FILTER (flaky), arg_max(run_id, moment) FILTER (flaky)
             FROM ({samples}) GROUP BY job, task HAVING times > 0 ORDER BY times DESC, ratio DESC, job, task"
        ),
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
        series: series::over_time(
            history,
            &format!("SELECT * FROM ({samples}) WHERE flaky"),
            &values,
            &[("flaky", "count(*)")],
        )?,
        ignored: Vec::new(),
    })
}
