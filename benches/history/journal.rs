//! What is asked beside the questions, opening and closing included. How long it takes to add one more finished run to a large
//! history: what a daemon does a few seconds after a run, and a command before it asks. And how long a job's last runs take,
//! which come from the journal.
//!
//! Runs are added to a copy, so that the history stays as it was made.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use petit::{
    core::{
        Timestamp,
        ending::Ending,
        id::{JobId, RunId, SpecHash, TaskId},
        record::{AttemptRecord, RunRecord, SlotRecord, SpecRecord, TaskRecord},
        state::{RunStatus, SlotOutcome, TaskState, Trigger},
    },
    history,
    storage::{Change, Memory, RunFilter, Sqlite, Storage},
};

use crate::Failure;

const PATIENCE: Duration = Duration::from_secs(1);

/// How many runs are in the journal whose last ones are asked for, and how many jobs they are of.
const RUNS: u64 = 20_000;
const JOBS: u64 = 100;

/// So many runs are the last ones.
const LAST: u32 = 50;

/// The time that each of so many runs took.
pub fn of_single_runs(history: &Path, copy: &Path, now: Timestamp, times: u64) -> Result<Vec<Duration>, Failure> {
    fs::copy(history, copy)?;
    let taken = one_by_one(copy, now, times);
    fs::remove_file(copy)?;
    taken
}

fn one_by_one(path: &Path, now: Timestamp, times: u64) -> Result<Vec<Duration>, Failure> {
    let journal = Memory::default();
    let job: JobId = "etl-000".parse()?;
    journal.commit(vec![spec(&job, now)]).wait_blocking()?;
    let mut taken = Vec::new();
    // The first one makes the journal known to the history, and is not counted.
    for number in 0..=times {
        let begun = now + TimeDelta::seconds(i64::try_from(number)?);
        journal.commit(one_run(&job, number, begun)?).wait_blocking()?;
        let begun = Instant::now();
        drop(history::up_to_date(path, Some(&journal), PATIENCE, now, || true)?);
        taken.push(begun.elapsed());
    }
    Ok(taken.split_off(1))
}

/// The times in which a job's last runs were there, each time from a journal that was opened for it.
pub fn of_last_runs(now: Timestamp, times: u64) -> Result<Vec<Duration>, Failure> {
    let jobs: Vec<JobId> = (0..JOBS)
        .map(|n| format!("job-{n}").parse())
        .collect::<Result<_, _>>()?;
    let folder = tempfile::tempdir()?;
    let file = &folder.path().join("journal.db");
    let journal = Sqlite::open(file)?;
    journal.commit(vec![spec(&jobs[0], now)]).wait_blocking()?;
    for number in 0..RUNS {
        let (round, job) = (number / JOBS, &jobs[usize::try_from(number % JOBS)?]);
        let changes = one_run(job, number, now + TimeDelta::minutes(i64::try_from(round)?))?;
        // The last one is behind all others.
        let committed = journal.commit(changes);
        if number + 1 == RUNS || number % 1_000 == 0 {
            committed.wait_blocking()?;
        }
    }
    drop(journal);
    let mut taken = Vec::new();
    for _ in 0..times {
        let begun = Instant::now();
        let journal = Sqlite::open_read_only(file)?;
        let found = journal.runs(&RunFilter {
            job: Some(jobs[7].clone()),
            limit: Some(LAST),
            ..RunFilter::default()
        })?;
        taken.push(begun.elapsed());
        if found.len() != LAST as usize {
            return Err(format!("{} of the last {LAST} runs are there", found.len()).into());
        }
    }
    Ok(taken)
}

fn spec(job: &JobId, now: Timestamp) -> Change {
    Change::PutSpec(SpecRecord {
        hash: SpecHash::of(b"{}"),
        job: job.clone(),
        canonical: "{}".to_owned(),
        yaml: String::new(),
        first_seen: now,
    })
}

/// What is recorded of a run of one task that went well.
fn one_run(job: &JobId, number: u64, begun: Timestamp) -> Result<Vec<Change>, Failure> {
    let id = RunId::from_parts(begun, number.into());
    let task: TaskId = "task-0".parse()?;
    let ended = begun + TimeDelta::milliseconds(700);
    let run = RunRecord {
        slot: Some(begun),
        ..RunRecord::queued(id, job.clone(), SpecHash::of(b"{}"), Trigger::Schedule, begun)
    };
    let pending = TaskRecord::pending(id, task.clone());
    let done = TaskRecord {
        state: TaskState::Succeeded,
        attempts: 1,
        outputs: [("rows".to_owned(), 100_000.into())].into(),
        ..pending.clone()
    };
    let attempt = AttemptRecord {
        started_at: Some(begun),
        ended_at: Some(ended),
        ending: Some(Ending::Exited(0)),
        cpu_user_ms: Some(5),
        cpu_system_ms: Some(1),
        max_rss_bytes: Some(4_000_000),
        bytes_out: Some(100),
        ..AttemptRecord::granted(id, task, 1, begun)
    };
    let slot = SlotRecord {
        job: job.clone(),
        at: begun,
        outcome: Some(SlotOutcome::Ran),
        reason: None,
        detail: None,
        decided_at: Some(begun),
        run: Some(id),
        spec_hash: SpecHash::of(b"{}"),
    };
    Ok(vec![
        Change::CreateRun {
            run,
            tasks: vec![pending],
        },
        Change::PutSlot(slot),
        Change::StartRun { run: id, at: begun },
        Change::EndAttempt(attempt),
        Change::SetTask(done),
        Change::EndRun {
            run: id,
            status: RunStatus::Succeeded,
            at: ended,
            reason: None,
        },
    ])
}
