//! The journal: how many claims of slots it acknowledges, against what the same disk does one commit at a time.

use std::{path::Path, sync::Arc, time::Instant};

use chrono::{DateTime, TimeDelta, Utc};
use petit::{
    core::{
        id::{JobId, RunId, SpecHash},
        record::SlotRecord,
    },
    storage::{Change, Sqlite, Storage},
};
use rusqlite::{Connection, params};
use tokio::task::JoinSet;

use crate::{
    paired::{Row, Unit, in_turn},
    place,
};

const WAITING: i64 = 64;
const CLAIMS_EACH: i64 = 200;
const SINGLE_ROWS: i64 = 500;
const ROUNDS: usize = 5;

pub fn commit() -> Vec<Row> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = place::folder();
    let mut round = 0;
    let path = |of: &str, round: usize| folder.path().join(format!("{of}-{round}.db"));
    let pair = in_turn(
        ROUNDS,
        || {
            round += 1;
            let storage = Arc::new(Sqlite::open(&path("petit", round)).expect("a new journal"));
            runtime.block_on(claims_a_second(storage))
        },
        {
            let mut round = 0;
            move || {
                round += 1;
                single_rows_a_second(&path("bare", round))
            }
        },
    );
    let what = format!("claims acknowledged, {WAITING} waiting; one row a commit");
    vec![pair.row("commit", what, Unit::PerSecond, "30 times")]
}

/// Each of those that wait claims its next slot when the last is on disk.
async fn claims_a_second(storage: Arc<Sqlite>) -> f64 {
    let now = Utc::now();
    let begun = Instant::now();
    let mut waiting = JoinSet::new();
    for number in 0..WAITING {
        let storage = Arc::clone(&storage);
        waiting.spawn(async move {
            let job = JobId::new(format!("job-{number}")).expect("a slug");
            for slot in 0..CLAIMS_EACH {
                let claim = Change::PutSlot(slot_of(&job, now + TimeDelta::seconds(slot)));
                storage
                    .commit(vec![claim])
                    .wait()
                    .await
                    .expect("a journal that takes it");
            }
        });
    }
    waiting.join_all().await;
    (WAITING * CLAIMS_EACH) as f64 / begun.elapsed().as_secs_f64()
}

fn slot_of(job: &JobId, at: DateTime<Utc>) -> SlotRecord {
    SlotRecord {
        job: job.clone(),
        at,
        outcome: None,
        reason: None,
        detail: None,
        decided_at: None,
        run: Some(RunId::from_parts(at, 0)),
        spec_hash: SpecHash::of(b"a version"),
    }
}

fn single_rows_a_second(path: &Path) -> f64 {
    let connection = Connection::open(path).expect("a new database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE slots (job TEXT, at INTEGER, run TEXT, spec_hash TEXT, PRIMARY KEY (job, at)) WITHOUT ROWID;",
        )
        .expect("a new database takes it");
    let mut insert = connection
        .prepare("INSERT INTO slots VALUES (?, ?, ?, ?)")
        .expect("the statement is right");
    let (run, hash) = (
        RunId::from_parts(Utc::now(), 0).to_string(),
        SpecHash::of(b"a version").to_string(),
    );
    let begun = Instant::now();
    for at in 0..SINGLE_ROWS {
        insert.execute(params!["job-0", at, run, hash]).expect("a new row");
    }
    SINGLE_ROWS as f64 / begun.elapsed().as_secs_f64()
}
