//! The critical path of a run: the chain of tasks that decided when it ended.
//!
//! It is found backwards, as one reads it off a trace: from the task that ended last to the one among its dependencies
//! that ended last, because only that one it had to wait for in the end, and so on to a task that waited for none. This is
//! the "driving predecessor" of the critical path method (Kelley and Walker, 1959) applied to what happened instead of to
//! estimates, as CRISP does with traces of services (Zhang and others, USENIX ATC 2022). Making any other task faster
//! would not have ended the run earlier.
//!
//! Dependencies are all it knows. That a task waited for a slot which a task beside it held is not followed: the path shows
//! the wait as part of the task that waited, and `waiting` says who held the slot.

use crate::core::{
    Timestamp,
    dag::{Dag, TaskIndex},
};

/// When a task was over, or that it is not. What goes on will end after all that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// Then.
    At(Timestamp),
    /// An attempt goes on.
    Open,
}

/// The tasks of the path, the first one first. `ends` says for each task when its last attempt was over; a task that was
/// never tried has none. It is not on the path, but the path goes through it: what waited for it waited in truth for the
/// last of those above it. Of two that ended at once, the first one of the graph counts.
pub(super) fn critical_path(dag: &Dag, ends: &[Option<End>]) -> Vec<TaskIndex> {
    // For each task, the tried task that decided when it was over: itself, or for an untried one the last one above.
    let mut deciders: Vec<Option<TaskIndex>> = vec![None; dag.len()];
    for &task in dag.order() {
        deciders[task] = match ends[task] {
            Some(_) => Some(task),
            None => last(dag.upstream(task).iter().filter_map(|&up| deciders[up]), ends),
        };
    }
    let mut path = Vec::new();
    let mut here = last(deciders.iter().flatten().copied(), ends);
    while let Some(task) = here {
        path.push(task);
        here = last(dag.upstream(task).iter().filter_map(|&up| deciders[up]), ends);
    }
    path.reverse();
    path
}

fn last(tasks: impl Iterator<Item = TaskIndex>, ends: &[Option<End>]) -> Option<TaskIndex> {
    tasks.max_by_key(|&task| (ends[task], std::cmp::Reverse(task)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::id::TaskId;

    fn at(second: i64) -> Option<End> {
        Timestamp::from_timestamp(second, 0).map(End::At)
    }

    /// A graph of `(name, what it waits for)`.
    fn dag(tasks: &[(&str, &[&str])]) -> Dag {
        let id = |name: &&str| name.parse::<TaskId>().expect("a name");
        let tasks: Vec<(TaskId, Vec<TaskId>)> = tasks
            .iter()
            .map(|(name, above)| (id(name), above.iter().map(id).collect()))
            .collect();
        Dag::new(tasks.iter().map(|(id, above)| (id, above.as_slice()))).expect("a graph")
    }

    fn names(dag: &Dag, ends: &[Option<End>]) -> Vec<String> {
        let path = critical_path(dag, ends);
        path.into_iter().map(|task| dag.id(task).to_string()).collect()
    }

    #[test]
    fn the_later_of_two_branches_decides() {
        let diamond = dag(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])]);
        assert_eq!(names(&diamond, &[at(1), at(5), at(9), at(10)]), ["a", "c", "d"]);
        assert_eq!(names(&diamond, &[at(1), at(9), at(5), at(10)]), ["a", "b", "d"]);
        assert_eq!(
            names(&diamond, &[at(1), at(9), at(9), at(10)]),
            ["a", "b", "d"],
            "the first one"
        );
    }

    #[test]
    fn a_task_beside_the_others_that_ends_last_is_the_path() {
        let apart = dag(&[("a", &[]), ("b", &["a"]), ("slow", &[])]);
        assert_eq!(names(&apart, &[at(1), at(2), at(9)]), ["slow"]);
    }

    #[test]
    fn the_path_goes_through_what_was_never_tried() {
        // `load` did not run because `extract` failed; `mail` ran all the same.
        let handler = dag(&[("extract", &[]), ("load", &["extract"]), ("mail", &["load"])]);
        assert_eq!(names(&handler, &[at(3), None, at(5)]), ["extract", "mail"]);
        assert_eq!(names(&handler, &[at(3), None, None]), ["extract"]);
        assert_eq!(names(&handler, &[None, None, None]), [""; 0]);
    }

    #[test]
    fn what_goes_on_ends_after_all_that_has_ended() {
        let two = dag(&[("a", &[]), ("b", &["a"]), ("c", &["a"])]);
        assert_eq!(names(&two, &[at(1), Some(End::Open), at(90)]), ["a", "b"]);
    }

    /// A graph in which tasks wait for earlier ones only, and when each was over.
    fn anything() -> impl Strategy<Value = (Dag, Vec<Option<End>>)> {
        let task = (any::<u16>(), proptest::option::weighted(0.8, 0_i64..20));
        proptest::collection::vec(task, 1..10).prop_map(|tasks| {
            let id = |at: usize| format!("t{at}").parse::<TaskId>().expect("a name");
            let above = |at: usize, mask: u16| (0..at).filter(move |up| mask >> up & 1 == 1).map(id).collect();
            let graph: Vec<(TaskId, Vec<TaskId>)> = tasks
                .iter()
                .enumerate()
                .map(|(place, (mask, _))| (id(place), above(place, *mask)))
                .collect();
            let dag = Dag::new(graph.iter().map(|(id, above)| (id, above.as_slice()))).expect("no cycle");
            let ends = tasks
                .into_iter()
                .map(|(_, end)| end.map(|end| at(end).expect("an instant")))
                .collect();
            (dag, ends)
        })
    }

    proptest! {
        #[test]
        fn every_step_is_the_last_of_those_it_waited_for((dag, ends) in anything()) {
            let path = critical_path(&dag, &ends);
            let latest = ends.iter().flatten().max();
            prop_assert_eq!(path.last().and_then(|&task| ends[task].as_ref()), latest, "it ends when the run does");
            for (place, &task) in path.iter().enumerate() {
                prop_assert!(ends[task].is_some(), "only tried tasks");
                let ancestors = dag.ancestors(task);
                // Those that it waited for with nothing tried in between.
                let direct = ancestors.iter().copied().filter(|&up| {
                    ends[up].is_some() && reaches_untried(&dag, &ends, up, task)
                });
                let decided = direct.max_by_key(|&up| (ends[up], std::cmp::Reverse(up)));
                prop_assert_eq!(place.checked_sub(1).map(|before| path[before]), decided);
            }
        }
    }

    /// Whether a way leads from one task to another over untried tasks only.
    fn reaches_untried(dag: &Dag, ends: &[Option<End>], from: TaskIndex, to: TaskIndex) -> bool {
        dag.downstream(from)
            .iter()
            .any(|&next| next == to || (ends[next].is_none() && reaches_untried(dag, ends, next, to)))
    }
}
