//! What the file holds: numbered migrations that only ever append, and the documentation of every table that users may
//! rely on.
//!
//! The documented columns are an interface of Petit's, read by notebooks and other programs: they only gain. Two further
//! tables belong to the projection alone: `cursors` says up to which fact each journal has been taken in, `breaks` where
//! facts were missing.

use duckdb::Connection;

/// A documented table.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What a row is.
    pub about: &'static str,
    /// Its columns, in their order.
    pub columns: &'static [Column],
}

/// A documented column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type in DuckDB.
    pub kind: &'static str,
    /// What it holds.
    pub about: &'static str,
}

const fn c(name: &'static str, kind: &'static str, about: &'static str) -> Column {
    Column { name, kind, about }
}

const FACT: Column = c("fact", "BIGINT", "the number of the fact in that journal");
const JOURNAL: Column = c("journal", "VARCHAR", "the id of the journal that the row came from");

/// The tables that users may rely on. Instants are UTC.
pub const TABLES: &[Table] = &[
    Table {
        name: "runs",
        about: "Runs that have ended.",
        columns: &[
            c("run_id", "VARCHAR", "the run"),
            c("job", "VARCHAR", "its job"),
            c(
                "trigger",
                "VARCHAR",
                "what made it: schedule, manual, dependency, retry",
            ),
            c(
                "slot",
                "TIMESTAMP",
                "the slot it is the run of, if its schedule made it",
            ),
            c("spec_hash", "VARCHAR", "the version of the job that it ran"),
            c("revision", "VARCHAR", "the git commit of the folder of jobs"),
            c(
                "status",
                "VARCHAR",
                "succeeded, failed, cancelled, interrupted, timed_out",
            ),
            c("created_at", "TIMESTAMP", "when it was created"),
            c("started_at", "TIMESTAMP", "when its first task was granted"),
            c("ended_at", "TIMESTAMP", "when it ended"),
            c("params", "VARCHAR", "its inputs, as a JSON object"),
            c(
                "retry_of",
                "VARCHAR",
                "the run that it repeats; what it reuses of it stands there and not here",
            ),
            c("reason", "VARCHAR", "why it ended as it did, in words"),
            JOURNAL,
            FACT,
        ],
    },
    Table {
        name: "tasks",
        about: "Tasks of runs, as they ended, with or without an attempt.",
        columns: &[
            c("run_id", "VARCHAR", "the run"),
            c("job", "VARCHAR", "the run's job"),
            c("task", "VARCHAR", "the task"),
            c(
                "state",
                "VARCHAR",
                "succeeded, failed, skipped, upstream_failed, cancelled, interrupted",
            ),
            c("attempts", "INTEGER", "how many attempts began"),
            c("reason", "VARCHAR", "why it is in this state, in words"),
            JOURNAL,
            FACT,
        ],
    },
    Table {
        name: "attempts",
        about: "Attempts of tasks that have ended.",
        columns: &[
            c("run_id", "VARCHAR", "the run"),
            c("job", "VARCHAR", "the run's job"),
            c("task", "VARCHAR", "the task"),
            c("attempt", "INTEGER", "counts from 1"),
            c(
                "ending",
                "VARCHAR",
                "exited, signalled, timed_out, over_memory, cancelled, not_found, not_permitted, could_not_spawn, \
                 interrupted, output_held_open, bad_output, bad_input, bad_secret, failed, failed_for_now, panicked",
            ),
            c("exit_code", "INTEGER", "the exit code, if it exited"),
            c(
                "signal",
                "INTEGER",
                "the signal that killed it, if Petit did not send it",
            ),
            c("queued_at", "TIMESTAMP", "when the task was ready"),
            c("granted_at", "TIMESTAMP", "when it got its resources"),
            c("started_at", "TIMESTAMP", "when its process started"),
            c("ended_at", "TIMESTAMP", "when its process ended"),
            c("cpu_user_ms", "BIGINT", "processor time in user mode"),
            c("cpu_system_ms", "BIGINT", "processor time in the kernel"),
            c(
                "max_rss_bytes",
                "BIGINT",
                "the most memory that its processes were seen to hold",
            ),
            c("declared_cpu", "DOUBLE", "the processors that its task asks for"),
            c("declared_memory_bytes", "BIGINT", "the memory that its task asks for"),
            c(
                "declared_slots",
                "VARCHAR",
                "the slots that its task asks for, as a JSON object of pools",
            ),
            c("bytes_out", "BIGINT", "how much it printed"),
            c(
                "error",
                "VARCHAR",
                "the ending in words, where its name says too little",
            ),
            JOURNAL,
            FACT,
            c("run_spec_hash", "VARCHAR", "the version of the job that its run ran"),
            c("run_trigger", "VARCHAR", "what made its run"),
            c("run_created_at", "TIMESTAMP", "when its run was created"),
        ],
    },
    Table {
        name: "slots",
        about: "What became of every scheduled instant. Slots in a row that share a fate are one row: sum `slots`, and \
                take `slot` and `last_slot` for the first and the last.",
        columns: &[
            c("job", "VARCHAR", "the job"),
            c("slot", "TIMESTAMP", "the scheduled instant; of several, the first"),
            c("last_slot", "TIMESTAMP", "the last of several, else the same"),
            c("slots", "BIGINT", "how many there are"),
            c("outcome", "VARCHAR", "ran, skipped, missed, merged, refused"),
            c(
                "reason",
                "VARCHAR",
                "overlap, paused, down, dependency, clock, limit, window, disabled, removed, cancelled, invalid",
            ),
            c("detail", "VARCHAR", "the reason in words"),
            c("decided_at", "TIMESTAMP", "when that was decided"),
            c("run_id", "VARCHAR", "the run of it, or the one it was merged into"),
            c("spec_hash", "VARCHAR", "the version of the job by which it was judged"),
            JOURNAL,
            FACT,
        ],
    },
    Table {
        name: "reconciles",
        about: "Reconciles that changed or refused something.",
        columns: &[
            c("decided_at", "TIMESTAMP", "when it was decided"),
            c("actor", "VARCHAR", "who asked: start, watcher, resync, command"),
            c("plan_id", "VARCHAR", "the plan that was carried out"),
            c("actions", "VARCHAR", "what it did, as a JSON array of lines"),
            c("old_set", "VARCHAR", "the hash of the active set before"),
            c("new_set", "VARCHAR", "the hash of the active set after"),
            c("duration_ms", "BIGINT", "how long it took"),
            JOURNAL,
            FACT,
            c("asked_by", "VARCHAR", "the user who asked, if it was a command"),
            c(
                "result",
                "VARCHAR",
                "what became of it: applied, partly (something was refused), refused (all of it)",
            ),
            c(
                "files",
                "VARCHAR",
                "the files that it was about, as a JSON array of {file, job, change, old_hash, new_hash}",
            ),
            c(
                "revision",
                "VARCHAR",
                "the git commit of the folder of jobs, with -dirty if the files are not those of the commit",
            ),
        ],
    },
    Table {
        name: "specs",
        about: "Every version of a job that was ever applied.",
        columns: &[
            c("hash", "VARCHAR", "its hash: `spec_hash` elsewhere"),
            c("job", "VARCHAR", "the job"),
            c("yaml", "VARCHAR", "the text of the file"),
            c("first_seen", "TIMESTAMP", "when it was first applied"),
            JOURNAL,
            FACT,
        ],
    },
    Table {
        name: "outputs",
        about: "What tasks published, a row for each name.",
        columns: &[
            c("run_id", "VARCHAR", "the run"),
            c("job", "VARCHAR", "the run's job"),
            c("task", "VARCHAR", "the task"),
            c("name", "VARCHAR", "the output's name"),
            c("number", "DOUBLE", "its value, if it is a number"),
            c(
                "text",
                "VARCHAR",
                "its value, if it is a text; anything but a number or a text as JSON",
            ),
            c("published_at", "TIMESTAMP", "when the task ended"),
            JOURNAL,
            FACT,
            c("run_created_at", "TIMESTAMP", "when its run was created"),
        ],
    },
    Table {
        name: "pools",
        about: "How many slots each pool had, a row for each pool at each start. A size holds until the next one of the pool.",
        columns: &[
            c("pool", "VARCHAR", "the pool"),
            c("size", "BIGINT", "how many slots it had"),
            c("since", "TIMESTAMP", "from when on"),
            JOURNAL,
            FACT,
        ],
    },
];

