//! Who belongs to an attempt, and ending all of them.
//!
//! [`members`] is pure: a table of processes and claims go in, the processes that belong go out. A process belongs
//! when it is, or descends from, one that kept the leader's session or group or that carries the attempt's mark in its
//! environment; and once it has been seen to belong, it stays so after its parents are gone. What gave up all of
//! that, and whose parents died before anybody looked, is told by exclusion where Petit adopts it ([`strays`](super::strays)), and by the
//! attempt's output if it holds that open; else it cannot be told from a stranger.
//!
//! Ending goes SIGTERM, grace, then SIGSTOP to all until no new one appears, then SIGKILL: a stopped process cannot
//! fork, so a tree that breeds faster than it is killed is frozen first. Without `/proc` only the group is signalled.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::procfs::{self, Mark, Marks, Process, ProcessId, StartTime};
use super::strays::Fate;
use super::{children, sys};

/// By what processes are recognised as belonging.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub leader: Option<ProcessId>,
    pub mark: Option<MarkClaim>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MarkClaim {
    /// This attempt and no other.
    Attempt(Mark),
    /// Every run of one Petit.
    Instance(Vec<u8>),
}

/// The trees of some claims, and everybody who was ever seen in them.
#[derive(Debug)]
pub(super) struct Tree {
    claims: Vec<Claim>,
    /// The group of a leader that is not collected yet, so that its number is certain.
    pinned_group: Option<u32>,
    seen: HashSet<ProcessId>,
    /// The attempt's output, as the kernel names it: whoever has it open belongs.
    output: Vec<PathBuf>,
    /// Whether strays belong whose attempts are all over.
    sweeps: bool,
    /// Strays that the last look was the first to count in.
    joined: Vec<ProcessId>,
    /// Whether the last look saw strays that are not for this tree to end.
    left_strays: bool,
}

/// The first pause between two looks; it doubles up to the last.
const FIRST_LOOK: Duration = Duration::from_millis(4);
const LAST_LOOK: Duration = Duration::from_millis(250);
/// How often a growing tree is frozen anew before it is killed all the same.
const FREEZE_ROUNDS: usize = 32;
/// After this long a process that survives SIGKILL is stuck in the kernel, or another user's.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A look may take one part of this many of a processor.
const LOOK_SHARE: u32 = 20;
/// However many processes a machine has, nobody waits longer than this for the next look.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the last look at the process table cost, in microseconds of processor time; it grows with the machine's processes.
static LOOK_MICROS: AtomicU64 = AtomicU64::new(2_000);

/// How long to pause between two looks at the process table of this machine. What lasted as long is worth a look of its own.
pub(super) fn pause_between_looks() -> Duration {
    pause_after(Duration::from_micros(LOOK_MICROS.load(Ordering::Relaxed)))
}

/// The same after a look that cost so much processor time. How long it took is another matter: on a busy machine a look waits
/// for its turn, or for processes that are within `exec`, and that burdens nobody.
pub(super) fn pause_after(cost: Duration) -> Duration {
    cost.saturating_mul(LOOK_SHARE).min(LONGEST_PAUSE)
}

/// Ends what outlived a Petit that died: the recorded processes with their sessions and groups, and whatever carries
/// the instance and a run in its environment. Returns those that could not be ended.
pub async fn end_leftovers(instance: &str, recorded: &[ProcessId], grace: Duration) -> Vec<ProcessId> {
    let recorded = recorded.iter().map(|id| Claim {
        leader: Some(*id),
        mark: None,
    });
    let marked = Claim {
        leader: None,
        mark: Some(MarkClaim::Instance(instance.into())),
    };
    Tree::new(recorded.chain([marked]).collect(), None)
        .end(grace, std::future::pending())
        .await
}

