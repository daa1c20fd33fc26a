//! Who starts when: single rules, and moves at random under which nothing is ever overbooked and nobody starves.

use proptest::prelude::*;

use super::*;
use crate::core::{dag::TaskIndex, spec::ResourceRequirements, units::ByteSize};

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

/// What one task asks for at random: none of it is more than the whole of [`everything`].
#[derive(Debug, Clone, Copy)]
struct Need {
    priority: i32,
    cpu_quarters: u32,
    memory_mib: u64,
    gpu: u32,
    database: u32,
}

#[derive(Debug, Clone)]
enum Move {
    Ask(Need),
    EndOldest,
    EndNewest,
    /// A task that waits is cancelled.
    WithdrawNewest,
}

const PLACES: u32 = 5;
const CPU_QUARTERS: u32 = 16;
const MEMORY_MIB: u64 = 1_024;
const GPUS: u32 = 2;
const DATABASES: u32 = 3;

fn everything() -> SystemResources {
    SystemResources {
        tasks: PLACES,
        cpu_millis: u64::from(CPU_QUARTERS) * 250,
        memory_bytes: MEMORY_MIB << 20,
        pools: BTreeMap::from([("gpu".to_owned(), GPUS), ("database".to_owned(), DATABASES)]),
    }
}

fn need() -> impl Strategy<Value = Need> {
    // Half of them do without, as most tasks do without most resources.
    fn some<T: Copy + Default + std::fmt::Debug + 'static>(
        range: impl Strategy<Value = T> + 'static,
    ) -> BoxedStrategy<T> {
        prop_oneof![Just(T::default()), range].boxed()
    }
    (
        0..3i32,
        some(1..=CPU_QUARTERS),
        some(1..=MEMORY_MIB),
        some(1..=GPUS),
        some(1..=DATABASES),
    )
        .prop_map(|(priority, cpu_quarters, memory_mib, gpu, database)| Need {
            priority,
            cpu_quarters,
            memory_mib,
            gpu,
            database,
        })
}

fn moves(lengths: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Move>> {
    proptest::collection::vec(
        prop_oneof![
            8 => need().prop_map(Move::Ask),
            4 => Just(Move::EndOldest),
            3 => Just(Move::EndNewest),
            1 => Just(Move::WithdrawNewest),
        ],
        lengths,
    )
}

impl Need {
    fn request(self, task: TaskIndex) -> Request {
        let pools = [("gpu", self.gpu), ("database", self.database)];
        let resources = ResourceRequirements {
            slots: pools
                .into_iter()
                .filter(|(_, slots)| *slots > 0)
                .map(|(name, slots)| (name.to_owned(), slots))
                .collect(),
            cpu: (self.cpu_quarters > 0).then(|| f64::from(self.cpu_quarters) / 4.0),
            memory: (self.memory_mib > 0).then(|| ByteSize::from_bytes(self.memory_mib << 20)),
        };
        Request::new(key(task), self.priority, at(task as i64), None, &resources)
    }
}

/// A task that waits, and all that must end before it has a right to start.
struct Claim {
    task: TaskIndex,
    need: Need,
    before: Vec<TaskIndex>,
}

/// Checked against a list: no capacity is exceeded, nothing is left waiting on idle pools, and a request starts as soon as
/// all that ran when it came and all that rank before it have ended.
fn never_too_much_and_never_too_late(moves: Vec<Move>) -> Result<(), TestCaseError> {
    let mut admission = Admission::new(everything());
    let mut running: Vec<(TaskIndex, Need)> = Vec::new();
    let mut waiting: Vec<Claim> = Vec::new();
    for (task, next) in moves.into_iter().enumerate() {
        match next {
            Move::Ask(need) => {
                admission.request(need.request(task)).expect("no more than the whole");
                let mut before: Vec<TaskIndex> = running.iter().map(|(task, _)| *task).collect();
                let (behind, ahead): (Vec<_>, Vec<_>) = waiting
                    .iter_mut()
                    .partition(|other| other.need.priority < need.priority);
                before.extend(ahead.iter().map(|other| other.task));
                behind.into_iter().for_each(|other| other.before.push(task));
                waiting.push(Claim { task, need, before });
            }
            Move::EndOldest | Move::EndNewest => {
                let Some(last) = running.len().checked_sub(1) else {
                    continue;
                };
                let index = if matches!(next, Move::EndOldest) { 0 } else { last };
                let (ended, _) = running.remove(index);
                admission.release(key(ended));
                forget(&mut waiting, ended);
            }
            Move::WithdrawNewest => {
                let Some(claim) = waiting.pop() else { continue };
                admission.withdraw(key(claim.task));
                forget(&mut waiting, claim.task);
            }
        }
        for granted in admission.admit() {
            let position = waiting
                .iter()
                .position(|claim| claim.task == granted.task)
                .expect("it was waiting");
            let Claim { task, need, .. } = waiting.remove(position);
            running.push((task, need));
        }
        let held = |amount: fn(&Need) -> u64| running.iter().map(|(_, need)| amount(need)).sum::<u64>();
        prop_assert!(running.len() <= PLACES as usize);
        prop_assert!(held(|need| need.cpu_quarters.into()) <= CPU_QUARTERS.into());
        prop_assert!(held(|need| need.memory_mib) <= MEMORY_MIB);
        prop_assert!(held(|need| need.gpu.into()) <= GPUS.into());
        prop_assert!(held(|need| need.database.into()) <= DATABASES.into());
        prop_assert!(!running.is_empty() || waiting.is_empty());
        for claim in &waiting {
            prop_assert!(!claim.before.is_empty(), "task {} waits for nobody", claim.task);
        }
        prop_assert_eq!(admission.waiting().len(), waiting.len());
    }
    Ok(())
}

fn forget(waiting: &mut [Claim], gone: TaskIndex) {
    for claim in waiting {
        claim.before.retain(|task| *task != gone);
    }
}

proptest! {
    #[test]
    fn a_few_requests_are_never_too_much_and_never_too_late(moves in moves(1..60)) {
        never_too_much_and_never_too_late(moves)?;
    }
}

proptest! {
    // Each has some thousand requests, in a queue that becomes long.
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(8) })]

    #[test]
    fn a_thousand_requests_are_never_too_much_and_never_too_late(moves in moves(2_000..2_200)) {
        let asked = moves.iter().filter(|next| matches!(next, Move::Ask(_))).count();
        prop_assume!(asked >= 1_000);
        never_too_much_and_never_too_late(moves)?;
    }
}