/// Each brings the file from the format before it to its own. They are only ever appended to. No table has a key or an
/// index: the cursor sees to it that no fact comes twice, and an index would cost more than all the rest of an append.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE cursors (
        journal VARCHAR NOT NULL,
        number  BIGINT NOT NULL,    -- the last fact that was taken in
        fact_at TIMESTAMP NOT NULL, -- when that fact was committed
        fed_at  TIMESTAMP NOT NULL  -- when it was taken in
    );
    CREATE TABLE breaks (
        journal    VARCHAR NOT NULL,
        kind       VARCHAR NOT NULL, -- new_journal, gap, rewound
        after_fact BIGINT NOT NULL,  -- the last fact before it
        next_fact  BIGINT NOT NULL,  -- the first fact behind it
        noticed_at TIMESTAMP NOT NULL
    );
    CREATE TABLE runs (
        run_id VARCHAR NOT NULL, job VARCHAR NOT NULL, trigger VARCHAR NOT NULL, slot TIMESTAMP,
        spec_hash VARCHAR NOT NULL, revision VARCHAR, status VARCHAR NOT NULL, created_at TIMESTAMP NOT NULL,
        started_at TIMESTAMP, ended_at TIMESTAMP, params VARCHAR NOT NULL, retry_of VARCHAR, reason VARCHAR,
        journal VARCHAR NOT NULL, fact BIGINT NOT NULL
    );
    CREATE TABLE tasks (
        run_id VARCHAR NOT NULL, job VARCHAR, task VARCHAR NOT NULL, state VARCHAR NOT NULL, attempts INTEGER NOT NULL,
        reason VARCHAR, journal VARCHAR NOT NULL, fact BIGINT NOT NULL
    );
    CREATE TABLE attempts (
        run_id VARCHAR NOT NULL, job VARCHAR, task VARCHAR NOT NULL, attempt INTEGER NOT NULL, ending VARCHAR,
        exit_code INTEGER, signal INTEGER, queued_at TIMESTAMP NOT NULL, granted_at TIMESTAMP NOT NULL,
        started_at TIMESTAMP, ended_at TIMESTAMP, cpu_user_ms BIGINT, cpu_system_ms BIGINT, max_rss_bytes BIGINT,
        declared_cpu DOUBLE, declared_memory_bytes BIGINT, declared_slots VARCHAR, bytes_out BIGINT, error VARCHAR,
        journal VARCHAR NOT NULL, fact BIGINT NOT NULL
    );
    CREATE TABLE slots (
        job VARCHAR NOT NULL, slot TIMESTAMP NOT NULL, last_slot TIMESTAMP NOT NULL, slots BIGINT NOT NULL,
        outcome VARCHAR, reason VARCHAR, detail VARCHAR, decided_at TIMESTAMP, run_id VARCHAR,
        spec_hash VARCHAR NOT NULL, journal VARCHAR NOT NULL, fact BIGINT NOT NULL
    );
    CREATE TABLE reconciles (
        decided_at TIMESTAMP NOT NULL, actor VARCHAR NOT NULL, plan_id VARCHAR NOT NULL, actions VARCHAR NOT NULL,
        old_set VARCHAR NOT NULL, new_set VARCHAR NOT NULL, duration_ms BIGINT NOT NULL, journal VARCHAR NOT NULL,
        fact BIGINT NOT NULL
    );
    CREATE TABLE specs (
        hash VARCHAR NOT NULL, job VARCHAR NOT NULL, yaml VARCHAR NOT NULL, first_seen TIMESTAMP NOT NULL,
        journal VARCHAR NOT NULL, fact BIGINT NOT NULL
    );
    CREATE TABLE outputs (
        run_id VARCHAR NOT NULL, job VARCHAR, task VARCHAR NOT NULL, name VARCHAR NOT NULL, number DOUBLE, text VARCHAR,
        published_at TIMESTAMP NOT NULL, journal VARCHAR NOT NULL, fact BIGINT NOT NULL
    );
