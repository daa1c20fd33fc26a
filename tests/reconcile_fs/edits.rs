//! Random edits of a real folder, against a model that states the rules by itself.
//!
//! A sequence makes a handful of jobs and then edits them: adds, changes, rewords, breaks, mends, renames, duplicates,
//! deletes, flips links as a ConfigMap does, and restarts the reconciler. After every edit what is active, in which
//! generation and from which file, how every file stands and what is held must be what the [`Model`] says. A scheduler
//! follows along, though nobody carries its orders out, and in the end each second of a job that nobody changed must be in
//! the ledger once.
//!
//! `PETIT_SEQUENCES` says how many sequences there are, and `PROPTEST_RNG_SEED` where their seeds begin; a failure prints
//! the seed, and with `PETIT_SEED` that sequence alone is done again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use petit::{
    config::settings::Settings,
    core::{
        id::{JobId, SpecHash},
        record::Actor,
    },
    events::EventBus,
    execution::capacity,
    reconcile::{Options, PlanId, Reconciler, SyncOutcome, SyncState, load_active, plan::GUARD_MEMORY},
    storage::{Memory, Storage},
};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use crate::slots::{EVERY_SECOND, Scheduling, check_every_second};

/// How long a sequence waits for anything: far longer than it takes, so that a busy machine fails nothing.
const DEADLINE: Duration = Duration::from_secs(300);
/// So many sequences are under way at a time: they mostly wait, and the kernel gives only so many watches.
const AT_ONCE: usize = 40;
/// The prune guard forgets after [`GUARD_MEMORY`]; a sequence ends well before that, so that the model needs no clock.
const LONGEST: Duration = Duration::from_secs(40);

/// The job that fires every second and is the same all along.
const BEACON: &str = "beacon";
/// Below a folder of their own, which can go away in one step.
const PLAIN: [&str; 8] = [
    "all/a.yaml",
    "all/b.yaml",
    "all/c.yaml",
    "all/d.yaml",
    "all/e.yaml",
    "all/f.yml",
    "all/sub/g.yaml",
    "all/sub/h.yaml",
];
/// Links into `..data`, which flip together.
const LINKED: [&str; 2] = ["m.yaml", "n.yaml"];

/// Numbers that a seed determines (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).expect("an index")]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    id: Option<&'static str>,
    priority: u64,
    comment: u64,
    is_good: bool,
}

impl Content {
    fn roll(dice: &mut Dice) -> Self {
        Self {
            id: dice.chance(25).then(|| *dice.pick(&["a", "b", "c", "x", "y", "m"])),
            priority: dice.below(5),
            comment: dice.below(3),
            is_good: true,
        }
    }

    fn yaml(&self) -> String {
        let id = self.id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        let fault = if self.is_good { "" } else { "no_such_key: 1\n" };
        format!(
            "{id}# {}\n{fault}priority: {}\ntasks: {{t: {{command: [\"true\"]}}}}\n",
            self.comment, self.priority
        )
    }

    fn job(&self, file: &str) -> String {
        let name = file.rsplit('/').next().expect("a name");
        let stem = name.split('.').next().expect("a stem");
        self.id.unwrap_or(stem).to_owned()
    }
}

/// A job that is active.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Active {
    file: String,
    priority: u64,
    generation: u64,
}

/// The rules, on plain maps. It is told what the files are after each edit, and that all of it was looked at.
#[derive(Debug, Default)]
struct Model {
    files: BTreeMap<String, Content>,
    /// What stood in the files that are missing and may come back.
    leaving: BTreeMap<String, Content>,
    /// Whether the reconciler knows what stood in them: after a restart it does not.
    knows_leaving: bool,
    active: BTreeMap<String, Active>,
    generations: BTreeMap<String, u64>,
    held: BTreeSet<String>,
    /// Sets that were active and have lost jobs since.
    before: Vec<BTreeSet<String>>,
}

