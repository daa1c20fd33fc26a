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

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use crate::core::{Timestamp, dag::TaskIndex, id::RunId, spec::ResourceRequirements, units::ByteSize};

/// A task of a run, as it asks for resources and holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    /// The run.
    pub run: RunId,
    /// The task's number in the job's graph.
    pub task: TaskIndex,
}

/// Something of which there is a limited amount.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Places for running tasks, over all jobs.
    Tasks,
    /// Places for running tasks of one run.
    Run(RunId),
    /// Processors, in thousandths.
    Cpu,
    /// Memory, in bytes.
    Memory,
    /// Slots of a named pool.
    Pool(Arc<str>),
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tasks => f.write_str("max_concurrency"),
            Self::Run(_) => f.write_str("the job's max_concurrency"),
            Self::Cpu => f.write_str("cpu"),
            Self::Memory => f.write_str("memory"),
            Self::Pool(name) => write!(f, "slots of `{name}`"),
        }
    }
}

impl Resource {
    /// An amount of it, as people write it.
    pub fn amount(&self, amount: u64) -> String {
        match self {
            Self::Cpu => {
                let text = format!("{}.{:03}", amount / 1_000, amount % 1_000);
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            Self::Memory => ByteSize::from_bytes(amount).to_string(),
            Self::Tasks | Self::Run(_) | Self::Pool(_) => amount.to_string(),
        }
    }
}

/// How much there is in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Tasks at a time, over all jobs.
    pub tasks: u32,
    /// Processors, in thousandths.
    pub cpu_millis: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// The named pools.
    pub pools: BTreeMap<String, u32>,
}

/// Amounts of resources; each at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Amounts(Vec<(Resource, u64)>);

/// What a task asks for.
#[derive(Debug, Clone)]
pub struct Request {
    key: TaskKey,
    priority: i32,
    since: Timestamp,
    need: Amounts,
    run_limit: Option<u32>,
}

impl Request {
    /// A task's request: one place among all tasks, one among those of its run if `run_limit` is set, and what its
    /// `resources` say. `since` is when it became ready.
    pub fn new(
        key: TaskKey,
        priority: i32,
        since: Timestamp,
        run_limit: Option<u32>,
        resources: &ResourceRequirements,
    ) -> Self {
        let mut need = vec![(Resource::Tasks, 1)];
        need.extend(run_limit.map(|_| (Resource::Run(key.run), 1)));
        need.extend(resources.cpu.map(|cpu| (Resource::Cpu, cpu_millis(cpu))));
        need.extend(resources.memory.map(|memory| (Resource::Memory, memory.as_bytes())));
        let pools = resources.slots.iter();
        need.extend(pools.map(|(name, slots)| (Resource::Pool(name.as_str().into()), u64::from(*slots))));
        Self {
            key,
            priority,
            since,
            need: Amounts(need),
            run_limit,
        }
    }
}

/// Fractions of processors in thousandths, rounded up so that nothing that is asked for counts as nothing.
pub fn cpu_millis(cpu: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the schema bounds it to 0.001..=10000; outside of that the cast saturates"
    )]
    let millis = (cpu * 1_000.0).ceil() as u64;
    millis
}

/// A request that is larger than the whole: it could wait for ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("asks for {} {resource}, of which there are {} in all", resource.amount(*need), resource.amount(*capacity))]
pub struct TooLarge {
    /// Of what.
    pub resource: Resource,
    /// How much is asked for.
    pub need: u64,
    /// How much there is.
    pub capacity: u64,
}

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
    capacity: Capacity,
    run_limits: HashMap<RunId, u32>,
    used: HashMap<Resource, u64>,
    queue: BTreeMap<Rank, Waiting>,
    ranks: HashMap<TaskKey, Rank>,
    holding: HashMap<TaskKey, Holding>,
    sequence: u64,
}

