//! Rows of a year: three hundred jobs of one to five tasks, each edited a few times, one edit in ten of which made a task
//! slower; failures in clusters, waits for two pools, retries, outputs and slots that did not run. Rows stand in the order of
//! the endings that they report, in which facts arrive.
//!
//! Everything follows from hashes of numbers, so that the same number of rows gives the same history but for the day on
//! which it ends.

use std::path::Path;

use chrono::{DateTime, Utc};
use duckdb::Connection;
use petit::core::Timestamp;

/// How many jobs there are.
const JOBS: u64 = 300;

/// The mean number of attempts of a run, by which runs are counted out.
const ATTEMPTS_OF_A_RUN: f64 = 3.1;

/// Fills the tables of a new history with about so many attempts, and says what there is.
pub fn make(path: &Path, attempts: u64, now: Timestamp) -> duckdb::Result<String> {
    let connection = Connection::open(path)?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "about so many"
    )]
    let runs = (attempts as f64 / ATTEMPTS_OF_A_RUN / JOBS as f64).ceil() as u64;
    let end = now.format("%Y-%m-%d %H:%M:%S");
    connection.execute_batch(&format!(
        "SET VARIABLE runs = {runs};
         SET VARIABLE finish = TIMESTAMP '{end}';
         SET VARIABLE step = (365 * 86400000000) // {runs};
         {RANDOM} {SPECS} {RUNS} {ATTEMPTS} {REST}
         CHECKPOINT;"
    ))?;
    let count = |table: &str| -> duckdb::Result<i64> {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
    };
    Ok(format!(
        "{} runs of {JOBS} jobs with {} attempts, {} outputs, {} versions",
        count("runs")?,
        count("attempts")?,
        count("outputs")?,
        count("specs")?
    ))
}

/// When the newest run ended.
pub fn newest(path: &Path) -> duckdb::Result<Timestamp> {
    let micros = "SELECT epoch_us(max(ended_at)) FROM runs";
    let micros: i64 = Connection::open(path)?.query_row(micros, [], |row| row.get(0))?;
    Ok(DateTime::<Utc>::from_timestamp_micros(micros).unwrap_or_default())
}

/// A number from 0 to 1 that depends on its arguments alone, and the id of a run: of its instant and of chance, as real ones
/// are, since they are most of the file.
const RANDOM: &str = "
    CREATE TEMP MACRO chance(a, b) AS (hash(a, b) % 1000003) / 1000003.0;
    CREATE TEMP MACRO micros(us) AS to_microseconds(us::BIGINT);
    CREATE TEMP MACRO digit(n) AS substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', (n & 31)::BIGINT + 1, 1);
    CREATE TEMP MACRO eight(n) AS concat(digit(n >> 35), digit(n >> 30), digit(n >> 25), digit(n >> 20), digit(n >> 15),
                                         digit(n >> 10), digit(n >> 5), digit(n));
    CREATE TEMP MACRO ulid(moment, id) AS concat(digit(epoch_ms(moment) >> 45), digit(epoch_ms(moment) >> 40),
        eight(epoch_ms(moment)), eight(hash(id, 100) >> 20), eight(hash(id, 101) >> 20));
";

/// Versions of each job: from three to eight, spread over the year; `slower` is what each makes of the time that the first
/// task takes.
const SPECS: &str = "
    CREATE TEMP TABLE jobs AS
        SELECT j, format('{}-{:03d}', ['etl', 'report', 'backup', 'sync'][1 + j % 4], j) AS job, 1 + j % 5 AS tasks,
               3 + j % 6 AS versions, 500 * pow(1.02, j) * 1000 AS usual, ['db', 'api', NULL, NULL][1 + j % 4] AS pool
        FROM range(300) AS t(j);
    CREATE TEMP TABLE versions AS
        SELECT j, job, v, versions, sha256(job || '/' || v) AS hash,
               CASE WHEN chance(j, v) < 0.1 THEN 1.4 ELSE 1 END AS slower
        FROM jobs, range(8) AS t(v) WHERE v < versions;
    INSERT INTO specs BY NAME
        SELECT hash, job, format('id: {}\ntasks:\n  task-0:\n    command: work --version {}\n', job, v) AS yaml,
               getvariable('finish') - micros(365 * 86400000000 * (1 - v / versions)) AS first_seen, 'made' AS journal,
               1 + row_number() OVER () AS fact
        FROM versions;
";

/// Runs and their fates. For a few hours each week one job in three fails more often.
const RUNS: &str = "
    CREATE TEMP TABLE made AS
        SELECT n * 300 + j AS id, j, n, job, tasks, usual, pool, hash, slower,
               getvariable('finish') - micros((getvariable('runs') - n) * getvariable('step') + chance(j, -1) * getvariable('step'))
               - INTERVAL 1 HOUR AS created
        FROM range(getvariable('runs')) AS t(n), jobs JOIN versions USING (j, job, versions)
        WHERE v = n * versions // getvariable('runs');
    CREATE TEMP TABLE fates AS
        SELECT *, ulid(created, id) AS run_id, CASE WHEN j % 3 = 0 AND isodow(created) = 1 + j % 5 AND hour(created) BETWEEN 2 AND 5 THEN 0.3 ELSE 0.02 END AS risk,
               micros(1000 + chance(id, 1) * 20000 + CASE WHEN chance(id, 2) < 0.01 THEN 30000000 ELSE 0 END) AS late
        FROM made;
";

