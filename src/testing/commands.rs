//! An engine whose commands are played, not run: each takes, prints and publishes what the test says.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::watch, time::sleep};

use crate::{
    core::{ending::Ending, task::is_output_key},
    execution::{
        Clock,
        engine::{Attempt, AttemptEnd, AttemptKey, Engine, Report, Reports, Stop, Usage, Work},
        output::{LogWriter, Stream},
    },
};

/// What a command does in a test, instead of running.
///
/// ```
/// use std::time::Duration;
/// use petit::testing::FakeCommand;
///
/// let slow = FakeCommand::succeeds().after(Duration::from_secs(90)).publishes("rows", 12).prints("12 rows");
/// let busy = FakeCommand::exits(75);
/// # let _ = (slow, busy);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FakeCommand {
    takes: Duration,
    ending: Ending,
    outputs: BTreeMap<String, Value>,
    lines: Vec<String>,
}

impl FakeCommand {
    /// Succeeds at once.
    pub fn succeeds() -> Self {
        Self::ends(Ending::Exited(0))
    }

    /// Exits with a code at once.
    pub fn exits(code: i32) -> Self {
        Self::ends(Ending::Exited(code))
    }

    /// Ends in any way at once.
    pub fn ends(ending: Ending) -> Self {
        Self {
            takes: Duration::ZERO,
            ending,
            outputs: BTreeMap::new(),
            lines: Vec::new(),
        }
    }

    /// Takes this long, in simulated time. A timeout or a cancel ends it earlier.
    #[must_use]
    pub fn after(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }

    /// Publishes a value under a key, which must be one that an expression can name.
    #[must_use]
    pub fn publishes(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        let key = key.into();
        assert!(is_output_key(&key), "`{key}` is not a key of an output");
        self.outputs.insert(key, value.into());
        self
    }

    /// Prints a line.
    #[must_use]
    pub fn prints(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }
}

/// The engine. Clones are the same.
#[derive(Clone)]
pub(super) struct FakeCommands {
    /// By task: one for each attempt, the last for all further ones.
    script: Arc<BTreeMap<String, Vec<FakeCommand>>>,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    going: HashMap<AttemptKey, watch::Sender<Option<Stop>>>,
    run: Vec<(AttemptKey, Vec<String>)>,
}

impl FakeCommands {
    pub(super) fn new(script: BTreeMap<String, Vec<FakeCommand>>, clock: Clock) -> Self {
        Self {
            script: Arc::new(script),
            clock,
            state: Arc::default(),
        }
    }

    /// Every command that was started, with its words.
    pub(super) fn run(&self) -> Vec<(AttemptKey, Vec<String>)> {
        self.state().run.clone()
    }

    fn of(&self, key: &AttemptKey) -> FakeCommand {
        let number = usize::try_from(key.attempt).unwrap_or(usize::MAX);
        let script = self.script.get(key.task.as_str());
        let found = script.and_then(|script| script.get(number - 1).or(script.last()));
        found.cloned().unwrap_or_else(FakeCommand::succeeds)
    }

    async fn play(&self, attempt: &Attempt, mut stop: watch::Receiver<Option<Stop>>) -> AttemptEnd {
        let fake = self.of(&attempt.key);
        let over = attempt.timeout.filter(|timeout| *timeout < fake.takes);
        let ending = tokio::select! {
            () = sleep(over.unwrap_or(fake.takes)) => match over {
                Some(_) => Ending::TimedOut,
                None => fake.ending,
            },
            Ok(why) = stop.wait_for(Option::is_some) => match *why {
                Some(Stop::Interrupted | Stop::InterruptedAtOnce) => Ending::Interrupted,
                Some(Stop::TimedOut) => Ending::TimedOut,
                Some(Stop::Cancelled) | None => Ending::Cancelled,
            },
        };
        let at = (self.clock)();
        let mut log = LogWriter::new(attempt.folder.log(), u64::MAX);
        for line in &fake.lines {
            log.write(Stream::Stdout, format!("{line}\n").as_bytes(), at);
        }
        AttemptEnd {
            ending,
            at,
            error: log.error(),
            outputs: fake.outputs,
            usage: Usage {
                bytes_out: Some(log.bytes_in()),
                ..Usage::default()
            },
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for FakeCommands {
    fn start(&self, attempt: Attempt, reports: Reports) {
        let (sender, stop) = watch::channel(None);
        {
            let mut state = self.state();
            state.going.insert(attempt.key.clone(), sender);
            if let Work::Command(words) = &attempt.work {
                state.run.push((attempt.key.clone(), words.clone()));
            }
        }
        let engine = self.clone();
        tokio::spawn(async move {
            let started = Report::Started {
                key: attempt.key.clone(),
                at: (engine.clock)(),
                process: None,
            };
            let _ = reports.send(started);
            let end = engine.play(&attempt, stop).await;
            engine.state().going.remove(&attempt.key);
            let _ = reports.send(Report::Ended { key: attempt.key, end });
        });
    }

    fn stop(&self, key: &AttemptKey, why: Stop) {
        if let Some(stop) = self.state().going.get(key) {
            stop.send_replace(Some(why));
        }
    }
}
