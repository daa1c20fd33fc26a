//! The loop: keys, messages, signals and time in; effects and frames out.
//!
//! A frame is drawn when something may have changed, at most ten times a second, and written only where it differs from the
//! one before.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use chrono::Utc;
use crossterm::event;
use futures_util::FutureExt;
use ratatui::{buffer::Buffer, layout::Rect};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc},
    time::{Instant, sleep_until},
};

use super::{
    draw::draw,
    feed::Feed,
    lend::{Programs, Returned},
    look::Look,
    message::{Effect, Message},
    state::State,
    terminal::Terminal,
    update::update,
};

/// Why the screens are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// Somebody asked to.
    Quit,
    /// SIGTERM did, which a daemon in this process hears too.
    Terminated,
    /// Ctrl-C from outside did, or the terminal has gone.
    Interrupted,
    /// What they were shown for ended.
    Ended,
}

/// Why the screens cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// The terminal refuses.
    #[error("could not {operation} the terminal")]
    Terminal {
        /// What was attempted.
        operation: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A part of Petit panicked; its message stands above.
    #[error("a part of Petit panicked")]
    Panicked,
}

/// The shortest time between two frames.
const FRAME: Duration = Duration::from_millis(100);
/// How often time is told: often while something is on its way, and else as often as a clock shows a difference.
const SOON: Duration = Duration::from_millis(250);
const LATER: Duration = Duration::from_secs(1);
/// How long the reader of keys waits before it looks whether it is still needed.
const KEY_PATIENCE: Duration = Duration::from_millis(200);

/// Shows the screens until somebody leaves, a signal asks to stop, or `ended` resolves. The terminal is given back before
/// this returns. `embedded` says that the daemon runs in this process and ends with the screens.
pub async fn run(
    look: Look,
    embedded: bool,
    feed: Feed,
    mut messages: mpsc::Receiver<Message>,
    ended: impl Future<Output = ()>,
) -> Result<Leaving, TuiError> {
    let mut signals = Signals::new().map_err(failed("listen for signals beside"))?;
    let panicked = Arc::new(Notify::new());
    let mut terminal = Terminal::take(Arc::clone(&panicked)).map_err(failed("take over"))?;
    let size = terminal.size().map_err(failed("measure"))?;
    let mut state = State::new(look, size, embedded);
    let programs = Programs::from_env();
    let (mut reader, mut keys) = read_keys();
    let watching = tokio::spawn(feed.clone().watch());
    tokio::pin!(ended);

    let mut drawn = Instant::now();
    let mut next_tick = drawn;
    let mut stale = true;
    show(&state, &mut terminal)?;
    let leaving = 'shown: loop {
        let message = tokio::select! {
            key = keys.recv() => match key {
                Some(Ok(event::Event::Key(key))) => Message::Key(key),
                Some(Ok(event::Event::Resize(columns, rows))) => Message::Resize(columns, rows),
                Some(Ok(_)) => continue,
                Some(Err(error)) => break Err(failed("read keys from")(error)),
                None => break Err(TuiError::Panicked),
            },
            // The feed is held here, so that the channel has a sender.
            Some(message) = messages.recv() => message,
            () = sleep_until(next_tick) => {
                // Of many resizes at once the last event may carry an earlier size than the terminal has in the end.
                if let Ok((columns, rows)) = terminal.size()
                    && (columns, rows) != state.size
                {
                    update(&mut state, Message::Resize(columns, rows), Utc::now());
                    stale = true;
                }
                Message::Tick
            }
            () = sleep_until(drawn + FRAME), if stale => {
                if let Err(error) = show(&state, &mut terminal) {
                    break Err(error);
                }
                drawn = Instant::now();
                stale = false;
                continue;
            }
            leaving = signals.recv() => break Ok(leaving),
            () = &mut ended => break Ok(Leaving::Ended),
            () = panicked.notified() => break Err(TuiError::Panicked),
        };
        // An event of the daemon only says what to ask for at the next tick.
        stale |= !matches!(message, Message::Live(_));
        let mut effects = VecDeque::from(update(&mut state, message, Utc::now()));
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Load(want) => feed.load(want),
                Effect::Follow(of) => feed.logs().follow(of),
                Effect::ReadLog(of, part) => feed.logs().read(of, part),
                Effect::SearchLog(of, search) => feed.logs().search(of, search),
                Effect::StopSearch => feed.logs().stop_search(),
                Effect::Order(order) => feed.order(order),
                Effect::Export { sql, file } => feed.export(sql, file),
                Effect::Keep(view) => feed.keep(view),
                Effect::PlanRetry(run) => feed.plan_retry(run),
                Effect::Copy(text) => {
                    if let Err(error) = terminal.copy(&text) {
                        break 'shown Err(failed("copy through")(error));
                    }
                }
                Effect::Lend(errand) => {
                    // Two readers of one terminal would share its keys.
                    reader.stop().await;
                    terminal.lend();
                    let returned = programs.carry_out(errand, feed.logs(), signals.asked_to_end()).await;
                    let taken = terminal.take_again().and_then(|()| terminal.size());
                    let (columns, rows) = match taken {
                        Ok(size) => size,
                        Err(error) => break 'shown Err(failed("take over")(error)),
                    };
                    (reader, keys) = read_keys();
                    signals.forget_interrupt();
                    let returned = match returned {
                        Returned::Done => Ok(()),
                        Returned::Failed(problem) => Err(problem),
                        Returned::Asked(leaving) => break 'shown Ok(leaving),
                    };
                    for message in [Message::Resize(columns, rows), Message::Returned(returned)] {
                        effects.extend(update(&mut state, message, Utc::now()));
                    }
                }
                Effect::Quit => break 'shown Ok(Leaving::Quit),
            }
        }
        let soon = if state.is_loading() { SOON } else { LATER };
        next_tick = match next_tick <= Instant::now() {
            true => Instant::now() + soon,
            false => next_tick.min(Instant::now() + soon),
        };
    };
    watching.abort();
    feed.stop();
    leaving
}

