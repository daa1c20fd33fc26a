//! Runs that repeat another: what they keep of it, what holds them back, and what they keep through a crash.

use super::*;
use crate::{
    core::{job::Job, record::TaskRecord, state::TaskState},
    scheduler::{
        handle::Retry,
        retry::{Choice, NoRetry},
    },
};

fn retry(run: RunId, choice: Choice) -> Retry {
    Retry {
        run,
        choice,
        ignore_overlap: false,
        dry_run: false,
        by: "me".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_has_the_old_params_and_time_and_todays_version() {
    let machine = Machine::new(&[(
        "tick",
        "schedule: '* * * * *'\nparams: {n: {type: integer, default: 1}}",
    )]);
    let mut petit = machine.start().await;
    let made = petit.trigger("tick", json!({"n": 7}), false).await.expect("it starts");
    let (old, _) = petit.ordered().await;
    assert_eq!(made.run, old.id);
    petit.begins(&old);
    let refused = petit.handle.retry(retry(old.id, Choice::Whole)).await;
    assert!(
        matches!(refused, Err(CommandError::NoRetry(NoRetry::StillGoing(run))) if run == old.id),
        "{refused:?}"
    );
    petit.ends(&old, RunStatus::Failed);
    sleep(Duration::from_secs(5)).await;

    let edited = active_at(
        "tick",
        "schedule: '* * * * *'\nparams: {n: {type: integer, default: 2}}",
        at(BEGIN),
    );
    machine.commit(vec![Change::PutSpec(spec_record(&edited))]);
    machine.active.send_replace(set(&[Arc::clone(&edited)]));
    petit
        .handle
        .pause(Some(id("tick")), "me".to_owned(), None)
        .await
        .expect("it pauses");
    let trial = Retry {
        dry_run: true,
        ..retry(old.id, Choice::Whole)
    };
    let trial = petit.handle.retry(trial).await.expect("it would start");
    assert_eq!(machine.disk.run(trial.made.run).expect("memory answers"), None);
    let retried = petit
        .handle
        .retry(retry(old.id, Choice::Whole))
        .await
        .expect("it starts");
    assert!(retried.made.note.is_some_and(|note| note.contains("paused by me")));
    let (run, _) = petit.ordered().await;
    assert_eq!(
        (run.id, run.trigger, run.retry_of, run.slot),
        (retried.made.run, Trigger::Retry, Some(old.id), None)
    );
    assert_eq!((run.scheduled_at, &run.params), (old.scheduled_at, &old.params));
    assert_eq!((run.params["n"].clone(), &run.spec_hash), (json!(7), &edited.job.hash));
    assert!(run.created_at > old.created_at);

    machine.active.send_replace(Arc::default());
    let gone = petit.handle.retry(retry(old.id, Choice::Whole)).await;
    assert!(matches!(gone, Err(CommandError::NotActive { .. })), "{gone:?}");
    let unknown = petit
        .handle
        .retry(retry(crate::scheduler::fixtures::run_id(9), Choice::Whole))
        .await;
    assert!(matches!(unknown, Err(CommandError::UnknownRun(_))), "{unknown:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_obeys_the_overlap_policy() {
    let machine = Machine::new(&[("skip", "params: {n: {type: integer, default: 1}}")]);
    let mut petit = machine.start().await;
    petit.trigger("skip", json!({}), false).await.expect("it starts");
    let (old, _) = petit.ordered().await;
    petit.succeeds(&old);
    petit.trigger("skip", json!({}), false).await.expect("it starts");
    let (going, _) = petit.ordered().await;
    petit.begins(&going);
    let refused = petit.handle.retry(retry(old.id, Choice::Whole)).await;
    assert!(
        matches!(refused, Err(CommandError::Overlap { run, .. }) if run == going.id),
        "{refused:?}"
    );
    let beside = Retry {
        ignore_overlap: true,
        ..retry(old.id, Choice::Whole)
    };
    let beside = petit.handle.retry(beside).await.expect("it starts beside the other");
    assert_eq!(petit.ordered().await.0.id, beside.made.run);

    let strict = active_at("skip", "params: {m: {type: integer, default: 1}}", at(BEGIN));
    machine.commit(vec![Change::PutSpec(spec_record(&strict))]);
    machine.active.send_replace(set(&[strict]));
    let unfit = petit.handle.retry(retry(old.id, Choice::Whole)).await;
    assert!(matches!(unfit, Err(CommandError::OldParams { .. })), "{unfit:?}");
}

/// A retry that waits keeps what it reuses: through a crash, to its order, and when it is cancelled before.
#[tokio::test(start_paused = true)]
async fn what_a_waiting_retry_reuses_outlives_a_crash() {
    let queue = "overlap: queue\ndescription: it waits its turn";
    let machine = Machine::new(&[("queue", queue)]);
    let mut petit = machine.start().await;
    petit.trigger("queue", json!({}), false).await.expect("it starts");
    let (old, _) = petit.ordered().await;
    let done = TaskRecord {
        state: TaskState::Succeeded,
        attempts: 1,
        outputs: [("rows".to_owned(), json!(12))].into(),
        ..TaskRecord::of_new_run(&machine.active.borrow()[&id("queue")].job, old.id).remove(0)
    };
    machine.commit(vec![Change::SetTask(done.clone())]);
    petit.begins(&old);
    petit.ends(&old, RunStatus::Failed);
    petit.trigger("queue", json!({}), false).await.expect("it starts");
    let (going, _) = petit.ordered().await;
    petit.begins(&going);

    // The job has a second task today, and only that has something to do.
    let edited = two_tasks("queue", queue);
    machine.commit(vec![Change::PutSpec(spec_record(&edited))]);
    machine.active.send_replace(set(&[edited]));
    let choice = Choice::From("more".parse().expect("a slug"));
    let waits = petit
        .handle
        .retry(retry(old.id, choice.clone()))
        .await
        .expect("it waits");
    assert_eq!(waits.division.reused.len(), 1);
    let dropped = petit.handle.retry(retry(old.id, choice)).await.expect("it waits too");
    petit.dies().await;

    let mut petit = machine.start().await;
    petit
        .handle
        .cancel(dropped.made.run, "enough".to_owned())
        .await
        .expect("it is recorded");
    let detail = machine
        .disk
        .run(dropped.made.run)
        .expect("memory answers")
        .expect("kept");
    assert_eq!(detail.run.status, RunStatus::Cancelled);
    let states: Vec<TaskState> = detail.tasks.iter().map(|task| task.state).collect();
    assert_eq!(states, [TaskState::Succeeded, TaskState::Cancelled]);

    petit.ends(&going, RunStatus::Succeeded);
    let order = petit.order_within(minutes(1)).await;
    let Some(Order::Start { run, reused: kept, .. }) = order else {
        panic!("a start: {order:?}")
    };
    let reused = TaskRecord {
        run: waits.made.run,
        attempts: 0,
        reused_from: Some(old.id),
        ..done
    };
    assert_eq!((run.id, kept), (waits.made.run, vec![reused]));
}

/// The job of the fixtures with a task more.
fn two_tasks(job: &str, yaml: &str) -> Arc<ActiveJob> {
    let one = active_at(job, yaml, at(BEGIN));
    let mut spec = one.job.spec.clone();
    spec.tasks.insert(
        "more".parse().expect("a slug"),
        spec.tasks.values().next().expect("one task").clone(),
    );
    let job = Job::new(spec, &id(job), chrono_tz::UTC).expect("a valid job");
    let record = ActiveRecord {
        spec_hash: job.hash.clone(),
        ..one.record.clone()
    };
    Arc::new(ActiveJob {
        job: Arc::new(job),
        record,
    })
}
