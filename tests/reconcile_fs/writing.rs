//! How a file comes to its next content: one that is good, bad, empty, or not whole yet.

use std::{
    fs,
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use petit::{
    core::id::SpecHash,
    reconcile::{Health, SyncState, SyncStatus},
};

use crate::followed::{Followed, save, with_jobs, yaml};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_valid_file_is_active_soon_and_a_bad_one_changes_only_its_own_status() {
    let followed = Followed::new(with_jobs(&["other"])).await;
    followed.until_active("other", |active| active.len() == 1).await;
    let other = followed.active()["other"].clone();
    // The promise is 500 ms; a machine that is busy with other tests may need a second try to show it.
    let mut fastest = Duration::MAX;
    for priority in 1..=5 {
        let began = Instant::now();
        save(&followed.path("a.yaml"), &yaml(priority));
        followed.until_priority("a", priority).await;
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_millis(500), "{fastest:?}");

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

/// How a file that is written in pieces came to be active.
struct Pieces {
    /// The longest that the writer was quiet between two pieces.
    longest_pause: Duration,
    /// How long an edit of another file took meanwhile.
    other: Duration,
    /// How long the whole took after the last piece.
    whole: Duration,
    /// The versions of the file that were active besides the first and the whole.
    parts: Vec<SpecHash>,
}

impl Pieces {
    const EVERY: Duration = Duration::from_millis(100);
    const FOR: Duration = Duration::from_secs(10);

    /// Writes a file for ten seconds, a line at a time; with each line it is a valid job.
    async fn write() -> Self {
        let followed = Followed::new(with_jobs(&["a", "b"])).await;
        followed.until_active("two jobs", |active| active.len() == 2).await;
        let old = followed.active()["a"].job.hash.clone();
        let path = followed.path("a.yaml");
        let writer = tokio::task::spawn_blocking(move || {
            let mut file = fs::File::create(&path).expect("a file");
            let mut line = format!("{}env:\n  FIRST: \"1\"\n", yaml(0));
            let began = Instant::now();
            let (mut last, mut longest_pause) = (began, Duration::ZERO);
            for i in 1.. {
                file.write_all(line.as_bytes()).expect("written");
                let now = Instant::now();
                longest_pause = longest_pause.max(now - std::mem::replace(&mut last, now));
                if line.contains("LAST") {
                    break;
                }
                let name = if Self::EVERY * i < Self::FOR { "K" } else { "LAST" };
                line = format!("  {name}{i}: \"{i}\"\n");
                std::thread::sleep((began + Self::EVERY * i).saturating_duration_since(now));
            }
            (last, longest_pause)
        });
        let half = Instant::now() + Self::FOR / 3;
        tokio::time::sleep_until(half.into()).await;
        let saved = Instant::now();
        save(&followed.path("b.yaml"), &yaml(7));
        followed.until_priority("b", 7).await;
        let other = saved.elapsed();
        assert!(
            !writer.is_finished(),
            "the other file waited for the one that keeps changing"
        );
        let (last, longest_pause) = writer.await.expect("written");
        let is_whole = |key: &String| key.starts_with("LAST");
        followed
            .until_active("the whole file", |active| active["a"].job.spec.env.keys().any(is_whole))
            .await;
        let whole = last.elapsed();
        let published = followed.published.lock().expect("not poisoned").clone();
        let new = followed.active()["a"].job.hash.clone();
        let parts = published
            .iter()
            .map(|active| active["a"].job.hash.clone())
            .filter(|hash| *hash != old && *hash != new)
            .collect();
        Self {
            longest_pause,
            other,
            whole,
            parts,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_beginning_of_a_longer_file_goes_live_and_others_do_not_wait_for_it() {
    // On a machine that is busy with other tests the writer may be late, and then what it wrote so far does stand still.
    for _ in 0..4 {
        let Pieces {
            longest_pause,
            other,
            whole,
            parts,
        } = Pieces::write().await;
        println!("another file's edit was active after {other:?}, the whole {whole:?} after its last piece");
        if longest_pause >= Duration::from_millis(140) {
            println!("again: the writer paused for {longest_pause:?}");
            continue;
        }
        assert_eq!(parts, [], "a part of the file went live");
        assert!(other < Duration::from_millis(2_500), "{other:?}");
        assert!(whole < Duration::from_secs(1), "{whole:?}");
        return;
    }
    panic!("a machine on which nobody can write every 100 ms");
}
