//! A story: the loop, the machine on which it runs, and what happens to both.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    fmt,
    rc::Rc,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use chrono::DateTime;
use tokio::sync::{oneshot, watch};

use super::{
    States,
    audit::{Audit, GUARD, check_history, check_journal},
    disk::{Disk, Micros, Mount, ms},
    script::{Act, LINKED, PATHS, Text},
};
use crate::{
    config::settings::Settings,
    core::{Timestamp, active::ActiveSet, capacity::SystemResources, id::JobId, record::Actor},
    events::EventBus,
    reconcile::{
        desired::{Check, Verdict},
        journal::load_active,
        options::Options,
        plan::PlanId,
        scan::{Look, SourceUnavailable, Trust},
        service::{
            Ask, SyncOutcome,
            waiting::Waiter,
            worker::{Message, Worker},
            world::World,
        },
        status::{Source, SyncState, SyncStatus},
        watch::{WatchList, Watching},
    },
    storage::{Change, Memory, Storage, StorageError},
    testing::story::Dice,
};

/// How often the loop looks, whatever it hears.
const RESYNC: Micros = ms(30_000);
/// How long a look, a removal and everything else on the way may take beyond that.
const SLACK: Micros = ms(6_000);

/// What became of the stories that were told.
#[derive(Debug, Default)]
pub struct Tally {
    pub looks: u64,
    pub commits: u64,
    pub crashes: u64,
    pub lost_events: u64,
    pub held: u64,
    pub states: States,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            looks,
            commits,
            crashes,
            lost_events,
            held,
            states,
        } = self;
        let states = states.len();
        write!(
            f,
            "states {states}, looks {looks}, commits {commits}, crashes {crashes}, lost events {lost_events}, held plans {held}"
        )
    }
}

/// What the journal's disk does at the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    /// It is full for so many commits.
    Full(u64),
    CrashBeforeCommit,
    CrashAfterCommit,
    CrashAfterSwap,
    /// The process has ended: what it does from here on is not seen by anybody.
    Crashed,
}

/// The simulated machine, as the loop knows it.
struct Simulated {
    disk: Rc<RefCell<Disk>>,
    born: Instant,
    journal: Arc<Memory>,
    wall: Arc<AtomicU64>,
    fate: Rc<Cell<Fate>>,
    commits: Rc<Cell<u64>>,
    watching: Watching,
    armed: bool,
    aloud: bool,
}

impl World for Simulated {
    fn instant(&self) -> Instant {
        self.born + Duration::from_micros(self.disk.borrow().now)
    }

    fn wall(&self) -> SystemTime {
        self.disk.borrow().wall()
    }

    fn look(&mut self, wall: SystemTime) -> Result<Look, SourceUnavailable> {
        let began = self.disk.borrow().now;
        let look = self.disk.borrow_mut().look(wall);
        if self.aloud {
            let at = |micros: Micros| Duration::from_micros(micros).as_secs_f64();
            let found = match &look {
                Ok(look) => format!("{:?}, blind {:?}", look.files.keys(), look.blind.keys()),
                Err(error) => error.to_string(),
            };
            eprintln!(
                "{:9.3} looked until {:.3}: {found}",
                at(began),
                at(self.disk.borrow().now)
            );
        }
        look
    }

    fn arm(&mut self, _: &WatchList, afresh: bool) -> bool {
        if self.armed && !afresh {
            return false;
        }
        let mut disk = self.disk.borrow_mut();
        self.armed = true;
        if !disk.gives_watches {
            let reason = "no watches left".to_owned();
            self.watching = Watching::Polling { reason };
            disk.listening = false;
            return false;
        }
        self.watching = Watching::Native;
        !std::mem::replace(&mut disk.listening, true)
    }

    fn watching(&self) -> &Watching {
        &self.watching
    }