impl Model {
    /// What the files are now counts: at once what is there, and a while later what is not.
    fn follow(&mut self, files: BTreeMap<String, Content>, restarted: bool) {
        let before = std::mem::replace(&mut self.files, files);
        self.leaving = before.clone();
        self.leaving.retain(|file, _| !self.files.contains_key(file));
        self.knows_leaving = !restarted;
        if restarted {
            // What was known to be gone has to be missed again, like every other file from which a job is active.
            let unknown = Content {
                id: None,
                priority: 0,
                comment: 0,
                is_good: true,
            };
            let missing = self
                .active
                .values()
                .filter(|active| !self.files.contains_key(&active.file));
            self.leaving
                .extend(missing.map(|active| (active.file.clone(), unknown.clone())));
            // The journal tells which jobs went lately, and not which of them were active together.
            let went = self.generations.len() > self.active.len();
            self.before = went
                .then(|| self.generations.keys().cloned().collect())
                .into_iter()
                .collect();
        }
        if !restarted && !self.leaving.is_empty() {
            // What is missing is seen at once, and what is new or different not before it stood still.
            let mut settled = before;
            settled.retain(|file, _| self.files.contains_key(file));
            let after = std::mem::replace(&mut self.files, settled);
            self.reconcile(false);
            self.files = after;
        }
        self.reconcile(false);
        if !self.leaving.is_empty() {
            self.leaving.clear();
            self.reconcile(false);
        }
    }

    fn good_files(&self) -> BTreeMap<String, Vec<String>> {
        let mut claims: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (file, content) in self.files.iter().filter(|(_, content)| content.is_good) {
            claims.entry(content.job(file)).or_default().push(file.clone());
        }
        claims
    }

    fn is_named_by_a_bad_file(&self, job: &str) -> bool {
        let known_leaving = self.leaving.iter().filter(|_| self.knows_leaving);
        self.files
            .iter()
            .chain(known_leaving)
            .any(|(file, content)| !content.is_good && content.job(file) == job)
    }

    /// The priorities that a job has in files that may come back.
    fn leaves_with(&self, job: &str) -> Vec<u64> {
        let known = self.leaving.iter().filter(|_| self.knows_leaving);
        known
            .filter(|(file, content)| content.is_good && content.job(file) == job)
            .map(|(_, content)| content.priority)
            .collect()
    }

    fn reconcile(&mut self, approved: bool) {
        let claims = self.good_files();
        let was: BTreeSet<String> = self.active.keys().cloned().collect();
        let held_before = std::mem::take(&mut self.held);
        let mut vanishing = BTreeSet::new();
        for (job, active) in &self.active {
            if claims.contains_key(job) || !self.leaves_with(job).is_empty() {
                continue;
            }
            let is_back = self.files.get(&active.file).is_some_and(|content| !content.is_good);
            let may_come_back = match self.leaving.get(&active.file) {
                Some(content) => !self.knows_leaving || !content.is_good,
                None => false,
            };
            if !is_back && !may_come_back && !self.is_named_by_a_bad_file(job) {
                vanishing.insert(job.clone());
            } else if held_before.contains(job) && !is_back && !approved {
                self.held.insert(job.clone());
            }
        }
        for (job, files) in &claims {
            let [file] = &files[..] else { continue };
            let priority = self.files[file].priority;
            if self.leaves_with(job).iter().any(|left| *left != priority) {
                continue;
            }
            let generation = match self.active.get(job) {
                Some(old) if old.priority == priority => old.generation,
                Some(_) | None => self.generations.get(job).unwrap_or(&0) + 1,
            };
            self.generations.insert(job.clone(), generation);
            let file = file.clone();
            let active = Active {
                file,
                priority,
                generation,
            };
            self.active.insert(job.clone(), active);
        }
        let largest = self
            .before
            .iter()
            .chain([&was])
            .max_by_key(|set| set.len())
            .expect("one");
        let stays = |job: &&String| self.active.contains_key(*job) && !vanishing.contains(*job);
        let gone = largest.len() - largest.iter().filter(stays).count();
        let guarded = gone >= 5 && gone * 100 > 50 * largest.len();
        for job in vanishing {
            if !approved && (guarded || held_before.contains(&job)) {
                self.held.insert(job);
            } else {
                self.active.remove(&job);
            }
        }
        if approved {
            self.before.clear();
        } else if was.iter().any(|job| !self.active.contains_key(job)) {
            self.before.push(was);
        }
    }

