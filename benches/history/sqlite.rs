//! The same rows in SQLite, with indexes on the times and the ids that questions go by, and the same questions in its SQL:
//! the ranked rows as well as the chart.
//!
//! What could be unfair is settled in favour of SQLite: it may keep half a gigabyte of pages and map the rest, each sort serves
//! all percentiles, these are counted out rather than interpolated, and what it has no function for (the most frequent of
//! several) is left out. Like Petit it opens its file for every question, after the file was read before.

use std::{
    fs,
    path::{Path, PathBuf},
};

use petit::{
    core::Timestamp,
    view::{Filter, Question},
};
use rusqlite::{Connection, OpenFlags, params_from_iter, types::Value};

use crate::Failure;

/// The rows, in a file of their own.
pub struct Reference(PathBuf);

/// What is asked about, with its columns as numbers that SQLite compares quickly.
const TABLES: [(&str, &str, &str); 6] = [
    (
        "runs",
        "run_id, job, trigger, epoch_us(slot) AS slot, spec_hash, revision, status, epoch_us(created_at) AS created_at,
         epoch_us(started_at) AS started_at, epoch_us(ended_at) AS ended_at",
        "CREATE INDEX runs_by_time ON runs (created_at); CREATE INDEX runs_by_id ON runs (run_id)",
    ),
    (
        "attempts",
        "run_id, job, task, attempt, ending, exit_code, epoch_us(queued_at) AS queued_at, epoch_us(granted_at) AS granted_at,
         epoch_us(started_at) AS started_at, epoch_us(ended_at) AS ended_at, cpu_user_ms, cpu_system_ms, max_rss_bytes,
         declared_cpu, declared_memory_bytes, declared_slots, run_spec_hash, run_trigger,
         epoch_us(run_created_at) AS run_created_at",
        "CREATE INDEX attempts_by_run ON attempts (run_id, task, attempt);
         CREATE INDEX attempts_by_time ON attempts (run_created_at);
         CREATE INDEX repeated_by_time ON attempts (run_created_at) WHERE attempt > 1",
    ),
    (
        "slots",
        "job, epoch_us(slot) AS slot, epoch_us(last_slot) AS last_slot, slots, outcome, reason",
        "CREATE INDEX slots_by_time ON slots (last_slot)",
    ),
    (
        "outputs",
        "run_id, job, task, name, number, epoch_us(published_at) AS published_at, epoch_us(run_created_at) AS run_created_at",
        "CREATE INDEX outputs_by_time ON outputs (run_created_at)",
    ),
    (
        "reconciles",
        "epoch_us(decided_at) AS decided_at, actor, result, actions, revision, plan_id, old_set, new_set, duration_ms",
        "CREATE INDEX reconciles_by_time ON reconciles (decided_at)",
    ),
    ("pools", "pool, size, epoch_us(since) AS since", ""),
];

impl Reference {
    /// Copies what is asked about, unless that has been done.
    pub fn of(history: &Path, file: &Path) -> Result<Self, Failure> {
        if !file.exists() {
            let mut connection = Connection::open(file)?;
            connection
                .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -500000")?;
            if let Err(failure) = copy(history, &mut connection) {
                fs::remove_file(file)?;
                return Err(failure);
            }
        }
        Ok(Self(file.to_owned()))
    }

