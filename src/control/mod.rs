//! How a running daemon is spoken to: HTTP with JSON on a Unix socket in the state folder, readable by its owner alone.
//!
//! The same files serve both ends: `wire` says what travels, `server` answers, `client` asks, and `live` is the stream of
//! what happens. What a command means is the [`Backend`]'s business, which the daemon supplies; this room only carries requests to it.

mod client;
mod listener;
mod live;
mod server;
mod wire;

use std::{future::Future, path::Path, path::PathBuf};

pub use client::{Client, ClientError};
pub use live::{Events, EventsError, Live};
pub use server::serve;
pub use wire::{
    CancelRequest, Cancelled, GcReply, GcRequest, NextQuery, PauseRequest, PlanReply, Refusal, RefusalKind,
    ResumeRequest, RetryReply, RetryRequest, RunsQuery, SyncReply, SyncRequest, TaskAgain, TaskReused, TriggerReply,
    TriggerRequest, WhyQuery,
};

use crate::{
    core::id::{JobId, RunId},
    events::Listener,
    view::{JobDetail, JobView, NextView, RunView, StatusView, Why},
};

/// The socket of the daemon that owns a state folder.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("petit.sock")
}

/// What the server asks of the daemon. Every method may be called at any time, also while the daemon shuts down; a
/// dropped future does not undo what was begun.
pub trait Backend: Send + Sync + 'static {
    /// The daemon at a glance.
    fn status(&self) -> impl Future<Output = Result<StatusView, Refusal>> + Send;
    /// All jobs.
    fn jobs(&self) -> impl Future<Output = Result<Vec<JobView>, Refusal>> + Send;
    /// One job, whole.
    fn job(&self, id: JobId) -> impl Future<Output = Result<JobDetail, Refusal>> + Send;
    /// The runs that match.
    fn runs(&self, query: RunsQuery) -> impl Future<Output = Result<Vec<RunView>, Refusal>> + Send;
    /// One run, whole; with `wait`, once it has ended.
    fn run(&self, id: RunId, wait: bool) -> impl Future<Output = Result<RunView, Refusal>> + Send;
    /// Fires to come.
    fn next(&self, query: NextQuery) -> impl Future<Output = Result<NextView, Refusal>> + Send;
    /// What became of a slot.
    fn why(&self, query: WhyQuery) -> impl Future<Output = Result<Why, Refusal>> + Send;
    /// Makes a run by hand.
    fn trigger(&self, request: TriggerRequest) -> impl Future<Output = Result<TriggerReply, Refusal>> + Send;
    /// Makes a run that repeats one that has ended, or says what that would do.
    fn retry(&self, request: RetryRequest) -> impl Future<Output = Result<RetryReply, Refusal>> + Send;
    /// Cancels a run, or all runs of a job.
    fn cancel(&self, request: CancelRequest) -> impl Future<Output = Result<Cancelled, Refusal>> + Send;
    /// Pauses a job, or everything.
    fn pause(&self, request: PauseRequest) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Ends a pause.
    fn resume(&self, request: ResumeRequest) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// What an edit would do.
    fn plan(&self) -> impl Future<Output = Result<PlanReply, Refusal>> + Send;
    /// Looks at the files now.
    fn sync(&self, request: SyncRequest) -> impl Future<Output = Result<SyncReply, Refusal>> + Send;
    /// Lets go now of what is too old or not needed any more, or says what that would be.
    fn gc(&self, request: GcRequest) -> impl Future<Output = Result<GcReply, Refusal>> + Send;
    /// Hears everything that happens from now on.
    fn listen(&self) -> Listener;
}
