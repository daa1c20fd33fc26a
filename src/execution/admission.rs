//! Who may start now: the pools of everything that tasks share, and the queue before them.
//!
//! Knows nothing of jobs, time or processes. A [`Request`] comes in; [`Admission::admit`] says which may start;
//! [`Admission::release`] gives back what one held; [`Admission::waiting`] says what each of the others lacks.
//!
//! A request gets all it asks for at once or nothing. The queue is ordered by priority, then by the time since when a
//! request waits. One that does not fit does not stop those behind it from using what it cannot use anyway, within one
//! rule: **whoever overtakes a request must leave it room**. All that overtook a waiting request, together with the
//! request itself, must fit into the whole capacity. So a request starts at the latest when everything that was running
//! or ahead of it when it began to wait has ended, however large it is, and yet a queue for one graphics card does not
//! idle the processors. (Strict order would idle them; plain best fit would starve large requests; reserving what a
//! blocked request needs out of what is free would let eight waiters for one card hold all places.) A request of higher
//! priority that comes later is ahead, since that is what priority means.

mod request;

use std::collections::{BTreeMap, HashMap};

use self::request::Amounts;
pub use self::request::{Request, Resource, TaskKey, TooLarge};
use crate::core::{Timestamp, capacity::SystemResources, id::RunId};

/// What a waiting request lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Of what.
    pub resource: Resource,
    /// How much it asks for.
    pub need: u64,
    /// How much is free.
    pub free: u64,
    /// Who holds some of it.
    pub held_by: Vec<TaskKey>,
}

/// Why a request waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Whose it is.
    pub key: TaskKey,
    /// Since when.
    pub since: Timestamp,
    /// What there is too little of.
    pub short: Vec<Shortage>,
    /// Requests ahead to which it must leave room, when what it asks for is free.
    pub leaves_room_for: Vec<TaskKey>,
}

/// A place in the queue: the smaller goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    priority: std::cmp::Reverse<i32>,
    since: Timestamp,
    sequence: u64,
}

#[derive(Debug)]
struct Waiting {
    key: TaskKey,
    need: Amounts,
    /// What those hold that were granted while this waited ahead of them.
    overtaken: Amounts,
}

#[derive(Debug)]
struct Holding {
    need: Amounts,
    /// The places of those it overtook: while they wait, what it holds is in their `overtaken`. Places, not tasks: a
    /// task that was granted and waits again for its next attempt has not been overtaken by it.
    overtook: Vec<Rank>,
}

/// The pools and the queue.
#[derive(Debug)]
pub struct Admission {
    capacity: SystemResources,
    run_limits: HashMap<RunId, u32>,
    used: HashMap<Resource, u64>,
    queue: BTreeMap<Rank, Waiting>,
    ranks: HashMap<TaskKey, Rank>,
    holding: HashMap<TaskKey, Holding>,
    sequence: u64,
}

impl Admission {
    /// Empty pools.
    pub fn new(capacity: SystemResources) -> Self {
        Self {
            capacity,
            run_limits: HashMap::new(),
            used: HashMap::new(),
            queue: BTreeMap::new(),
            ranks: HashMap::new(),
            holding: HashMap::new(),
            sequence: 0,
        }
    }

    /// Puts a request into the queue, in place of an earlier one of the same task.
    pub fn request(&mut self, request: Request) -> Result<(), TooLarge> {
        self.withdraw(request.key);
        if let Some(limit) = request.run_limit {
            self.run_limits.insert(request.key.run, limit);
        }
        self.check(&request.need)?;
        self.sequence += 1;
        let rank = Rank {
            priority: std::cmp::Reverse(request.priority),
            since: request.since,
            sequence: self.sequence,
        };
        self.ranks.insert(request.key, rank);
        let waiting = Waiting {
            key: request.key,
            need: request.need,
            overtaken: Amounts::default(),
        };
        self.queue.insert(rank, waiting);
        Ok(())
    }

    /// Takes a request out of the queue; nothing happens if there is none.
    pub fn withdraw(&mut self, key: TaskKey) {
        if let Some(rank) = self.ranks.remove(&key) {
            self.queue.remove(&rank);
        }
    }

    /// Gives back what a task held; nothing happens if it held nothing.
    pub fn release(&mut self, key: TaskKey) {
        let Some(held) = self.holding.remove(&key) else { return };
        for (resource, amount) in &held.need.0 {
            if let Some(used) = self.used.get_mut(resource) {
                *used -= amount;
                if *used == 0 {
                    self.used.remove(resource);
                }
            }
        }
        for overtaken in &held.overtook {
            if let Some(waiting) = self.queue.get_mut(overtaken) {
                waiting.overtaken.subtract(&held.need);
            }
        }
    }

    /// Forgets a run's own limit, once nothing of the run waits or holds anything.
    pub fn forget_run(&mut self, run: RunId) {
        self.run_limits.remove(&run);
    }

