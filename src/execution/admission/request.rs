//! What tasks ask for, and of what there is how much.

use std::{fmt, sync::Arc};

use crate::core::{
    Timestamp,
    capacity::{cpu_millis, cpu_text},
    dag::TaskIndex,
    id::RunId,
    spec::ResourceRequirements,
    units::ByteSize,
};

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
            Self::Pool(name) => write!(f, "pool `{name}`"),
        }
    }
}

impl Resource {
    /// An amount of it, as people write it.
    pub fn amount(&self, amount: u64) -> String {
        match self {
            Self::Cpu => cpu_text(amount),
            Self::Memory => ByteSize::from_bytes(amount).to_string(),
            Self::Tasks | Self::Run(_) | Self::Pool(_) => amount.to_string(),
        }
    }
}

/// Amounts of resources; each at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Amounts(pub Vec<(Resource, u64)>);

/// What a task asks for.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) key: TaskKey,
    pub(super) priority: i32,
    pub(super) since: Timestamp,
    pub(super) need: Amounts,
    pub(super) run_limit: Option<u32>,
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

/// A request that is larger than the whole: it could wait for ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("asks for {} of {resource}, which has {} in all", resource.amount(*need), resource.amount(*capacity))]
pub struct TooLarge {
    /// Of what.
    pub resource: Resource,
    /// How much is asked for.
    pub need: u64,
    /// How much there is.
    pub capacity: u64,
}

impl Amounts {
    pub fn get(&self, resource: &Resource) -> u64 {
        self.0
            .iter()
            .find(|(known, _)| known == resource)
            .map_or(0, |(_, amount)| *amount)
    }

    pub fn add(&mut self, other: &Self) {
        for (resource, amount) in &other.0 {
            match self.0.iter_mut().find(|(known, _)| known == resource) {
                Some((_, sum)) => *sum += amount,
                None => self.0.push((resource.clone(), *amount)),
            }
        }
    }

    pub fn subtract(&mut self, other: &Self) {
        for (resource, amount) in &other.0 {
            if let Some((_, sum)) = self.0.iter_mut().find(|(known, _)| known == resource) {
                *sum = sum.saturating_sub(*amount);
            }
        }
        self.0.retain(|(_, sum)| *sum > 0);
    }
}
