//! What the tests of the executor stand on: a journal in memory, an executor over any engine, and waiting with a
//! deadline.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};

use super::{
    Clock, Executor, Handle,
    engine::Engine,
    executor::RunStart,
    inputs::{Surroundings, base_environment},
};
use crate::{
    core::{
        capacity::SystemResources,
        id::{JobId, RunId},
        job::Job,
        record::{SlotRecord, SpecRecord},
        spec::JobSpec,
        state::{TaskState, Trigger},
    },
    events::{Event, EventBus, Listener},
    storage::{Change, RunDetail, Storage},
};

/// How long a test waits for anything: far longer than it takes, so that a busy machine fails nothing.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// An executor with its surroundings.
pub struct Bench {
    pub storage: Arc<dyn Storage>,
    pub handle: Handle,
    pub task: JoinHandle<()>,
    listener: Listener,
}

pub fn clock() -> Clock {
    Arc::new(chrono::Utc::now)
}

pub fn capacity(tasks: u32) -> SystemResources {
    SystemResources {
        tasks,
        cpu_millis: 4_000,
        memory_bytes: 1 << 30,
        pools: BTreeMap::from([("gpu".to_owned(), 1)]),
    }
}

pub fn job(id: &str, yaml: &str) -> Arc<Job> {
    // As a file is read: a variant is a map of one key, not a tag.
    let spec: JobSpec =
        serde_yaml::with::singleton_map_recursive::deserialize(serde_yaml::Deserializer::from_str(yaml))
            .expect("the test's own YAML");
    let id = JobId::new(id).expect("a slug");
    Arc::new(Job::new(spec, &id, chrono_tz::UTC).expect("a valid job"))
}

impl Bench {
    /// An executor that works in `home`.
    pub fn new(home: &Path, storage: Arc<dyn Storage>, engine: Arc<dyn Engine>, capacity: SystemResources) -> Self {
        let bus = EventBus::default();
        let listener = bus.listen();
        let executor = Executor {
            surroundings: Surroundings {
                env: base_environment([("PATH".to_owned(), "/usr/bin:/bin".to_owned())], &[]),
                home: home.to_owned(),
                state_dir: home.join(".petit"),
                instance: format!("bench-{}", home.display()),
            },
            capacity,
            clock: clock(),
            storage: Arc::clone(&storage),
            engine,
            bus,
        };
        let (handle, task) = executor.spawn();
        Self {
            storage,
            handle,
            task,
            listener,
        }
    }

    /// A new run of the job, not in the journal yet.
    pub fn new_run(&self, job: &Arc<Job>) -> RunStart {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let now = clock()();
        let id = RunId::from_parts(now, NUMBER.fetch_add(1, Ordering::Relaxed).into());
        let mut start = RunStart::by_hand(Arc::clone(job), id, now);
        start.record.trigger = Trigger::Schedule;
        start.record.slot = Some(now);
        start
    }

    /// Creates a run of the job, with its claimed slot, and hands it over.
    pub async fn start(&self, job: &Arc<Job>) -> RunId {
        let start = self.new_run(job);
        let run = start.record.clone();
        let changes = vec![
            Change::PutSpec(SpecRecord::of(job, String::new(), run.created_at)),
            Change::PutSlot(SlotRecord {
                job: job.id.clone(),
                at: run.scheduled_at,
                outcome: None,
                reason: None,
                detail: None,
                decided_at: None,
                run: Some(run.id),
                spec_hash: job.hash.clone(),
            }),
            Change::CreateRun {
                run: run.clone(),
                tasks: start.tasks.clone(),
            },
        ];
        self.storage
            .commit(changes)
            .wait()
            .await
            .expect("a journal that takes it");
        self.handle.start(start).await.expect("an executor that runs");
        run.id
    }

    /// Waits for an event.
    pub async fn event<T>(&mut self, what: &str, mut fits: impl FnMut(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = fits(&self.listener.recv().await.expect("a listener that keeps up")) {
                    return found;
                }
            }
        };
        timeout(DEADLINE, found)
            .await
            .unwrap_or_else(|_| panic!("waited too long for {what}"))
    }

    /// Waits until a run has ended; events of others that come meanwhile are lost.
    pub async fn ended(&mut self, wanted: RunId) -> RunDetail {
        self.event("a run's end", |event| match event {
            Event::Run { run, status, .. } => (*run == wanted && status.is_finished()).then_some(()),
            _ => None,
        })
        .await;
        self.detail(wanted)
    }

    /// Waits until a task of any run is in a state.
    pub async fn reached(&mut self, wanted: &str, wanted_state: TaskState) {
        self.event(&format!("{wanted} to be {wanted_state}"), |event| match event {
            Event::Task { task, state, .. } => (task.as_str() == wanted && *state == wanted_state).then_some(()),
            _ => None,
        })
        .await;
    }

    pub fn detail(&self, run: RunId) -> RunDetail {
        self.storage
            .run(run)
            .expect("a readable journal")
            .expect("a run that was created")
    }

    pub async fn run_to_end(&mut self, job: &Arc<Job>) -> RunDetail {
        let run = self.start(job).await;
        self.ended(run).await
    }
}

/// The state of each task, by its id.
pub fn states(detail: &RunDetail) -> BTreeMap<&str, TaskState> {
    detail
        .tasks
        .iter()
        .map(|task| (task.task.as_str(), task.state))
        .collect()
}

/// Waits for something to become so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, wait)
        .await
        .unwrap_or_else(|_| panic!("waited too long for {what}"));
}
