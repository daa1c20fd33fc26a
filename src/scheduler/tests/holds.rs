//! Pauses and disabled or removed jobs, and what still works on them.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_pause_is_one_row_and_resuming_starts_nothing() {
    let machine = Machine::new(&[("tick", "schedule: '* * * * *'\nparams: {n: {type: integer}}")]);
    let tick = "schedule: '* * * * *'\nparams: {n: {type: integer, default: 1}}";
    let mut petit = machine.start().await;
    let edited = active_at("tick", tick, at(BEGIN));
    machine.commit(vec![Change::PutSpec(spec_record(&edited))]);
    machine.active.send_replace(set(&[edited]));
    let (run, _) = petit.ordered().await;
    petit.succeeds(&run);
    assert_eq!(run.params["n"], json!(1));
    petit
        .handle
        .pause(Some(id("tick")), "me".to_owned(), None)
        .await
        .expect("it pauses");
    assert_eq!(petit.order_within(minutes(5)).await, None);
    petit.dies().await;
    sleep(minutes(5)).await;

    let mut petit = machine.start().await;
    assert_eq!(petit.order_within(minutes(1)).await, None, "a pause outlives a restart");
    let triggered = petit
        .trigger("tick", json!({"n": "7"}), false)
        .await
        .expect("by hand it works");
    assert!(triggered.note.is_some_and(|note| note.contains("paused by me")));
    let (by_hand, _) = petit.ordered().await;
    assert_eq!((by_hand.id, &by_hand.params["n"]), (triggered.run, &json!(7)));
    petit.succeeds(&by_hand);
    assert!(
        matches!(petit.trigger("tick", json!({"x": 1}), false).await, Err(CommandError::Params { errors, .. }) if errors.len() == 1)
    );
    let told = petit.trigger("tick", json!({"n": "hush"}), false).await;
    let told = told.expect_err("it holds a secret").to_string();
    assert!(
        told.contains("`n` contains a secret of the job") && !told.contains("hush"),
        "that it is no integer is not said: {told}"
    );
    assert!(matches!(
        petit.trigger("none", json!({}), false).await,
        Err(CommandError::UnknownJob(_))
    ));
    petit
        .handle
        .resume(Some(id("tick")), "me".to_owned())
        .await
        .expect("it resumes");
    assert!(matches!(
        petit.handle.resume(None, "me".to_owned()).await,
        Err(CommandError::NotPaused(None))
    ));
    let (run, when) = petit.ordered().await;
    assert_eq!(run.slot.map(time), Some(time(when)));
    petit.succeeds(&run);
    assert_eq!(
        machine.ledger("tick"),
        [
            row("10:01:00", RAN, None, 1),
            row("10:02:00", SKIPPED, Some(SlotReason::Paused), 11),
            row("10:13:00", RAN, None, 1)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_has_not_started_is_skipped_with_the_reason_that_holds_it() {
    let minutely = "schedule: '* * * * *'\noverlap: queue";
    let machine = Machine::new(&[("disabled", minutely), ("paused", minutely), ("removed", minutely)]);
    let mut petit = machine.start().await;
    for _ in 0..3 {
        let (run, _) = petit.ordered().await;
        petit.begins(&run);
    }
    assert_eq!(
        petit.order_within(Duration::from_secs(61)).await,
        None,
        "their next slots wait"
    );
    machine.edit("disabled", Some(&format!("enabled: false\n{minutely}")));
    machine.edit("removed", None);
    petit
        .handle
        .pause(Some(id("paused")), "ada".to_owned(), Some("moving disks".to_owned()))
        .await
        .expect("it pauses");
    let slot = "2026-01-10T10:02:00Z";
    for (job, reason) in [
        ("disabled", SlotReason::Disabled),
        ("paused", SlotReason::Paused),
        ("removed", SlotReason::Removed),
    ] {
        assert_eq!(
            machine.ledger(job)[..2],
            [row("10:01:00", RAN, None, 1), row("10:02:00", SKIPPED, Some(reason), 1)],
            "{job}"
        );
    }
    assert_eq!(
        machine.detail("paused", slot),
        "the job was paused by ada: moving disks"
    );
    let pauses = machine.disk.pauses().expect("memory answers");
    assert_eq!(
        pauses
            .iter()
            .map(|pause| (pause.by.as_str(), pause.reason.as_deref()))
            .collect::<Vec<_>>(),
        [("ada", Some("moving disks"))]
    );
    let by_hand = petit
        .trigger("disabled", json!({}), true)
        .await
        .expect("by hand it works");
    assert!(by_hand.note.is_some_and(|note| note.contains("disabled")));
}

#[tokio::test(start_paused = true)]
async fn a_disabled_job_owes_one_row_when_it_is_enabled() {
    let minutely = "schedule: {cron: '* * * * *', misfire: {policy: all}}";
    let machine = Machine::new(&[("tick", &format!("enabled: false\n{minutely}"))]);
    let mut petit = machine.start().await;
    assert_eq!(petit.order_within(minutes(5)).await, None);
    let enabled = active_at("tick", minutely, machine.clock.now());
    machine.commit(vec![Change::PutSpec(spec_record(&enabled))]);
    machine.active.send_replace(set(&[enabled]));
    let (run, when) = petit.ordered().await;
    assert_eq!(
        (run.slot.map(time), time(when)),
        (Some("10:06:00".to_owned()), "10:06:00".to_owned())
    );
    petit.succeeds(&run);
    assert_eq!(
        machine.ledger("tick"),
        [
            row("10:01:00", SKIPPED, Some(SlotReason::Disabled), 5),
            row("10:06:00", RAN, None, 1)
        ]
    );
}
