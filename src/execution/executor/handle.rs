//! How others speak to the executor: a method each, and none of them waits for a run.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{ActiveRun, Conditions, WaitingTask};
use crate::{
    core::{
        Timestamp,
        capacity::SystemResources,
        id::RunId,
        job::Job,
        record::{RunRecord, SpecRecord, TaskRecord},
        state::{SlotReason, Trigger},
    },
    storage::{Change, RunDetail},
};

/// A run that is in the journal and has not begun.
#[derive(Debug, Clone)]
pub struct RunStart {
    /// The run as it was created.
    pub record: RunRecord,
    /// The version of the job that `record.spec_hash` names.
    pub job: Arc<Job>,
    /// Of its tasks those that are not new: none was ever granted, but a retry has some that are done.
    pub tasks: Vec<TaskRecord>,
}

impl RunStart {
    /// A run of a job without params, made by hand at an instant.
    pub fn by_hand(job: Arc<Job>, id: RunId, now: Timestamp) -> Self {
        let record = RunRecord::queued(id, job.id.clone(), job.hash.clone(), Trigger::Manual, now);
        Self {
            tasks: TaskRecord::of_new_run(&job, id),
            record,
            job,
        }
    }

    /// What the journal must have before the run is [started](Handle::start).
    pub fn creation(&self) -> Vec<Change> {
        let spec = SpecRecord::of(&self.job, String::new(), self.record.created_at);
        vec![
            Change::PutSpec(spec),
            Change::CreateRun {
                run: self.record.clone(),
                tasks: self.tasks.clone(),
            },
        ]
    }
}

/// The executor's loop has ended, because Petit is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the executor has stopped: Petit is shutting down")]
pub struct ExecutorGone;

pub(super) enum Message {
    Begin {
        detail: Box<RunDetail>,
        job: Arc<Job>,
    },
    Cancel {
        run: RunId,
        reason: String,
        unstarted: SlotReason,
        known: oneshot::Sender<bool>,
    },
    SetCapacity(SystemResources),
    Waiting(oneshot::Sender<Vec<WaitingTask>>),
    Active(oneshot::Sender<Vec<ActiveRun>>),
    Shutdown {
        grace: Duration,
        done: oneshot::Sender<()>,
    },
}

/// Speaks to an executor. Every method waits for a place in its queue and, if it answers something, for the answer;
/// dropping the wait before it resolved means that the message may or may not have been taken.
#[derive(Debug, Clone)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
    conditions: watch::Receiver<Conditions>,
    hurry: watch::Sender<bool>,
}

impl Handle {
    pub(super) fn new(
        messages: mpsc::Sender<Message>,
        conditions: watch::Receiver<Conditions>,
        hurry: watch::Sender<bool>,
    ) -> Self {
        Self {
            messages,
            conditions,
            hurry,
        }
    }

    /// Hands over a new run, which the journal must have already. Its first task may start at once. While Petit stops,
    /// the run is left in the journal as it is.
    pub async fn start(&self, start: RunStart) -> Result<(), ExecutorGone> {
        let RunStart { record, job, tasks } = start;
        let attempts = Vec::new();
        self.resume(
            RunDetail {
                run: record,
                tasks,
                attempts,
            },
            job,
        )
        .await
    }

    /// Hands over a run that an earlier Petit began. Its processes must have been ended before.
    pub async fn resume(&self, detail: RunDetail, job: Arc<Job>) -> Result<(), ExecutorGone> {
        let detail = Box::new(detail);
        self.send(Message::Begin { detail, job }).await
    }

    /// Stops a run: what runs of it is ended, and then only tasks with the condition `always` start. Says whether the
    /// executor has the run; the run's end comes as an event. `unstarted` is why its slot did not run, should no task have
    /// started yet.
    pub async fn cancel(
        &self,
        run: RunId,
        reason: impl Into<String>,
        unstarted: SlotReason,
    ) -> Result<bool, ExecutorGone> {
        let reason = reason.into();
        self.ask(|known| Message::Cancel {
            run,
            reason,
            unstarted,
            known,
        })
        .await
    }

    /// Changes how much may run at a time. Tasks that run keep what they have.
    pub async fn set_capacity(&self, capacity: SystemResources) -> Result<(), ExecutorGone> {
        self.send(Message::SetCapacity(capacity)).await
    }

    /// Every task that waits for resources, in the order of the queue, with what it lacks and who holds it. Empty while the
    /// journal cannot be written: then the loop answers nobody, and everything waits for the journal, as
    /// [`Self::conditions`] say.
    pub async fn waiting(&self) -> Result<Vec<WaitingTask>, ExecutorGone> {
        let mut conditions = self.conditions.clone();
        tokio::select! {
            biased;
            waiting = self.ask(Message::Waiting) => waiting,
            stuck = conditions.wait_for(|conditions| conditions.journal.is_some()) => match stuck {
                Ok(_) => Ok(Vec::new()),
                Err(_) => Err(ExecutorGone),
            },
        }
    }

    /// Every run that the executor has, by id, with its tasks.
    pub async fn active(&self) -> Result<Vec<ActiveRun>, ExecutorGone> {
        self.ask(Message::Active).await
    }

    /// What keeps the executor from doing its work, as it changes.
    pub fn conditions(&self) -> watch::Receiver<Conditions> {
        self.conditions.clone()
    }

    /// Starts nothing more, lets running attempts end for `grace`, then ends them as interrupted; resolves when nothing
    /// runs any more and all of it is in the journal. Runs that are not through stay there for the next start. Asked a
    /// second time with a shorter grace it hurries; with none while attempts are ending, it kills them. A journal that
    /// cannot write is waited for no longer than `grace`.
    pub async fn shutdown(&self, grace: Duration) {
        let (done, ended) = oneshot::channel();
        let end = async {
            if self.send(Message::Shutdown { grace, done }).await.is_ok() {
                // An error means that the loop has ended, which is what is waited for.
                let _ = ended.await;
            }
        };
        tokio::pin!(end);
        if grace.is_zero() || timeout(grace, &mut end).await.is_err() {
            self.hurry.send_replace(true);
            end.await;
        }
    }

    async fn send(&self, message: Message) -> Result<(), ExecutorGone> {
        self.messages.send(message).await.map_err(|_| ExecutorGone)
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, ExecutorGone> {
        let (reply, answer) = oneshot::channel();
        self.send(message(reply)).await?;
        answer.await.map_err(|_| ExecutorGone)
    }
}
