//! Which change of a job made what slower: the medians of its versions, each against the one before it.
//!
//! A version that comes back after another one counts with the time at which it first ran. What a version is, only its hash
//! says; `petit diff` shows what two of them are about.

use duckdb::types::Value;

use super::{Found, Ranked, columns, series};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter, Series},
};

/// Fewer samples than this say little about a median. A version with fewer is passed over, and what it changed counts as a
/// change of the next one.
const LEAST: u32 = 20;

/// By how many standard errors medians must differ: thousands of pairs are compared, the error is itself uncertain, and what
/// chance makes of one long job would stand before the true loss of a short one.
const SURE: u32 = 4;

/// Attempts that passed, by task, and whole runs that succeeded, which have no task here. A row is a change that made one of
/// them slower by more than chance would, the most time lost since first. What a change did to several tasks stands
/// together, and a run goes behind the tasks that explain it.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let (samples, values) = samples(filter, now);
    // The standard error of a median comes from the quartiles, so that a few outliers do not hide a change. The greater of
    // both sides counts for each: quartiles that lie close together by chance must not make a change of noise.
    let ranked = history.ranked(
        &format!(
            "WITH versions AS (
                 SELECT job, task, spec_hash, min(moment) AS begun, arg_min(revision, moment) AS revision, count(*) AS n,
                        quantile_cont(ms, [0.25, 0.5, 0.75]) AS q, q[2] AS middle,
                        0.93 * (q[3] - q[1]) / sqrt(n) AS error
                 FROM ({samples}) GROUP BY job, task, spec_hash HAVING n >= {LEAST}
             ), pairs AS (
                 SELECT *, lag(middle) OVER before AS was, lag(error) OVER before AS error_was, lag(n) OVER before AS n_was,
                        lag(spec_hash) OVER before AS hash_was
                 FROM versions WINDOW before AS (PARTITION BY job, task ORDER BY begun, spec_hash)
             ), slower AS (
                 SELECT *, (middle - was) * n AS lost FROM pairs
                 WHERE middle - was > {SURE} * sqrt(2) * greatest(error, error_was)
             ), weighed AS (
                 SELECT *, max(lost) OVER change AS worst,
                        CASE WHEN task IS NULL THEN lost - coalesce(sum(lost) FILTER (task IS NOT NULL) OVER change, 0)
                             ELSE lost END AS own
                 FROM slower WINDOW change AS (PARTITION BY job, spec_hash)
             )
             SELECT job, task, begun, round(was, 1), round(middle, 1), round(middle / nullif(was, 0) - 1, 4),
                    round(lost)::BIGINT, n_was, n, revision, left(hash_was, 12), left(spec_hash, 12),
                    concat_ws(' ', 'petit diff', job, left(hash_was, 12), left(spec_hash, 12))
             FROM weighed ORDER BY worst DESC, job, spec_hash, own DESC, task"
        ),
        &values,
    )?;
    Ok(Found {
        columns: columns(&[
            ("job", ColumnKind::Text),
            ("task", ColumnKind::Text),
            ("since", ColumnKind::Time),
            ("before_ms", ColumnKind::Millis),
            ("after_ms", ColumnKind::Millis),
            ("slower", ColumnKind::Ratio),
            ("lost_ms", ColumnKind::Millis),
            ("samples_before", ColumnKind::Count),
            ("samples_after", ColumnKind::Count),
            ("revision", ColumnKind::Text),
            ("old_spec", ColumnKind::Text),
            ("new_spec", ColumnKind::Text),
            ("diff", ColumnKind::Text),
        ]),
        series: worst(history, &samples, &values, &ranked)?,
        ranked,
        ignored: Vec::new(),
    })
}