",
    "
    ALTER TABLE reconciles ADD COLUMN asked_by VARCHAR;
    ALTER TABLE reconciles ADD COLUMN result VARCHAR;
    ALTER TABLE reconciles ADD COLUMN files VARCHAR;
    ALTER TABLE reconciles ADD COLUMN revision VARCHAR;
",
    // What questions ask of the run stands in the row: a join of ten million rows on a text took seconds, and hid from
    // DuckDB which row groups lie within the time asked for. The tables are written anew rather than updated, which keeps
    // their order, by which DuckDB skips what is older, and takes a few times less memory. A run that is still going has no
    // row; its attempts count from when the first of them was ready.
    "
    CREATE TABLE attempts_with_run (
        run_id VARCHAR NOT NULL, job VARCHAR, task VARCHAR NOT NULL, attempt INTEGER NOT NULL, ending VARCHAR,
        exit_code INTEGER, signal INTEGER, queued_at TIMESTAMP NOT NULL, granted_at TIMESTAMP NOT NULL,
        started_at TIMESTAMP, ended_at TIMESTAMP, cpu_user_ms BIGINT, cpu_system_ms BIGINT, max_rss_bytes BIGINT,
        declared_cpu DOUBLE, declared_memory_bytes BIGINT, declared_slots VARCHAR, bytes_out BIGINT, error VARCHAR,
        journal VARCHAR NOT NULL, fact BIGINT NOT NULL, run_spec_hash VARCHAR, run_trigger VARCHAR,
        run_created_at TIMESTAMP
    );
    INSERT INTO attempts_with_run
        SELECT attempts.*, spec_hash, trigger, coalesce(created_at, queued_at)
        FROM attempts LEFT JOIN (SELECT run_id, spec_hash, trigger, created_at FROM runs) USING (run_id);
    DROP TABLE attempts;
    ALTER TABLE attempts_with_run RENAME TO attempts;
    CREATE TABLE outputs_with_run (
        run_id VARCHAR NOT NULL, job VARCHAR, task VARCHAR NOT NULL, name VARCHAR NOT NULL, number DOUBLE, text VARCHAR,
        published_at TIMESTAMP NOT NULL, journal VARCHAR NOT NULL, fact BIGINT NOT NULL, run_created_at TIMESTAMP
    );
    INSERT INTO outputs_with_run
        SELECT outputs.*, coalesce(created_at, published_at)
        FROM outputs LEFT JOIN (SELECT run_id, created_at FROM runs) USING (run_id);
    DROP TABLE outputs;
    ALTER TABLE outputs_with_run RENAME TO outputs;
    CREATE TABLE pools (
        pool VARCHAR NOT NULL, size BIGINT NOT NULL, since TIMESTAMP NOT NULL, journal VARCHAR NOT NULL,
        fact BIGINT NOT NULL
    );
