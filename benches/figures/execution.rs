//! The executor with all that belongs to it (a journal that waits for the disk, captured output, the facts of each task),
//! against spawning and waiting and nothing else.

use std::{
    collections::VecDeque,
    fmt::Write,
    fs,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Instant,
};

use chrono::Utc;
use petit::{
    core::{
        capacity::SystemResources,
        id::{JobId, RunId},
        job::Job,
        spec::JobSpec,
        state::RunStatus,
    },
    daemon::journal_path,
    events::{Event, EventBus},
    execution::{
        Clock, Executor,
        executor::RunStart,
        inputs::{Surroundings, base_environment},
        local::LocalEngine,
    },
    storage::{Sqlite, Storage},
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::broadcast::error::RecvError};

use crate::{
    paired::{Row, Spread, Unit, in_turn},
    place,
};

pub const TASKS: usize = 2_000;
pub const AT_A_TIME: u32 = 8;
const CHAIN: usize = 200;
pub const ROUNDS: usize = 5;
const LANES: usize = 8;
const LANES_ROUNDS: usize = 3;

pub fn throughput() -> Vec<Row> {
    let runtime = Runtime::new().expect("a runtime");
    let job = independent(TASKS);
    let mut peaks = Vec::new();
    let mut homes = Vec::new();
    let pair = in_turn(
        ROUNDS,
        || {
            // The peak counts anew from here on.
            fs::write("/proc/self/clear_refs", "5").expect("Linux lets a process do that to itself");
            let rate = TASKS as f64 / runtime.block_on(seconds_of_run(&job, new_home(&mut homes)));
            peaks.push(place::memory(process::id(), "VmHWM"));
            rate
        },
        || TASKS as f64 / seconds_of_bare_loop(),
    );
    let peak = Spread::of(peaks).written(|value| Unit::Bytes.written(value));
    vec![
        pair.row(
            "spawn",
            format!("{TASKS} tasks, {AT_A_TIME} at a time; bare spawns"),
            Unit::PerSecond,
            "0.85",
        ),
        Row::alone("spawn", "peak memory meanwhile", peak, "under 60 MB"),
    ]
}

pub fn chain() -> Vec<Row> {
    let runtime = Runtime::new().expect("a runtime");
    let job = job((0..CHAIN).map(|number| (number, "true", number.checked_sub(1))));
    let mut homes = Vec::new();
    let pair = in_turn(
        ROUNDS,
        || runtime.block_on(seconds_of_run(&job, new_home(&mut homes))) / CHAIN as f64,
        || {
            let begun = Instant::now();
            for _ in 0..CHAIN {
                drain(spawn("true"));
            }
            begun.elapsed().as_secs_f64() / CHAIN as f64
        },
    );
    let what = format!("a hop in a chain of {CHAIN}; a spawn and wait");
    vec![pair.row("chain", what, Unit::Seconds, "under 1.2 ms")]
}

/// Lanes of tasks side by side, in each of which another one is slow: none waits for a sibling in another lane.
pub fn lanes() -> Vec<Row> {
    let runtime = Runtime::new().expect("a runtime");
    let tasks = (0..LANES).flat_map(|lane| {
        (0..LANES).map(move |place| {
            let number = lane * LANES + place;
            (number, nap(lane, place), (place > 0).then(|| number - 1))
        })
    });
    let job = job(tasks);
    let mut homes = Vec::new();
    let pair = in_turn(
        LANES_ROUNDS,
        || runtime.block_on(seconds_of_run(&job, new_home(&mut homes))),
        || {
            let begun = Instant::now();
            thread::scope(|scope| {
                for lane in 0..LANES {
                    scope.spawn(move || (0..LANES).for_each(|place| drain(spawn(nap(lane, place)))));
                }
            });
            begun.elapsed().as_secs_f64()
        },
    );
    let what = format!("{LANES} lanes of {LANES} with one slow task each; as many loops of spawns");
    vec![pair.row("lanes", what, Unit::Seconds, "1.2")]
}

/// How long a task of a lane sleeps.
fn nap(lane: usize, place: usize) -> &'static str {
    if lane == place { "sleep 1" } else { "sleep 0.05" }
}

