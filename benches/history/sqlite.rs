//! The same rows in SQLite, with indexes, and those of the questions that its SQL can ask without further ado.
//!
//! The queries give what Petit's give for the ranked rows, without the chart, and percentiles by counting out rows of a
//! sorted group: both favour SQLite.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use chrono::SecondsFormat;
use petit::{
    core::Timestamp,
    view::{Filter, Question},
};
use rusqlite::{Connection, params_from_iter, types::Value};

use crate::Failure;

/// The rows, in a file of their own.
pub struct Reference(Connection);

/// What is asked about, with its columns as numbers that SQLite compares quickly.
const TABLES: [(&str, &str, &str); 4] = [
    (
        "runs",
        "run_id, job, trigger, epoch_us(slot) AS slot, spec_hash, status, epoch_us(created_at) AS created_at,
         epoch_us(started_at) AS started_at, epoch_us(ended_at) AS ended_at",
        "CREATE INDEX runs_by_time ON runs (created_at); CREATE INDEX runs_by_id ON runs (run_id)",
    ),
    (
        "attempts",
        "run_id, job, task, attempt, ending, exit_code, epoch_us(queued_at) AS queued_at, epoch_us(granted_at) AS granted_at,
         epoch_us(started_at) AS started_at, epoch_us(ended_at) AS ended_at",
        "CREATE INDEX attempts_by_run ON attempts (run_id, task, attempt)",
    ),
    (
        "slots",
        "job, epoch_us(slot) AS slot, epoch_us(last_slot) AS last_slot, slots, outcome, reason",
        "CREATE INDEX slots_by_time ON slots (last_slot)",
    ),
    (
        "outputs",
        "run_id, job, task, name, number, epoch_us(published_at) AS published_at",
        "CREATE INDEX outputs_by_run ON outputs (run_id)",
    ),
];

impl Reference {
    /// Copies what is asked about, unless that has been done.
    pub fn of(history: &Path, file: &Path) -> Result<Self, Failure> {
        let is_new = !file.exists();
        let mut connection = Connection::open(file)?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -500000")?;
        if is_new && let Err(failure) = copy(history, &mut connection) {
            fs::remove_file(file)?;
            return Err(failure);
        }
        Ok(Self(connection))
    }

    /// How long the same question takes; nothing if it is not asked here.
    pub fn asked(&self, question: Question, filter: &Filter, now: Timestamp) -> Option<Result<Duration, Failure>> {
        let query = query(question)?;
        let since = filter.since.map_or(0, |since| since.instant(now).timestamp_micros());
        let ask = || -> Result<Duration, Failure> {
            let begun = Instant::now();
            let mut statement = self.0.prepare(query)?;
            let mut rows = statement.query([since])?;
            let mut count = 0_u64;
            while rows.next()?.is_some() {
                count += 1;
            }
            if count == 0 {
                return Err(format!(
                    "{question}: SQLite finds nothing since {}",
                    now.to_rfc3339_opts(SecondsFormat::Secs, true)
                )
                .into());
            }
            Ok(begun.elapsed())
        };
        Some(ask())
    }
}

fn copy(history: &Path, connection: &mut Connection) -> Result<(), Failure> {
    let source = duckdb::Connection::open(history)?;
    for (table, columns, indexes) in TABLES {
        let mut select = source.prepare(&format!("SELECT {columns} FROM {table}"))?;
        let mut rows = select.query([])?;
        let count = rows.as_ref().map_or(0, duckdb::Statement::column_count);
        let names = rows.as_ref().map(duckdb::Statement::column_names).unwrap_or_default();
        let transaction = connection.transaction()?;
        transaction.execute_batch(&format!("CREATE TABLE {table} ({})", names.join(", ")))?;
        let places = vec!["?"; count].join(", ");
        let mut insert = transaction.prepare(&format!("INSERT INTO {table} VALUES ({places})"))?;
        while let Some(row) = rows.next()? {
            let values = (0..count).map(|column| Ok(value(row.get(column)?)));
            let values: Vec<Value> = values.collect::<duckdb::Result<_>>()?;
            insert.execute(params_from_iter(values))?;
        }
        drop(insert);
        transaction.commit()?;
        connection.execute_batch(indexes)?;
    }
    Ok(connection.execute_batch("ANALYZE")?)
}

fn value(value: duckdb::types::Value) -> Value {
    use duckdb::types::Value as Stored;
    match value {
        Stored::Text(text) => Value::Text(text),
        Stored::Int(number) => Value::Integer(number.into()),
        Stored::BigInt(number) => Value::Integer(number),
        Stored::Double(number) => Value::Real(number),
        _ => Value::Null,
    }
}

