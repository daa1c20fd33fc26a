//! The machine's clock, moved forwards and backwards under a loop that runs or does not.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_moved_clock_is_noticed_and_repeats_nothing() {
    let machine = Machine::new(&[("hourly", "schedule: '0 * * * *'")]);
    let mut petit = machine.start().await;
    let (run, _) = petit.ordered().await;
    petit.succeeds(&run);
    machine.clock.step(TimeDelta::minutes(-30));
    assert_eq!(
        petit.order_within(minutes(80)).await,
        None,
        "11:00 comes again and is not a new slot"
    );
    machine.clock.step(TimeDelta::minutes(10));
    let (run, when) = petit.ordered().await;
    assert_eq!(run.slot.map(time), Some("12:00:00".to_owned()));
    assert!(
        when - run.slot.expect("a slot") < TimeDelta::seconds(31),
        "noticed at {when}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_clock_leapt_over_is_not_called_down() {
    let job = "schedule: {cron: '* * * * *', misfire: {policy: skip, grace: 10s}}";
    let machine = Machine::new(&[("tick", job)]);
    let mut petit = machine.start().await;
    let (run, _) = petit.ordered().await;
    petit.succeeds(&run);
    machine.clock.step(TimeDelta::seconds(150));
    let (run, _) = petit.ordered().await;
    petit.succeeds(&run);
    petit.dies().await;
    sleep(Duration::from_secs(150)).await;
    let _petit = machine.start().await;
    assert_eq!(
        machine.ledger("tick"),
        [
            row("10:01:00", RAN, None, 1),
            row("10:02:00", MISSED, Some(SlotReason::Clock), 2),
            row("10:04:00", RAN, None, 1),
            row("10:05:00", MISSED, Some(SlotReason::Down), 2),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_clock_put_back_far_starts_again_and_repeats_nothing_that_ran() {
    let machine = Machine::new(&[("hourly", "schedule: '0 * * * *'"), ("paused", "schedule: '0 * * * *'")]);
    let mut petit = machine.start().await;
    let handle = petit.handle.clone();
    let pause = || handle.pause(Some(id("paused")), "me".to_owned(), None);
    pause().await.expect("it pauses");
    for _ in 0..6 {
        let (run, _) = petit.ordered().await;
        petit.succeeds(&run);
    }
    petit
        .handle
        .resume(Some(id("paused")), "me".to_owned())
        .await
        .expect("it resumes");
    pause().await.expect("it pauses again");
    assert_eq!(
        machine.ledger("paused"),
        [row("11:00:00", SKIPPED, Some(SlotReason::Paused), 6)]
    );

    // 16:00 and a little: back to 12:30. What ran at 13:00 and later stays, and what was skipped is void.
    machine.clock.step(-TimeDelta::minutes(210));
    assert_eq!(petit.order_within(minutes(1)).await, None);
    assert_eq!(
        machine.ledger("paused"),
        [row("11:00:00", SKIPPED, Some(SlotReason::Paused), 2)]
    );
    assert_eq!(machine.ledger("hourly").len(), 6);
    petit
        .handle
        .resume(Some(id("paused")), "me".to_owned())
        .await
        .expect("it resumes");
    let (run, when) = petit.ordered().await;
    assert_eq!((run.job.as_str(), time(when)), ("paused", "13:00:00".to_owned()));
    petit.succeeds(&run);

    // Also after a restart.
    petit.dies().await;
    let mut petit = machine.start().await;
    let mut fired = Vec::new();
    for _ in 0..5 {
        let (run, _) = petit.ordered().await;
        petit.succeeds(&run);
        fired.push(format!("{} {}", run.job, run.slot.map(time).unwrap_or_default()));
    }
    assert_eq!(
        fired,
        [
            "paused 14:00:00",
            "paused 15:00:00",
            "paused 16:00:00",
            "hourly 17:00:00",
            "paused 17:00:00"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_clock_put_back_while_petit_is_down_is_noticed_at_its_start() {
    let yaml = "schedule: '0 * * * *'\noverlap: queue";
    let machine = Machine::new(&[("hourly", yaml)]);
    let mut petit = machine.start().await;
    let (run, _) = petit.ordered().await;
    petit.begins(&run);
    assert_eq!(petit.order_within(minutes(70)).await, None, "the next slot waits");
    petit.dies().await;
    machine.clock.step(-TimeDelta::days(1));
    machine.commit(vec![Change::EndRun {
        run: run.id,
        status: RunStatus::Interrupted,
        at: machine.clock.now(),
        reason: None,
    }]);
    let mut petit = machine.start().await;
    // As the reconciler does with a schedule that counts from a future which was taken back.
    let again = active_at("hourly", yaml, machine.clock.now());
    machine.active.send_replace(set(&[again]));
    // The claim that waited for its turn lay ahead of the clock; the slot comes again in its time.
    assert_eq!(machine.ledger("hourly"), [row("11:00:00", RAN, None, 1)]);
    let (run, when) = petit.ordered().await;
    assert_eq!(run.slot, Some(at("2026-01-09T13:00:00Z")));
    assert_eq!(time(when), "13:00:00");
}
