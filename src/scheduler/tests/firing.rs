//! Slots in their time: claimed, ordered, and never twice. Edits, parameters, and a journal that cannot be written.

use super::*;

#[tokio::test(start_paused = true)]
async fn slots_are_claimed_and_ordered_at_their_instant() {
    let machine = Machine::new(&[("tick", "schedule: '* * * * * *'"), ("tock", "schedule: {every: 2s}")]);
    let mut petit = machine.start().await;
    let mut ordered = Vec::new();
    for _ in 0..6 {
        let (run, when) = petit.ordered().await;
        let slot = run.slot.expect("a slot");
        assert!(
            (TimeDelta::zero()..TimeDelta::milliseconds(2)).contains(&(when - slot)),
            "{slot} at {when}"
        );
        assert!(
            machine.disk.run(run.id).expect("memory answers").is_some(),
            "recorded before it is ordered"
        );
        assert_eq!((run.status, run.trigger), (RunStatus::Queued, Trigger::Schedule));
        assert_eq!(run.revision.as_deref(), Some("abc123"));
        petit.succeeds(&run);
        ordered.push(format!("{} {}", run.job, time(slot)));
    }
    assert_eq!(
        ordered,
        [
            "tick 10:00:01",
            "tick 10:00:02",
            "tock 10:00:02",
            "tick 10:00:03",
            "tick 10:00:04",
            "tock 10:00:04"
        ]
    );
    petit.handle.stop().await;
    assert!(petit.task.await.expect("it does not panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_recorded_already_never_starts() {
    let machine = Machine::new(&[("a", "schedule: '* * * * *'"), ("b", "schedule: '* * * * *'")]);
    machine.commit(vec![Change::PutSlot(SlotRecord {
        job: id("a"),
        at: at("2026-01-10T10:01:00Z"),
        outcome: RAN,
        reason: None,
        detail: None,
        decided_at: None,
        run: None,
        spec_hash: SpecHash::of(b""),
    })]);
    let mut petit = machine.start().await;
    let mut started = Vec::new();
    for _ in 0..3 {
        let (run, _) = petit.ordered().await;
        petit.succeeds(&run);
        started.push(format!("{} {}", run.job, run.slot.map(time).unwrap_or_default()));
    }
    assert_eq!(started, ["b 10:01:00", "a 10:02:00", "b 10:02:00"]);
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_leaves_the_schedule_alone_keeps_the_next_fire() {
    let machine = Machine::new(&[("a", "schedule: {every: 1h}"), ("b", "schedule: {every: 1h}")]);
    let mut petit = machine.start().await;
    sleep(minutes(30)).await;
    let edited = active_at("a", "schedule: {every: 1h}\npriority: 3", at(BEGIN));
    machine.commit(vec![Change::PutSpec(spec_record(&edited))]);
    let kept = Arc::clone(&machine.active.borrow()[&id("b")]);
    machine.active.send_replace(set(&[Arc::clone(&edited), kept]));
    let (first, when) = petit.ordered().await;
    assert_eq!(first.spec_hash, edited.job.hash);
    let (second, _) = petit.ordered().await;
    // Both count from the instant at which they were first applied.
    for run in [&first, &second] {
        assert_eq!(run.slot.map(time), Some("11:00:00".to_owned()), "{}", run.job);
    }
    assert_eq!(time(when), "11:00:00");
}

#[tokio::test(start_paused = true)]
async fn a_slot_of_a_job_without_a_value_for_a_parameter_is_refused() {
    let machine = Machine::new(&[("needs", "schedule: '* * * * *'\nparams: {day: {}}")]);
    let mut petit = machine.start().await;
    assert_eq!(petit.order_within(Duration::from_secs(61)).await, None);
    assert_eq!(
        machine.ledger("needs"),
        [row(
            "10:01:00",
            Some(SlotOutcome::Refused),
            Some(SlotReason::Invalid),
            1
        )]
    );
}

#[tokio::test(start_paused = true)]
async fn a_queued_run_whose_version_cannot_be_read_ends() {
    let machine = Machine::new(&[("tick", "schedule: '* * * * *'")]);
    let mut petit = machine.start().await;
    let (mut run, _) = petit.ordered().await;
    petit.succeeds(&run);
    petit.dies().await;
    let unreadable = SpecRecord {
        hash: SpecHash::of(b"{}"),
        job: id("tick"),
        canonical: "{}".to_owned(),
        yaml: String::new(),
        first_seen: at(BEGIN),
    };
    (run.id, run.slot, run.spec_hash) = (run_id(7), None, unreadable.hash.clone());
    let left = run.id;
    machine.commit(vec![
        Change::PutSpec(unreadable),
        Change::CreateRun { run, tasks: Vec::new() },
    ]);
    let _petit = machine.start().await;
    let run = machine.disk.run(left).expect("memory answers").expect("it is kept").run;
    assert_eq!(run.status, RunStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn what_a_full_disk_held_up_is_late() {
    let machine = Machine::new(&[("tick", "schedule: {cron: '* * * * *', misfire: {grace: 10s}}")]);
    let mut petit = machine.start().await;
    machine.disk.full.store(true, Ordering::SeqCst);
    assert_eq!(petit.order_within(minutes(5)).await, None);
    assert!(matches!(
        petit.trigger("tick", json!({}), false).await,
        Err(CommandError::Storage(_))
    ));
    machine.disk.full.store(false, Ordering::SeqCst);
    let (run, _) = petit.ordered().await;
    petit.succeeds(&run);
    assert_eq!(
        machine.ledger("tick"),
        [
            row("10:01:00", MERGED, Some(SlotReason::Down), 4),
            row("10:05:00", RAN, None, 1)
        ]
    );
}
