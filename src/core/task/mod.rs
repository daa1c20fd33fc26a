//! Tasks written in Rust: what their author implements, what an attempt gives them, and under which name they are known.
//!
//! A [`Task`] is registered in a [`TaskRegistry`] under a name, and a job uses it with `uses: NAME` and `with: {…}`. At
//! each attempt it gets a [`TaskContext`]: what stands in `with`, what the tasks above it published
//! ([`ContextReader`]), where it publishes itself ([`ContextWriter`]), which attempt it is ([`Execution`]), and whether it
//! should stop ([`Cancellation`]). It ends well, or with a [`TaskError`] that says whether trying again may help.
//!
//! Nothing here starts a task, writes a log or runs a process: that is asked of a [`Host`], which is the engine in
//! `execution`, or a test. So a task cannot tell a daemon from a test.

mod command;
mod context;
mod error;
mod registry;

use std::{future::Future, pin::Pin};

pub use command::{CommandTask, ReadyCommand};
pub(crate) use context::is_output_key;
pub use context::{
    Cancellation, Canceller, CommandFuture, ContextParts, ContextReader, ContextWriter, Execution, Host,
    MAX_OUTPUT_BYTES, TaskContext,
};
pub use error::TaskError;
pub use registry::{RegistryError, TaskRegistry};

/// What a task is while it works.
pub type TaskFuture<'a> = Pin<Box<dyn Future<Output = Result<(), TaskError>> + Send + 'a>>;

/// A task written in Rust.
///
/// [`run`](Self::run) is one attempt; how often and when there is another says the job. One value serves all attempts of
/// all runs, also at the same time, so what it keeps it must share safely.
///
/// Any function or closure from a [`TaskContext`] to a future is a task. A type of its own is worth it for what is the same
/// in all attempts, such as a pool of connections:
///
/// ```
/// use petit::{Task, TaskContext, TaskError, TaskFuture, testing::MockTaskContext};
///
/// struct Greet {
///     greeting: String,
/// }
///
/// impl Task for Greet {
///     fn run(&self, context: TaskContext) -> TaskFuture<'_> {
///         Box::pin(async move {
///             let name: String = context.inputs().param("name")?;
///             context.log(format!("{}, {name}!", self.greeting));
///             context.outputs().set("length", name.len())
///         })
///     }
/// }
///
/// // The same as a function.
/// async fn greet(context: TaskContext) -> Result<(), TaskError> {
///     let name: String = context.inputs().param("name")?;
///     context.log(format!("Hello, {name}!"));
///     context.outputs().set("length", name.len())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let mock = MockTaskContext::new().param("name", "Ada");
/// Greet { greeting: "Good evening".to_owned() }.run(mock.context()).await.unwrap();
/// greet.run(mock.context()).await.unwrap();
/// assert_eq!(mock.log(), ["Good evening, Ada!", "Hello, Ada!"]);
/// assert_eq!(mock.outputs()["length"], 3);
/// # });
/// ```
///
/// # Stopping
///
/// A task is stopped at an `.await`: on a timeout or a cancel its [`Cancellation`] comes true, and after the job's
/// `kill_grace` its future is dropped where it waits. One that blocks its thread cannot be ended; hand such work to
/// `tokio::task::spawn_blocking`, and look at [`TaskContext::is_cancelled`] in it.
///
/// # Failing
///
/// `Err` ends the attempt as failed. A panic does too, under the name `panicked`, and harms nothing else.
pub trait Task: Send + Sync {
    /// One attempt, from its beginning to its end.
    fn run(&self, context: TaskContext) -> TaskFuture<'_>;
}

impl<F, W> Task for F
where
    F: Fn(TaskContext) -> W + Send + Sync,
    W: Future<Output = Result<(), TaskError>> + Send + 'static,
{
    fn run(&self, context: TaskContext) -> TaskFuture<'_> {
        Box::pin(self(context))
    }
}

#[cfg(test)]
mod tests;
