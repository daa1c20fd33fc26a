//! What the socket's requests mean in this daemon: reads become views, commands go to the room that obeys them.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use tokio::sync::{broadcast::error::RecvError, watch};

use crate::{
    control::{
        self, CancelRequest, Cancelled, NextQuery, PauseRequest, PlanReply, Refusal, RefusalKind, ResumeRequest,
        RetryReply, RetryRequest, RunsQuery, SyncReply, SyncRequest, TaskAgain, TaskReused, TriggerReply,
        TriggerRequest, WhyQuery,
    },
    core::{
        active::ActiveSet,
        capacity::SystemResources,
        error_text::chain,
        id::{JobId, RunId},
        record::Actor,
        state::RunStatus,
    },
    events::{Event, EventBus, Listener},
    execution::{
        self,
        process::{ProcessId, StartTime, resident_memory},
    },
    reconcile::{self, Ask, PlanId, SyncStatus},
    scheduler::{self, CommandError, Retried, retry::NoRetry},
    storage::{RunFilter, Salvage, Storage},
    view::{
        DaemonInfo, JobDetail, JobView, NextView, PlanView, RunView, RunningTask, Sources, StatusView, ViewError, Why,
    },
};

/// The handles that requests need.
pub(super) struct Backend {
    pub info: DaemonInfo,
    pub storage: Arc<dyn Storage>,
    pub files: reconcile::Handle,
    pub scheduler: scheduler::Handle,
    pub executor: execution::Handle,
    pub bus: EventBus,
    pub capacity: SystemResources,
    /// The revision of the folder of jobs.
    pub revision: watch::Receiver<Option<String>>,
    /// What this daemon found of a damaged journal, if its journal was: told as long as it runs.
    pub salvage: Option<Salvage>,
}

impl Backend {
    /// Makes a view on a thread that may block, since the journal is read.
    async fn view<T: Send + 'static>(
        &self,
        make: impl FnOnce(&Sources<'_>) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let storage = Arc::clone(&self.storage);
        let active: Arc<ActiveSet> = self.files.active().borrow().clone();
        let sync: Arc<SyncStatus> = self.files.status().borrow().clone();
        let made = tokio::task::spawn_blocking(move || {
            let pauses = storage.pauses()?;
            make(&Sources {
                storage: storage.as_ref(),
                active: &active,
                sync: &sync,
                pauses,
                now: Utc::now(),
            })
        });
        Ok(made
            .await
            .map_err(|panic| Refusal::new(RefusalKind::Failed, panic.to_string()))??)
    }

    /// Waits until a run has ended.
    async fn ended(&self, id: RunId) -> Result<RunView, Refusal> {
        let mut listener = self.bus.listen();
        loop {
            let run = self.view(move |sources| sources.run(id)).await?;
            if run.status.is_finished() {
                return Ok(run);
            }
            loop {
                match listener.recv().await {
                    Ok(Event::Run { run, status, .. }) if run == id && status.is_finished() => break,
                    // Having missed events, only the journal knows.
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return Err(shutting_down()),
                    Ok(_) => {}
                }
            }
        }
    }
}

impl control::Backend for Backend {
    async fn status(&self) -> Result<StatusView, Refusal> {
        let info = self.info.clone();
        let mut status = self
            .view(move |sources| {
                let mut status = sources.status(Some(info))?;
                weigh(&mut status.running);
                Ok(status)
            })
            .await?;
        status.waiting = self.executor.waiting().await.map_err(|_| shutting_down())?;
        status.conditions = self.executor.conditions().borrow().messages();
        status.conditions.extend(self.scheduler.condition());
        status.conditions.extend(self.salvage.as_ref().map(Salvage::to_string));
        status.revision = self.revision.borrow().clone();
        Ok(status)
    }

    async fn jobs(&self) -> Result<Vec<JobView>, Refusal> {
        self.view(|sources| sources.jobs()).await
    }

    async fn job(&self, id: JobId) -> Result<JobDetail, Refusal> {
        self.view(move |sources| sources.job(&id)).await
    }

    async fn runs(&self, query: RunsQuery) -> Result<Vec<RunView>, Refusal> {
        let filter = query.of_runs(Utc::now());
        self.view(move |sources| sources.runs(&filter)).await
    }

    async fn run(&self, id: RunId, wait: bool) -> Result<RunView, Refusal> {
        if wait {
            self.ended(id).await
        } else {
            self.view(move |sources| sources.run(id)).await
        }
    }

    async fn next(&self, query: NextQuery) -> Result<NextView, Refusal> {
        self.view(move |sources| sources.next(query.job.as_ref(), query.after.unwrap_or(sources.now), query.count))
            .await
    }

    async fn why(&self, query: WhyQuery) -> Result<Why, Refusal> {
        self.view(move |sources| sources.why(&query.job, query.at)).await
    }