    fn state_of(&self, file: &str) -> SyncState {
        let content = &self.files[file];
        match self.good_files().get(&content.job(file)) {
            _ if !content.is_good => SyncState::Invalid,
            Some(files) if files.len() > 1 => SyncState::Conflict,
            Some(_) | None => SyncState::Synced,
        }
    }
}

/// What follows the folder: the reconciler, and a scheduler behind it.
struct Following {
    reconciler: Reconciler,
    scheduling: Scheduling,
}

impl Following {
    async fn start(options: &Options, storage: &Arc<Memory>) -> Self {
        let loaded = load_active(&**storage, Utc::now()).expect("a journal in memory");
        let bus = EventBus::default();
        let journal = Arc::clone(storage) as Arc<dyn Storage>;
        let reconciler = Reconciler::start(options.clone(), journal, bus.clone(), loaded);
        let files = reconciler.handle();
        let mut status = files.status();
        let looked = timeout(DEADLINE, status.wait_for(|status| status.looked_at.is_some())).await;
        assert!(matches!(looked, Ok(Ok(_))), "no look");
        let scheduling = Scheduling::start(storage, files.active(), bus);
        Self { reconciler, scheduling }
    }

    async fn stop(self) {
        self.scheduling.stop().await;
        tokio::task::spawn_blocking(|| self.reconciler.stop())
            .await
            .expect("no panic");
    }

    async fn sync(&self, approve: Option<PlanId>) -> SyncOutcome {
        let handle = self.reconciler.handle();
        let sync = handle.sync(Actor::Command, true, approve);
        let outcome = timeout(DEADLINE, sync)
            .await
            .expect("an answer in time")
            .expect("running");
        assert_eq!(
            outcome.status.settling, [""; 0],
            "nothing is on its way when the wait is over"
        );
        outcome
    }
}

/// Files on the disk and in the model's hands.
struct Folder {
    root: PathBuf,
    files: BTreeMap<String, Content>,
    flips: u64,
}

impl Folder {
    /// Makes the folders of [`PLAIN`].
    fn make_folders(&self) {
        fs::create_dir_all(self.root.join("all/sub")).expect("folders");
    }

    /// Takes all of [`PLAIN`] away at once: a removal that is half seen is two removals.
    fn remove_all(&mut self) {
        let away = self.root.with_file_name("away");
        fs::rename(self.root.join("all"), &away).expect("moved away");
        fs::remove_dir_all(&away).expect("removed");
        self.make_folders();
        self.files.retain(|file, _| !PLAIN.contains(&file.as_str()));
    }

    fn write(&mut self, file: &str, content: Content, in_place: bool) {
        let path = self.root.join(file);
        if in_place {
            fs::write(&path, content.yaml()).expect("written");
        } else {
            let beside = path.with_extension("tmp");
            fs::write(&beside, content.yaml()).expect("written");
            fs::rename(&beside, &path).expect("renamed");
        }
        self.files.insert(file.to_owned(), content);
    }

    fn remove(&mut self, file: &str) {
        fs::remove_file(self.root.join(file)).expect("removed");
        self.files.remove(file);
    }

    fn flip(&mut self, contents: [Content; 2]) {
        self.flips += 1;
        let version = format!("..v{}", self.flips);
        fs::create_dir(self.root.join(&version)).expect("a folder");
        for (file, content) in LINKED.iter().zip(contents) {
            fs::write(self.root.join(&version).join(file), content.yaml()).expect("written");
            self.files.insert((*file).to_owned(), content);
        }
        symlink(&version, self.root.join("..tmp")).expect("a link");
        fs::rename(self.root.join("..tmp"), self.root.join("..data")).expect("a flip");
    }

    /// A file that there is and that an edit may take.
    fn any(&self, dice: &mut Dice) -> Option<String> {
        let there: Vec<&String> = self
            .files
            .keys()
            .filter(|file| PLAIN.contains(&file.as_str()))
            .collect();
        (!there.is_empty()).then(|| (*dice.pick(&there)).clone())
    }

