//! Jobs that wait for other jobs, and jobs that run on the success of others.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_job_that_only_depends_runs_once_for_each_success() {
    let machine = Machine::new(&[
        ("left", "schedule: '0 * * * *'"),
        ("right", "schedule: '30 * * * *'"),
        ("join", "depends_on: [{job: left}, {job: right}]"),
    ]);
    let mut petit = machine.start().await;
    let (failed, _) = petit.ordered().await;
    assert_eq!(failed.job.as_str(), "right");
    petit.begins(&failed);
    petit.ends(&failed, RunStatus::Failed);
    for _ in 0..2 {
        let (left, _) = petit.ordered().await;
        assert_eq!(left.job.as_str(), "left");
        petit.succeeds(&left);
        let (right, when) = petit.ordered().await;
        assert_eq!(right.job.as_str(), "right", "one success is not enough");
        petit.succeeds(&right);
        let (join, then) = petit.ordered().await;
        assert_eq!(
            (join.job.as_str(), join.trigger, join.slot),
            ("join", Trigger::Dependency, None)
        );
        assert_eq!((join.consumed.as_slice(), then), ([left.id, right.id].as_slice(), when));
        petit.succeeds(&join);
    }
    petit.dies().await;
    let mut petit = machine.start().await;
    assert_eq!(
        petit.order_within(Duration::from_secs(60)).await,
        None,
        "what was used makes no other run"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slot_waits_for_another_job_and_gives_up_in_time() {
    let machine = Machine::new(&[
        ("up", "schedule: '0 * * * *'"),
        ("down", "schedule: '0 * * * *'\ndepends_on: [{job: up, wait: 10m}]"),
    ]);
    let mut petit = machine.start().await;
    let (up, _) = petit.ordered().await;
    assert_eq!(up.job.as_str(), "up");
    petit.begins(&up);
    assert_eq!(
        petit.order_within(minutes(5)).await,
        None,
        "the slot of the other is due but unfinished"
    );
    petit.ends(&up, RunStatus::Succeeded);
    let (down, when) = petit.ordered().await;
    assert_eq!((down.job.as_str(), time(when)), ("down", "11:05:00".to_owned()));
    petit.succeeds(&down);

    let (up, _) = petit.ordered().await;
    petit.begins(&up);
    assert_eq!(petit.order_within(minutes(11)).await, None);
    assert_eq!(
        machine.ledger("down"),
        [
            row("11:00:00", RAN, None, 1),
            row("12:00:00", SKIPPED, Some(SlotReason::Dependency), 1)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_jitter_holds_back_is_due_and_unfinished() {
    let machine = Machine::new(&[
        ("up", "schedule: {cron: '0 * * * *', jitter: 40m}"),
        ("down", "schedule: '0 * * * *'\ndepends_on: [{job: up, wait: 1h}]"),
        ("hurried", "schedule: '0 * * * *'\ndepends_on: [{job: up}]"),
    ]);
    // A success of an hour ago is no answer to the slot of this one.
    let mut earlier = finished("up", 7, RunStatus::Succeeded, at("2026-01-10T10:00:00Z"));
    earlier.spec_hash = machine.active.borrow()[&id("up")].job.hash.clone();
    machine.commit(vec![Change::CreateRun {
        run: earlier,
        tasks: Vec::new(),
    }]);
    let mut petit = machine.start().await;
    let (up, when) = petit.ordered().await;
    assert_eq!(up.job.as_str(), "up", "the other waits");
    assert!(when - at("2026-01-10T11:00:00Z") > TimeDelta::minutes(1), "{when}");
    assert_eq!(
        machine.ledger("hurried"),
        [row("11:00:00", SKIPPED, Some(SlotReason::Dependency), 1)]
    );
    let detail = machine.detail("hurried", "2026-01-10T11:00:00Z");
    assert!(detail.contains("due since 2026-01-10T11:00:00Z"), "{detail}");
    petit.succeeds(&up);
    assert_eq!(petit.ordered().await.0.job.as_str(), "down");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_missing_blocks_and_is_named() {
    let machine = Machine::new(&[
        ("timed", "schedule: '0 * * * *'\ndepends_on: [{job: gone}]"),
        ("untimed", "depends_on: [{job: gone}, {job: up}]"),
        ("up", "schedule: '30 * * * *'"),
    ]);
    let mut petit = machine.start().await;
    let (up, _) = petit.ordered().await;
    petit.succeeds(&up);
    assert_eq!(petit.order_within(minutes(35)).await, None);
    assert_eq!(
        machine.detail("timed", "2026-01-10T11:00:00Z"),
        "job `gone`, which it depends on, is not active"
    );
}

#[tokio::test(start_paused = true)]
async fn what_succeeded_before_a_job_was_first_applied_does_not_make_it_run() {
    let machine = Machine::new(&[("up", "schedule: '0 * * * *'")]);
    let mut petit = machine.start().await;
    let (up, _) = petit.ordered().await;
    petit.succeeds(&up);
    sleep(minutes(5)).await;
    let join = active_at("join", "depends_on: [{job: up}]", machine.clock.now());
    machine.commit(vec![Change::PutSpec(spec_record(&join))]);
    let kept = Arc::clone(&machine.active.borrow()[&id("up")]);
    machine.active.send_replace(set(&[kept, join]));
    let (up, _) = petit.ordered().await;
    assert_eq!(up.job.as_str(), "up", "the success of before is none of its own");
    petit.succeeds(&up);
    let (join, _) = petit.ordered().await;
    assert_eq!((join.job.as_str(), &join.consumed), ("join", &vec![up.id]));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_made_and_turned_away_has_used_what_made_it() {
    let machine = Machine::new(&[("up", "schedule: '0 * * * *'"), ("join", "depends_on: [{job: up}]")]);
    let mut petit = machine.start().await;
    let (up, _) = petit.ordered().await;
    let by_hand = petit
        .trigger("join", json!({}), false)
        .await
        .expect("nothing is in its way");
    let (going, _) = petit.ordered().await;
    assert_eq!(going.id, by_hand.run);
    petit.begins(&going);
    petit.succeeds(&up);
    assert_eq!(petit.order_within(minutes(1)).await, None, "overlap: skip");
    petit.ends(&going, RunStatus::Succeeded);
    assert_eq!(petit.order_within(minutes(1)).await, None, "and it is not made up for");
    let latest = machine.disk.latest(&id("join")).expect("memory answers");
    let turned_away = latest.by_dependency.expect("it is recorded");
    assert_eq!(
        (turned_away.status, turned_away.consumed),
        (RunStatus::Cancelled, vec![up.id])
    );
}
