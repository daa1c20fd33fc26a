//! Runs that meet runs of their own job.

use super::*;

#[tokio::test(start_paused = true)]
async fn overlap_skip_names_the_run_in_the_way() {
    let machine = Machine::new(&[("slow", "schedule: '* * * * *'")]);
    let mut petit = machine.start().await;
    let (run, _) = petit.ordered().await;
    petit.begins(&run);
    assert_eq!(petit.order_within(Duration::from_secs(65)).await, None);
    let slots = machine
        .disk
        .slots(&id("slow"), at(BEGIN), petit.clock.now())
        .expect("memory answers");
    let skipped = &slots[1];
    assert_eq!((skipped.outcome, skipped.reason), (SKIPPED, Some(SlotReason::Overlap)));
    assert!(
        skipped
            .detail
            .as_ref()
            .is_some_and(|detail| detail.contains(&run.id.to_string()))
    );

    assert!(
        matches!(petit.trigger("slow", json!({}), false).await, Err(CommandError::Overlap { run: in_way, .. }) if in_way == run.id)
    );
    let beside = petit
        .trigger("slow", json!({}), true)
        .await
        .expect("it is told to ignore the other");
    assert_eq!(petit.ordered().await.0.id, beside.run);
}

#[tokio::test(start_paused = true)]
async fn queue_keeps_the_newest_slot_and_replace_ends_the_old_run() {
    let machine = Machine::new(&[
        ("queue", "schedule: '* * * * *'\noverlap: queue"),
        ("replace", "schedule: '* * * * *'\noverlap: replace"),
    ]);
    let mut petit = machine.start().await;
    let (queued, _) = petit.ordered().await;
    let (replaced, _) = petit.ordered().await;
    petit.begins(&queued);
    petit.begins(&replaced);
    let order = petit
        .order_within(Duration::from_secs(61))
        .await
        .expect("an order at the next slot");
    assert!(
        matches!(order, Order::Cancel { run, .. } if run == replaced.id),
        "{order:?}"
    );
    petit.ends(&replaced, RunStatus::Cancelled);
    let (newer, when) = petit.ordered().await;
    assert_eq!((newer.job.as_str(), time(when)), ("replace", "10:02:00".to_owned()));
    petit.succeeds(&newer);

    let (other, _) = petit.ordered().await;
    assert_eq!(other.job.as_str(), "replace");
    petit.ends(&queued, RunStatus::Succeeded);
    let (latest, _) = petit.ordered().await;
    assert_eq!(latest.slot.map(time), Some("10:03:00".to_owned()));
    petit.succeeds(&latest);
    assert_eq!(
        machine.ledger("queue"),
        [
            row("10:01:00", RAN, None, 1),
            row("10:02:00", MERGED, Some(SlotReason::Overlap), 1),
            row("10:03:00", RAN, None, 1)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_can_be_cancelled_and_one_that_does_not_is_the_executors() {
    let machine = Machine::new(&[("tick", "schedule: '* * * * *'\noverlap: queue")]);
    let mut petit = machine.start().await;
    let (going, _) = petit.ordered().await;
    petit.begins(&going);
    let waits = petit.trigger("tick", json!({}), false).await.expect("it waits");
    assert!(waits.note.is_some_and(|note| note.contains(&going.id.to_string())));
    for run in [waits.run, going.id] {
        petit
            .handle
            .cancel(run, "enough".to_owned())
            .await
            .expect("it is recorded");
    }
    let waited = machine
        .disk
        .run(waits.run)
        .expect("memory answers")
        .expect("it is kept")
        .run;
    assert_eq!(
        (waited.status, waited.reason.as_deref()),
        (RunStatus::Cancelled, Some("enough"))
    );
    let order = petit.order_within(Duration::from_secs(1)).await;
    assert!(
        matches!(order, Some(Order::Cancel { run, .. }) if run == going.id),
        "{order:?}"
    );
}