    fn commit(&mut self, changes: Vec<Change>) -> Result<(), StorageError> {
        match self.fate.get() {
            Fate::Full(left) => {
                self.fate.set(if left > 1 { Fate::Full(left - 1) } else { Fate::Well });
                return Err(StorageError::Closed);
            }
            Fate::CrashBeforeCommit | Fate::Crashed => {
                self.fate.set(Fate::Crashed);
                return Err(StorageError::Closed);
            }
            Fate::CrashAfterCommit => self.fate.set(Fate::Crashed),
            Fate::Well | Fate::CrashAfterSwap => {}
        }
        self.wall.store(micros(self.wall()), Ordering::Relaxed);
        self.commits.set(self.commits.get() + 1);
        self.journal.commit(changes).wait_blocking()
    }
}

fn micros(wall: SystemTime) -> u64 {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_micros()).expect("this century")
}

/// Judges as the daemon does, and each content once for all stories.
fn check() -> Arc<Check> {
    type Known = Mutex<HashMap<(String, Vec<u8>), Verdict>>;
    static CHECK: LazyLock<Arc<Check>> = LazyLock::new(|| {
        let capacity = SystemResources {
            tasks: 4,
            cpu_millis: 4_000,
            memory_bytes: 1 << 30,
            pools: BTreeMap::default(),
        };
        let real = Options::from_settings("/simulated/jobs.d".into(), &Settings::default(), capacity).check;
        let known: Known = Mutex::default();
        Arc::new(move |path: &str, bytes: &[u8]| {
            let key = (path.to_owned(), bytes.to_vec());
            let mut known = known.lock().expect("not poisoned");
            known.entry(key).or_insert_with(|| real(path, bytes)).clone()
        })
    });
    Arc::clone(&CHECK)
}

/// A sync that waits for its answer.
struct Asked {
    at: Micros,
    answer: oneshot::Receiver<SyncOutcome>,
}

pub struct Tale {
    aloud: bool,
    dice: Dice,
    disk: Rc<RefCell<Disk>>,
    born: Instant,
    journal: Arc<Memory>,
    wall: Arc<AtomicU64>,
    fate: Rc<Cell<Fate>>,
    commits: Rc<Cell<u64>>,
    options: Options,
    worker: Worker<Simulated>,
    active: watch::Receiver<Arc<ActiveSet>>,
    status: watch::Receiver<Arc<SyncStatus>>,
    audit: Audit,
    asked: Vec<Asked>,
    /// Whether a sync that was not answered yet approves a plan.
    approving: bool,
    looks: u64,
    crashes: u64,
    held: u64,
    states: States,
}

impl Tale {
    pub fn new(seed: u64, aloud: bool) -> Self {
        let mut dice = Dice::new(seed);
        let mut disk = Disk::new(Dice::new(!seed));
        disk.lost = *dice.pick(&[0, 10, 50, 100]);
        disk.slow = *dice.pick(&[ms(1), ms(1), ms(20), ms(300)]);
        disk.sloppy = dice.chance(20);
        for path in PATHS {
            if dice.chance(70) {
                let text = Arc::new(Text::of(path, &mut dice));
                disk.put(path, text);
            }
        }
        let wall = Arc::new(AtomicU64::new(micros(disk.wall())));
        let clock = Arc::clone(&wall);
        let journal = Memory::with_clock(Box::new(move || {
            let micros = i64::try_from(clock.load(Ordering::Relaxed)).expect("this century");
            DateTime::from_timestamp_micros(micros).expect("an instant")
        }));
        let capacity = SystemResources {
            tasks: 4,
            cpu_millis: 4_000,
            memory_bytes: 1 << 30,
            pools: BTreeMap::default(),
        };
        let mut options = Options::from_settings("/simulated/jobs.d".into(), &Settings::default(), capacity);
        options.trust = Trust::Anyone;
        options.resync = Duration::from_micros(RESYNC);
        options.prune_guard = GUARD;
        options.check = check();
        let (disk, journal) = (Rc::new(RefCell::new(disk)), Arc::new(journal));
        let (fate, commits) = (Rc::new(Cell::new(Fate::Well)), Rc::new(Cell::new(0)));
        let born = Instant::now();
        let world = Simulated {
            disk: Rc::clone(&disk),
            born,
            journal: Arc::clone(&journal),
            wall: Arc::clone(&wall),
            fate: Rc::clone(&fate),
            commits: Rc::clone(&commits),
            watching: Watching::Native,
            armed: false,
            aloud,
        };
        let (worker, active, status) = start(&options, world);
        Self {
            aloud,
            dice,
            disk,
            born,
            journal,
            wall,
            fate,
            commits,
            options,
            worker,
            active,
            status,
            audit: Audit::default(),
            asked: Vec::new(),
            approving: false,
            looks: 0,
            crashes: 0,
            held: 0,
            states: States::default(),
        }
    }