/// Times, each with the version that it was measured of. A run that repeats another runs the version of that one, also when
/// a newer one is long in use, and would stand on the wrong side of a change.
fn samples(filter: &Filter, now: Timestamp) -> (String, Vec<Value>) {
    let (from, mut values) = Conditions::attempts(filter, now, &["spec_hash", "revision", "trigger", "created_at"]);
    let mut text = format!(
        "SELECT attempts.job AS job, task, spec_hash, revision, created_at AS moment,
                (epoch_us(ended_at) - epoch_us(started_at)) / 1000.0 AS ms
         {from} AND trigger <> 'retry' AND ending = 'exited' AND exit_code = 0
            AND started_at IS NOT NULL AND ended_at IS NOT NULL"
    );
    if filter.tasks.is_empty() {
        let runs = Conditions::of_runs(filter, now);
        text = format!(
            "{text} UNION ALL
             SELECT job, NULL, spec_hash, revision, created_at, (epoch_us(ended_at) - epoch_us(started_at)) / 1000.0
             FROM runs WHERE {} AND trigger <> 'retry' AND status = 'succeeded'
                AND started_at IS NOT NULL AND ended_at IS NOT NULL",
            runs.sql()
        );
        values.extend(runs.values);
    }
    (text, values)
}

/// What the first row is about, over time.
fn worst(history: &History, samples: &str, values: &[Value], ranked: &Ranked) -> Result<Vec<Series>, HistoryError> {
    let Some(row) = ranked.rows.first() else {
        return Ok(Vec::new());
    };
    let text = |at: usize| row[at].as_str().map(|text| Value::Text(text.to_owned()));
    let of_row = format!("SELECT * FROM ({samples}) WHERE job = ? AND task IS NOT DISTINCT FROM ?");
    let named = [text(0).unwrap_or(Value::Null), text(1).unwrap_or(Value::Null)];
    let values = [values, &named].concat();
    let name: Vec<_> = row[..2].iter().filter_map(|value| value.as_str()).collect();
    let label = format!("{} p50", name.join("/"));
    let mut lines = series::over_time(history, &of_row, &values, &[(&label, "quantile_cont(ms, 0.5)")])?;
    let change = text(2).map(|since| series::ticks(history, "change", "SELECT ?::TIMESTAMP", &[since]));
    lines.extend(change.transpose()?);
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use crate::{
        history::questions::tests::{Hand, text},
        view::{Filter, Question},
    };

    /// A job whose `load` took 1.0 s in 20 runs, of which one was far off, and takes 1.4 s in the next 20. Its `extract`
    /// stays as it is. In between a version ran three times only, and an old run was repeated at the end.
    fn history() -> Hand {
        let hand = Hand::new();
        for n in 0..44_i64 {
            let (spec, load) = match n {
                7 => ("old", 9_000),
                0..20 => ("old", 1_000 + n % 3),
                20..23 => ("mistake", 5_000),
                43 => ("old", 9_000),
                _ => ("new", 1_400 + n % 3),
            };
            let run = format!("run-{n}");
            let trigger = if n == 43 { "retry" } else { "schedule" };
            let begun = n * 60_000;
            hand.run(
                &run,
                "etl",
                spec,
                trigger,
                "succeeded",
                [begun, begun, begun + 100 + load],
            );
            hand.attempt(&run, "etl", "extract", 1, 0, [begun, begun, begun, begun + 100]);
            let begun = begun + 100;
            hand.attempt(&run, "etl", "load", 1, 0, [begun, begun, begun, begun + load]);
        }
        hand
    }

    #[test]
    fn a_change_names_the_task_that_it_made_slower_and_the_run_behind_it() {
        insta::assert_snapshot!(text(&history().ask(Question::Slower, "")));
    }

    #[test]
    fn what_chance_explains_is_no_change() {
        let hand = Hand::new();
        for n in 0..60_i64 {
            let spec = if n < 30 { "old" } else { "new" };
            // Spread over a second, and ten milliseconds apart.
            let took = (n * 37 % 30) * 33 + if n < 30 { 0 } else { 10 };
            let (run, begun) = (format!("run-{n}"), n * 60_000);
            hand.run(
                &run,
                "etl",
                spec,
                "schedule",
                "succeeded",
                [begun, begun, begun + 1_000 + took],
            );
        }
        assert!(hand.ask(Question::Slower, "").rows.is_empty());
    }

    #[test]
    fn with_a_task_whole_runs_are_left_out() {
        let rows = history().ask(Question::Slower, "task=l*").rows;
        let found: Vec<_> = rows.iter().map(|row| row[1].as_str()).collect();
        assert_eq!(found, [Some("load")]);
        assert_eq!(history().ask(Question::Slower, "task=extract").rows.len(), 0);
        let few: Filter = "until=2026-01-01T00:19:00Z".parse().expect("a filter");
        assert_eq!(history().ask(Question::Slower, &few.to_string()).rows.len(), 0);
    }
}