/// The living processes that belong to any of the claims. Neither this process nor its ancestors are ever among them:
/// a Petit that was started by a task of itself must not end its own parents.
pub(super) fn members(table: &[Process], claims: &[Claim], seen: &HashSet<ProcessId>, me: u32) -> Vec<Process> {
    let by_pid: HashMap<u32, &Process> = table.iter().map(|p| (p.id.pid, p)).collect();
    let mut spared = HashSet::from([0, 1, me]);
    let mut ancestor = Some(me);
    while let Some(process) = ancestor.and_then(|pid| by_pid.get(&pid)) {
        ancestor = spared.insert(process.parent).then_some(process.parent);
    }
    let candidates: Vec<&Process> = table
        .iter()
        .filter(|p| !p.zombie && !spared.contains(&p.id.pid))
        .collect();
    let belongs = |p: &&&Process| seen.contains(&p.id) || claims.iter().any(|claim| claim.holds(p, &by_pid));
    let mut found: HashSet<u32> = candidates.iter().filter(belongs).map(|p| p.id.pid).collect();
    loop {
        let before = found.len();
        let children = candidates
            .iter()
            .filter(|p| found.contains(&p.parent))
            .map(|p| p.id.pid);
        let children: Vec<u32> = children.collect();
        found.extend(children);
        if found.len() == before {
            break;
        }
    }
    candidates
        .into_iter()
        .filter(|p| found.contains(&p.id.pid))
        .cloned()
        .collect()
}

impl Claim {
    fn holds(&self, process: &Process, by_pid: &HashMap<u32, &Process>) -> bool {
        let by_mark = match (&self.mark, &process.mark) {
            (Some(MarkClaim::Attempt(wanted)), Some(mark)) => wanted == mark,
            (Some(MarkClaim::Instance(wanted)), Some(mark)) => mark.instance.as_ref() == Some(wanted),
            (None, _) | (_, None) => false,
        };
        by_mark || self.leader.is_some_and(|leader| leads(leader, process, by_pid))
    }

    pub(super) fn since(&self) -> Option<StartTime> {
        self.leader
            .map(|leader| leader.start_time)
            .filter(|start| *start != StartTime::UNKNOWN)
    }
}

/// Whether the process is the leader or kept its session or group, whose numbers are the leader's. They stay reserved
/// while anybody keeps them; when a younger process bears the leader's number, they have passed on to it.
fn leads(leader: ProcessId, process: &Process, by_pid: &HashMap<u32, &Process>) -> bool {
    let passed_on = || by_pid.get(&leader.pid).is_some_and(|now| now.id != leader);
    [process.id.pid, process.session, process.group].contains(&leader.pid)
        && process.id.start_time.is_since(leader.start_time)
        && !passed_on()
}

impl Tree {
    pub(super) fn new(claims: Vec<Claim>, pinned_group: Option<u32>) -> Self {
        Tree {
            claims,
            pinned_group,
            seen: HashSet::new(),
            output: Vec::new(),
            sweeps: false,
            joined: Vec::new(),
            left_strays: false,
        }
    }

    /// The same trees, with strays whose attempts are all over.
    pub(super) fn sweeping(self) -> Self {
        Tree { sweeps: true, ..self }
    }

    /// The same trees, with whoever has one of these open and began no earlier than the first leader.
    pub(super) fn holding(self, output: Vec<PathBuf>) -> Self {
        Tree { output, ..self }
    }

    /// Whether strays were left alone that somebody has to look at again when this attempt is over.
    pub(super) fn left_strays(&self) -> bool {
        self.left_strays
    }

