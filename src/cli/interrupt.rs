//! Ctrl-C while a command waits for DuckDB: the question is stopped, and what it had begun is cleared away.
//!
//! Without this the signal would simply end the process, and leave half a file of an export behind. The signal is heard by a
//! thread; it does nothing but call what the command gave it to call, and the command then fails by itself, on its own way
//! out. Knows nothing of questions and files.

use std::{
    process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{CliError, Exit};

/// Stops something that another thread does.
type Stop = Box<dyn Fn() + Send>;

/// How often a question is told to stop: what is between two statements does not hear it.
const AGAIN: Duration = Duration::from_millis(5);
/// How long a command that was told to stop may take to do so.
const PATIENCE: Duration = Duration::from_millis(150);
/// The same for one that leaves something behind if it is not let.
const PATIENCE_TO_CLEAR_AWAY: Duration = Duration::from_secs(5);

/// Whether Ctrl-C was pressed, and what that stops.
pub struct Interrupt {
    happened: AtomicBool,
    clears_away: AtomicBool,
    stops: Mutex<Vec<Stop>>,
}

impl Interrupt {
    /// Whether Ctrl-C was pressed.
    pub fn happened(&self) -> bool {
        self.happened.load(Ordering::Relaxed)
    }

    /// Calls `stop` from another thread, again and again, once Ctrl-C is pressed. Before anything was given there is nothing
    /// that has to end well, and Ctrl-C ends the process.
    pub fn stops(&self, stop: impl Fn() + Send + 'static) {
        self.all().push(Box::new(stop));
    }

    /// From now on something has to be cleared away.
    pub fn clears_away(&self) {
        self.clears_away.store(true, Ordering::Relaxed);
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Stop>> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does `work`; if Ctrl-C is pressed meanwhile, it ends as interrupted.
pub fn heeding<T>(work: impl FnOnce(&Interrupt) -> Result<T, CliError>) -> Result<T, CliError> {
    static INTERRUPT: Interrupt = Interrupt {
        happened: AtomicBool::new(false),
        clears_away: AtomicBool::new(false),
        stops: Mutex::new(Vec::new()),
    };
    let failed = |error| CliError::failed("could not listen for Ctrl-C", &error);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(failed)?;
    let pressed = {
        let _in_runtime = runtime.enter();
        signal(SignalKind::interrupt()).map_err(failed)?
    };
    thread::Builder::new()
        .name("interrupt".into())
        .spawn(move || runtime.block_on(obey(pressed, &INTERRUPT)))
        .map_err(failed)?;
    let ended = work(&INTERRUPT);
    if INTERRUPT.happened() && ended.is_err() {
        return Err(interrupted());
    }
    // What comes now, such as printing, may be cut short.
    INTERRUPT.all().clear();
    ended
}

/// Waits for Ctrl-C, and ends the process if the command does not end by itself.
#[expect(
    clippy::disallowed_methods,
    reason = "the thread that would return from main is the one that does not end; these commands have no children"
)]
async fn obey(mut pressed: Signal, interrupt: &Interrupt) {
    let _ = pressed.recv().await;
    interrupt.happened.store(true, Ordering::Relaxed);
    let patience = match interrupt.clears_away.load(Ordering::Relaxed) {
        true => PATIENCE_TO_CLEAR_AWAY,
        false => PATIENCE,
    };
    let give_up_at = Instant::now() + patience;
    loop {
        let stops = interrupt.all();
        if stops.is_empty() || Instant::now() > give_up_at {
            break;
        }
        stops.iter().for_each(|stop| stop());
        drop(stops);
        thread::sleep(AGAIN);
    }
    super::report(&interrupted(), super::Format::Text, false);
    process::exit(Exit::Interrupted as i32)
}

fn interrupted() -> CliError {
    CliError::new(Exit::Interrupted, "interrupted", "interrupted")
}