    /// One random edit; says what it was.
    fn edit(&mut self, dice: &mut Dice) -> String {
        let in_place = dice.chance(50);
        let what = dice.below(100);
        let Some(file) = self.any(dice).filter(|_| what >= 22) else {
            let file = *dice.pick(&PLAIN);
            self.write(file, Content::roll(dice), in_place);
            return format!("write {file} {:?}", self.files[file]);
        };
        let old = self.files[&file].clone();
        match what {
            22..38 => {
                let priority = (old.priority + 1) % 5;
                self.write(&file, Content { priority, ..old }, in_place);
                format!("change {file}")
            }
            38..44 => {
                let comment = old.comment + 1;
                self.write(&file, Content { comment, ..old }, in_place);
                format!("reword {file}")
            }
            44..54 => {
                self.write(&file, Content { is_good: false, ..old }, in_place);
                format!("break {file}")
            }
            54..62 => {
                let broken = self.files.iter().find(|(file, content)| {
                    let is_plain = PLAIN.contains(&file.as_str());
                    is_plain && !content.is_good
                });
                let (file, old) = broken.map_or((file, old), |(file, content)| (file.clone(), content.clone()));
                self.write(&file, Content { is_good: true, ..old }, in_place);
                format!("mend {file}")
            }
            62..72 => {
                let to = *dice.pick(&PLAIN);
                fs::rename(self.root.join(&file), self.root.join(to)).expect("renamed");
                self.files.remove(&file);
                self.files.insert(to.to_owned(), old);
                format!("rename {file} to {to}")
            }
            72..80 => {
                let to = *dice.pick(&PLAIN);
                self.write(to, old, in_place);
                format!("duplicate {file} as {to}")
            }
            80..88 => {
                self.remove(&file);
                format!("delete {file}")
            }
            88..92 => {
                self.remove_all();
                "delete all".to_owned()
            }
            _ => {
                self.flip([Content::roll(dice), Content::roll(dice)]);
                "flip".to_owned()
            }
        }
    }
}

/// Says which seed it was when a sequence fails, and what was done.
struct Telling {
    seed: u64,
    told: Vec<String>,
}

impl Drop for Telling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "PETIT_SEED={} cargo test --no-default-features --test reconcile_fs edits does this again:\n  {}",
                self.seed,
                self.told.join("\n  ")
            );
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    edits: u64,
    restarts: u64,
    held: u64,
    slots: u64,
}

async fn sequence(seed: u64) -> Tally {
    let mut telling = Telling { seed, told: Vec::new() };
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9));
    let temp = tempfile::tempdir().expect("a folder");
    let root = temp.path().join("jobs.d");
    let mut folder = Folder {
        root: root.clone(),
        files: BTreeMap::new(),
        flips: 0,
    };
    folder.make_folders();
    folder.flip([Content::roll(&mut dice), Content::roll(&mut dice)]);
    for file in LINKED {
        symlink(Path::new("..data").join(file), root.join(file)).expect("a link");
    }
    for file in PLAIN {
        if dice.chance(65) {
            folder.write(file, Content::roll(&mut dice), true);
        }
    }
    fs::write(root.join("beacon.yaml"), EVERY_SECOND).expect("written");
    let beacon = Content {
        id: None,
        priority: 0,
        comment: 0,
        is_good: true,
    };
    folder.files.insert("beacon.yaml".to_owned(), beacon);

    let settings = Settings::default();
    let mut options = Options::from_settings(root, &settings, capacity::of_machine(&settings));
    options.trust = petit::reconcile::Trust::default();
    let storage = Arc::new(Memory::default());
    let mut following = Following::start(&options, &storage).await;
    let mut model = Model::default();
    let mut hashes: BTreeMap<(String, u64), SpecHash> = BTreeMap::new();
    let mut tally = Tally::default();
    let began = Instant::now();
    let mut restarted = true;
    loop {
        let outcome = following.sync(None).await;
        if began.elapsed() >= GUARD_MEMORY {
            println!("seed {seed} was held up for so long that the model knows no more");
            break;
        }
        model.follow(folder.files.clone(), restarted);
        check(&model, &following, &outcome, &mut hashes, &telling);
        tally.held += u64::from(!model.held.is_empty());
        if tally.edits >= 10 || began.elapsed() > LONGEST {
            break;
        }
        restarted = false;
        if !model.held.is_empty() && dice.chance(40) {
            telling.told.push("approve".to_owned());
            let outcome = following.sync(outcome.status.waiting_plan).await;
            if began.elapsed() >= GUARD_MEMORY {
                continue;
            }
            model.reconcile(true);
            check(&model, &following, &outcome, &mut hashes, &telling);
        }
        tally.edits += 1;
        if dice.chance(12) {
            restarted = true;
            tally.restarts += 1;
            following.stop().await;
            let edit = folder.edit(&mut dice);
            telling.told.push(format!("restart, and meanwhile {edit}"));
            following = Following::start(&options, &storage).await;
        } else {
            let edit = folder.edit(&mut dice);
            telling.told.push(edit);
        }
    }
    following.stop().await;
    tally.slots = check_every_second(&storage, BEACON);
    tally
}