    /// Ends everybody: politely, and after `grace`, or once `hurry` resolves, by force. Returns those that survived
    /// even that. Dropped half-way, it has done what it has done; another call goes on from there.
    pub(super) async fn end(&mut self, grace: Duration, hurry: impl Future<Output = ()>) -> Vec<ProcessId> {
        let mut hurry = pin!(hurry);
        let deadline = Instant::now() + grace;
        let members = self.look().await;
        if members.is_empty() && cfg!(target_os = "linux") {
            return Vec::new();
        }
        self.signal(&members, libc::SIGTERM);
        // A stopped process would only act on the SIGTERM once it is continued.
        self.signal(&members, libc::SIGCONT);
        let mut pause = FIRST_LOOK;
        loop {
            tokio::select! {
                () = sleep_until(deadline.min(Instant::now() + pause)) => {}
                () = &mut hurry => break,
            }
            if self.look().await.is_empty() && cfg!(target_os = "linux") {
                return Vec::new();
            }
            // Those that are known by exclusion may have to wait for the end of others, and are asked like all the rest. What
            // else is new was forked on the way out, perhaps to clean up, and has the rest of the grace for it.
            for stray in self.joined.drain(..) {
                signal_exactly(stray, libc::SIGTERM);
                signal_exactly(stray, libc::SIGCONT);
            }
            if Instant::now() >= deadline {
                break;
            }
            pause = (pause * 2).min(LAST_LOOK);
        }
        self.kill().await
    }

    async fn kill(&mut self) -> Vec<ProcessId> {
        // Begins with the first SIGKILL: on a busy machine it may take longer than this to freeze a tree.
        let mut patience = None;
        let mut pause = Duration::from_millis(1);
        loop {
            let members = self.freeze().await;
            self.signal(&members, libc::SIGKILL);
            let now = Instant::now();
            if members.is_empty() || patience.is_some_and(|patience| now >= patience) {
                let survivors: Vec<ProcessId> = members.into_iter().map(|p| p.id).collect();
                children::give_up(&survivors);
                return survivors;
            }
            patience.get_or_insert(now + KILL_PATIENCE);
            sleep(pause).await;
            pause = (pause * 2).min(FIRST_LOOK * 8);
        }
    }

    async fn freeze(&mut self) -> Vec<Process> {
        let mut frozen = HashSet::new();
        let mut members = self.look().await;
        for _ in 0..FREEZE_ROUNDS {
            let new: Vec<Process> = members.iter().filter(|p| frozen.insert(p.id)).cloned().collect();
            if new.is_empty() {
                break;
            }
            self.signal(&new, libc::SIGSTOP);
            members = self.look().await;
        }
        members
    }

    async fn look(&mut self) -> Vec<Process> {
        let (marks, since, output) = (self.marks(), self.since(), self.output.clone());
        let look = move || {
            let before = sys::thread_time();
            let table = procfs::table(marks);
            let cost = sys::thread_time().saturating_sub(before);
            LOOK_MICROS.store(cost.as_micros() as u64, Ordering::Relaxed);
            let strays = children::fates_of_strays(&table);
            let holders = since.map_or_else(Vec::new, |since| holders(&table, &output, since));
            let holders = children::not_started_here(holders);
            (table, strays, holders)
        };
        let Ok((table, strays, holders)) = tokio::task::spawn_blocking(look).await else {
            return Vec::new();
        };
        let (own, others): (Vec<_>, Vec<_>) = strays.into_iter().partition(|(_, fate)| match fate {
            Fate::Open => false,
            Fate::EndsWith(leader) => self.pinned_group == Some(*leader),
            Fate::LeftOver => self.sweeps,
        });
        self.left_strays = others.iter().any(|(id, _)| !self.seen.contains(id));
        self.joined = own.into_iter().map(|(id, _)| id).chain(holders).collect();
        self.joined.retain(|id| self.seen.insert(*id));
        let members = members(&table, &self.claims, &self.seen, std::process::id());
        self.seen.extend(members.iter().map(|p| p.id));
        members
    }

    fn marks(&self) -> Marks {
        if self.claims.iter().all(|claim| claim.mark.is_none()) {
            return Marks::Skip;
        }
        // A claim without a known start may hold the oldest process there is.
        self.since().map_or(Marks::All, Marks::Since)
    }

    /// When the first of the leaders began, if all are known.
    fn since(&self) -> Option<StartTime> {
        let starts: Option<Vec<StartTime>> = self.claims.iter().map(Claim::since).collect();
        starts?.into_iter().min()
    }