    pub fn tell(mut self, tally: &mut Tally) {
        for _ in 0..30 + self.dice.below(50) {
            let act = Act::roll(&mut self.dice);
            self.act(act);
            let pause = *self.dice.pick(&[1, 20, 100, 200, 500, 1_500, 2_500, 12_000]);
            let until = self.now() + ms(self.dice.below(pause) + 1);
            self.live(until);
        }
        self.say(|| "the end".to_owned());
        self.end();
        tally.looks += self.looks;
        tally.commits += self.commits.get();
        tally.crashes += self.crashes;
        tally.lost_events += self.disk.borrow().lost_events;
        tally.held += self.held;
        tally.states.extend(self.states);
    }

    fn now(&self) -> Micros {
        self.disk.borrow().now
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.aloud {
            let now = Duration::from_micros(self.now());
            eprintln!("{:9.3} {}", now.as_secs_f64(), what());
        }
    }

    /// Lets the machine run.
    fn live(&mut self, until: Micros) {
        loop {
            let next_look = self.worker.next_look().saturating_duration_since(self.born);
            let next_look = u64::try_from(next_look.as_micros()).expect("a short story");
            let next = self.disk.borrow().next().map_or(next_look, |next| next.min(next_look));
            if next > until {
                break;
            }
            self.disk.borrow_mut().pass(next);
            if std::mem::take(&mut self.disk.borrow_mut().arrived) {
                let _ = self.worker.hear(Message::Dirty);
            }
            if next_look <= self.now() {
                self.step();
            }
        }
        let mut disk = self.disk.borrow_mut();
        disk.pass(until);
    }

    fn step(&mut self) {
        self.looks += 1;
        let commits = self.commits.get();
        self.worker.step();
        let approving = std::mem::take(&mut self.approving);
        let committed = self.commits.get() > commits;
        if self.fate.get() == Fate::Crashed {
            self.crash(approving);
            return;
        }
        let active = Arc::clone(&self.active.borrow());
        if !Arc::ptr_eq(&active, &self.audit.active) {
            self.say(|| format!("active: {:?}", brief(&active)));
            self.audit.swapped(&active, &self.disk.borrow(), approving);
            check_journal(&self.journal, &active);
        }
        if committed {
            let left = self.worker.left_to_do();
            assert!(left.is_empty(), "planned again, there was left to do:\n{left}");
            let waiting = self.status.borrow().waiting_plan.clone();
            assert_eq!(waiting, left.waits_for_approval().then(|| left.id.clone()));
            self.held += u64::from(waiting.is_some());
            self.say(|| {
                format!(
                    "committed: {:?}, waits: {waiting:?}",
                    self.journal.reconciles(1).expect("a journal in memory")[0].actions
                )
            });
            self.states.insert(left.id.to_string());
            if self.fate.get() == Fate::CrashAfterSwap {
                self.crash(approving);
                return;
            }
        }
        self.hear_answers();
    }

