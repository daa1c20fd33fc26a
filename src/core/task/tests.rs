//! What a context answers and refuses, through the mock that users have too.

use serde_json::json;

use super::*;
use crate::{
    core::{ending::Ending, state::TaskState},
    testing::MockTaskContext,
};

#[test]
fn what_does_not_exist_is_named_with_what_does() {
    let mock = MockTaskContext::new()
        .param("day", "2026-01-31")
        .config("batch", 500)
        .output("extract", "rows", 12);
    let context = mock.context();
    let inputs = context.inputs();
    let said = |error: TaskError| error.to_string();
    assert_eq!(inputs.param::<String>("day").expect("a text"), "2026-01-31");
    assert_eq!(
        inputs.param::<String>("dya").map_err(said),
        Err("the run has no parameter `dya`: did you mean `day`?".to_owned())
    );
    assert_eq!(
        inputs.config::<u32>("size").map_err(said),
        Err("the job's config has no `size`: there is `batch`".to_owned())
    );
    assert_eq!(
        inputs.output::<u32>("transform", "rows").map_err(said),
        Err("task `transform` is none that this task depends on: there is `extract`".to_owned())
    );
    let wrong = inputs
        .output::<String>("extract", "rows")
        .map_err(said)
        .expect_err("a number");
    assert!(
        wrong.starts_with("the output `rows` of task `extract` is not what the task takes: invalid type"),
        "{wrong}"
    );
    assert_eq!(inputs.status("extract").expect("it ended"), TaskState::Succeeded);
    assert_eq!(inputs.exit_code("extract").expect("it ended"), None);
}

#[test]
fn outputs_are_refused_for_their_key_their_size_and_after_the_end() {
    let mock = MockTaskContext::new();
    let context = mock.context();
    let set = |key: &str, value: serde_json::Value| context.outputs().set(key, value).map_err(|e| e.to_string());
    assert_eq!(set("rows", json!(1)), Ok(()));
    assert_eq!(set("rows", json!({"a": 2})), Ok(()));
    assert!(set("2nd", json!(1)).is_err_and(|error| error.contains("`2nd` is not a key")));
    let large = "x".repeat(MAX_OUTPUT_BYTES / 2);
    assert_eq!(set("one", json!(large)), Ok(()));
    assert_eq!(set("one", json!(large)), Ok(()), "in place of itself");
    assert!(set("two", json!(large)).is_err_and(|error| error.contains("more than 1 MiB")));
    assert_eq!(context.outputs().close()["rows"], json!({"a": 2}));
    assert!(set("late", json!(1)).is_err_and(|error| error.contains("too late")));
}

#[tokio::test]
async fn a_command_that_fails_fails_its_task_as_it_failed() {
    let mock = MockTaskContext::new().answer(Err(TaskError::exited(4, "exit code 4")));
    let task = CommandTask::new(["false"]);
    let error = task.run(mock.context()).await.expect_err("it fails");
    assert_eq!((error.exit_code(), error.is_transient()), (Some(4), false));
    let unknown = CommandTask::new(["x", "${{ tasks.a.outputs.b }}"]);
    let error = unknown.run(mock.context()).await.expect_err("no such task");
    assert_eq!(error.ending(), Ending::BadInput);
    assert_eq!(mock.commands().len(), 1, "what cannot be rendered is not run");
}

#[tokio::test]
async fn a_cancel_is_heard_by_all_clones() {
    let mock = MockTaskContext::new();
    let context = mock.context();
    let waits = tokio::spawn(async move { context.cancelled().await });
    assert!(!mock.context().is_cancelled());
    mock.cancel();
    waits.await.expect("it ends");
    assert!(mock.context().is_cancelled());
}
