//! What a Petit that died left behind: runs without an end, and perhaps processes.
//!
//! [`recover`] is pure: it takes the journal's unfinished runs apart. [`end_leftovers`] then ends the processes, and only
//! after that may the runs go on, or an attempt would run beside its predecessor. That attempts without an end became
//! interrupted, and which tasks are tried again, is decided by the run's own machine when it
//! [begins](super::machine::RunMachine::begin), in the same commit as everything that follows from it.

use std::time::Duration;

use super::process::{self, ProcessId, StartTime};
use crate::{core::state::RunStatus, storage::RunDetail};

/// The unfinished runs, by what has to happen with them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recovered {
    /// No task of these was ever granted: whether they still may start is for the one that created them to say.
    pub queued: Vec<RunDetail>,
    /// These go on: hand each to the executor.
    pub going: Vec<RunDetail>,
    /// The recorded processes of attempts that have no end.
    pub processes: Vec<ProcessId>,
}

/// Takes the journal's unfinished runs apart.
pub fn recover(unfinished: Vec<RunDetail>) -> Recovered {
    let mut recovered = Recovered::default();
    for detail in unfinished {
        let open = detail.attempts.iter().filter(|attempt| attempt.ending.is_none());
        recovered.processes.extend(open.filter_map(|attempt| {
            let start = attempt.pid_start.map_or(StartTime::UNKNOWN, StartTime::from_u64);
            attempt.pid.map(|pid| ProcessId { pid, start_time: start })
        }));
        match detail.run.status {
            RunStatus::Queued => recovered.queued.push(detail),
            RunStatus::Running => recovered.going.push(detail),
            RunStatus::Succeeded
            | RunStatus::Failed
            | RunStatus::Cancelled
            | RunStatus::Interrupted
            | RunStatus::TimedOut => {}
        }
    }
    recovered
}

/// Ends the processes that outlived an earlier Petit of this `instance`: those recorded, with their sessions and groups,
/// and, since a crash can fall between a start and its record, those whose environment names the instance and a run.
pub async fn end_leftovers(instance: &str, recorded: &[ProcessId], grace: Duration) {
    let survivors = process::end_leftovers(instance, recorded, grace).await;
    if !survivors.is_empty() {
        tracing::warn!(?survivors, "processes of an earlier Petit could not be ended");
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::core::{
        Timestamp,
        ending::Ending,
        id::{JobId, RunId, SpecHash, TaskId},
        record::{AttemptRecord, RunRecord, TaskRecord},
        state::{TaskState, Trigger},
    };

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(second, 0).expect("a valid instant")
    }

    fn detail(status: RunStatus, attempts: &[(Option<u32>, Option<Ending>)]) -> RunDetail {
        let run = RunId::from_parts(at(0), 1);
        let task = TaskId::new("t").expect("a slug");
        let attempt = |(number, (pid, ending)): (u32, &(Option<u32>, Option<Ending>))| AttemptRecord {
            ending: *ending,
            pid: *pid,
            pid_start: Some(77),
            ..AttemptRecord::granted(run, task.clone(), number, at(0))
        };
        RunDetail {
            run: RunRecord {
                status,
                ..RunRecord::queued(
                    run,
                    JobId::new("j").expect("a slug"),
                    SpecHash::of(b""),
                    Trigger::Manual,
                    at(0),
                )
            },
            tasks: vec![TaskRecord {
                state: TaskState::Running,
                attempts: 2,
                ..TaskRecord::pending(run, task.clone())
            }],
            attempts: (1..).zip(attempts).map(attempt).collect(),
        }
    }

    #[test]
    fn only_open_attempts_have_processes_to_end() {
        let going = detail(
            RunStatus::Running,
            &[(Some(10), Some(Ending::Exited(1))), (Some(11), None), (None, None)],
        );
        let queued = detail(RunStatus::Queued, &[]);
        let recovered = recover(vec![queued.clone(), going.clone()]);
        let process = ProcessId {
            pid: 11,
            start_time: StartTime::from_u64(77),
        };
        assert_eq!(
            recovered,
            Recovered {
                queued: vec![queued],
                going: vec![going],
                processes: vec![process]
            }
        );
    }
}