    /// A sync that says that all is well must mean what was there when it was asked for.
    fn hear_answers(&mut self) {
        let (active, disk) = (Arc::clone(&self.active.borrow()), self.disk.borrow());
        let mut asked = std::mem::take(&mut self.asked);
        asked.retain_mut(|asked| {
            let Ok(outcome) = asked.answer.try_recv() else {
                return true;
            };
            self.say(|| format!("answered: {}, {:?}", outcome.synced, outcome.approval));
            if outcome.synced && !disk.sloppy && disk.mount == Mount::Here {
                let since = |written: Micros| written < asked.at;
                let stood = disk
                    .files
                    .iter()
                    .filter(|(_, node)| since(node.written) && !node.unreadable);
                for (path, node) in stood {
                    let text = node.text.as_ref().filter(|text| text.is_good);
                    let text = text.unwrap_or_else(|| panic!("all synced, and {path} is no job"));
                    let job = text.job(path);
                    let follows = active.get(&job).is_some_and(|active| follows(active, path, text));
                    assert!(follows, "all synced, and {job} is not what stands in {path}");
                }
            }
            false
        });
        drop(disk);
        self.asked = asked;
    }

    /// The process ends here, and another one begins.
    fn crash(&mut self, approving: bool) {
        self.crashes += 1;
        let active = load_active(&*self.journal, Timestamp::from(self.disk.borrow().wall()));
        let active = Arc::new(active.expect("a journal in memory").active);
        if active != self.audit.active {
            self.say(|| format!("crashed on the way to {:?}", brief(&active)));
            self.audit.swapped(&active, &self.disk.borrow(), approving);
        }
        self.restart();
    }

    fn restart(&mut self) {
        self.fate.set(Fate::Well);
        self.asked.clear();
        {
            let mut disk = self.disk.borrow_mut();
            disk.restarted();
            let down = ms(*self.dice.pick(&[1, 100, 3_000, 90_000]));
            let until = disk.now + self.dice.below(down);
            disk.pass(until);
            disk.arrived = false;
        }
        self.wall.store(micros(self.disk.borrow().wall()), Ordering::Relaxed);
        let world = Simulated {
            disk: Rc::clone(&self.disk),
            born: self.born,
            journal: Arc::clone(&self.journal),
            wall: Arc::clone(&self.wall),
            fate: Rc::clone(&self.fate),
            commits: Rc::clone(&self.commits),
            watching: Watching::Native,
            armed: false,
            aloud: self.aloud,
        };
        (self.worker, self.active, self.status) = start(&self.options, world);
        let active = Arc::clone(&self.active.borrow());
        self.say(|| format!("restarted with {:?}", brief(&active)));
        self.audit.restarted(&active, self.now());
        check_journal(&self.journal, &active);
        check_history(&self.journal, &active);
    }

