//! Ctrl-C while a command waits for DuckDB: the question is stopped, and what it had begun is cleared away.
//!
//! Without this the signal would simply end the process, and leave half a file of an export behind. SIGTERM and SIGHUP are
//! heard as well, since a service manager and a terminal that is closed are no reason to leave it. Signals are heard by a
//! thread; it does nothing but call what the command gave it to call, and the command then fails by itself, on its own way
//! out. Knows nothing of questions and files.

use std::{
    fs,
    future::poll_fn,
    io, process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
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

/// Whether a signal came, and what that stops.
pub struct Interrupt {
    happened: AtomicBool,
    clears_away: AtomicBool,
    stops: Mutex<Vec<Stop>>,
}

impl Interrupt {
    /// Whether one came.
    pub fn happened(&self) -> bool {
        self.happened.load(Ordering::Relaxed)
    }

    /// Calls `stop` from another thread, again and again, once a signal came. Before anything was given there is nothing
    /// that has to end well, and the signal ends the process.
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

/// Does `work`; if Ctrl-C is pressed meanwhile, or the process is asked to end, it ends as interrupted.
pub fn heeding<T>(work: impl FnOnce(&Interrupt) -> Result<T, CliError>) -> Result<T, CliError> {
    static INTERRUPT: Interrupt = Interrupt {
        happened: AtomicBool::new(false),
        clears_away: AtomicBool::new(false),
        stops: Mutex::new(Vec::new()),
    };
    let failed = |error| CliError::failed("could not listen for signals", &error);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(failed)?;
    let signals = {
        let _in_runtime = runtime.enter();
        Signals::listen().map_err(failed)?
    };
    thread::Builder::new()
        .name("interrupt".into())
        .spawn(move || runtime.block_on(obey(signals, &INTERRUPT)))
        .map_err(failed)?;
    let ended = work(&INTERRUPT);
    if INTERRUPT.happened() && ended.is_err() {
        return Err(interrupted());
    }
    // What comes now, such as printing, may be cut short.
    INTERRUPT.all().clear();
    ended
}

/// What asks a command to end. What whoever started it had it ignore, as `nohup` does, stays ignored.
struct Signals(Vec<Signal>);

impl Signals {
    /// From now on none of them ends the process by itself.
    fn listen() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let heard = kinds.into_iter().filter(|kind| !is_ignored(&status, *kind));
        heard.map(signal).collect::<io::Result<_>>().map(Self)
    }

    async fn any(&mut self) {
        poll_fn(
            |context| match self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            },
        )
        .await;
    }
}

/// Whether a process ignores a signal, by its `/proc/PID/status` (proc_pid_status(5): `SigIgn` is a mask, the lowest bit
/// stands for signal 1).
fn is_ignored(status: &str, signal: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw_value() - 1) & 1 == 1)
}

/// Waits for a signal, and ends the process if the command does not end by itself.
#[expect(
    clippy::disallowed_methods,
    reason = "the thread that would return from main is the one that does not end; these commands have no children"
)]
async fn obey(mut signals: Signals, interrupt: &Interrupt) {
    signals.any().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_has_a_process_ignore_is_known() {
        let hang_up_ignored =
            "Name:\tpetit\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n";
        assert!(is_ignored(hang_up_ignored, SignalKind::hangup()));
        for heard in [SignalKind::interrupt(), SignalKind::terminate()] {
            assert!(!is_ignored(hang_up_ignored, heard));
        }
        assert!(!is_ignored("", SignalKind::hangup()), "where there is no /proc");
    }
}
