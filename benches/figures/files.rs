//! 10,000 job files: from the start to all active, one edit among them, and `petit validate` as people run it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Instant, SystemTime},
};

use chrono::Utc;
use petit::{
    config::settings::Settings,
    core::{active::ActiveSet, id::SpecHash, record::Actor},
    events::EventBus,
    execution::capacity,
    reconcile::{
        Loaded, Options, Policy, Reconciler,
        apply::{Before, Occasion, apply},
        desired::{Desired, Judge},
        load_active,
        plan::{self, Past, set_hash},
        scan::Scanner,
        settle::Settled,
    },
    storage::{Memory, Storage},
};
use tokio::runtime::Runtime;

use crate::{
    paired::{Row, Unit, in_turn, percentile},
    place::{self, PETIT},
};

const FILES: usize = 10_000;
const ROUNDS: usize = 5;
const PLANS: usize = 21;
const EDITS: usize = 20;
const SINGLE: usize = 40;

pub fn scan() -> Vec<Row> {
    let runtime = Runtime::new().expect("a runtime");
    let (folder, files) = place::jobs(FILES);
    let options = options(folder.path());
    let fresh = in_turn(
        ROUNDS,
        || {
            let storage: Arc<dyn Storage> = Arc::new(Memory::default());
            let begun = Instant::now();
            drop(runtime.block_on(all_active(&options, storage, Loaded::default())));
            begun.elapsed().as_secs_f64()
        },
        || seconds_to_read(&files),
    );
    let kept: Arc<dyn Storage> = Arc::new(Memory::default());
    drop(runtime.block_on(all_active(&options, Arc::clone(&kept), Loaded::default())));
    let restarted = in_turn(
        ROUNDS,
        || {
            let begun = Instant::now();
            let loaded = load_active(kept.as_ref(), Utc::now()).expect("a journal in memory");
            drop(runtime.block_on(all_active(&options, Arc::clone(&kept), loaded)));
            begun.elapsed().as_secs_f64()
        },
        || seconds_to_read(&files),
    );
    vec![
        fresh.row(
            "scan",
            format!("{FILES} new files, all active; reading them"),
            Unit::Seconds,
            "under 1 s",
        ),
        restarted.row(
            "scan",
            "a restart with them, all compared; reading them",
            Unit::Seconds,
            "under 1 s",
        ),
    ]
}

pub fn plan() -> Vec<Row> {
    let (folder, files) = place::jobs(FILES);
    let options = options(folder.path());
    let mut judge = Judge::new(Arc::clone(&options.check));
    let mut desired = || {
        let look = Scanner::new(&options.jobs_dir)
            .look(SystemTime::now())
            .expect("a folder");
        judge.judge(&Settled::as_seen(&look), look.allow_empty)
    };
    let policy = Policy {
        prune: options.prune,
        prune_guard: options.prune_guard,
        approved: None,
    };
    let planned = |desired: &Desired, active: &ActiveSet| {
        let past = Past {
            refused: &[],
            largest: active,
            set_hash: &set_hash(active),
        };
        plan::plan(desired, active, past, &policy, Utc::now())
    };
    let occasion = Occasion {
        actor: Actor::Start,
        by: None,
        revision: None,
        now: Utc::now(),
        duration_ms: 0,
    };
    let nothing = ActiveSet::new();
    let before = Before {
        active: &nothing,
        set_hash: &set_hash(&nothing),
        retired: &BTreeMap::new(),
        refused: &[],
    };
    let active = apply(&planned(&desired(), &nothing), before, occasion).active;
    assert_eq!(active.len(), FILES);
    fs::write(&files[FILES / 2], place::job_text(FILES / 2, "edited")).expect("a writable folder");
    let edited = desired();
    let contents: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("a file")).collect();
    let pair = in_turn(
        PLANS,
        || {
            let begun = Instant::now();
            let plan = planned(&edited, &active);
            let took = begun.elapsed();
            assert_eq!(plan.actions.len(), 1);
            took.as_secs_f64()
        },
        || {
            let begun = Instant::now();
            let hashes = contents.iter().map(|content| SpecHash::of(content));
            assert_eq!(hashes.filter(|hash| hash.as_str().len() == 64).count(), FILES);
            begun.elapsed().as_secs_f64()
        },
    );
    vec![
        pair.row(
            "plan",
            format!("{FILES} jobs, one change; hashing them"),
            Unit::Seconds,
            "under 5 ms",
        ),
        edits(&options, &files),
    ]
}

