//! A scheduler behind a reconciler, and the ledger that it keeps.
//!
//! Nobody carries its orders out, so that every slot of a job but the first finds a run in its way. That is enough to see
//! whether a slot was lost or recorded twice while the files changed.

use std::{collections::BTreeMap, sync::Arc};

use chrono::TimeDelta;
use petit::{
    core::{active::ActiveSet, id::JobId},
    events::EventBus,
    scheduler::{self, Parts, Scheduler, SystemClock},
    storage::{Memory, Storage},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// The file of a job that fires every second.
pub const EVERY_SECOND: &str = "priority: 0\nschedule: {cron: \"* * * * * *\"}\ntasks: {t: {command: [\"true\"]}}\n";

/// A scheduler at work.
pub struct Scheduling {
    handle: scheduler::Handle,
    task: JoinHandle<()>,
}

impl Scheduling {
    /// Starts a scheduler that follows this active set.
    pub fn start(storage: &Arc<Memory>, active: watch::Receiver<Arc<ActiveSet>>, bus: EventBus) -> Self {
        let (orders, mut ordered) = mpsc::channel(16);
        let (_, revision) = watch::channel(None);
        let (scheduler, handle) = Scheduler::new(Parts {
            storage: Arc::clone(storage) as Arc<dyn Storage>,
            clock: Arc::new(SystemClock),
            active,
            revision,
            orders,
            bus,
            random: Box::new(|| ulid::Ulid::generate().random()),
            tells_secret: Box::new(|_, _| false),
        });
        let task = tokio::spawn(async move {
            let ended = scheduler.run();
            tokio::pin!(ended);
            loop {
                tokio::select! {
                    ended = &mut ended => break ended.expect("a journal in memory"),
                    Some(_) = ordered.recv() => {}
                }
            }
        });
        Self { handle, task }
    }

    /// Stops it, and waits for that.
    pub async fn stop(self) {
        self.handle.stop().await;
        self.task.await.expect("no panic");
    }
}

/// Checks that each second since a job of [`EVERY_SECOND`] became active is recorded once. Returns how many there are.
pub fn check_every_second(storage: &Memory, job: &str) -> u64 {
    let job: JobId = job.parse().expect("an id");
    let active = storage
        .active()
        .expect("rows")
        .into_iter()
        .find(|active| active.job == job);
    let since = active.expect("active").scheduled_since;
    let watermarks: BTreeMap<JobId, _> = storage.watermarks().expect("rows").into_iter().collect();
    let Some(&until) = watermarks.get(&job) else {
        // It was over before the first second was.
        return 0;
    };
    let (from, to) = (since - TimeDelta::hours(1), until + TimeDelta::hours(1));
    let mut seconds: Vec<i64> = Vec::new();
    for slot in storage.slots(&job, from, to).expect("rows") {
        seconds.push(slot.at.timestamp());
    }
    for stretch in storage.stretches(&job, from, to).expect("rows") {
        let within = stretch.from.timestamp()..=stretch.to.timestamp();
        assert_eq!(within.clone().count() as u64, stretch.slots, "{stretch:?}");
        seconds.extend(within);
    }
    seconds.sort_unstable();
    let first = since.timestamp() + 1;
    let expected: Vec<i64> = (first..=until.timestamp()).collect();
    assert_eq!(seconds, expected, "each second once, from {since} to {until}");
    seconds.len() as u64
}