fn query(question: Question) -> Option<&'static str> {
    match question {
        Question::Duration => Some(
            "WITH samples AS (
                 SELECT job, (ended_at - started_at) / 1000.0 AS ms, status FROM runs WHERE created_at >= ?
             ), sorted AS (
                 SELECT *, row_number() OVER (PARTITION BY job ORDER BY ms) AS place, count(*) OVER (PARTITION BY job) AS n FROM samples
             )
             SELECT job, n, sum(status <> 'succeeded'), max(ms) FILTER (WHERE place <= n * 0.5),
                    max(ms) FILTER (WHERE place <= n * 0.95) AS p95, max(ms) FILTER (WHERE place <= n * 0.99), max(ms)
             FROM sorted GROUP BY job ORDER BY p95 DESC",
        ),
        Question::Lateness => Some(
            "WITH samples AS (
                 SELECT job, (started_at - slot) / 1000.0 AS ms FROM runs
                 WHERE created_at >= ? AND slot IS NOT NULL AND trigger = 'schedule'
             ), sorted AS (
                 SELECT *, row_number() OVER (PARTITION BY job ORDER BY ms) AS place, count(*) OVER (PARTITION BY job) AS n FROM samples
             )
             SELECT job, n, max(ms) FILTER (WHERE place <= n * 0.5), max(ms) FILTER (WHERE place <= n * 0.95) AS p95,
                    max(ms) FILTER (WHERE place <= n * 0.99), max(ms)
             FROM sorted GROUP BY job ORDER BY p95 DESC",
        ),
        Question::Slower => Some(
            "WITH samples AS (
                 SELECT attempts.job AS job, task, spec_hash, created_at, (attempts.ended_at - attempts.started_at) / 1000.0 AS ms
                 FROM runs JOIN attempts USING (run_id)
                 WHERE created_at >= ? AND trigger <> 'retry' AND ending = 'exited' AND exit_code = 0
             ), sorted AS (
                 SELECT *, row_number() OVER (PARTITION BY job, task, spec_hash ORDER BY ms) AS place,
                        count(*) OVER (PARTITION BY job, task, spec_hash) AS n FROM samples
             ), versions AS (
                 SELECT job, task, spec_hash, min(created_at) AS begun, n, max(ms) FILTER (WHERE place <= n * 0.5) AS middle
                 FROM sorted GROUP BY job, task, spec_hash HAVING n >= 20
             )
             SELECT *, middle - lag(middle) OVER (PARTITION BY job, task ORDER BY begun) AS lost FROM versions ORDER BY lost DESC",
        ),
        Question::Calendar => Some(
            "SELECT strftime('%w %H', created_at / 1000000, 'unixepoch') AS hour, count(*), sum(status IN ('failed', 'timed_out')) AS failed
             FROM runs WHERE created_at >= ? GROUP BY hour ORDER BY failed DESC",
        ),
        Question::Waits => Some(
            "SELECT attempts.job, count(*), sum(CASE WHEN attempt = 1 THEN queued_at - created_at ELSE 0 END),
                    sum(granted_at - queued_at) AS slots, sum(attempts.ended_at - granted_at)
             FROM runs JOIN attempts USING (run_id) WHERE created_at >= ? GROUP BY attempts.job ORDER BY slots DESC",
        ),
        Question::Missed => Some(
            "SELECT date(slot / 1000000, 'unixepoch') AS day, job, outcome, reason, sum(slots) AS missed FROM slots
             WHERE last_slot >= ? AND outcome <> 'ran' GROUP BY day, job, outcome, reason ORDER BY missed DESC",
        ),
        Question::Flaky => Some(
            "SELECT job, task, sum(failed < passed) AS times, count(*) FROM (
                 SELECT attempts.job, task, run_id, max(attempt) FILTER (WHERE exit_code = 0) AS passed,
                        min(attempt) FILTER (WHERE exit_code <> 0) AS failed
                 FROM runs JOIN attempts USING (run_id) WHERE created_at >= ? GROUP BY attempts.job, task, run_id
             ) GROUP BY job, task HAVING times > 0 ORDER BY times DESC",
        ),
        Question::Retries => Some(
            "SELECT again.job, again.task, count(*), sum(again.ended_at - first.ended_at) AS cost
             FROM runs JOIN attempts AS again USING (run_id) JOIN attempts AS first USING (run_id, task)
             WHERE created_at >= ? AND again.attempt > 1 AND first.attempt = 1 GROUP BY again.job, again.task ORDER BY cost DESC",
        ),
        Question::Outputs => Some(
            "SELECT outputs.job, task, name, count(*), avg(number), min(number), max(number)
             FROM runs JOIN outputs USING (run_id) WHERE created_at >= ? GROUP BY outputs.job, task, name",
        ),
        Question::Contention | Question::Sizing | Question::Changes => None,
    }
}
