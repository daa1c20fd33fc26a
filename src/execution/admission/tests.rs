//! Who starts when: single rules, and moves at random under which nothing is ever overbooked and nobody starves.

use proptest::prelude::*;

use super::*;
use crate::core::{dag::TaskIndex, spec::ResourceRequirements};

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

fn capacity(tasks: u32, cpu: u64, gpu: u32) -> SystemResources {
    SystemResources {
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
    assert_eq!(refused.to_string(), "asks for 3 of cpu, which has 2 in all");
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