fn show(state: &State, terminal: &mut Terminal) -> Result<(), TuiError> {
    let area = Rect::new(0, 0, state.size.0, state.size.1);
    let mut frame = Buffer::empty(area);
    draw(state, Utc::now(), area, &mut frame);
    terminal.show(frame).map_err(failed("draw on"))
}

/// The thread that reads keys.
struct Reader {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Ends it, and returns when nobody reads keys any more.
    async fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A reader that panicked does not read either.
            let _ = tokio::task::spawn_blocking(|| thread.join()).await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Reads keys on a thread of their own, since that blocks; it ends soon after its [`Reader`].
fn read_keys() -> (Reader, mpsc::Receiver<io::Result<event::Event>>) {
    let (sender, keys) = mpsc::channel(64);
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let thread = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let read = match event::poll(KEY_PATIENCE) {
                Ok(true) => event::read(),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            let broken = read.is_err();
            if sender.blocking_send(read).is_err() || broken {
                return;
            }
        }
    });
    let reader = Reader {
        over,
        thread: Some(thread),
    };
    (reader, keys)
}

/// The signals that ask to leave.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// While another program has the terminal, Ctrl-C is meant for that one.
    async fn asked_to_end(&mut self) -> Leaving {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Leaving::Terminated,
                _ = self.hang_up.recv() => return Leaving::Interrupted,
                _ = self.interrupt.recv() => {}
            }
        }
    }

    /// The Ctrl-C that ended the other program may be noticed behind its end.
    fn forget_interrupt(&mut self) {
        while self.interrupt.recv().now_or_never().is_some() {}
    }

    async fn recv(&mut self) -> Leaving {
        tokio::select! {
            _ = self.terminate.recv() => Leaving::Terminated,
            _ = self.interrupt.recv() => Leaving::Interrupted,
            _ = self.hang_up.recv() => Leaving::Interrupted,
        }
    }
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> TuiError {
    move |source| TuiError::Terminal { operation, source }
}