/// Saves one file after another, as an editor does, and waits for each to be active.
fn edits(options: &Options, files: &[PathBuf]) -> Row {
    let runtime = Runtime::new().expect("a runtime");
    let storage: Arc<dyn Storage> = Arc::new(Memory::default());
    let reconciler = runtime.block_on(all_active(options, storage, Loaded::default()));
    let mut active = reconciler.handle().active();
    let mut took = Vec::new();
    for (number, file) in files.iter().take(EDITS).enumerate() {
        let beside = file.with_extension("tmp");
        fs::write(&beside, place::job_text(number, "edited")).expect("a writable folder");
        active.mark_unchanged();
        let begun = Instant::now();
        fs::rename(&beside, file).expect("a rename within a folder");
        runtime.block_on(active.changed()).expect("a reconciler that follows");
        took.push(begun.elapsed().as_secs_f64());
    }
    took.sort_by(f64::total_cmp);
    let [p50, p99] = [50, 99].map(|hundredths| percentile(&took, hundredths));
    let debounce = options.debounce.as_secs_f64();
    Row {
        name: "plan",
        what: format!("an edit among {FILES} files, save to active, p50 and p99; debounce"),
        subject: [p50, p99].map(|value| Unit::Seconds.written(value)).join(" / "),
        reference: Unit::Seconds.written(debounce),
        ratio: [p50, p99].map(|value| format!("{:.2}", value / debounce)).join(" / "),
        goal: "p99 under 300 ms",
    }
}

pub fn validate() -> Vec<Row> {
    let (folder, files) = place::jobs(FILES);
    let many = in_turn(
        ROUNDS,
        || place::seconds_of(place::command(PETIT, folder.path()).arg("validate")),
        || place::seconds_of(place::command("cat", folder.path()).args(&files)),
    );
    let (folder, files) = place::jobs(1);
    let one = in_turn(
        SINGLE,
        || place::seconds_of(place::command(PETIT, folder.path()).arg("validate").args(&files)),
        || place::seconds_of(&mut place::command("/bin/true", folder.path())),
    );
    vec![
        many.row("validate", format!("{FILES} files; cat"), Unit::Seconds, "under 0.45 s"),
        one.row("validate", "one file; /bin/true", Unit::Seconds, "under 10 ms"),
    ]
}

fn options(folder: &Path) -> Options {
    let settings = Settings::default();
    let capacity = capacity::of_machine(&settings);
    Options::from_settings(folder.join("jobs.d"), &settings, capacity)
}

/// A reconciler, once every file has been looked at and is active.
async fn all_active(options: &Options, storage: Arc<dyn Storage>, loaded: Loaded) -> Reconciler {
    let reconciler = Reconciler::start(options.clone(), storage, EventBus::default(), loaded);
    let mut status = reconciler.handle().status();
    let synced = status.wait_for(|status| status.looked_at.is_some() && status.settling.is_empty());
    synced.await.expect("a reconciler that follows");
    assert_eq!(reconciler.handle().active().borrow().len(), FILES);
    reconciler
}

fn seconds_to_read(files: &[PathBuf]) -> f64 {
    let begun = Instant::now();
    let bytes: usize = files.iter().map(|file| fs::read(file).expect("a file").len()).sum();
    assert!(bytes > 0);
    begun.elapsed().as_secs_f64()
}
