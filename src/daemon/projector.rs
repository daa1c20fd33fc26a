//! Keeps the history up to date behind the daemon's back: a few seconds after something ended, in a child process or, in
//! a program that cannot be started as one, on a thread ([`child`] says why).
//!
//! Nothing depends on it. What it leaves undone, because the file is held or Petit ends, the next one to open the history
//! makes up for; so it never waits for the file, and nothing waits for it beyond [`LAST_CALL`]. Opening the file costs some
//! tens of milliseconds of processor time whatever is new, which is why events are gathered first. When to catch up and
//! what to say of it is decided here, and how it is done in [`report`].

mod child;
mod report;
mod turn;

use std::{
    io::PipeWriter,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::Utc;
use tokio::{
    sync::{broadcast::error::RecvError, oneshot},
    task::{JoinError, JoinHandle},
    time::{Instant, sleep, timeout, timeout_at},
};

pub(crate) use self::child::{catch_up_for_a_daemon, tidy_for_a_daemon};
pub(super) use self::turn::Turn;
use self::{
    child::{Recipe, not_started},
    report::{Failure, FailureKind, Report},
};
use super::CatchUpIn;
use crate::{
    events::{Event, EventBus, Listener},
    history::history_path,
    storage::Storage,
};

/// How long facts are gathered after the first of them.
const GATHER: Duration = Duration::from_secs(3);
/// How many times as long as a catch-up took nothing is done after it: at most a twentieth of one processor.
const REST: u32 = 20;
/// How long after a failure the next try is.
const AFTER_FAILURE: Duration = Duration::from_secs(15);
/// How long the last catch-ups of a daemon that stops may take.
const LAST_CALL: Duration = Duration::from_secs(2);

/// A running projector.
pub(super) struct Projector {
    /// Ends it when it is dropped.
    stop: oneshot::Sender<()>,
    going: JoinHandle<()>,
}

/// What a projector is given.
pub(super) struct Place {
    /// Where journal and history are.
    pub state_dir: PathBuf,
    /// The journal, open.
    pub journal: Arc<dyn Storage>,
    /// Who does the work.
    pub catch_up: CatchUpIn,
    /// The environment of whoever does it elsewhere.
    pub environment: Vec<(String, String)>,
}

impl Projector {
    /// Begins with what happened before the start.
    pub fn start(place: Place, turn: Turn, bus: &EventBus) -> Self {
        let Place {
            state_dir,
            journal,
            catch_up,
            environment,
        } = place;
        let work = match catch_up {
            CatchUpIn::ThisProcess => Work::Thread {
                path: history_path(&state_dir),
                journal,
            },
            CatchUpIn::Child(program) => Work::Child(Recipe {
                program,
                state_dir,
                environment,
            }),
        };
        let (stop, stopped) = oneshot::channel();
        Self {
            stop,
            going: tokio::spawn(project(work, turn, bus.listen(), stopped)),
        }
    }

    /// Catches up a last time, and ends. Called when no more facts will come.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(panic) = self.going.await {
            tracing::error!("the projection into the history had panicked: {panic}");
        }
    }
}

/// Who catches up.
enum Work {
    Thread { path: PathBuf, journal: Arc<dyn Storage> },
    Child(Recipe),
}

/// A catch-up that is under way.
struct Going {
    ended: JoinHandle<Report>,
    hurry: Hurry,
}

/// What makes a catch-up stop behind the batch that it is at.
enum Hurry {
    /// A thread looks at it.
    Flag(Arc<AtomicBool>),
    /// A child's input, once it is closed.
    Input(PipeWriter),
}

/// What comes after a catch-up.
enum Next {
    /// The next facts are gathered.
    Wait,
    /// The same again, a little later.
    Again,
    /// No other try would end differently.
    GiveUp,
}

async fn project(work: Work, turn: Turn, mut events: Listener, mut stopped: oneshot::Receiver<()>) {
    let mut complained_of = None;
    let mut something = true;
    loop {
        let gathered = async {
            if !something {
                ended(&mut events).await;
            }
            sleep(GATHER).await;
        };
        tokio::select! {
            () = gathered => {}
            // Dropping the sender is the signal.
            _ = &mut stopped => break,
        }
        let mine = tokio::select! {
            mine = turn.take() => mine,
            _ = &mut stopped => break,
        };
        // What is told from here on may or may not be part of this catch-up, and so calls for another.
        events = events.resubscribe();
        let begun = Instant::now();
        let mut going = work.begin();
        let report = tokio::select! {
            ended = &mut going.ended => reported(ended),
            _ = &mut stopped => {
                let last_call = Instant::now() + LAST_CALL;
                // It may have read the journal before the last facts were there.
                if going.finish(last_call).await {
                    work.begin().finish(last_call).await;
                }
                return;
            }
        };
        drop(mine);
        let (next, rest) = match &report {
            Report::CaughtUp { cursor, .. } => {
                turn.reached(*cursor);
                (Next::Wait, begun.elapsed() * REST)
            }
            Report::Failed(failure) => (after(failure.kind), AFTER_FAILURE),
        };
        complained_of = tell(report, complained_of);
        something = match next {
            Next::Wait => false,
            Next::Again => true,
            Next::GiveUp => return,
        };
        tokio::select! {
            () = sleep(rest) => {}
            _ = &mut stopped => break,
        }
    }
    work.begin().finish(Instant::now() + LAST_CALL).await;
}

