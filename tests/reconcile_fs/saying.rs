//! What is said of the files, of a plan, and of how changes are noticed.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use petit::{
    core::Timestamp,
    reconcile::{Health, Source, SyncState, SyncStatus, Trust, WatchMode, Watching, offline},
    storage::Storage,
};

use crate::followed::{DEADLINE, Followed, save, with_jobs, yaml};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_root_only_what_root_alone_may_write_is_followed() {
    let followed = Followed::with(with_jobs(&["a"]), |options| options.trust = Trust::OnlyRoot).await;
    if Trust::of_this_process() == Trust::Anyone {
        println!("skipped: only root can have files that are root's");
        return;
    }
    followed.until_priority("a", 0).await;
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    save(&followed.path("b.yaml"), &yaml(1));
    mode(&followed.path("b.yaml"), 0o646);
    let is_refused = |status: &SyncStatus| {
        let message = status.file("b.yaml").and_then(|file| file.standing.message.clone());
        message.is_some_and(|message| message.contains("--insecure-permissions"))
    };
    followed.until("a file that everyone may write", is_refused).await;
    assert_eq!(followed.ids(), ["a"]);
    mode(&followed.path("b.yaml"), 0o644);
    followed.until_priority("b", 1).await;

    mode(&followed.root(), 0o777);
    let unavailable = |status: &SyncStatus| matches!(&status.source, Source::Unavailable { message, .. } if message.contains("--insecure-permissions"));
    followed.until("a folder that everyone may write", unavailable).await;
    assert_eq!(followed.ids(), ["a", "b"], "nothing is removed for it");
    mode(&followed.root(), 0o755);
    followed.until("all well", SyncStatus::is_synced).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_changes_nothing_with_or_without_a_daemon() {
    let mut followed = Followed::new(with_jobs(&["a"])).await;
    followed.until_priority("a", 0).await;
    let nothing = followed.handle.plan().await.expect("a plan");
    assert!(nothing.is_empty());
    let (options, storage) = (followed.options.clone(), Arc::clone(&followed.storage));
    let mut planned = String::new();
    followed
        .restart(|root| {
            save(&root.join("a.yaml"), &yaml(1));
            let offline = offline(&*storage, &options, chrono::Utc::now()).expect("a plan");
            assert!(!offline.status.is_synced());
            planned = offline.plan.expect("a folder").plan.to_string();
        })
        .await;
    assert_eq!(planned, "update a (a.yaml): priority");
    followed.until_priority("a", 1).await;
    let audit = followed.storage.reconciles(1).expect("rows").remove(0);
    assert_eq!(audit.actions, ["update a (a.yaml): priority"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_and_blocked_jobs_are_named_with_their_place() {
    let followed = Followed::new(with_jobs(&["a"])).await;
    followed.until_priority("a", 0).await;
    save(&followed.path("copy.yaml"), &format!("id: a\n{}", yaml(1)));
    save(
        &followed.path("b.yaml"),
        &format!("depends_on:\n  - job: nobody\n{}", yaml(0)),
    );
    let outcome = followed.sync(None).await;
    assert!(!outcome.synced);
    let of = |file: &str| outcome.status.file(file).expect("there").standing.clone();
    for file in ["a.yaml", "copy.yaml"] {
        assert_eq!(of(file).sync, SyncState::Conflict, "{file}");
    }
    let blocked = of("b.yaml");
    assert_eq!((blocked.sync, blocked.health), (SyncState::Blocked, Health::Failing));
    assert_eq!((blocked.line, blocked.column), (Some(2), Some(10)));
    assert_eq!(followed.priority("a"), Some(0));

    save(&followed.path("nobody.yaml"), &yaml(0));
    fs::remove_file(followed.path("copy.yaml")).expect("removed");
    let outcome = followed.sync(None).await;
    assert!(outcome.synced, "{outcome:#?}");
    assert_eq!(followed.ids(), ["a", "b", "nobody"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_events_the_folder_is_polled_and_status_says_so() {
    let followed = Followed::with(with_jobs(&["a"]), |options| options.watch = WatchMode::Polling).await;
    followed.until_priority("a", 0).await;
    save(&followed.path("a.yaml"), &yaml(1));
    followed.until_priority("a", 1).await;
    let status = followed.handle.status().borrow().clone();
    assert!(matches!(status.watching, Watching::Polling { .. }));
    assert_eq!(status.conditions.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_folder_is_not_looked_at_again_and_again() {
    let resync = Duration::from_secs(1);
    let followed = Followed::with(with_jobs(&["a"]), |options| options.resync = resync).await;
    let looked_at = || followed.handle.status().borrow().looked_at.expect("a look");
    followed.sync(None).await;
    let next = async |after: Timestamp| {
        let began = Instant::now();
        while looked_at() == after {
            assert!(began.elapsed() < DEADLINE, "nobody looks");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        looked_at()
    };
    // The first look after the sync is the regular one, at any time; those after it show whether looks wake looks. One
    // that was held up is followed by the next one sooner, but then not all of them are.
    let mut before = next(looked_at()).await;
    let mut gaps = Vec::new();
    while gaps.len() < 5 && gaps.last().is_none_or(|gap| *gap <= resync / 2) {
        let after = next(before).await;
        gaps.push((after - before).to_std().expect("in order"));
        before = after;
    }
    assert!(gaps.iter().any(|gap| *gap > resync / 2), "{gaps:?}");
}