/// Attempts of tasks one after another. A task that fails is tried once more after ten seconds, and two out of three pass.
const ATTEMPTS: &str = "
    CREATE TEMP TABLE tries AS
        WITH tasks AS (
            SELECT fates.*, k, chance(id, 10 + k) < risk AS fails, chance(id, 20 + k) < 0.33 AS again,
                   usual * (0.7 + chance(id, 30 + k) * 0.6) * CASE WHEN k = 0 THEN slower ELSE 1 END AS took,
                   CASE WHEN pool IS NOT NULL AND chance(id, 40 + k) < 0.2 THEN usual * chance(id, 50 + k) * 2 ELSE 500 END AS wait
            FROM fates, range(5) AS t(k) WHERE k < tasks
        ), placed AS (
            SELECT *, sum(took * CASE WHEN fails THEN 2 ELSE 1 END + wait + CASE WHEN fails THEN 10000000 ELSE 0 END)
                       OVER (PARTITION BY id ORDER BY k) AS done,
                   coalesce(bool_or(fails AND again) OVER (PARTITION BY id ORDER BY k ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS gone
            FROM tasks
        )
        SELECT id, run_id, j, k, job, hash, pool, took, wait, fails, again, created, late, attempt,
               created + late + micros(done - took - wait - CASE WHEN fails AND attempt = 1 THEN took + 10000000 ELSE 0 END
                                       + CASE WHEN attempt = 2 THEN wait ELSE 0 END) AS queued
        FROM placed, range(1, 3) AS t(attempt) WHERE NOT gone AND (attempt = 1 OR fails);
    INSERT INTO attempts BY NAME
        SELECT run_id, job, format('task-{}', k) AS task, attempt::INTEGER AS attempt, 'exited' AS ending,
               (fails AND (attempt = 1 OR again))::INTEGER AS exit_code, queued AS queued_at,
               queued + CASE WHEN attempt = 1 THEN micros(wait) ELSE INTERVAL 0 SECOND END AS granted_at,
               queued + CASE WHEN attempt = 1 THEN micros(wait) ELSE INTERVAL 0 SECOND END + micros(800) AS started_at,
               queued + CASE WHEN attempt = 1 THEN micros(wait) ELSE INTERVAL 0 SECOND END + micros(800 + took) AS ended_at,
               (took / 1000 * (0.2 + j % 7 / 10))::BIGINT AS cpu_user_ms, (took / 20000)::BIGINT AS cpu_system_ms,
               ((20 + j % 50 * 10) * 1048576 * (0.8 + chance(id, 60 + k) * 0.4))::BIGINT AS max_rss_bytes,
               CASE WHEN j % 2 = 0 THEN 1.0 END AS declared_cpu, CASE WHEN j % 3 < 2 THEN 536870912 END AS declared_memory_bytes,
               format('{{\"{}\":1}}', pool) AS declared_slots, (1000 * chance(id, 70 + k))::BIGINT AS bytes_out,
               'made' AS journal, 10000 + id * 20 + k * 2 + attempt AS fact, hash AS run_spec_hash, CASE WHEN chance(id, 3) < 0.97 THEN 'schedule' ELSE 'manual' END AS run_trigger,
               created AS run_created_at
        FROM tries ORDER BY ended_at;
";

/// What follows from the attempts: the ends of runs and tasks, the slots, and what was published.
const REST: &str = "
    INSERT INTO runs BY NAME
        WITH ends AS (
            SELECT run_id, min(granted_at) AS started_at, max(ended_at) AS ended_at, arg_max(exit_code, ended_at) AS code
            FROM attempts GROUP BY run_id
        )
        SELECT run_id, job, CASE WHEN chance(id, 3) < 0.97 THEN 'schedule' ELSE 'manual' END AS trigger,
               CASE WHEN trigger = 'schedule' THEN created END AS slot, hash AS spec_hash, left(hash, 7) AS revision,
               CASE WHEN code = 0 THEN 'succeeded' ELSE 'failed' END AS status, created AS created_at, started_at, ended_at,
               '{}' AS params, 'made' AS journal, 10000 + id * 20 + 19 AS fact
        FROM fates JOIN ends USING (run_id) ORDER BY ends.ended_at;
    INSERT INTO tasks BY NAME
        SELECT run_id, job, task, CASE WHEN exit_code = 0 THEN 'succeeded' ELSE 'failed' END AS state, attempt AS attempts, journal, fact
        FROM attempts WHERE exit_code = 0 OR attempt = 2 ORDER BY ended_at;
    INSERT INTO outputs BY NAME
        SELECT run_id, job, task, 'rows' AS name, floor(100000 * (0.9 + chance(run_id, 1) * 0.2)) AS number, ended_at AS published_at,
               journal, fact, run_created_at
        FROM attempts WHERE task = 'task-0' AND exit_code = 0 ORDER BY attempts.ended_at;
    INSERT INTO slots BY NAME
        SELECT job, slot, slot AS last_slot, 1 AS slots, CASE WHEN chance(run_id, 2) < 0.01 THEN 'skipped' ELSE 'ran' END AS outcome,
               CASE WHEN outcome = 'skipped' THEN 'overlap' END AS reason, slot AS decided_at, run_id, spec_hash, journal, fact
        FROM runs WHERE slot IS NOT NULL ORDER BY started_at;
    INSERT INTO reconciles BY NAME
        SELECT first_seen AS decided_at, 'watcher' AS actor, left(hash, 16) AS plan_id,
               format('[\"update {} ({}.yaml): tasks.task-0\"]', job, job) AS actions, left(hash, 20) AS old_set, hash AS new_set,
               4 AS duration_ms, journal, fact, 'applied' AS result, '[]' AS files, left(hash, 7) AS revision
        FROM specs;
    INSERT INTO pools
        SELECT pool, size, getvariable('finish') - micros(365 * 86400000000 * ago), 'made', 1
        FROM (VALUES ('db', 8, 1.1), ('api', 4, 1.1), ('api', 8, 0.5)) AS known(pool, size, ago);
";
