//! A month of a thousand jobs: the journal stays small while it is pruned as the daemon prunes it, keeps what is needed, and
//! lets no commit wait long.
//!
//! Time is simulated, the file is real. `PETIT_HOURS` says how long it goes on (two hours by default, a month is 720),
//! `PETIT_JOBS` how many jobs there are, `PETIT_EVERY` how many minutes lie between two runs of each, and `PETIT_LOOK` between
//! two looks, which is five as in the daemon by default. `cargo xtask long journal` tells a whole month.

use std::{env, time::Instant};

use chrono::{DateTime, TimeDelta, Utc};
use petit::{
    core::{
        ending::Ending,
        id::{JobId, RunId, SpecHash, TaskId},
        keep::Keep,
        record::{AttemptRecord, RunRecord, SlotRecord, SpecRecord, TaskRecord},
        state::{RunStatus, SlotOutcome, TaskState, Trigger},
    },
    storage::{Change, Elsewhere, PruneRule, Sqlite, Storage},
};

/// What the file must stay below.
const LARGEST: u64 = 50_000_000;
/// How many changes are one commit here; what one is in a daemon makes no difference to the size.
const AT_ONCE: usize = 2_000;

fn number(name: &str, default: i64) -> i64 {
    env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn a_month_of_a_thousand_jobs_leaves_a_small_journal() {
    let (hours, jobs, every) = (
        number("PETIT_HOURS", 2),
        number("PETIT_JOBS", 1_000),
        number("PETIT_EVERY", 5),
    );
    let look_every = number("PETIT_LOOK", 5);
    let folder = tempfile::tempdir().expect("a folder");
    let journal = Sqlite::open(&folder.path().join("journal.db")).expect("a journal");
    let begin: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("an instant");
    let commit = |changes: Vec<Change>| journal.commit(changes).wait_blocking().expect("commits");
    let jobs: Vec<Job> = (0..jobs).map(|n| Job::new(n, begin)).collect();
    commit(jobs.iter().map(Job::version).collect());
    // It succeeds once, in the first minute, and others depend on that for ever.
    let weekly = Job::new(-1, begin);
    commit([weekly.version()].into_iter().chain(weekly.run(begin, 0)).collect());

    let (mut largest, mut cursor, mut runs) = (0, 0, 1_u128);
    let (mut steps, mut looks) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for minute in 0..hours * 60 {
        let at = begin + TimeDelta::minutes(minute);
        let due = jobs
            .iter()
            .enumerate()
            .filter(|(n, _)| (minute - *n as i64) % every == 0);
        let mut changes = Vec::new();
        for (_, job) in due {
            runs += 1;
            changes.extend(job.run(at, runs));
        }
        while !changes.is_empty() {
            let rest = changes.split_off(AT_ONCE.min(changes.len()));
            commit(std::mem::replace(&mut changes, rest));
        }
        if minute % look_every == 0 {
            // A catch-up has taken in everything.
            cursor = journal
                .facts(cursor, u32::MAX)
                .expect("reads")
                .last()
                .map_or(cursor, |fact| fact.number);
            let rule = PruneRule {
                now: at,
                elsewhere: Elsewhere::History(cursor),
                keep: Keep::days(90),
            };
            largest = largest.max(journal.size().expect("measures").bytes);
            loop {
                let looked = Instant::now();
                let found = journal.prunable(&rule).expect("looks");
                looks.push(looked.elapsed());
                if found.is_empty() {
                    break;
                }
                for step in found.steps() {
                    let began = Instant::now();
                    commit(vec![step]);
                    steps.push(began.elapsed());
                }
            }
        }
    }
    let size = journal.size().expect("measures");
    steps.sort();
    looks.sort();
    println!(
        "{runs} runs in {hours} h of {} jobs: at most {:.1} MB; at the end {:.1} MB, of which {:.1} MB free, and a log of {:.1} \
         MB; {:.0} s; {} steps, half of them within {:?}, 99 of 100 within {:?}; the longest look {:?}",
        jobs.len(),
        largest as f64 / 1e6,
        size.bytes as f64 / 1e6,
        size.free_bytes as f64 / 1e6,
        size.log_bytes as f64 / 1e6,
        began.elapsed().as_secs_f64(),
        steps.len(),
        steps[steps.len() / 2],
        steps[steps.len() * 99 / 100],
        looks[looks.len() - 1],
    );
    assert!(largest < LARGEST, "{largest} bytes");
    let succeeded = journal.latest(&weekly.id).expect("reads").succeeded;
    assert!(succeeded.is_some(), "the success of the weekly job is gone");
    assert_eq!(journal.slots(&weekly.id, begin, begin).expect("reads").len(), 1);
    for job in &jobs {
        let latest = journal.latest(&job.id).expect("reads").succeeded.expect("a run");
        assert!(
            latest.created_at > begin + TimeDelta::minutes(hours * 60 - every - 1),
            "{latest:?}"
        );
    }
}

struct Job {
    id: JobId,
    hash: SpecHash,
    task: TaskId,
    first_seen: DateTime<Utc>,
}

impl Job {
    fn new(n: i64, first_seen: DateTime<Utc>) -> Self {
        let id: JobId = format!("report-{}", n + 1).parse().expect("a slug");
        Self {
            hash: SpecHash::of(id.as_str().as_bytes()),
            id,
            task: "load".parse().expect("a slug"),
            first_seen,
        }
    }

    fn version(&self) -> Change {
        let canonical = format!(
            r#"{{"id":"{}","schedule":"*/5 * * * *","tasks":{{"load":{{"command":["true"]}}}}}}"#,
            self.id
        );
        Change::PutSpec(SpecRecord {
            hash: self.hash.clone(),
            job: self.id.clone(),
            yaml: canonical.clone(),
            canonical,
            first_seen: self.first_seen,
        })
    }

    /// A slot, its run of one task, and everything that the daemon records of them.
    fn run(&self, at: DateTime<Utc>, number: u128) -> Vec<Change> {
        let id = RunId::from_parts(at, number);
        let ended_at = at + TimeDelta::milliseconds(1_250);
        let run = RunRecord {
            slot: Some(at),
            revision: Some("4b825dc642cb6eb9a060e54bf8d69288fbee4904".to_owned()),
            ..RunRecord::queued(id, self.id.clone(), self.hash.clone(), Trigger::Schedule, at)
        };
        let task = TaskRecord::pending(id, self.task.clone());
        let attempt = AttemptRecord {
            started_at: Some(at),
            ended_at: Some(ended_at),
            ending: Some(Ending::Exited(0)),
            pid: Some(4_711),
            pid_start: Some(123_456),
            cpu_user_ms: Some(5),
            cpu_system_ms: Some(2),
            max_rss_bytes: Some(3 << 20),
            bytes_out: Some(120),
            ..AttemptRecord::granted(id, self.task.clone(), 1, at)
        };
        let done = TaskRecord {
            state: TaskState::Succeeded,
            attempts: 1,
            outputs: [("rows".to_owned(), 500.into())].into(),
            ..task.clone()
        };
        vec![
            Change::PutSlot(SlotRecord {
                job: self.id.clone(),
                at,
                outcome: Some(SlotOutcome::Ran),
                reason: None,
                detail: None,
                decided_at: Some(at),
                run: Some(id),
                spec_hash: self.hash.clone(),
            }),
            Change::CreateRun { run, tasks: vec![task] },
            Change::SetWatermark {
                job: self.id.clone(),
                at,
            },
            Change::StartRun { run: id, at },
            Change::EndAttempt(attempt),
            Change::SetTask(done),
            Change::EndRun {
                run: id,
                status: RunStatus::Succeeded,
                at: ended_at,
                reason: None,
            },
        ]
    }
}