impl Work {
    fn begin(&self) -> Going {
        match self {
            Self::Thread { path, journal } => {
                let hurry = Arc::new(AtomicBool::new(false));
                let (path, journal, told) = (path.clone(), Arc::clone(journal), Arc::clone(&hurry));
                let go_on = move || !told.load(Ordering::Relaxed);
                Going {
                    ended: tokio::task::spawn_blocking(move || {
                        report::catch_up(&path, journal.as_ref(), Utc::now(), go_on)
                    }),
                    hurry: Hurry::Flag(hurry),
                }
            }
            Self::Child(recipe) => match recipe.start() {
                Ok(started) => {
                    let (report, input) = started.attend();
                    Going {
                        ended: tokio::spawn(report),
                        hurry: Hurry::Input(input),
                    }
                }
                Err(error) => {
                    let report = not_started(&error);
                    Going {
                        ended: tokio::spawn(std::future::ready(report)),
                        hurry: Hurry::Flag(Arc::default()),
                    }
                }
            },
        }
    }
}

impl Going {
    /// Waits for a catch-up of a daemon that stops, until its last call is over; then only for the end of its batch. A child
    /// that does not end then is killed, which costs nothing but its batch. Says whether it came to its own end.
    async fn finish(self, last_call: Instant) -> bool {
        let Self { mut ended, hurry } = self;
        if timeout_at(last_call, &mut ended).await.is_ok() {
            return true;
        }
        match hurry {
            Hurry::Flag(hurry) => hurry.store(true, Ordering::Relaxed),
            Hurry::Input(input) => drop(input),
        }
        if timeout(LAST_CALL, &mut ended).await.is_err() {
            ended.abort();
        }
        false
    }
}

/// What a task has to report in whatever way it ended.
fn reported(ended: Result<Report, JoinError>) -> Report {
    ended.unwrap_or_else(|panic| Report::failed(FailureKind::Panicked, panic.to_string()))
}

fn after(kind: FailureKind) -> Next {
    match kind {
        FailureKind::Held
        | FailureKind::Damaged
        | FailureKind::Refused
        | FailureKind::Journal
        | FailureKind::Silent => Next::Again,
        FailureKind::Newer | FailureKind::Panicked => Next::GiveUp,
    }
}

/// Says what a catch-up came to, unless it is the kind of failure that was the last to be said. Returns which that is now.
fn tell(report: Report, said: Option<FailureKind>) -> Option<FailureKind> {
    let Failure { kind, message } = match report {
        Report::CaughtUp { facts, cursor, notes } => {
            for note in notes {
                tracing::warn!("{note}");
            }
            tracing::debug!(facts, cursor, "the history is up to date");
            return None;
        }
        Report::Failed(failure) => failure,
    };
    if said == Some(kind) {
        return said;
    }
    match kind {
        // Whoever reads it has a reason to, and nothing is lost.
        FailureKind::Held => tracing::info!("{message}; what happens meanwhile is added later"),
        FailureKind::Newer => tracing::error!("{message}; it is left as it is, and nothing is added to it"),
        FailureKind::Damaged | FailureKind::Refused | FailureKind::Journal => {
            tracing::warn!("could not bring the history up to date: {message}");
        }
        FailureKind::Silent => {
            tracing::warn!("could not bring the history up to date, and tries again: {message}");
        }
        FailureKind::Panicked => tracing::error!("the projection into the history panicked: {message}"),
    }
    Some(kind)
}

/// Waits until something ended that is a fact, or until nothing will end any more.
async fn ended(events: &mut Listener) {
    loop {
        match events.recv().await {
            Ok(Event::Run { status, .. }) if status.is_finished() => return,
            Ok(Event::Slot(_) | Event::Reconcile(_)) | Err(RecvError::Lagged(_)) => return,
            Ok(Event::Run { .. } | Event::Task { .. }) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::storage::Memory;

    /// Lets the runtime attend to processes until something is so. The clock stands still meanwhile.
    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(300);
        while !is_so() {
            assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_during_a_catch_up_is_taken_in_by_a_last_one() {
        let folder = tempfile::tempdir().expect("a folder");
        // The shell takes the command's name for that of a script.
        let script = r#"echo once >> begun; until [ -e go ]; do sleep 0.01; done
            echo '{"outcome":"caught_up","facts":0,"cursor":0,"notes":[]}'"#;
        fs::write(folder.path().join(child::COMMAND), script).expect("a writable folder");
        let begun = || {
            let lines = fs::read_to_string(folder.path().join("begun")).unwrap_or_default();
            lines.lines().count()
        };
        let place = Place {
            state_dir: folder.path().to_owned(),
            journal: Arc::new(Memory::default()),
            catch_up: CatchUpIn::Child("/bin/sh".into()),
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        };
        let turn = Turn::new(&place);
        let projector = Projector::start(place, turn, &EventBus::default());
        tokio::task::yield_now().await;
        tokio::time::advance(GATHER).await;
        until("a catch-up", || begun() == 1).await;
        let stopping = tokio::spawn(projector.stop());
        for _ in 0..100 {
            // It has heard by then that it is to stop.
            tokio::task::yield_now().await;
        }
        assert!(!stopping.is_finished());
        fs::write(folder.path().join("go"), "").expect("a writable folder");
        until("the end", || stopping.is_finished()).await;
        stopping.await.expect("no panic");
        assert_eq!(begun(), 2);
    }
}
