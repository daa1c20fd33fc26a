//! Late slots: what each policy makes of a time away, and of claims that a crash left.

use super::*;

/// Ends what was ordered, one run after the other, until nothing is ordered for a second; the slots in their order.
async fn drain(petit: &mut Petit) -> Vec<String> {
    let mut slots = Vec::new();
    while let Some(order) = petit.order_within(Duration::from_secs(1)).await {
        let Order::Start { run, .. } = order else {
            panic!("nothing is to be cancelled: {order:?}")
        };
        petit.begins(&run);
        assert_eq!(
            petit.order_within(Duration::from_millis(10)).await,
            None,
            "one run after the other"
        );
        petit.ends(&run, RunStatus::Succeeded);
        slots.push(run.slot.map(time).unwrap_or_default());
    }
    slots
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_away_are_judged_by_the_policy() {
    let job = |policy: &str| format!("schedule: {{cron: '* * * * *', misfire: {{policy: {policy}, grace: 10s}}}}");
    let machine = Machine::new(&[("once", &job("once")), ("skip", &job("skip"))]);
    let mut petit = machine.start().await;
    for _ in 0..2 {
        let (run, _) = petit.ordered().await;
        petit.succeeds(&run);
    }
    petit.dies().await;
    sleep(minutes(10) + Duration::from_secs(30)).await;

    let mut petit = machine.start().await;
    let (run, _) = petit.ordered().await;
    assert_eq!(
        (run.job.as_str(), run.slot.map(time)),
        ("once", Some("10:11:00".to_owned()))
    );
    petit.succeeds(&run);
    assert_eq!(
        machine.ledger("once"),
        [
            row("10:01:00", RAN, None, 1),
            row("10:02:00", MERGED, Some(SlotReason::Down), 9),
            row("10:11:00", RAN, None, 1)
        ]
    );
    assert_eq!(
        machine.ledger("skip"),
        [
            row("10:01:00", RAN, None, 1),
            row("10:02:00", MISSED, Some(SlotReason::Down), 10)
        ]
    );
    let (next, when) = petit.ordered().await;
    assert_eq!(
        (next.slot.map(time), time(when)),
        (Some("10:12:00".to_owned()), "10:12:00".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_a_crash_left_is_a_late_slot() {
    let job = |grace: &str| format!("schedule: {{cron: '0 * * * *', misfire: {{policy: skip, grace: {grace}}}}}");
    let machine = Machine::new(&[("lenient", &job("1m")), ("strict", &job("1s"))]);
    let mut petit = machine.start().await;
    let (first, _) = petit.ordered().await;
    let (second, _) = petit.ordered().await;
    assert_eq!((first.job.as_str(), second.job.as_str()), ("lenient", "strict"));
    petit.dies().await;
    sleep(Duration::from_secs(30)).await;

    let mut petit = machine.start().await;
    let (again, _) = petit.ordered().await;
    assert_eq!(again.id, first.id, "the run that was made for the slot");
    petit.succeeds(&again);
    assert_eq!(machine.ledger("lenient"), [row("11:00:00", RAN, None, 1)]);
    assert_eq!(
        machine.ledger("strict"),
        [row("11:00:00", MISSED, Some(SlotReason::Down), 1)]
    );
    let run = machine
        .disk
        .run(second.id)
        .expect("memory answers")
        .expect("it is kept")
        .run;
    assert_eq!(run.status, RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn all_makes_up_for_each_slot_in_order_and_up_to_its_limit() {
    let all = |overlap: &str| {
        format!("overlap: {overlap}\nschedule: {{cron: '* * * * *', misfire: {{policy: all, grace: 40s, limit: 3}}}}")
    };
    for overlap in ["skip", "queue", "replace"] {
        let machine = Machine::new(&[("tick", &all(overlap))]);
        let petit = machine.start().await;
        petit.dies().await;
        sleep(minutes(6) + Duration::from_secs(15)).await;
        let mut petit = machine.start().await;
        assert_eq!(
            drain(&mut petit).await,
            ["10:01:00", "10:02:00", "10:03:00", "10:06:00"],
            "{overlap}"
        );
        assert_eq!(
            machine.ledger("tick"),
            [
                row("10:01:00", RAN, None, 1),
                row("10:02:00", RAN, None, 1),
                row("10:03:00", RAN, None, 1),
                row("10:04:00", MISSED, Some(SlotReason::Limit), 2),
                row("10:06:00", RAN, None, 1),
            ],
            "{overlap}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn with_overlap_allow_all_late_slots_start_at_once() {
    let machine = Machine::new(&[(
        "tick",
        "overlap: allow\nschedule: {cron: '* * * * *', misfire: {policy: all}}",
    )]);
    machine.start().await.dies().await;
    sleep(minutes(4)).await;
    let mut petit = machine.start().await;
    for slot in ["10:01:00", "10:02:00", "10:03:00", "10:04:00"] {
        let (run, when) = petit.ordered().await;
        assert_eq!(
            (run.slot.map(time), time(when)),
            (Some(slot.to_owned()), "10:04:00".to_owned())
        );
        petit.begins(&run);
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_of_late_slots_outlives_another_crash_and_newer_slots() {
    let machine = Machine::new(&[(
        "tick",
        "overlap: queue\nschedule: {cron: '* * * * *', misfire: {policy: all, grace: 10s}}",
    )]);
    machine.start().await.dies().await;
    sleep(minutes(4) + Duration::from_secs(15)).await;
    let mut petit = machine.start().await;
    let (first, _) = petit.ordered().await;
    petit.begins(&first);
    // Two newer slots come: they wait behind the line, and of them only the newest.
    assert_eq!(petit.order_within(Duration::from_secs(130)).await, None);
    petit.dies().await;
    machine.commit(vec![Change::EndRun {
        run: first.id,
        status: RunStatus::Interrupted,
        at: machine.clock.now(),
        reason: None,
    }]);
    let mut petit = machine.start().await;
    assert_eq!(
        drain(&mut petit).await,
        ["10:02:00", "10:03:00", "10:04:00", "10:06:00"]
    );
    assert_eq!(
        machine.ledger("tick")[4],
        row("10:05:00", MERGED, Some(SlotReason::Overlap), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_judged_by_the_version_of_its_time_and_runs_the_one_of_now() {
    let lenient = "schedule: '* * * * *'\npriority: 1";
    let strict = "schedule: {cron: '* * * * *', misfire: {policy: skip, grace: 1s}}\npriority: 2";
    let machine = Machine::new(&[("tick", lenient)]);
    machine.start().await.dies().await;
    sleep(minutes(4) + Duration::from_secs(30)).await;
    let mut petit = machine.start_and(|| machine.edit("tick", Some(strict))).await;
    let (run, _) = petit.ordered().await;
    let version = |yaml| active_at("tick", yaml, at(BEGIN)).job.hash.clone();
    assert_eq!(
        (run.slot.map(time), &run.spec_hash),
        (Some("10:04:00".to_owned()), &version(strict))
    );
    petit.succeeds(&run);
    let slot = at("2026-01-10T10:04:00Z");
    let rows = machine.disk.slots(&id("tick"), slot, slot).expect("memory answers");
    assert_eq!(rows[0].spec_hash, version(lenient));
    assert_eq!(
        machine.ledger("tick")[0],
        row("10:01:00", MERGED, Some(SlotReason::Down), 3)
    );
}