impl Admission {
    /// Empty pools.
    pub fn new(capacity: Capacity) -> Self {
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
    pub fn set_capacity(&mut self, capacity: Capacity) -> Vec<(TaskKey, TooLarge)> {
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

impl Amounts {
    fn get(&self, resource: &Resource) -> u64 {
        self.0
            .iter()
            .find(|(known, _)| known == resource)
            .map_or(0, |(_, amount)| *amount)
    }

    fn add(&mut self, other: &Self) {
        for (resource, amount) in &other.0 {
            match self.0.iter_mut().find(|(known, _)| known == resource) {
                Some((_, sum)) => *sum += amount,
                None => self.0.push((resource.clone(), *amount)),
            }
        }
    }

    fn subtract(&mut self, other: &Self) {
        for (resource, amount) in &other.0 {
            if let Some((_, sum)) = self.0.iter_mut().find(|(known, _)| known == resource) {
                *sum = sum.saturating_sub(*amount);
            }
        }
        self.0.retain(|(_, sum)| *sum > 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(task: TaskIndex) -> TaskKey {
        let at = chrono::DateTime::from_timestamp(1_000, 0).expect("a valid instant");
        TaskKey {
            run: RunId::from_parts(at, 7),
            task,
        }
    }

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(second, 0).expect("a valid instant")
    }

    fn capacity(tasks: u32, cpu: u64, gpu: u32) -> Capacity {
        Capacity {
            tasks,
            cpu_millis: cpu * 1_000,
            memory_bytes: 1 << 30,
            pools: BTreeMap::from([("gpu".to_owned(), gpu)]),
        }
    }

    fn ask(task: TaskIndex, priority: i32, cpu: u32, gpu: u32) -> Request {
        let resources = ResourceRequirements {
            slots: (gpu > 0).then(|| ("gpu".to_owned(), gpu)).into_iter().collect(),
            cpu: (cpu > 0).then(|| f64::from(cpu)),
            memory: None,
        };
        Request::new(
            key(task),
            priority,
            at(i64::try_from(task).expect("small")),
            None,
            &resources,
        )
    }

    fn tasks(keys: &[TaskKey]) -> Vec<TaskIndex> {
        keys.iter().map(|key| key.task).collect()
    }

    #[test]
    fn priority_goes_before_waiting_time() {
        let mut admission = Admission::new(capacity(2, 8, 0));
        for (task, priority) in [(0, 0), (1, 0), (2, 5), (3, -1)] {
            admission.request(ask(task, priority, 0, 0)).expect("fits");
        }
        assert_eq!(tasks(&admission.admit()), [2, 0]);
        assert_eq!(admission.admit(), []);
        admission.release(key(2));
        assert_eq!(tasks(&admission.admit()), [1]);
    }

    #[test]
    fn a_large_request_is_not_starved_by_small_ones() {
        let mut admission = Admission::new(capacity(100, 4, 0));
        admission.request(ask(0, 0, 2, 0)).expect("fits");
        assert_eq!(tasks(&admission.admit()), [0]);
        admission.request(ask(1, 0, 4, 0)).expect("fits");
        admission.request(ask(2, 0, 2, 0)).expect("fits");
        assert_eq!(
            admission.admit(),
            [],
            "2 processors are free, but the larger request would wait for whoever took them"
        );
        let waits = admission.waiting();
        assert_eq!(waits[0].short[0].held_by, [key(0)]);
        assert_eq!(
            (waits[1].short.len(), waits[1].leaves_room_for.as_slice()),
            (0, [key(1)].as_slice())
        );
        admission.release(key(0));
        assert_eq!(tasks(&admission.admit()), [1]);
    }

    #[test]
    fn a_queue_for_one_card_does_not_idle_the_rest() {
        let mut admission = Admission::new(capacity(4, 8, 1));
        for task in 0..6 {
            admission.request(ask(task, 0, 0, 1)).expect("fits");
        }
        for task in 6..10 {
            admission.request(ask(task, 0, 0, 0)).expect("fits");
        }
        assert_eq!(
            tasks(&admission.admit()),
            [0, 6, 7, 8],
            "one place stays for the next user of the card"
        );
        admission.release(key(6));
        assert_eq!(tasks(&admission.admit()), [9]);
        admission.release(key(0));
        assert_eq!(tasks(&admission.admit()), [1]);
    }

    #[test]
    fn a_run_has_a_limit_of_its_own() {
        let mut admission = Admission::new(capacity(10, 8, 0));
        let resources = ResourceRequirements::default();
        for task in 0..3 {
            admission
                .request(Request::new(key(task), 0, at(0), Some(2), &resources))
                .expect("fits");
        }
        assert_eq!(admission.admit().len(), 2);
        assert_eq!(admission.waiting()[0].short[0].resource, Resource::Run(key(0).run));
    }

    #[test]
    fn what_is_larger_than_the_whole_is_refused() {
        let mut admission = Admission::new(capacity(1, 2, 1));
        let refused = admission.request(ask(0, 0, 3, 0)).expect_err("3 of 2 processors");
        assert_eq!(refused.to_string(), "asks for 3 cpu, of which there are 2 in all");
        admission.request(ask(1, 0, 2, 0)).expect("fits");
        let refused = admission.set_capacity(capacity(1, 1, 1));
        assert_eq!(refused[0].0, key(1));
        assert_eq!(admission.admit(), []);
    }

    #[derive(Debug, Clone)]
    enum Move {
        Ask { priority: i32, cpu: u32, gpu: u32 },
        EndOldest,
        EndNewest,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let ask = (0..3i32, 0..=4u32, 0..=2u32).prop_map(|(priority, cpu, gpu)| Move::Ask { priority, cpu, gpu });
        proptest::collection::vec(
            prop_oneof![3 => ask, 1 => Just(Move::EndOldest), 1 => Just(Move::EndNewest)],
            1..80,
        )
    }

    proptest! {
        /// Checked against a list: no capacity is exceeded, nothing is left waiting on idle pools, and a request starts
        /// as soon as all that ran when it came and all that rank before it have ended.
        #[test]
        fn never_too_much_and_never_too_late(moves in moves()) {
            let whole = capacity(3, 4, 2);
            let mut admission = Admission::new(whole);
            let mut running: Vec<(TaskIndex, u32, u32)> = Vec::new();
            // Each waiting task with its rank and what must end before it has a right to start.
            let mut waiting: Vec<(TaskIndex, i32, u32, u32, Vec<TaskIndex>)> = Vec::new();
            for (task, next) in moves.into_iter().enumerate() {
                match next {
                    Move::Ask { priority, cpu, gpu } => {
                        admission.request(ask(task, priority, cpu, gpu)).expect("no more than the whole");
                        let mut before: Vec<TaskIndex> = running.iter().map(|(task, ..)| *task).collect();
                        before.extend(waiting.iter().filter(|other| other.1 >= priority).map(|other| other.0));
                        waiting.iter_mut().filter(|other| other.1 < priority).for_each(|other| other.4.push(task));
                        waiting.push((task, priority, cpu, gpu, before));
                    }
                    Move::EndOldest | Move::EndNewest => {
                        if running.is_empty() {
                            continue;
                        }
                        let index = if matches!(next, Move::EndOldest) { 0 } else { running.len() - 1 };
                        let (ended, ..) = running.remove(index);
                        admission.release(key(ended));
                        waiting.iter_mut().for_each(|other| other.4.retain(|task| *task != ended));
                    }
                }
                for granted in admission.admit() {
                    let position = waiting.iter().position(|(task, ..)| *task == granted.task).expect("it was waiting");
                    let (task, _, cpu, gpu, _) = waiting.remove(position);
                    running.push((task, cpu, gpu));
                }
                prop_assert!(running.len() <= 3);
                prop_assert!(running.iter().map(|(_, cpu, _)| cpu).sum::<u32>() <= 4);
                prop_assert!(running.iter().map(|(.., gpu)| gpu).sum::<u32>() <= 2);
                prop_assert!(!running.is_empty() || waiting.is_empty());
                for (task, .., before) in &waiting {
                    prop_assert!(!before.is_empty(), "task {} waits for nobody", task);
                }
                prop_assert_eq!(admission.waiting().len(), waiting.len());
            }
        }
    }
}
