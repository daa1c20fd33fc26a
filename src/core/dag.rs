//! The graph of a job's tasks. A [`Dag`] that exists has no cycle and names no task that is missing.
//!
//! Tasks are numbered in the order in which the file lists them; the numbers are what the run state machine works on.

use std::collections::HashMap;

use super::id::TaskId;

/// A task's place in its [`Dag`]: its number in the order of the file.
pub type TaskIndex = usize;

/// Why tasks do not make a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DagError {
    /// A dependency names a task that the job does not have.
    #[error("task `{task}` depends on `{missing}`, which is not a task of this job")]
    Unknown {
        /// The task that depends.
        task: TaskId,
        /// The position in its `depends_on`.
        position: usize,
        /// The name that nothing bears.
        missing: TaskId,
    },
    /// A dependency is listed twice.
    #[error("task `{task}` lists `{repeated}` twice in depends_on")]
    Repeated {
        /// The task that depends.
        task: TaskId,
        /// The position of the second mention.
        position: usize,
        /// The dependency.
        repeated: TaskId,
    },
    /// Tasks wait for each other.
    #[error("tasks wait for each other: {}", path(.0))]
    Cycle(Vec<TaskId>),
}

fn path(cycle: &[TaskId]) -> String {
    let names: Vec<&str> = cycle.iter().chain(cycle.first()).map(TaskId::as_str).collect();
    names.join(" -> ")
}

/// Tasks and what each waits for, without cycles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dag {
    ids: Vec<TaskId>,
    upstream: Vec<Vec<TaskIndex>>,
    downstream: Vec<Vec<TaskIndex>>,
    order: Vec<TaskIndex>,
}

impl Dag {
    /// Makes a graph of `(task, what it depends on)`, or says everything that is wrong with it.
    pub fn new<'a>(tasks: impl IntoIterator<Item = (&'a TaskId, &'a [TaskId])>) -> Result<Self, Vec<DagError>> {
        let tasks: Vec<(&TaskId, &[TaskId])> = tasks.into_iter().collect();
        let index: HashMap<&TaskId, TaskIndex> = tasks.iter().enumerate().map(|(i, (id, _))| (*id, i)).collect();
        let mut errors = Vec::new();
        let mut upstream = vec![Vec::new(); tasks.len()];
        let mut downstream = vec![Vec::new(); tasks.len()];
        for (i, (id, dependencies)) in tasks.iter().enumerate() {
            for (position, dependency) in dependencies.iter().enumerate() {
                match index.get(dependency) {
                    None => {
                        errors.push(DagError::Unknown {
                            task: (*id).clone(),
                            position,
                            missing: dependency.clone(),
                        });
                    }
                    Some(&up) if upstream[i].contains(&up) => {
                        errors.push(DagError::Repeated {
                            task: (*id).clone(),
                            position,
                            repeated: dependency.clone(),
                        });
                    }
                    Some(&up) => {
                        upstream[i].push(up);
                        downstream[up].push(i);
                    }
                }
            }
        }
        let order = topological(&upstream, &downstream);
        let ids: Vec<TaskId> = tasks.into_iter().map(|(id, _)| id.clone()).collect();
        if order.len() < ids.len() {
            let cycle = find_cycle(&upstream, &order);
            errors.push(DagError::Cycle(cycle.into_iter().map(|i| ids[i].clone()).collect()));
        }
        if errors.is_empty() {
            Ok(Self {
                ids,
                upstream,
                downstream,
                order,
            })
        } else {
            Err(errors)
        }
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no tasks.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The id of a task.
    pub fn id(&self, task: TaskIndex) -> &TaskId {
        &self.ids[task]
    }

    /// All ids, in the order of the file.
    pub fn ids(&self) -> &[TaskId] {
        &self.ids
    }

    /// The task with an id.
    pub fn index_of(&self, id: &str) -> Option<TaskIndex> {
        self.ids.iter().position(|known| known.as_str() == id)
    }

    /// What a task waits for.
    pub fn upstream(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.upstream[task]
    }

    /// What waits for a task.
    pub fn downstream(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.downstream[task]
    }

    /// All tasks, each after what it waits for.
    pub fn order(&self) -> &[TaskIndex] {
        &self.order
    }

    /// Everything that a task waits for, directly or not, sorted.
    pub fn ancestors(&self, task: TaskIndex) -> Vec<TaskIndex> {
        let mut seen = vec![false; self.len()];
        let mut todo = self.upstream[task].clone();
        while let Some(next) = todo.pop() {
            if !std::mem::replace(&mut seen[next], true) {
                todo.extend(&self.upstream[next]);
            }
        }
        (0..self.len()).filter(|&i| seen[i]).collect()
    }
}

/// Kahn's algorithm; tasks of a cycle, and what hangs on one, are left out.
fn topological(upstream: &[Vec<TaskIndex>], downstream: &[Vec<TaskIndex>]) -> Vec<TaskIndex> {
    let mut waiting: Vec<usize> = upstream.iter().map(Vec::len).collect();
    let mut order: Vec<TaskIndex> = (0..upstream.len()).filter(|&i| waiting[i] == 0).collect();
    let mut next = 0;
    while let Some(&done) = order.get(next) {
        next += 1;
        for &task in &downstream[done] {
            waiting[task] -= 1;
            if waiting[task] == 0 {
                order.push(task);
            }
        }
    }
    order
}

/// Walks from a task that is not in `order` to what it waits for until a task comes round again.
fn find_cycle(upstream: &[Vec<TaskIndex>], order: &[TaskIndex]) -> Vec<TaskIndex> {
    let mut ordered = vec![false; upstream.len()];
    order.iter().for_each(|&i| ordered[i] = true);
    let Some(mut task) = ordered.iter().position(|done| !done) else {
        return Vec::new();
    };
    let mut trail = Vec::new();
    loop {
        if let Some(start) = trail.iter().position(|&seen| seen == task) {
            return trail.split_off(start);
        }
        trail.push(task);
        match upstream[task].iter().find(|&&up| !ordered[up]) {
            Some(&up) => task = up,
            None => return trail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dag(tasks: &[(&str, &[&str])]) -> Result<Dag, Vec<DagError>> {
        let id = |text: &&str| TaskId::new(*text).expect("a slug");
        let owned: Vec<(TaskId, Vec<TaskId>)> = tasks
            .iter()
            .map(|(task, ups)| (id(task), ups.iter().map(id).collect()))
            .collect();
        Dag::new(owned.iter().map(|(task, ups)| (task, ups.as_slice())))
    }

    #[test]
    fn order_puts_each_task_after_what_it_waits_for() {
        let dag = dag(&[("c", &["a", "b"]), ("b", &["a"]), ("a", &[])]).expect("a graph");
        assert_eq!(dag.order(), [2, 1, 0]);
        assert_eq!(dag.ancestors(0), [1, 2]);
        assert_eq!(dag.downstream(2), [0, 1]);
    }

    #[test]
    fn cycles_are_named_by_their_path() {
        let errors = dag(&[("a", &[]), ("b", &["a", "d"]), ("c", &["b"]), ("d", &["c"])]).expect_err("a cycle");
        assert_eq!(errors[0].to_string(), "tasks wait for each other: b -> d -> c -> b");
        let own = dag(&[("a", &["a"])]).expect_err("a cycle");
        assert_eq!(own[0].to_string(), "tasks wait for each other: a -> a");
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let errors = dag(&[("a", &["x", "b", "b"]), ("b", &["y"])]).expect_err("three mistakes");
        assert_eq!(errors.len(), 3);
    }
}
