//! What tasks ask for against what they used, and what would do.

use super::{Found, columns, series};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter},
};

/// From fewer attempts nothing is suggested.
const LEAST: u32 = 5;

/// A suggestion leaves a fifth of room above the most that was seen, and is a whole number of these.
const MEMORY_STEP: u32 = 16 * 1024 * 1024;

/// By task, the one first whose memory is furthest from what it asks for. Attempts that passed show what a task uses; of
/// those that were stopped for their memory only the memory counts, which is more than enough. Processors are processor
/// time by time: what a task asks for is that of its latest attempt, since earlier versions may have asked for more or less.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let attempts = Conditions::of_attempts(filter, now);
    // Of less than a tenth of a second, hundredths of processor time say nothing about a rate.
    let samples = format!(
        "SELECT job, task, ended_at AS moment, ending = 'over_memory' AS over, declared_cpu,
                declared_memory_bytes, max_rss_bytes AS rss,
                CASE WHEN NOT over AND epoch_us(ended_at) - epoch_us(started_at) >= 100000
                     THEN (cpu_user_ms::DOUBLE + cpu_system_ms) * 1000.0 / (epoch_us(ended_at) - epoch_us(started_at)) END AS cpu
         FROM attempts WHERE started_at IS NOT NULL AND ended_at IS NOT NULL AND (ending = 'over_memory' OR exit_code = 0)
            AND {}",
        attempts.sql()
    );
    let values = attempts.values;
    let ranked = history.ranked(
        &format!(
            "WITH tasks AS (
                 SELECT job, task, count(*) AS n, count(*) FILTER (over) AS over, arg_max_null(declared_cpu, moment) AS asked_cpu,
                        arg_max_null(declared_memory_bytes, moment) AS asked, quantile_cont(cpu, 0.95) AS cpu_p95,
                        quantile_cont(rss, 0.95) AS rss_p95, max(rss) AS rss_most,
                        CASE WHEN count(cpu) >= {LEAST} THEN greatest(ceil(cpu_p95 * 10) / 10, 0.1) END AS cpu_would_do,
                        CASE WHEN count(rss) >= {LEAST}
                             THEN try_cast(ceil(rss_most * 1.2 / {MEMORY_STEP}) * {MEMORY_STEP} AS BIGINT) END AS would_do
                 FROM ({samples}) GROUP BY job, task
             )
             SELECT job, task, n, asked, try_cast(round(rss_p95) AS BIGINT), rss_most, would_do, asked - would_do AS spare, over, asked_cpu,
                    round(cpu_p95, 2), cpu_would_do
             FROM tasks ORDER BY over DESC, abs(spare) DESC NULLS LAST, abs(asked_cpu - cpu_would_do) DESC NULLS LAST, job, task"
        ),
        &values,
    )?;
    let lines = [("memory p95", "quantile_cont(rss, 0.95)"), ("memory most", "max(rss)")];
    Ok(Found {
        columns: columns(&[
            ("job", ColumnKind::Text),
            ("task", ColumnKind::Text),
            ("attempts", ColumnKind::Count),
            ("memory_bytes", ColumnKind::Bytes),
            ("used_p95_bytes", ColumnKind::Bytes),
            ("used_most_bytes", ColumnKind::Bytes),
            ("suggested_bytes", ColumnKind::Bytes),
            ("spare_bytes", ColumnKind::Bytes),
            ("over_memory", ColumnKind::Count),
            ("cpu", ColumnKind::Count),
            ("cpu_used_p95", ColumnKind::Count),
            ("cpu_suggested", ColumnKind::Count),
        ]),
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

    /// `load` asks for 1 GiB and two processors; in five attempts of 10 s it has used up to 100 MiB and half a processor.
    /// `new` has run once, and `tight` was stopped for its memory. A failure of `load` used much more.
    fn history() -> Hand {
        let hand = Hand::new();
        let attempt = |run: &str, task: &str, code: i32| {
            hand.run(run, "etl", "s", "schedule", "succeeded", [0, 0, 10_000]);
            hand.attempt(run, "etl", task, 1, code, [0, 0, 0, 10_000]);
        };
        for n in 1..=5 {
            attempt(&format!("r{n}"), "load", 0);
            hand.sql(&format!(
                "UPDATE attempts SET max_rss_bytes = {n} * 20 * 1048576 WHERE run_id = 'r{n}'"
            ));
        }
        attempt("r6", "load", 1);
        hand.sql("UPDATE attempts SET max_rss_bytes = 9000000000 WHERE run_id = 'r6'");
        attempt("r7", "new", 0);
        attempt("r8", "tight", 0);
        hand.sql("UPDATE attempts SET ending = 'over_memory', exit_code = NULL, max_rss_bytes = 64000000 WHERE run_id = 'r8'");
        hand.sql(
            "UPDATE attempts SET cpu_user_ms = 4000, cpu_system_ms = 1000, declared_cpu = 2,
                    declared_memory_bytes = 1073741824 WHERE task = 'load'",
        );
        hand
    }

    #[test]
    fn what_a_task_asks_for_stands_beside_what_it_used() {
        insta::assert_snapshot!(text(&history().ask(Question::Sizing, "")));
    }
}
