//! A folder of jobs that is followed, for one test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use petit::{
    config::settings::Settings,
    core::{active::ActiveSet, record::Actor},
    events::EventBus,
    execution::capacity,
    reconcile::{Handle, Options, PlanId, Reconciler, SyncStatus, load_active},
    storage::{Memory, Storage},
};
use tokio::{task::JoinHandle, time::timeout};

/// How long a test waits for anything: far longer than it takes, so that a busy machine fails nothing.
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);
/// No test gets this old: what is seen was told of, and not found by the regular look that makes up for lost events.
const NEVER: Duration = Duration::from_secs(86_400);

/// A folder of jobs that is followed, and every active set that was published.
pub(crate) struct Followed {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) storage: Arc<Memory>,
    pub(crate) options: Options,
    reconciler: Option<Reconciler>,
    pub(crate) handle: Handle,
    pub(crate) published: Arc<Mutex<Vec<Arc<ActiveSet>>>>,
    listener: JoinHandle<()>,
}

impl Followed {
    /// Follows `jobs.d` in a folder of its own, after `prepare` has filled that folder.
    pub(crate) async fn new(prepare: impl FnOnce(&Path)) -> Self {
        Self::with(prepare, |_| {}).await
    }

    pub(crate) async fn with(prepare: impl FnOnce(&Path), adjust: impl FnOnce(&mut Options)) -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        let root = temp.path().join("jobs.d");
        prepare(temp.path());
        if !root.exists() {
            fs::create_dir(&root).expect("a folder");
        }
        let settings = Settings::default();
        let mut options = Options::from_settings(root, &settings, capacity::of_machine(&settings));
        options.resync = NEVER;
        adjust(&mut options);
        let storage = Arc::new(Memory::default());
        let (reconciler, published, listener) = start(&options, &storage);
        let followed = Self {
            temp,
            storage,
            options,
            handle: reconciler.handle(),
            reconciler: Some(reconciler),
            published,
            listener,
        };
        followed
            .until("the first look", |status| status.looked_at.is_some())
            .await;
        followed
    }

    /// Stops, does `between`, and starts again on the same journal.
    pub(crate) async fn restart(&mut self, between: impl FnOnce(&Path)) {
        self.reconciler.take().expect("running").stop();
        self.listener.abort();
        between(&self.root());
        let (reconciler, published, listener) = start(&self.options, &self.storage);
        self.handle = reconciler.handle();
        self.reconciler = Some(reconciler);
        self.published = published;
        self.listener = listener;
        self.until("the first look", |status| status.looked_at.is_some()).await;
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.temp.path().join("jobs.d")
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.root().join(file)
    }

    pub(crate) fn active(&self) -> Arc<ActiveSet> {
        self.handle.active().borrow().clone()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.active().keys().map(ToString::to_string).collect()
    }

    pub(crate) fn priority(&self, job: &str) -> Option<i32> {
        self.active().get(job).map(|active| active.job.spec.priority)
    }

    /// Waits until the status is as described.
    pub(crate) async fn until(&self, what: &str, condition: impl FnMut(&SyncStatus) -> bool) -> SyncStatus {
        let mut condition = condition;
        let mut status = self.handle.status();
        let waited = timeout(DEADLINE, status.wait_for(|status| condition(status))).await;
        match waited {
            Ok(Ok(status)) => SyncStatus::clone(&status),
            Ok(Err(_)) => panic!("stopped while waiting for {what}"),
            Err(_) => panic!("{what} did not come: {:#?}", self.handle.status().borrow()),
        }
    }

    /// Waits until the active set is as described.
    pub(crate) async fn until_active(&self, what: &str, mut condition: impl FnMut(&ActiveSet) -> bool) {
        let mut active = self.handle.active();
        let waited = timeout(DEADLINE, active.wait_for(|active| condition(active))).await;
        if !matches!(waited, Ok(Ok(_))) {
            let status = self.handle.status().borrow().clone();
            let SyncStatus {
                source,
                conditions,
                settling,
                ..
            } = &*status;
            panic!(
                "{what} did not come: {source:?}, {conditions:#?}, {} settling, {} files, {} active",
                settling.len(),
                status.files.len(),
                self.active().len()
            );
        }
    }

    /// Waits until a look began this much later than the last one so far. Looks that find nothing new wake nobody.
    pub(crate) async fn until_looked_for(&self, longer: Duration) {
        let looked_at = || self.handle.status().borrow().looked_at.expect("the first look is over");
        let (since, began) = (looked_at(), Instant::now());
        while (looked_at() - since).to_std().unwrap_or_default() < longer {
            assert!(began.elapsed() < DEADLINE, "nobody looks");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn until_priority(&self, job: &str, priority: i32) {
        let what = format!("{job} with priority {priority}");
        self.until_active(&what, |active| {
            active
                .get(job)
                .is_some_and(|active| active.job.spec.priority == priority)
        })
        .await;
    }

    pub(crate) async fn sync(&self, approve: Option<PlanId>) -> petit::reconcile::SyncOutcome {
        let sync = self.handle.sync(Actor::Command, true, approve);
        timeout(DEADLINE, sync)
            .await
            .expect("an answer in time")
            .expect("a running reconciler")
    }

    /// Whether every active set that was published holds the job.
    pub(crate) fn always_had(&self, job: &str) -> bool {
        self.published
            .lock()
            .expect("not poisoned")
            .iter()
            .all(|active| active.contains_key(job))
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

type Started = (Reconciler, Arc<Mutex<Vec<Arc<ActiveSet>>>>, JoinHandle<()>);

fn start(options: &Options, storage: &Arc<Memory>) -> Started {
    let loaded = load_active(&**storage, chrono::Utc::now()).expect("a journal in memory");
    let reconciler = Reconciler::start(
        options.clone(),
        Arc::clone(storage) as Arc<dyn Storage>,
        EventBus::default(),
        loaded,
    );
    let published = Arc::new(Mutex::new(Vec::new()));
    let (mut active, seen) = (reconciler.handle().active(), Arc::clone(&published));
    let listener = tokio::spawn(async move {
        while active.changed().await.is_ok() {
            let set = active.borrow_and_update().clone();
            seen.lock().expect("not poisoned").push(set);
        }
    });
    (reconciler, published, listener)
}

pub(crate) fn yaml(priority: i32) -> String {
    format!("priority: {priority}\ntasks: {{t: {{command: [\"true\"]}}}}\n")
}

pub(crate) fn save(path: &Path, text: &str) {
    fs::write(path, text).expect("a file is written");
}

pub(crate) fn with_jobs(names: &'static [&'static str]) -> impl FnOnce(&Path) {
    move |temp| {
        fs::create_dir(temp.join("jobs.d")).expect("a folder");
        for name in names {
            save(&temp.join("jobs.d").join(format!("{name}.yaml")), &yaml(0));
        }
    }
}

pub(crate) const TEN: &[&str] = &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// Runs git in the folder above the jobs, with nobody's settings: what runs the tests may be git itself, and then its
/// variables name the repository that it works on.
pub(crate) fn git(folder: &Path, arguments: &[&str]) {
    let who = ["-c", "user.name=petit", "-c", "user.email=petit@localhost"];
    let status = Command::new("git")
        .args(who)
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output();
    let output = status.expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
}