    /// Signals the pinned group at once, which no fork can slip through, and the others one by one.
    fn signal(&self, members: &[Process], signal: i32) {
        if let Some(group) = self.pinned_group {
            // That everybody in it is gone is what we want.
            let _ = sys::signal_group(group, signal);
        }
        let others = members.iter().filter(|p| Some(p.group) != self.pinned_group);
        others.for_each(|p| signal_exactly(p.id, signal));
    }
}

/// Who has the output open. Older processes are not asked: a terminal multiplexer, say, takes over the descriptors of its
/// clients, and is nobody's leftover. Neither is anybody in Petit's own session, where no attempt has a process.
fn holders(table: &[Process], output: &[PathBuf], since: StartTime) -> Vec<ProcessId> {
    if output.is_empty() {
        return Vec::new();
    }
    let me = std::process::id();
    let own = table.iter().find(|process| process.id.pid == me);
    let asked = table.iter().filter(|process| {
        !process.zombie
            && process.id.start_time.is_since(since)
            && own.is_some_and(|own| own.session != process.session)
    });
    let holders = asked.filter(|process| procfs::holds(process.id.pid, output));
    holders.map(|process| process.id).collect()
}

/// Signals this process and no later one of its number: the pidfd is opened first, then the start is compared, so the
/// descriptor names the process whose start was right.
fn signal_exactly(id: ProcessId, signal: i32) {
    let pidfd = sys::pidfd_open(id.pid);
    if procfs::start_time(id.pid) != Some(id.start_time) {
        return;
    }
    // A process that is gone by now needs no signal; one that may not be signalled will be found to survive.
    let _ = match pidfd {
        Ok(pidfd) => sys::signal_pidfd(&pidfd, signal),
        // Without descriptors left, the smaller certainty is better than a process that stays.
        Err(_) => sys::signal_process(id.pid, signal),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u32 = 10;

    fn process(pid: u32, parent: u32, session: u32, ticks: u64) -> Process {
        let id = ProcessId {
            pid,
            start_time: StartTime::new(1, ticks),
        };
        Process {
            id,
            parent,
            group: session,
            session,
            zombie: false,
            between_images: false,
            mark: None,
        }
    }

    fn mark(run: &str) -> Mark {
        Mark {
            instance: Some(b"i".into()),
            run: run.into(),
            task: Some(b"t".into()),
            attempt: Some(b"1".into()),
        }
    }

    fn leader(pid: u32, ticks: u64) -> Claim {
        Claim {
            leader: Some(ProcessId {
                pid,
                start_time: StartTime::new(1, ticks),
            }),
            mark: None,
        }
    }

    fn found(table: &[Process], claims: &[Claim], seen: &HashSet<ProcessId>) -> Vec<u32> {
        members(table, claims, seen, ME).iter().map(|p| p.id.pid).collect()
    }

    /// init, a shell, Petit, and an attempt with a child; a stranger.
    fn machine() -> Vec<Process> {
        vec![
            process(1, 0, 1, 0),
            process(5, 1, 5, 10),
            process(ME, 5, 5, 20),
            process(100, ME, 100, 50),
            process(101, 100, 100, 51),
            process(200, 1, 200, 60),
        ]
    }

    #[test]
    fn session_group_and_descent_belong() {
        let mut table = machine();
        table.push(process(102, 1, 100, 52)); // orphaned, kept the session
        table.push(process(103, 101, 103, 53)); // own session, known by its parent
        table.push(process(104, 103, 104, 54)); // and its child
        let mut other_group = process(105, 1, 100, 55);
        other_group.group = 105;
        table.push(other_group);
        assert_eq!(
            found(&table, &[leader(100, 50)], &HashSet::new()),
            [100, 101, 102, 103, 104, 105]
        );
    }

    #[test]
    fn a_mark_finds_what_left_session_and_parents() {
        let mut table = machine();
        let mut escaped = process(110, 1, 110, 70);
        escaped.mark = Some(mark("r1"));
        let mut other_run = process(111, 1, 111, 71);
        other_run.mark = Some(mark("r2"));
        table.extend([escaped, other_run, process(112, 110, 112, 72)]);
        let mut claim = leader(100, 50);
        claim.mark = Some(MarkClaim::Attempt(mark("r1")));
        assert_eq!(found(&table, &[claim], &HashSet::new()), [100, 101, 110, 112]);
        let instance = Claim {
            leader: None,
            mark: Some(MarkClaim::Instance(b"i".into())),
        };
        assert_eq!(found(&table, &[instance], &HashSet::new()), [110, 111, 112]);
    }

    #[test]
    fn a_reused_number_is_not_the_leader() {
        let mut table = machine();
        assert_eq!(
            found(&table, &[leader(200, 40)], &HashSet::new()),
            [0; 0],
            "younger process, same number"
        );
        table.retain(|p| p.id.pid != 200);
        table.push(process(201, 1, 200, 61));
        assert_eq!(
            found(&table, &[leader(200, 60)], &HashSet::new()),
            [201],
            "the number is reserved by its session"
        );
        assert_eq!(
            found(&table, &[leader(200, 62)], &HashSet::new()),
            [0; 0],
            "older than the leader"
        );
        let other_boot = ProcessId {
            pid: 100,
            start_time: StartTime::new(2, 50),
        };
        let claim = Claim {
            leader: Some(other_boot),
            mark: None,
        };
        assert_eq!(found(&table, &[claim], &HashSet::new()), [0; 0]);
    }

    #[test]
    fn once_seen_it_belongs_and_zombies_do_not() {
        let mut table = machine();
        table.push(process(120, 1, 120, 70));
        let seen = HashSet::from([ProcessId {
            pid: 120,
            start_time: StartTime::new(1, 70),
        }]);
        table[3].zombie = true;
        assert_eq!(found(&table, &[leader(100, 50)], &seen), [101, 120]);
        let seen = HashSet::from([ProcessId {
            pid: 120,
            start_time: StartTime::new(1, 69),
        }]);
        assert_eq!(found(&table, &[leader(100, 50)], &seen), [101]);
    }

    #[test]
    fn looks_take_a_twentieth_of_a_processor_and_are_never_far_apart() {
        let (micros, millis) = (Duration::from_micros, Duration::from_millis);
        for (cost, pause) in [
            (Duration::ZERO, Duration::ZERO),
            (micros(800), millis(16)),
            (millis(100), millis(2_000)),
            (millis(250), millis(5_000)),
            (millis(251), millis(5_000)),
            (Duration::MAX, millis(5_000)),
        ] {
            assert_eq!(pause_after(cost), pause, "{cost:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn who_was_frozen_slowly_is_no_survivor_before_sigkill_had_its_time() {
        let command = children::Command {
            argv: vec!["sleep".into(), "600".into()],
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            working_dir: "/".into(),
        };
        let (child, _output) = children::spawn(&command).expect("every system sleeps");
        let claim = Claim {
            leader: Some(child.id()),
            mark: None,
        };
        let mut tree = Tree::new(vec![claim], Some(child.id().pid));
        // Polled while the first look is under way. What follows takes the time that it takes.
        let stall = async {
            tokio::time::advance(KILL_PATIENCE * 2).await;
            tokio::time::resume();
        };
        let (survivors, ()) = tokio::join!(tree.kill(), stall);
        assert_eq!(survivors, []);
    }

    #[test]
    fn neither_petit_nor_its_ancestors_are_ever_ended() {
        let mut table = machine();
        for process in &mut table {
            process.mark = Some(mark("r1"));
        }
        let instance = Claim {
            leader: None,
            mark: Some(MarkClaim::Instance(b"i".into())),
        };
        assert_eq!(found(&table, &[instance], &HashSet::new()), [100, 101, 200]);
        assert_eq!(found(&table, &[leader(5, 10)], &HashSet::new()), [0; 0]);
    }
}