    /// Grants what can be granted, in the order of the queue.
    pub fn admit(&mut self) -> Vec<TaskKey> {
        let mut granted = Vec::new();
        // What must stay free of overtakers: for each resource the largest `overtaken + need` of those passed by.
        let mut room: HashMap<Resource, u64> = HashMap::new();
        let mut passed: Vec<Rank> = Vec::new();
        for (rank, waiting) in &self.queue {
            if self.free(&Resource::Tasks) == 0 {
                break;
            }
            let fits = waiting.need.0.iter().all(|(r, amount)| *amount <= self.free(r));
            let leaves_room = || {
                let mut needs = waiting.need.0.iter();
                needs.all(|(r, amount)| {
                    room.get(r)
                        .is_none_or(|reserved| reserved.saturating_add(*amount) <= self.capacity_of(r))
                })
            };
            if fits && leaves_room() {
                for (resource, amount) in &waiting.need.0 {
                    *self.used.entry(resource.clone()).or_default() += amount;
                    if let Some(reserved) = room.get_mut(resource) {
                        *reserved += amount;
                    }
                }
                granted.push((*rank, passed.len()));
            } else {
                for (resource, amount) in &waiting.need.0 {
                    let whole = waiting.overtaken.get(resource).saturating_add(*amount);
                    let reserved = room.entry(resource.clone()).or_default();
                    *reserved = whole.max(*reserved);
                }
                passed.push(*rank);
            }
        }
        granted
            .into_iter()
            .filter_map(|(rank, ahead)| self.grant(rank, &passed[..ahead]))
            .collect()
    }

    /// Everything that waits, in order, and for what.
    pub fn waiting(&self) -> Vec<Wait> {
        let mut ahead: Vec<&Waiting> = Vec::new();
        let mut waits = Vec::with_capacity(self.queue.len());
        for (rank, waiting) in &self.queue {
            let short = waiting
                .need
                .0
                .iter()
                .filter_map(|(r, need)| self.shortage(r, *need))
                .collect::<Vec<_>>();
            let crowds = |other: &Waiting| {
                waiting.need.0.iter().any(|(r, need)| {
                    let theirs = other.need.get(r);
                    theirs > 0 && other.overtaken.get(r) + theirs + need > self.capacity_of(r)
                })
            };
            let leaves_room_for = match short.is_empty() {
                true => ahead
                    .iter()
                    .filter(|other| crowds(other))
                    .map(|other| other.key)
                    .collect(),
                false => Vec::new(),
            };
            waits.push(Wait {
                key: waiting.key,
                since: rank.since,
                short,
                leaves_room_for,
            });
            ahead.push(waiting);
        }
        waits
    }

    /// Changes how much there is. Returns the requests that have become larger than the whole; they are out of the
    /// queue. Tasks that hold more than there is keep it until they end.
    pub fn set_capacity(&mut self, capacity: SystemResources) -> Vec<(TaskKey, TooLarge)> {
        self.capacity = capacity;
        let checked = self
            .queue
            .values()
            .map(|waiting| (waiting.key, self.check(&waiting.need)));
        let refused: Vec<_> = checked
            .filter_map(|(key, check)| check.err().map(|error| (key, error)))
            .collect();
        refused.iter().for_each(|(key, _)| self.withdraw(*key));
        refused
    }

    fn grant(&mut self, rank: Rank, passed: &[Rank]) -> Option<TaskKey> {
        let granted = self.queue.remove(&rank)?;
        self.ranks.remove(&granted.key);
        for overtaken in passed {
            if let Some(waiting) = self.queue.get_mut(overtaken) {
                waiting.overtaken.add(&granted.need);
            }
        }
        let holding = Holding {
            need: granted.need,
            overtook: passed.to_vec(),
        };
        self.holding.insert(granted.key, holding);
        Some(granted.key)
    }

    fn check(&self, need: &Amounts) -> Result<(), TooLarge> {
        let over = need
            .0
            .iter()
            .find(|(resource, amount)| *amount > self.capacity_of(resource));
        match over {
            None => Ok(()),
            Some((resource, amount)) => Err(TooLarge {
                resource: resource.clone(),
                need: *amount,
                capacity: self.capacity_of(resource),
            }),
        }
    }

    fn capacity_of(&self, resource: &Resource) -> u64 {
        match resource {
            Resource::Tasks => u64::from(self.capacity.tasks),
            Resource::Run(run) => self.run_limits.get(run).map_or(u64::MAX, |limit| u64::from(*limit)),
            Resource::Cpu => self.capacity.cpu_millis,
            Resource::Memory => self.capacity.memory_bytes,
            Resource::Pool(name) => self.capacity.pools.get(&**name).map_or(0, |slots| u64::from(*slots)),
        }
    }

    fn free(&self, resource: &Resource) -> u64 {
        self.capacity_of(resource)
            .saturating_sub(self.used.get(resource).copied().unwrap_or(0))
    }

    fn shortage(&self, resource: &Resource, need: u64) -> Option<Shortage> {
        let free = self.free(resource);
        if need <= free {
            return None;
        }
        let holders = self.holding.iter().filter(|(_, held)| held.need.get(resource) > 0);
        let mut held_by: Vec<TaskKey> = holders.map(|(key, _)| *key).collect();
        held_by.sort_unstable();
        Some(Shortage {
            resource: resource.clone(),
            need,
            free,
            held_by,
        })
    }
}

#[cfg(test)]
mod tests;