    async fn trigger(&self, request: TriggerRequest) -> Result<TriggerReply, Refusal> {
        let TriggerRequest {
            job,
            params,
            ignore_overlap,
            by,
        } = request;
        let made = self.scheduler.trigger(job.clone(), params, ignore_overlap, by).await;
        match made {
            Ok(made) => Ok(TriggerReply {
                run: made.run,
                notes: made.note.into_iter().collect(),
            }),
            // Naming the jobs that there are is a view's work.
            Err(CommandError::UnknownJob(_)) => match self.job(job.clone()).await {
                Err(unknown) => Err(unknown),
                Ok(_) => {
                    let message = format!("no version of `{job}` is active, because its file was never valid");
                    Err(Refusal::new(RefusalKind::Conflict, message)
                        .hint("`petit validate` says what is wrong with it"))
                }
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn retry(&self, request: RetryRequest) -> Result<RetryReply, Refusal> {
        let RetryRequest {
            run: retry_of,
            choice,
            ignore_overlap,
            dry_run,
            by,
        } = request;
        // What there is no run of is a view's to say; whether it can be retried is the scheduler's.
        let job = self.view(move |sources| sources.run(retry_of)).await?.job;
        let asked = scheduler::Retry {
            run: retry_of,
            choice,
            ignore_overlap,
            dry_run,
            by,
        };
        let Retried { made, division } = self.scheduler.retry(asked).await?;
        let again = division.again.into_iter().map(|again| TaskAgain {
            task: again.task,
            why: again.why.to_string(),
        });
        let reused = division.reused.into_iter().map(|reused| TaskReused {
            reused_from: reused.reused_from.unwrap_or(retry_of),
            task: reused.task,
        });
        Ok(RetryReply {
            run: (!dry_run).then_some(made.run),
            retry_of,
            job,
            again: again.collect(),
            reused: reused.collect(),
            notes: made.note.into_iter().collect(),
        })
    }

    async fn cancel(&self, request: CancelRequest) -> Result<Cancelled, Refusal> {
        let going = match request {
            CancelRequest::Run(id) => {
                let run = self.view(move |sources| sources.run(id)).await?;
                if run.status.is_finished() {
                    let message = format!("run `{id}` has ended already: it is {}", run.status);
                    return Err(Refusal::new(RefusalKind::Conflict, message));
                }
                vec![id]
            }
            CancelRequest::Job(job) => {
                let statuses = vec![RunStatus::Queued, RunStatus::Running];
                let filter = RunFilter {
                    job: Some(job),
                    statuses,
                    ..RunFilter::default()
                };
                let runs = self.view(move |sources| sources.runs(&filter)).await?;
                runs.into_iter().map(|run| run.id).collect()
            }
        };
        for run in &going {
            self.scheduler.cancel(*run, "cancelled on request".to_owned()).await?;
        }
        Ok(Cancelled { runs: going })
    }

    async fn pause(&self, request: PauseRequest) -> Result<(), Refusal> {
        let PauseRequest { job, by, reason } = request;
        if let Some(job) = job.clone() {
            self.job(job).await?;
        }
        Ok(self.scheduler.pause(job, by, reason).await?)
    }

    async fn resume(&self, request: ResumeRequest) -> Result<(), Refusal> {
        let ResumeRequest { job, by } = request;
        if let Some(job) = job.clone() {
            self.job(job).await?;
        }
        Ok(self.scheduler.resume(job, by).await?)
    }

    async fn plan(&self) -> Result<PlanReply, Refusal> {
        let failed = |error: &dyn std::error::Error| Refusal::new(RefusalKind::Failed, chain(error));
        let proposal = self.files.propose().await.map_err(|error| failed(&error))?;
        let capacity = self.capacity.clone();
        // Counting the fires of thousands of jobs takes a while, and must not hold up other answers.
        let foreseen = tokio::task::spawn_blocking(move || PlanView::of(proposal, &capacity));
        foreseen.await.map_err(|panic| failed(&panic))
    }

    async fn sync(&self, request: SyncRequest) -> Result<SyncReply, Refusal> {
        let ask = Ask {
            actor: Actor::Command,
            by: request.by,
            wait: request.wait,
            files: request.files,
            timeout: request.timeout_ms.map(Duration::from_millis),
            approve: request.approve.map(PlanId::from_text),
        };
        self.files.ask(ask).await.map_err(|_| shutting_down())
    }

    fn listen(&self) -> Listener {
        self.bus.listen()
    }
}

/// Fills in how much memory the running tasks hold at this moment.
fn weigh(running: &mut [RunningTask]) {
    let leader = |task: &RunningTask| {
        Some(ProcessId {
            pid: task.pid?,
            start_time: StartTime::from_u64(task.pid_start?),
        })
    };
    let (mut tasks, leaders): (Vec<&mut RunningTask>, Vec<ProcessId>) = running
        .iter_mut()
        .filter_map(|task| leader(task).map(|leader| (task, leader)))
        .unzip();
    let weights = resident_memory(&leaders);
    for (task, weight) in tasks.iter_mut().zip(weights) {
        task.memory_bytes = weight;
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        let (kind, hint) = match &error {
            CommandError::UnknownJob(_) | CommandError::UnknownRun(_) => (RefusalKind::NotFound, None),
            CommandError::Params { .. } => (RefusalKind::Invalid, None),
            CommandError::Overlap { .. } | CommandError::NotPaused(_) => (RefusalKind::Conflict, None),
            CommandError::NotActive { .. } => {
                let hint = "put its file back, or start another job with `petit trigger`";
                (RefusalKind::Conflict, Some(hint.to_owned()))
            }
            CommandError::OldParams { .. } => {
                let hint = "`petit trigger JOB --param …` starts a run with others";
                (RefusalKind::Conflict, Some(hint.to_owned()))
            }
            CommandError::NoRetry(NoRetry::UnknownTask { suggestion, .. }) => {
                (RefusalKind::NotFound, suggestion.clone())
            }
            CommandError::NoRetry(NoRetry::StillGoing(run)) => {
                let hint = format!("`petit cancel {run}` would end it");
                (RefusalKind::Conflict, Some(hint))
            }
            CommandError::NoRetry(NoRetry::NothingFailed(_) | NoRetry::NothingLeft(_)) => (RefusalKind::Conflict, None),
            CommandError::Storage(_) => (RefusalKind::Failed, None),
            CommandError::Stopped => return shutting_down(),
        };
        let refusal = Self::new(kind, chain(&error));
        hint.into_iter().fold(refusal, Self::hint)
    }
}

fn shutting_down() -> Refusal {
    Refusal::new(RefusalKind::ShuttingDown, "the daemon is shutting down")
}