    fn act(&mut self, act: Act) {
        let path = *self.dice.pick(&PATHS);
        let text = Arc::new(Text::of(path, &mut self.dice));
        self.say(|| format!("{act:?} ({path})"));
        let mut disk = self.disk.borrow_mut();
        let reachable = disk.mount == Mount::Here;
        match act {
            Act::Write if reachable => {
                let pieces = 1 + self.dice.below(30);
                disk.write(path, text, pieces);
            }
            Act::Replace if reachable => disk.put(path, text),
            Act::WriteTwice if reachable => {
                disk.write(path, Arc::clone(&text), 1);
                let soon = disk.now + ms(1);
                disk.pass(soon);
                disk.write(path, Arc::new(text.of_the_same_length()), 1);
            }
            Act::DeleteAndCreate if reachable => {
                disk.remove(path);
                let at = disk.now + ms(self.dice.below(1_500));
                disk.create_at(path, text, at);
            }
            Act::Reword if reachable => {
                let text = disk.files.get(path).and_then(|node| node.text.clone());
                if let Some(text) = text {
                    disk.put(path, Arc::new(text.reworded()));
                }
            }
            Act::Truncate if reachable => disk.truncate(path),
            Act::Remove if reachable => disk.remove(path),
            Act::RemoveMany if reachable => {
                let between = ms(*self.dice.pick(&[0, 100, 1_500, 5_000]));
                let mut at = disk.now;
                for path in PATHS {
                    if self.dice.chance(80) {
                        at += between;
                        disk.remove_at(path, at);
                    }
                }
            }
            Act::Rename if reachable => {
                let to = *self.dice.pick(&PATHS);
                if disk.may_hold(path, to) {
                    disk.rename(path, to);
                }
            }
            Act::Duplicate if reachable => {
                let text = disk.files.get(path).and_then(|node| node.text.clone());
                if let Some(text) = text {
                    let to = *self.dice.pick(&PATHS);
                    if disk.may_hold(path, to) {
                        disk.put(to, text);
                    }
                }
            }
            Act::FlipLinks if reachable => {
                for path in LINKED {
                    let text = Arc::new(Text::of(path, &mut self.dice));
                    disk.put(path, text);
                }
            }
            Act::FlipFolder if reachable => {
                for path in PATHS {
                    let text = Arc::new(Text::of(path, &mut self.dice));
                    match self.dice.below(10) {
                        0 => disk.remove(path),
                        1 | 2 => disk.put(path, text),
                        _ => {}
                    }
                }
                disk.swap_folder();
            }
            Act::Unreadable => {
                if let Some(node) = disk.files.get_mut(path) {
                    node.unreadable = true;
                }
                disk.touch(path);
            }
            Act::Readable => {
                for node in disk.files.values_mut() {
                    node.unreadable = false;
                }
            }
            Act::SubUnreadable => disk.sub_unreadable = true,
            Act::SubReadable => disk.sub_unreadable = false,
            Act::MountGone => disk.mount = Mount::Gone,
            Act::MountUnreadable => disk.mount = Mount::Unreadable,
            Act::MountReplaced => disk.mount = Mount::Replaced,
            Act::MountBack => disk.mount = Mount::Here,
            Act::GitLock => disk.git_locked = true,
            Act::GitUnlock => disk.git_locked = false,
            Act::NoWatches => disk.gives_watches = false,
            Act::Watches => disk.gives_watches = true,
            Act::WatcherDies => disk.listening = false,
            Act::Event => disk.arrived = true,
            Act::AllowEmpty => disk.allow_empty = true,
            Act::ForbidEmpty => disk.allow_empty = false,
            // A clock that leaps while a file is being written makes it look older than it is, and nothing tells so.
            Act::ClockForward | Act::ClockBack if !disk.is_being_written() => {
                let by = i64::try_from(ms(3_000_000)).expect("50 minutes");
                disk.moved += if act == Act::ClockForward { by } else { -by };
                self.audit.clock_moved();
            }
            Act::DiskFull => self.fate.set(Fate::Full(1 + self.dice.below(4))),
            Act::CrashBeforeCommit => self.fate.set(Fate::CrashBeforeCommit),
            Act::CrashAfterCommit => self.fate.set(Fate::CrashAfterCommit),
            Act::CrashAfterSwap => self.fate.set(Fate::CrashAfterSwap),
            Act::Sync | Act::Wait | Act::Approve | Act::ApproveStale | Act::DryPlan | Act::Restart => {
                drop(disk);
                self.ask(act);
            }
            // Nobody can change files that are not there.
            Act::Write
            | Act::Replace
            | Act::WriteTwice
            | Act::DeleteAndCreate
            | Act::Reword
            | Act::Truncate
            | Act::Remove
            | Act::RemoveMany
            | Act::Rename
            | Act::Duplicate
            | Act::FlipLinks
            | Act::FlipFolder
            | Act::ClockForward
            | Act::ClockBack => {}
        }
    }

