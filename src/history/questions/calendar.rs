//! When runs fail: by weekday and hour. Both are those of UTC, since jobs of several zones share a calendar.

use super::{Found, columns, series};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter},
};

/// Hours in which runs were created, those first in which most failed. That somebody cancelled a run, or that Petit's own
/// end interrupted it, is no failure.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let runs = Conditions::of_runs_with_tasks(filter, now);
    let samples = format!(
        "SELECT job, created_at AS moment, status IN ('failed', 'timed_out') AS failed FROM runs WHERE {}",
        runs.sql()
    );
    let ranked = history.ranked(
        &format!(
            "WITH hours AS (
                 SELECT isodow(moment) AS day, hour(moment) AS hour, count(*) AS n, count(*) FILTER (failed) AS times,
                        count(DISTINCT job) FILTER (failed) AS jobs, mode(job) FILTER (failed) AS most
                 FROM ({samples}) GROUP BY day, hour
             )
             SELECT ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'][day], hour, times, n, round(times / n, 4), jobs, most
             FROM hours ORDER BY times DESC, n, day, hour"
        ),
        &runs.values,
    )?;
    let lines = [("failed", "count(*) FILTER (failed)")];
    Ok(Found {
        columns: columns(&[
            ("weekday", ColumnKind::Text),
            ("hour", ColumnKind::Count),
            ("failed", ColumnKind::Count),
            ("runs", ColumnKind::Count),
            ("rate", ColumnKind::Ratio),
            ("jobs", ColumnKind::Count),
            ("most_often", ColumnKind::Text),
        ]),
        ranked,
        series: series::over_time(history, &samples, &runs.values, &lines)?,
        ignored: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        history::questions::tests::{Hand, text},
        view::Question,
    };

    const HOUR: i64 = 3_600_000;

    /// Thursdays at 2: three of four runs fail, in two weeks. Thursday at 3: one of one was cancelled. Friday at 2: one of
    /// one timed out.
    fn history() -> Hand {
        let hand = Hand::new();
        let week = 7 * 24 * HOUR;
        for (run, job, status, at) in [
            ("r1", "etl", "failed", 2 * HOUR - week),
            ("r2", "etl", "failed", 2 * HOUR + 1),
            ("r3", "report", "failed", 3 * HOUR - 1),
            ("r4", "report", "succeeded", 2 * HOUR),
            ("r5", "etl", "cancelled", 3 * HOUR),
            ("r6", "etl", "timed_out", 26 * HOUR),
        ] {
            hand.run(run, job, "s", "schedule", status, [at, at, at]);
            hand.attempt(run, job, "only", 1, 0, [at, at, at, at]);
        }
        hand
    }

    #[test]
    fn failures_are_counted_by_weekday_and_hour() {
        insta::assert_snapshot!(text(&history().ask(Question::Calendar, "")));
    }

    #[test]
    fn the_calendar_is_that_of_the_runs_that_are_picked() {
        let picked = |filter| history().ask(Question::Calendar, filter).rows;
        assert_eq!(
            picked("job=report")[0][..4],
            ["Thu".into(), 2.into(), 1.into(), serde_json::json!(2)]
        );
        assert_eq!(picked("task=nothing").len(), 0);
    }
}
