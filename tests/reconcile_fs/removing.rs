//! Files that go: a removal is only what somebody meant.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use petit::{
    core::active::ActiveSet,
    reconcile::{Approval, SyncState, SyncStatus, plan::GUARD_MEMORY, settle::TOGETHER},
    storage::Storage,
};

use crate::followed::{Followed, TEN, save, with_jobs, yaml};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_file_removes_its_job_and_a_renamed_one_does_not() {
    let followed = Followed::new(|temp| {
        fs::create_dir(temp.join("jobs.d")).expect("a folder");
        save(&temp.join("jobs.d/a.yaml"), &format!("id: a\n{}", yaml(0)));
        save(&temp.join("jobs.d/b.yaml"), &yaml(0));
    })
    .await;
    followed.until_active("both jobs", |active| active.len() == 2).await;
    let job = followed.active()["a"].job.clone();
    fs::rename(followed.path("a.yaml"), followed.path("renamed.yaml")).expect("a rename");
    fs::remove_file(followed.path("b.yaml")).expect("removed");
    followed
        .until_active("one job", |active| !active.contains_key("b"))
        .await;
    let outcome = followed.sync(None).await;
    assert!(outcome.synced, "{outcome:?}");
    let renamed = followed.active()["a"].clone();
    assert_eq!(
        (renamed.record.file.as_str(), renamed.record.generation),
        ("renamed.yaml", 1)
    );
    assert!(Arc::ptr_eq(&job, &renamed.job));
    assert!(followed.always_had("a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_removals_wait_for_approval() {
    let followed = Followed::new(|temp| {
        fs::create_dir_all(temp.join("jobs.d/ten")).expect("folders");
        for name in TEN {
            save(&temp.join(format!("jobs.d/ten/{name}.yaml")), &yaml(0));
        }
    })
    .await;
    followed.until_active("ten jobs", |active| active.len() == 10).await;
    // All in one step: of removals one by one, some are few enough to go unasked.
    fs::rename(followed.path("ten"), followed.temp.path().join("away")).expect("moved away");
    let outcome = followed.sync(None).await;
    assert!(!outcome.synced);
    assert_eq!(followed.ids().len(), 10);
    let held = followed
        .until("held removals", |status| status.waiting_plan.is_some())
        .await;
    assert!(held.jobs.iter().all(|job| job.standing.sync == SyncState::Held));

    save(&followed.path("new.yaml"), &yaml(0));
    followed
        .until_active("a new job meanwhile", |active| active.contains_key("new"))
        .await;
    let stale = followed.sync(held.waiting_plan).await;
    assert!(
        matches!(stale.approval, Some(Approval::Stale { current: Some(_), .. })),
        "{stale:?}"
    );
    assert_eq!(followed.ids().len(), 11);

    let approved = followed.sync(stale.status.waiting_plan).await;
    assert_eq!(approved.approval, Some(Approval::Carried));
    assert!(approved.synced, "{approved:?}");
    assert_eq!(followed.ids(), ["new"]);
    fs::remove_file(followed.path("new.yaml")).expect("removed");
    followed.until_active("nothing left", ActiveSet::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removals_one_by_one_are_held_together_and_stay_held_through_a_restart() {
    let mut followed = Followed::new(with_jobs(TEN)).await;
    followed.until_active("ten jobs", |active| active.len() == 10).await;
    let began = Instant::now();
    for (gone, left) in [(&TEN[..3], 7), (&TEN[3..5], 5)] {
        for name in gone {
            fs::remove_file(followed.path(&format!("{name}.yaml"))).expect("removed");
        }
        followed
            .until_active("a few removals", |active| active.len() == left)
            .await;
    }
    let f = "f".parse().expect("an id");
    let is_held = |status: &SyncStatus| {
        let held = status.job(&f).is_some_and(|job| job.standing.sync == SyncState::Held);
        held && status.waiting_plan.is_some()
    };
    fs::remove_file(followed.path("f.yaml")).expect("removed");
    let sixth = followed.sync(None).await;
    if is_forgotten(began) {
        return;
    }
    assert!(is_held(&sixth.status), "the sixth of ten: {sixth:#?}");

    // What was removed before is no longer among the jobs: one of five is few enough to go unasked.
    followed.restart(|_| {}).await;
    let held = followed.until("the sixth to be held on", is_held).await;
    fs::remove_file(followed.path("g.yaml")).expect("removed");
    let g = "g".parse().expect("an id");
    let both =
        |status: &SyncStatus| is_held(status) && status.job(&g).is_some_and(|job| job.standing.sync == SyncState::Held);
    let now = followed.sync(None).await.status;
    if is_forgotten(began) {
        return;
    }
    assert!(both(&now), "the seventh is counted with the others: {now:#?}");
    assert_ne!(held.waiting_plan, now.waiting_plan);
    let outcome = followed.sync(now.waiting_plan).await;
    assert!(outcome.synced, "{outcome:#?}");
    assert_eq!(followed.ids(), ["h", "i", "j"]);
    assert_eq!(followed.storage.held().expect("rows"), []);

    // With nothing held, a restart finds nothing held.
    followed.restart(|root| save(&root.join("a.yaml"), &yaml(0))).await;
    followed.until("all well", SyncStatus::is_synced).await;
    assert_eq!(followed.active()["a"].record.generation, 2, "generations go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removals_one_after_another_are_held_once_they_are_many_and_approved_as_one() {
    // Far enough apart that none waits for the next.
    const EVERY: Duration = Duration::from_millis(100).saturating_add(TOGETHER);
    let followed = Followed::new(with_jobs(TEN)).await;
    followed.until_active("ten jobs", |active| active.len() == 10).await;
    let began = Instant::now();
    for (name, earlier) in TEN.iter().zip(0..) {
        tokio::time::sleep_until((began + EVERY * earlier).into()).await;
        fs::remove_file(followed.path(&format!("{name}.yaml"))).expect("removed");
    }
    let status = followed.sync(None).await.status;
    if is_forgotten(began) {
        return;
    }
    // Half of them may go unasked. Those that one look misses first are judged together, whatever came before.
    let left = followed.ids();
    assert!(
        left.len() >= 5 && TEN.ends_with(&left.iter().map(String::as_str).collect::<Vec<_>>()),
        "{left:?}"
    );
    assert!(
        status.jobs.iter().all(|job| job.standing.sync == SyncState::Held),
        "{status:#?}"
    );
    let outcome = followed.sync(status.waiting_plan).await;
    assert_eq!(outcome.approval, Some(Approval::Carried));
    assert!(outcome.synced, "{outcome:#?}");
    assert_eq!(followed.ids(), [""; 0]);
}

/// Whether the prune guard may have forgotten what was removed since then, as it may on a machine that stands still.
fn is_forgotten(began: Instant) -> bool {
    let forgotten = began.elapsed() >= GUARD_MEMORY;
    if forgotten {
        println!("skipped: the removals took {:?}", began.elapsed());
    }
    forgotten
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_job_goes_unasked() {
    let followed = Followed::new(with_jobs(&["a"])).await;
    followed.until_priority("a", 0).await;
    fs::remove_file(followed.path("a.yaml")).expect("removed");
    followed.until_active("nothing left", ActiveSet::is_empty).await;
    let status = followed.until("all well", SyncStatus::is_synced).await;
    assert_eq!(status.waiting_plan, None);
    assert_eq!(status.conditions, []);
}