    /// Acts on the process instead of on its files.
    fn ask(&mut self, act: Act) {
        match act {
            Act::Restart => self.restart(),
            Act::DryPlan => {
                let (reply, mut answer) = oneshot::channel();
                let before = Arc::clone(&self.active.borrow());
                let missing = self.disk.borrow().missing.clone();
                let _ = self.worker.hear(Message::Plan(reply));
                // Its look is none of those that must find a file missing.
                self.disk.borrow_mut().missing = missing;
                assert!(answer.try_recv().is_ok(), "a plan is answered at once");
                assert!(Arc::ptr_eq(&before, &self.active.borrow()), "a plan changes nothing");
            }
            Act::Approve => {
                let waiting = self.status.borrow().waiting_plan.clone();
                if waiting.is_some() {
                    self.sync(true, waiting);
                }
            }
            Act::ApproveStale => self.sync(true, Some(PlanId::from_text("0123456789ab"))),
            Act::Wait => self.sync(true, None),
            _ => self.sync(false, None),
        }
    }

    fn sync(&mut self, wait: bool, approve: Option<PlanId>) {
        let (reply, answer) = oneshot::channel();
        self.approving |= approve.is_some();
        let ask = Ask {
            actor: Actor::Command,
            by: None,
            wait,
            files: Vec::new(),
            timeout: None,
            approve,
        };
        let at = self.now();
        let waiter = Waiter::new(ask, self.born + Duration::from_micros(at), reply);
        let _ = self.worker.hear(Message::Sync(Box::new(waiter)));
        self.asked.push(Asked { at, answer });
    }

    /// All is mended, and nobody tells.
    fn end(&mut self) {
        while self.disk.borrow().is_being_written() {
            let until = self.now() + ms(100);
            self.live(until);
        }
        self.fate.set(Fate::Well);
        {
            let mut disk = self.disk.borrow_mut();
            disk.lost = 100;
            disk.listening = false;
            disk.arrived = false;
            disk.gives_watches = self.dice.chance(70);
            disk.mount = Mount::Here;
            disk.git_locked = false;
            disk.sub_unreadable = false;
            disk.sloppy = false;
            disk.slow = disk.slow.min(ms(20));
            if self.dice.chance(50) {
                for node in disk.files.values_mut() {
                    node.unreadable = false;
                }
            }
        }
        self.live(self.now() + RESYNC + SLACK);
        assert!(self.asked.is_empty(), "somebody waits for an answer");
        self.say(|| self.standings());
        self.check_end();
        let waiting = self.status.borrow().waiting_plan.clone();
        // A folder that is not there says of no removal whether it is meant.
        let is_there = self.status.borrow().source == Source::Ok;
        if waiting.is_some() && is_there && self.dice.chance(50) {
            self.say(|| "approving".to_owned());
            self.sync(true, waiting);
            self.live(self.now() + SLACK);
            assert_eq!(self.status.borrow().waiting_plan, None, "approved");
            self.check_end();
        }
        let before = Arc::clone(&self.audit.active);
        self.restart();
        self.live(self.now() + SLACK);
        self.check_end();
        assert!(
            before == self.audit.active,
            "a restart changed {:?} to {:?}",
            brief(&before),
            brief(&self.audit.active)
        );
    }

    fn standings(&self) -> String {
        let (status, disk) = (self.status.borrow(), self.disk.borrow());
        let mut lines: Vec<String> = Vec::new();
        for (path, node) in &disk.files {
            let text = node.text.as_ref().map(|text| (text.is_good, text.job(path)));
            lines.push(format!("{path}: {text:?} unreadable: {}", node.unreadable));
        }
        for job in &status.jobs {
            let message = job.standing.message.as_deref().unwrap_or_default();
            lines.push(format!("{} ({}): {:?} {message}", job.job, job.file, job.standing.sync));
        }
        lines.join("\n          ")
    }

