//! Weighs the trees of running attempts: remembers the most memory that each held, and ends those beyond their limit.
//!
//! One look at the process table serves all attempts. How often it comes depends on who is on the scales: attempts with a
//! limit are weighed twenty times a second; for the others a first figure soon, and then ever more seldom ones, since the
//! kernel remembers the peak of each process. However many there are, looking takes a twentieth of one processor at most, as
//! long as a look costs less than a quarter of a second. Nobody looks while nothing runs.
//!
//! It does not know what an attempt is. In go a claim to a tree, a limit and what ends the attempt; out comes the peak.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    attempt::{Canceller, Stop},
    memory::{fair, weigh},
    procfs::Marks,
    tree::{Claim, pause_between_looks},
};

/// The pause between two looks while an attempt with a limit runs. What a tree can take in this time beyond its limit is
/// bounded only by how fast the kernel hands out pages.
const LIMITED: Duration = Duration::from_millis(50);
/// Without a limit: the first figure, and the longest pause between two.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// The pause grows to this part of the youngest attempt's age.
const AGE_SHARE: u32 = 4;

/// Clones are the same scales.
#[derive(Debug, Clone, Default)]
pub(super) struct Scales(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Somebody came on who must be weighed sooner than planned.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct State {
    weighed: HashMap<u64, Weighed>,
    next: u64,
    /// When the task that weighs looks next; none while there is no such task.
    planned: Option<Instant>,
}

#[derive(Debug)]
struct Weighed {
    claim: Claim,
    since: Instant,
    limit: Option<Limit>,
    peak: Option<u64>,
}

#[derive(Debug, Clone)]
struct Limit {
    bytes: u64,
    canceller: Canceller,
}

/// An attempt on the scales; dropped, it steps off.
#[derive(Debug)]
pub(super) struct Place {
    scales: Scales,
    key: u64,
}

impl Scales {
    /// Weighs this tree from now on. Beyond `limit` bytes it is ended at once.
    pub(super) fn put(&self, claim: Claim, limit: Option<u64>, canceller: &Canceller) -> Place {
        let now = Instant::now();
        let limit = limit.map(|bytes| Limit {
            bytes,
            canceller: canceller.clone(),
        });
        let wanted = now + if limit.is_some() { LIMITED } else { FIRST };
        let mut state = self.state();
        let key = state.next;
        state.next += 1;
        let weighed = Weighed {
            claim,
            since: now,
            limit,
            peak: None,
        };
        state.weighed.insert(key, weighed);
        match state.planned {
            None => {
                state.planned = Some(wanted);
                tokio::spawn(self.clone().weigh_while_there_is_anybody());
            }
            Some(planned) if planned > wanted => self.0.sooner.notify_one(),
            Some(_) => {}
        }
        Place {
            scales: self.clone(),
            key,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn weigh_while_there_is_anybody(self) {
        loop {
            let Some(look_at) = self.plan() else { return };
            tokio::select! {
                () = sleep_until(look_at) => self.look().await,
                () = self.0.sooner.notified() => {}
            }
        }
    }

    /// When to look next; none when nobody is left, and then the task that asks must end.
    fn plan(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        let pause = state.weighed.values().map(|weighed| weighed.pause(now)).min();
        state.planned = pause.map(|pause| now + pause.max(pause_between_looks()));
        state.planned
    }

    async fn look(&self) {
        let (keys, claims, marks): (Vec<u64>, Vec<Claim>, Marks) = {
            let state = self.state();
            let weighed = state.weighed.iter();
            let (keys, claims) = weighed.map(|(key, weighed)| (*key, weighed.claim.clone())).unzip();
            (keys, claims, state.marks())
        };
        let scales = self.clone();
        let look = move || {
            for (key, weight) in keys.into_iter().zip(weigh(&claims, marks)) {
                let Some(weight) = weight else { continue };
                let mut held = weight.resident;
                let limit = scales
                    .state()
                    .weighed
                    .get(&key)
                    .and_then(|weighed| weighed.limit.clone());
                let suspect = limit.filter(|limit| held > limit.bytes);
                if suspect.is_some() {
                    held = fair(&weight);
                }
                // Before anything ends by it, because the ending says what was held.
                if let Some(weighed) = scales.state().weighed.get_mut(&key) {
                    weighed.peak = weighed.peak.max(Some(held.max(weight.largest)));
                }
                if let Some(limit) = suspect.filter(|limit| held > limit.bytes) {
                    limit.canceller.kill(Stop::OverMemory);
                }
            }
        };
        // A look that panicked has weighed nobody; the next one tries again.
        let _ = tokio::task::spawn_blocking(look).await;
    }
}

impl State {
    /// Nobody escapes a limit by leaving session and parents; for a mere figure that is not worth reading environments.
    fn marks(&self) -> Marks {
        let limited = self.weighed.values().filter(|weighed| weighed.limit.is_some());
        let oldest = limited.filter_map(|weighed| weighed.claim.since()).min();
        oldest.map_or(Marks::Skip, Marks::Since)
    }
}

impl Weighed {
    fn pause(&self, now: Instant) -> Duration {
        match self.limit {
            Some(_) => LIMITED,
            None => ((now - self.since) / AGE_SHARE).clamp(FIRST, LONGEST),
        }
    }
}

impl Place {
    /// The most memory that the tree was seen to hold, in bytes; none if it was gone before the first look.
    pub(super) fn peak(&self) -> Option<u64> {
        self.scales.state().weighed.get(&self.key)?.peak
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.scales.state().weighed.remove(&self.key);
    }
}