fn independent(tasks: usize) -> Arc<Job> {
    job((0..tasks).map(|number| (number, "true", None)))
}

/// Of numbered tasks: what each runs, and after which other.
fn job(tasks: impl Iterator<Item = (usize, &'static str, Option<usize>)>) -> Arc<Job> {
    let mut yaml = String::from("tasks:\n");
    for (number, command, after) in tasks {
        let needs = after
            .map(|before| format!(", depends_on: [t{before}]"))
            .unwrap_or_default();
        let command = words(command).collect::<Vec<_>>().join("', '");
        writeln!(yaml, "  t{number}: {{command: ['/bin/{command}']{needs}}}")
            .expect("writing to a String does not fail");
    }
    let spec: JobSpec = serde_yaml::from_str(&yaml).expect("it is valid");
    let id = JobId::new("bench").expect("a slug");
    Arc::new(Job::new(spec, &id, chrono_tz::UTC).expect("it is valid"))
}

fn words(command: &'static str) -> impl Iterator<Item = &'static str> {
    command.split(' ')
}

/// A home for one run. All of them are kept until nothing is measured any more: for some seconds after thousands of files
/// were removed, ext4 looks a long time for inodes that are free *and* were not just given back, and that would be most of
/// what is measured.
fn new_home(homes: &mut Vec<TempDir>) -> PathBuf {
    let home = place::folder();
    let path = home.path().to_owned();
    homes.push(home);
    path
}

/// One run of the job over a new journal, from handing it in to its end on disk.
async fn seconds_of_run(job: &Arc<Job>, home: PathBuf) -> f64 {
    let storage: Arc<dyn Storage> = Arc::new(Sqlite::open(&journal_path(&home)).expect("a new journal"));
    let clock: Clock = Arc::new(Utc::now);
    let bus = EventBus::default();
    let mut listener = bus.listen();
    let (executor, executing) = Executor {
        surroundings: Surroundings {
            env: base_environment([], &[]),
            state_dir: home.join(".petit"),
            home,
            instance: storage.journal_id().expect("a new journal has one"),
        },
        capacity: SystemResources {
            tasks: AT_A_TIME,
            cpu_millis: 1_000_000,
            memory_bytes: u64::MAX,
            pools: Default::default(),
        },
        clock: Arc::clone(&clock),
        storage: Arc::clone(&storage),
        engine: Arc::new(LocalEngine::new(10 << 20, clock)),
        bus,
    }
    .spawn();

    let begun = Instant::now();
    let now = Utc::now();
    let start = RunStart::by_hand(Arc::clone(job), RunId::from_parts(now, 0), now);
    let committed = storage.commit(start.creation()).wait().await;
    committed.expect("a journal that takes it");
    executor.start(start).await.expect("an executor that runs");
    let status = loop {
        match listener.recv().await {
            Ok(Event::Run { status, .. }) if status.is_finished() => break status,
            Ok(Event::Run { .. } | Event::Task { .. } | Event::Slot(_) | Event::Reconcile(_)) => {}
            // The oldest are lost, and the end of the run is the last.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => panic!("the executor has gone"),
        }
    };
    let took = begun.elapsed();
    assert_eq!(status, RunStatus::Succeeded);
    executor.shutdown(std::time::Duration::ZERO).await;
    drop(executor);
    executing.await.expect("an executor that ends");
    took.as_secs_f64()
}

/// As many spawns, side by side as many, with their output read.
pub fn seconds_of_bare_loop() -> f64 {
    let begun = Instant::now();
    let mut going = VecDeque::new();
    for _ in 0..TASKS {
        if going.len() == AT_A_TIME as usize {
            going.drain(..1).for_each(drain);
        }
        going.push_back(spawn("true"));
    }
    going.into_iter().for_each(drain);
    begun.elapsed().as_secs_f64()
}

/// `std` takes `posix_spawn` for this, as nothing is asked for that it cannot do.
fn spawn(command: &'static str) -> Child {
    let mut words = words(command);
    let mut command = Command::new(format!("/bin/{}", words.next().expect("a program")));
    command
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("every system has it")
}

/// Reads what it printed, and waits.
fn drain(child: Child) {
    let output = child.wait_with_output().expect("a child of ours");
    assert!(output.status.success());
}