    /// Opens the file, asks the same question, and closes it; gives the number of ranked rows.
    pub fn ask(&self, question: Question, filter: &Filter, now: Timestamp) -> Result<usize, Failure> {
        let since = filter.since.map_or(Timestamp::UNIX_EPOCH, |since| since.instant(now));
        // The lengths that the points of Petit's charts have over a month and a year.
        let bucket: i64 = if (now - since).num_days() <= 31 {
            43_200
        } else {
            604_800
        };
        let connection = Connection::open_with_flags(&self.0, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.execute_batch(
            "PRAGMA cache_size = -500000; PRAGMA mmap_size = 8000000000; PRAGMA temp_store = MEMORY; PRAGMA threads = 2",
        )?;
        let mut counts = Vec::new();
        for query in queries(question) {
            let mut statement = connection.prepare(&query)?;
            let values = [since.timestamp_micros(), bucket * 1_000_000];
            let wanted = statement.parameter_count();
            let mut rows = statement.query(params_from_iter(&values[..wanted]))?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                // The values are taken as well as the rows.
                for column in 0..row.as_ref().column_count() {
                    std::hint::black_box(row.get_ref(column)?);
                }
                count += 1;
            }
            counts.push(count);
        }
        Ok(counts.first().copied().unwrap_or_default())
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

/// What questions take their percentiles of; `ms` is the time, `bucket` the point of the chart.
const RUNS: &str = "SELECT job, status <> 'succeeded' AS failed, ended_at AS moment, ended_at / ?2 AS bucket,
    (ended_at - started_at) / 1000.0 AS ms
    FROM runs WHERE created_at >= ?1 AND started_at IS NOT NULL AND ended_at IS NOT NULL";
const LATE: &str = "SELECT job, started_at AS moment, started_at / ?2 AS bucket, (started_at - slot) / 1000.0 AS ms
    FROM runs WHERE created_at >= ?1 AND slot IS NOT NULL AND started_at IS NOT NULL AND trigger = 'schedule'";
const PASSED: &str =
    "SELECT job, task, run_spec_hash AS spec_hash, run_created_at AS moment, run_created_at / ?2 AS bucket,
    (ended_at - started_at) / 1000.0 AS ms
    FROM attempts WHERE run_created_at >= ?1 AND run_trigger <> 'retry' AND ending = 'exited' AND exit_code = 0";
const SUCCEEDED: &str =
    "SELECT job, NULL AS task, spec_hash, created_at, created_at / ?2, (ended_at - started_at) / 1000.0
    FROM runs WHERE created_at >= ?1 AND trigger <> 'retry' AND status = 'succeeded'";
const WAITS: &str = "SELECT job, ended_at / ?2 AS bucket,
    CASE WHEN attempt = 1 THEN max(queued_at - run_created_at, 0) ELSE 0 END AS dependencies,
    granted_at - queued_at AS ms, ended_at - granted_at AS running
    FROM attempts WHERE run_created_at >= ?1 AND ended_at IS NOT NULL";
const ASKING: &str =
    "SELECT pool, job, ended_at / ?2 AS bucket, (granted_at - queued_at) / 1000.0 AS ms, granted_at, ended_at,
    held * (ended_at - granted_at) / 1000.0 AS used
    FROM attempts JOIN (
        SELECT declared_slots, key AS pool, value AS held
        FROM (SELECT DISTINCT declared_slots FROM attempts WHERE run_created_at >= ?1 AND declared_slots IS NOT NULL),
             json_each(declared_slots)
    ) USING (declared_slots) WHERE run_created_at >= ?1 AND ended_at IS NOT NULL";
const MEMORY: &str =
    "SELECT job, task, ended_at / ?2 AS bucket, max_rss_bytes AS ms, declared_memory_bytes, declared_cpu, ended_at
    FROM attempts WHERE run_created_at >= ?1 AND ended_at IS NOT NULL AND (ending = 'over_memory' OR exit_code = 0)";
const PROCESSORS: &str = "SELECT job, task, (cpu_user_ms + cpu_system_ms) * 1000.0 / (ended_at - started_at) AS ms
    FROM attempts WHERE run_created_at >= ?1 AND exit_code = 0 AND ended_at - started_at >= 100000";
const FLAKY: &str = "SELECT * FROM (
        SELECT job, task, run_id, max(attempt) FILTER (WHERE ending = 'exited' AND exit_code = 0) AS passed,
               min(attempt) FILTER (WHERE failed) AS failed_first, sum(ended_at - started_at) FILTER (WHERE failed) AS lost,
               max(ended_at) AS moment
        FROM (SELECT *, (ending <> 'exited' OR exit_code <> 0) AND ending NOT IN ('cancelled', 'interrupted') AS failed
              FROM attempts WHERE run_created_at >= ?1)
        WHERE failed OR attempt > 1 GROUP BY job, task, run_id
    ) WHERE failed_first < passed";
const RETRIED: &str = "SELECT again.job, again.task, again.run_id, max(again.attempt) - 1 AS retries, max(again.ended_at) AS moment,
        max(again.ending = 'exited' AND again.exit_code = 0) AS passed, status, sum(again.ended_at - again.granted_at) AS ran,
        max(again.ended_at) - first.ended_at AS cost
    FROM attempts AS again JOIN attempts AS first USING (run_id, task) JOIN runs ON runs.run_id = again.run_id
    WHERE again.run_created_at >= ?1 AND again.attempt > 1 AND first.attempt = 1 GROUP BY again.job, again.task, again.run_id";
const PUBLISHED: &str = "SELECT job, task, name, number AS ms, published_at AS moment, published_at / ?2 AS bucket
    FROM outputs WHERE run_created_at >= ?1 AND number IS NOT NULL";
const NOT_RUN: &str = "SELECT *, slot / ?2 AS bucket FROM slots WHERE last_slot >= ?1 AND outcome <> 'ran'";

/// Percentiles of `ms` within groups, by one sort.
fn percentiles(samples: &str, groups: &str, columns: &str) -> String {
    format!(
        "WITH sorted AS (
             SELECT *, row_number() OVER same AS place, count(*) OVER (same ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS n
             FROM ({samples}) WINDOW same AS (PARTITION BY {groups} ORDER BY ms)
         )
         SELECT {groups}, n, {columns} FROM sorted GROUP BY {groups}"
    )
}

/// The value up to which this share of a sorted group reaches.
fn share(share: f64) -> String {
    format!("max(ms) FILTER (WHERE place < n * {share} + 1)")
}

/// The ranked rows first, then the chart.
fn queries(question: Question) -> Vec<String> {
    let [p25, p50, p75, p95, p99] = [0.25, 0.5, 0.75, 0.95, 0.99].map(share);
    let three = format!("{p50}, {p95} AS p95, {p99}");
    match question {
        Question::Duration => vec![
            percentiles(RUNS, "job", &format!("sum(failed), {three}, max(ms), max(moment)")) + " ORDER BY p95 DESC, job",
            percentiles(RUNS, "bucket", &three),
        ],
        Question::Lateness => vec![
            percentiles(LATE, "job", &format!("{three}, max(ms), max(moment)")) + " ORDER BY p95 DESC, job",
            percentiles(LATE, "bucket", &three),
        ],
        Question::Slower => {
            let versions = percentiles(
                &format!("{PASSED} UNION ALL {SUCCEEDED}"),
                "job, task, spec_hash",
                &format!("min(moment) AS begun, {p25} AS first, {p50} AS middle, {p75} AS third"),
            );
            let of_one = format!("SELECT * FROM ({PASSED}) WHERE job = 'etl-000' AND task = 'task-0'");
            vec![
                format!(
                    "SELECT * FROM (
                         SELECT *, middle - lag(middle) OVER (PARTITION BY job, task ORDER BY begun) AS lost
                         FROM ({versions}) WHERE n >= 20
                     ) WHERE lost > 0 AND lost * lost > 27.7 * (third - first) * (third - first) / n ORDER BY lost * n DESC"
                ),
                percentiles(&of_one, "bucket", &p50),
            ]
        }
        Question::Calendar => {
            let failed = "status IN ('failed', 'timed_out')";
            vec![
                format!(
                    "SELECT strftime('%w %H', created_at / 1000000, 'unixepoch') AS hour, count(*), sum({failed}) AS failed,
                            count(DISTINCT CASE WHEN {failed} THEN job END)
                     FROM runs WHERE created_at >= ?1 GROUP BY hour ORDER BY failed DESC"
                ),
                format!("SELECT created_at / ?2 AS bucket, sum({failed}) FROM runs WHERE created_at >= ?1 GROUP BY bucket"),
            ]
        }
        Question::Waits => vec![
            percentiles(WAITS, "job", &format!("sum(dependencies), sum(ms) AS slots, sum(running), {p95}")) + " ORDER BY slots DESC",
            format!("SELECT bucket, avg(dependencies), avg(ms), avg(running) FROM ({WAITS}) GROUP BY bucket"),
        ],
        Question::Contention => vec![
            format!(
                "SELECT *, sum(used) OVER pools, sum(waited) OVER pools AS all_waited, min(first) OVER pools, max(last) OVER pools,
                        (SELECT size FROM pools WHERE pools.pool = jobs.pool ORDER BY since DESC LIMIT 1)
                 FROM ({}) AS jobs WINDOW pools AS (PARTITION BY pool) ORDER BY all_waited DESC, pool, waited DESC",
                percentiles(
                    ASKING,
                    "pool, job",
                    &format!("sum(used) AS used, sum(ms >= 1), sum(ms) AS waited, {p95}, min(granted_at) AS first, max(ended_at) AS last")
                )
            ),
            format!("SELECT bucket, sum(ms), sum(used) FROM ({ASKING}) GROUP BY bucket"),
        ],
        Question::Sizing => vec![
            format!(
                "SELECT * FROM ({}) LEFT JOIN ({}) USING (job, task) ORDER BY abs(asked - most) DESC",
                percentiles(
                    &format!("SELECT *, max(ended_at) OVER (PARTITION BY job, task) AS newest FROM ({MEMORY})"),
                    "job, task",
                    &format!("{p95}, max(ms) AS most, max(declared_memory_bytes) FILTER (WHERE ended_at = newest) AS asked,
                              max(declared_cpu) FILTER (WHERE ended_at = newest)")
                ),
                percentiles(PROCESSORS, "job, task", &format!("{p95} AS cpu"))
            ),
            percentiles(MEMORY, "bucket", &format!("{p95}, max(ms)")),
        ],
        Question::Missed => vec![
            format!(
                "SELECT date(slot / 1000000, 'unixepoch') AS day, job, outcome, reason, sum(slots) AS missed, min(slot), max(last_slot)
                 FROM ({NOT_RUN}) GROUP BY day, job, outcome, reason ORDER BY missed DESC, day DESC, job"
            ),
            format!("SELECT bucket, outcome, sum(slots) FROM ({NOT_RUN}) GROUP BY bucket, outcome"),
        ],
        Question::Flaky => vec![
            format!(
                "SELECT job, task, count(*) AS times, n, 1.0 * count(*) / n, sum(lost), max(moment), run_id
                 FROM ({FLAKY}) JOIN (
                     SELECT job, task, count(*) AS n FROM attempts WHERE run_created_at >= ?1 AND attempt = 1 GROUP BY job, task
                 ) USING (job, task) GROUP BY job, task ORDER BY times DESC"
            ),
            format!("SELECT moment / ?2 AS bucket, count(*) FROM ({FLAKY}) GROUP BY bucket"),
        ],
        Question::Retries => vec![
            format!(
                "SELECT job, task, count(*), sum(retries), sum(passed), count(DISTINCT CASE WHEN passed AND status = 'succeeded' THEN run_id END),
                        sum(cost) AS total, sum(ran), sum(cost) FILTER (WHERE NOT (passed AND status = 'succeeded')), max(moment)
                 FROM ({RETRIED}) GROUP BY job, task ORDER BY total DESC"
            ),
            format!("SELECT moment / ?2 AS bucket, sum(cost), sum(cost) FILTER (WHERE status = 'succeeded') FROM ({RETRIED}) GROUP BY bucket"),
        ],
        Question::Outputs => vec![
            // A bare column beside a single max() is that of the row which has it.
            format!(
                "SELECT *, latest / middle - 1 AS off FROM ({}) JOIN (
                     SELECT job, task, name, number AS latest, max(published_at) FROM outputs
                     WHERE run_created_at >= ?1 AND number IS NOT NULL GROUP BY job, task, name
                 ) USING (job, task, name) ORDER BY abs(off) DESC",
                percentiles(PUBLISHED, "job, task, name", &format!("{p50} AS middle, min(ms), max(ms), avg(ms)"))
            ),
            format!(
                "SELECT bucket, job, avg(ms) FROM ({PUBLISHED})
                 WHERE job IN ('etl-000', 'etl-004', 'etl-008', 'etl-012', 'etl-016', 'etl-020') GROUP BY bucket, job"
            ),
        ],
        Question::Changes => {
            let count = |word: &str| format!("(SELECT count(*) FROM json_each(actions) WHERE value LIKE '{word} %')");
            let counts = ["add", "update", "remove", "invalid", "held"].map(count).join(", ");
            vec![
                format!("SELECT *, {counts} FROM reconciles WHERE decided_at >= ?1 ORDER BY decided_at DESC"),
                format!(
                    "SELECT decided_at / ?2 AS bucket, sum({}) FROM reconciles WHERE decided_at >= ?1 GROUP BY bucket",
                    count("update")
                ),
            ]
        }
    }
}
