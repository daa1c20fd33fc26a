//! How a file comes to its next content: one that is good, bad, empty, or not whole yet.

use std::{
    fs,
    io::Write,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use petit::{
    core::active::ActiveSet,
    reconcile::{Health, SyncState, SyncStatus},
};

use crate::followed::{Followed, save, with_jobs, yaml};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_valid_file_is_active_and_a_bad_one_changes_only_its_own_status() {
    let followed = Followed::new(with_jobs(&["other"])).await;
    followed.until_active("other", |active| active.len() == 1).await;
    let other = followed.active()["other"].clone();
    for priority in [1, 2] {
        save(&followed.path("a.yaml"), &yaml(priority));
        followed.until_priority("a", priority).await;
    }

    save(&followed.path("bad.yaml"), "tasks: [\n");
    let status = followed
        .until("bad", |status| {
            status.file("bad.yaml").is_some_and(|f| f.standing.line.is_some())
        })
        .await;
    let bad = &status.file("bad.yaml").expect("there").standing;
    assert_eq!((bad.sync, bad.health), (SyncState::Invalid, Health::Failing));
    assert_eq!(followed.ids(), ["a", "other"]);
    assert!(
        Arc::ptr_eq(&other, &followed.active()["other"]),
        "an unchanged job is left alone"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_or_broken_file_keeps_its_job_also_through_a_restart() {
    let mut followed = Followed::new(with_jobs(&["a"])).await;
    followed.until_priority("a", 0).await;
    let invalid = |status: &SyncStatus| {
        status
            .file("a.yaml")
            .is_some_and(|f| f.standing.sync == SyncState::Invalid)
    };
    save(&followed.path("a.yaml"), "");
    let status = followed.until("an empty file to be invalid", invalid).await;
    assert_eq!(status.file("a.yaml").expect("there").standing.health, Health::Degraded);

    save(&followed.path("a.yaml"), &yaml(1));
    followed.until_priority("a", 1).await;
    save(&followed.path("a.yaml"), "priority: 2\ntasks: {t: {command: 5}}\n");
    followed.until("a broken file", invalid).await;

    followed.restart(|_| {}).await;
    assert_eq!(
        followed.priority("a"),
        Some(1),
        "the last good version is active before the first look"
    );
    let status = followed.until("the broken file again", invalid).await;
    let job = status.job(&"a".parse().expect("an id")).expect("there");
    assert_eq!(
        (job.standing.sync, job.standing.health),
        (SyncState::Invalid, Health::Degraded)
    );
    assert!(job.standing.line.is_some(), "{job:?}");

    save(&followed.path("a.yaml"), &yaml(3));
    followed.until_priority("a", 3).await;
    followed.until("all well", SyncStatus::is_synced).await;
    assert!(followed.always_had("a"));
}

/// What somebody did who writes a file a line at a time; with each line it is a valid job.
struct Written {
    /// How many variables the file stated when it stood still for as long as a content must to count, if it ever did: on a
    /// busy machine the writer may be late.
    stood_still: Vec<usize>,
    /// When its last line was written.
    at: Instant,
}

/// Writes a file until somebody says that it is enough, or is gone.
fn write_slowly(path: &Path, debounce: Duration, enough: &Receiver<()>) -> Written {
    const EVERY: Duration = Duration::from_millis(50);
    let mut file = fs::File::create(path).expect("a file");
    let mut line = format!("{}env:\n  FIRST: \"1\"\n", yaml(0));
    let mut stood_still = Vec::new();
    let mut before = Instant::now();
    let mut is_last = false;
    for variables in 0.. {
        let begun = Instant::now();
        file.write_all(line.as_bytes()).expect("written");
        if before.elapsed() >= debounce {
            stood_still.push(variables);
        }
        before = begun;
        if is_last {
            break;
        }
        is_last = enough.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout);
        let name = if is_last { "LAST" } else { "K" };
        line = format!("  {name}{variables}: \"{variables}\"\n");
    }
    let at = Instant::now();
    Written { stood_still, at }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_beginning_of_a_longer_file_goes_live_and_others_do_not_wait_for_it() {
    let followed = Followed::new(with_jobs(&["a", "b"])).await;
    followed.until_active("two jobs", |active| active.len() == 2).await;
    let (path, debounce) = (followed.path("a.yaml"), followed.options.debounce);
    let (enough, told) = mpsc::channel();
    let writer = tokio::task::spawn_blocking(move || write_slowly(&path, debounce, &told));
    followed
        .until("a file that changes", |status| {
            status.settling.iter().any(|file| file == "a.yaml")
        })
        .await;
    // The file changes until both edits of the other one are active, and the second finds it changing for long already.
    for priority in [7, 8] {
        let saved = Instant::now();
        save(&followed.path("b.yaml"), &yaml(priority));
        followed.until_priority("b", priority).await;
        println!("another file's edit was active after {:?}", saved.elapsed());
    }
    enough.send(()).expect("it still writes");
    let Written { stood_still, at } = writer.await.expect("written");
    let is_whole = |active: &ActiveSet| active["a"].job.spec.env.keys().any(|key| key.starts_with("LAST"));
    followed.until_active("the whole file", is_whole).await;
    println!("the whole was active {:?} after its last line", at.elapsed());
    println!("it stood still with so many variables: {stood_still:?}");
    let published = followed.published.lock().expect("not poisoned").clone();
    let parts: Vec<usize> = published
        .iter()
        .filter(|active| !is_whole(active))
        .map(|active| active["a"].job.spec.env.len())
        .filter(|variables| *variables > 0 && !stood_still.contains(variables))
        .collect();
    assert_eq!(parts, [0; 0], "a part of the file went live");
}