/// What is, against what the model says.
fn check(
    model: &Model,
    following: &Following,
    outcome: &SyncOutcome,
    hashes: &mut BTreeMap<(String, u64), SpecHash>,
    telling: &Telling,
) {
    let set = following.reconciler.handle().active().borrow().clone();
    let last = telling.told.last().map_or("the beginning", String::as_str);
    let is = set.iter().map(|(job, active)| {
        let priority = u64::try_from(active.job.spec.priority).expect("small");
        let key = (job.to_string(), priority);
        let hash = hashes.entry(key).or_insert_with(|| active.job.hash.clone());
        assert_eq!(*hash, active.job.hash, "after {last}: {job} is the same job as before");
        let active = Active {
            file: active.record.file.clone(),
            priority,
            generation: active.record.generation,
        };
        (job.to_string(), active)
    });
    let is: BTreeMap<String, Active> = is.collect();
    assert_eq!(is, model.active, "what is active after {last}, of {:#?}", model.files);
    let states: BTreeMap<&str, SyncState> = outcome
        .status
        .files
        .iter()
        .map(|file| (file.file.as_str(), file.standing.sync))
        .collect();
    let expected: BTreeMap<&str, SyncState> = model
        .files
        .keys()
        .map(|file| (file.as_str(), model.state_of(file)))
        .collect();
    assert_eq!(states, expected, "how the files stand after {last}");
    // A bad file that names a job speaks for it.
    let held: BTreeSet<&String> = model
        .held
        .iter()
        .filter(|job| !model.is_named_by_a_bad_file(job))
        .collect();
    let is_held = |job: &&String| {
        let job: JobId = job.parse().expect("an id");
        outcome
            .status
            .job(&job)
            .is_some_and(|job| job.standing.sync == SyncState::Held)
    };
    let said: BTreeSet<&String> = model.active.keys().filter(is_held).collect();
    assert_eq!(said, held, "what is held after {last}");
    assert_eq!(
        outcome.status.waiting_plan.is_some(),
        !model.held.is_empty(),
        "after {last}"
    );
    let well = model.held.is_empty() && expected.values().all(|state| *state == SyncState::Synced);
    assert_eq!(outcome.synced, well, "the answer after {last}");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_edits_end_in_what_the_rules_say_and_no_slot_is_lost_or_doubled() {
    let first = number("PROPTEST_RNG_SEED").unwrap_or(0);
    let seeds: Vec<u64> = match number("PETIT_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("PETIT_SEQUENCES").unwrap_or(12))
            .map(|n| first.wrapping_add(n))
            .collect(),
    };
    let sequences = seeds.len();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for seed in seeds {
        let places = Arc::clone(&places);
        running.spawn(async move {
            let _place = places.acquire_owned().await.expect("never closed");
            sequence(seed).await
        });
    }
    let mut all = Tally::default();
    while let Some(tally) = running.join_next().await {
        let tally = tally.expect("a sequence that ends as the model says");
        all.edits += tally.edits;
        all.restarts += tally.restarts;
        all.held += tally.held;
        all.slots += tally.slots;
    }
    assert!(all.edits > 0 && all.slots > 0, "{all:?}");
    println!("{sequences} sequences (after seed {first}): {all:?}");
}