    /// What is active, and what is said of every file, is what the files ask for.
    fn check_end(&self) {
        let (disk, active, status) = (self.disk.borrow(), &self.audit.active, self.status.borrow());
        if status.source != Source::Ok {
            // After a start, a folder without files is one that is not mounted yet, unless it says that it may be empty.
            assert!(disk.files.is_empty() && !disk.allow_empty, "{:?}", status.source);
            return;
        }
        let good = |path: &str| {
            let node = disk.files.get(path)?;
            node.text
                .as_ref()
                .filter(|text| text.is_good && !node.unreadable)
                .cloned()
        };
        let mut claims: BTreeMap<JobId, Vec<&str>> = BTreeMap::new();
        for path in PATHS {
            if let Some(text) = good(path) {
                claims.entry(text.job(path)).or_default().push(path);
            }
        }
        for (path, node) in &disk.files {
            let said = status.file(path).unwrap_or_else(|| panic!("nothing is said of {path}"));
            let expected = match good(path) {
                None if node.unreadable => SyncState::Unknown,
                None => SyncState::Invalid,
                Some(text) if claims[&text.job(path)].len() > 1 => SyncState::Conflict,
                Some(text) if text.needs().is_some_and(|needs| !active.contains_key(&needs)) => SyncState::Blocked,
                Some(text) => {
                    let follows = active
                        .get(&text.job(path))
                        .is_some_and(|active| follows(active, path, &text));
                    assert!(follows, "{path} is good and is not followed: {:#?}", said.standing);
                    SyncState::Synced
                }
            };
            assert_eq!(said.standing.sync, expected, "{path}: {:#?}", said.standing);
        }
        assert_eq!(status.files.len(), disk.files.len(), "files of which something is said");
        for (job, active) in &**active {
            let of_a_bad_file = disk.files.iter().any(|(path, node)| {
                let names = node.text.as_ref().map(|text| text.job(path));
                good(path).is_none() && (*path == active.record.file || names.as_ref() == Some(job))
            });
            // An empty file names the job that its own name says.
            let by_name = disk.files.keys().any(|path| {
                let name = path.rsplit('/').next().expect("a name");
                good(path).is_none() && name.split('.').next() == Some(job.as_str())
            });
            let is_held = || status.job(job).is_some_and(|job| job.standing.sync == SyncState::Held);
            assert!(
                claims.contains_key(job) || of_a_bad_file || by_name || (is_held() && status.waiting_plan.is_some()),
                "{job} is active for no reason: {:#?}",
                status.job(job)
            );
        }
        check_history(&self.journal, active);
    }
}

type Started = (
    Worker<Simulated>,
    watch::Receiver<Arc<ActiveSet>>,
    watch::Receiver<Arc<SyncStatus>>,
);

/// As the service starts: with what the journal has.
fn start(options: &Options, world: Simulated) -> Started {
    let now = Timestamp::from(world.wall());
    let mut loaded = load_active(&*world.journal, now).expect("a journal in memory");
    assert!(loaded.lost.is_empty(), "what was active can be built again");
    let active = Arc::new(std::mem::take(&mut loaded.active));
    let status = SyncStatus::unknown("/simulated/jobs.d".to_owned(), Watching::Native, &active, now);
    let (active_sender, active_receiver) = watch::channel(active);
    let (status_sender, status_receiver) = watch::channel(Arc::new(status));
    let worker = Worker::new(
        options.clone(),
        world,
        EventBus::default(),
        loaded,
        Arc::new(AtomicBool::new(false)),
        active_sender,
        status_sender,
    );
    (worker, active_receiver, status_receiver)
}

/// Whether a job is active as this file states it.
fn follows(active: &crate::core::active::ActiveJob, path: &str, text: &Text) -> bool {
    let verdict = check()(path, text.bytes());
    let job = verdict.job.expect("a good text");
    active.job.hash == job.hash && active.record.file == path
}

fn brief(active: &ActiveSet) -> Vec<String> {
    let one = |(job, active): (&JobId, &Arc<crate::core::active::ActiveJob>)| {
        format!(
            "{job}#{} p{} {}",
            active.record.generation, active.job.spec.priority, active.record.file
        )
    };
    active.iter().map(one).collect()
}