",
];

/// The format that this version writes.
pub(super) const FORMAT: i64 = MIGRATIONS.len() as i64;

/// The format of an open file; 0 for a new one.
pub(super) fn format(connection: &Connection) -> duckdb::Result<i64> {
    let tables = "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'petit_format'";
    if connection.query_row(tables, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(0);
    }
    connection.query_row("SELECT version FROM petit_format", [], |row| row.get(0))
}

/// Brings a file up to date, in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> duckdb::Result<()> {
    let found = format(connection)?;
    if found >= FORMAT {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    if found == 0 {
        transaction.execute_batch(
            "CREATE TABLE petit_format (version BIGINT NOT NULL); INSERT INTO petit_format VALUES (0);",
        )?;
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    transaction.execute("UPDATE petit_format SET version = ?", [FORMAT])?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the format before attempts said anything of their run; `gone` has none, because it is still going.
    #[test]
    fn rows_of_an_older_file_learn_of_their_run() {
        let mut connection = Connection::open_in_memory().expect("memory");
        for migration in &MIGRATIONS[..2] {
            connection.execute_batch(migration).expect(migration);
        }
        connection
            .execute_batch(
                "CREATE TABLE petit_format AS SELECT 2::BIGINT AS version;
                 INSERT INTO runs BY NAME SELECT 'r' AS run_id, 'etl' AS job, 'manual' AS trigger, 's' AS spec_hash,
                     'succeeded' AS status, TIMESTAMP '2026-01-01 00:00:00' AS created_at, '{}' AS params, 'j' AS journal, 9 AS fact;
                 INSERT INTO attempts BY NAME SELECT run AS run_id, 'etl' AS job, 'load' AS task, 1 AS attempt,
                     TIMESTAMP '2026-01-01 00:00:05' AS queued_at, queued_at AS granted_at, 'j' AS journal, 1 AS fact
                     FROM (VALUES ('r'), ('gone')) AS known(run);
                 INSERT INTO outputs BY NAME SELECT 'r' AS run_id, 'etl' AS job, 'load' AS task, 'rows' AS name,
                     TIMESTAMP '2026-01-01 00:00:06' AS published_at, 'j' AS journal, 2 AS fact",
            )
            .expect("rows");
        migrate(&mut connection).expect("brought up to date");
        let found: String = connection
            .query_row(
                "SELECT string_agg(concat_ws(' ', run_id, run_spec_hash, run_trigger, second(run_created_at)), ', ' ORDER BY fact, run_id)
                 FROM (SELECT run_id, run_spec_hash, run_trigger, run_created_at, fact FROM attempts
                       UNION ALL SELECT run_id, NULL, NULL, run_created_at, fact FROM outputs)",
                [],
                |row| row.get(0),
            )
            .expect("a row");
        assert_eq!(found, "gone 5, r s manual 0, r 0");
    }

    #[test]
    fn the_documentation_is_that_of_the_tables() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        let real: Vec<(String, String, String)> = connection
            .prepare(
                "SELECT table_name, column_name, data_type FROM duckdb_columns()
                 WHERE NOT internal AND table_name NOT IN ('petit_format', 'cursors', 'breaks') ORDER BY table_name, column_index",
            )
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let mut tables = TABLES.to_vec();
        tables.sort_by_key(|table| table.name);
        let documented: Vec<_> = tables
            .iter()
            .flat_map(|table| {
                let row = |column: &Column| (table.name.to_owned(), column.name.to_owned(), column.kind.to_owned());
                table.columns.iter().map(row)
            })
            .collect();
        assert_eq!(real, documented);
    }
}
