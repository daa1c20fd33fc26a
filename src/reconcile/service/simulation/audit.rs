//! What must hold after every step, and of the journal as a whole.
//!
//! It is told each active set that took the place of another, and what is true of the files then. It shares no code with
//! what decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    disk::{Disk, Micros, Mount, ms},
    script::END,
};
use crate::{
    core::{
        active::{ActiveJob, ActiveSet},
        id::{JobId, SpecHash},
    },
    reconcile::plan::set_hash,
    storage::{Memory, Storage},
};

/// How far back the prune guard looks.
const GUARDED: Micros = ms(60_000);
/// How much may vanish unasked.
pub const GUARD: u8 = 50;

type Gone = BTreeMap<JobId, (Micros, Arc<ActiveJob>)>;

#[derive(Debug, Default)]
pub struct Audit {
    pub active: Arc<ActiveSet>,
    /// Sets that were active, and until the beginning of which look.
    before: Vec<(Micros, Arc<ActiveSet>)>,
    /// Jobs that are not active any more, and since when.
    gone: Gone,
    clock_was_moved: bool,
    /// The last generation of every job that there ever was.
    generations: BTreeMap<JobId, u64>,
}

impl Audit {
    /// Another set is active. `approved` is whether somebody asked in this step for removals to happen.
    pub fn swapped(&mut self, new: &Arc<ActiveSet>, disk: &Disk, approved: bool) {
        let old = std::mem::replace(&mut self.active, Arc::clone(new));
        for (job, active) in &**new {
            assert!(
                active.job.spec.env.contains_key(END),
                "{job} was made of a text that nobody had finished writing"
            );
            self.check_version(job, old.get(job), active);
        }
        let gone: Vec<&Arc<ActiveJob>> = old
            .iter()
            .filter(|(job, _)| !new.contains_key(*job))
            .map(|(_, active)| active)
            .collect();
        for active in &gone {
            check_removal(active, disk);
        }
        let removes = !gone.is_empty();
        let went = gone
            .iter()
            .map(|&gone| (gone.record.job.clone(), (disk.now, Arc::clone(gone))));
        self.gone.extend(went);
        self.gone.retain(|job, _| !new.contains_key(job));
        let began = disk.look_began;
        self.before.push((began, old));
        self.before.retain(|(until, _)| began - until < GUARDED);
        if approved {
            self.before.clear();
        } else if removes {
            self.check_guard(new, disk);
        }
    }

    /// The process was started again, and began with this set.
    pub fn restarted(&mut self, active: &Arc<ActiveSet>, now: Micros) {
        assert!(self.active == *active, "a restart begins with what was committed last");
        self.active = Arc::clone(active);
        // The journal tells which jobs went lately, and not which of them were active together.
        self.gone.retain(|_, (at, _)| now - *at < GUARDED);
        let latest = self.gone.values().map(|(at, _)| *at).max();
        let gone = self.gone.iter().map(|(job, (_, gone))| (job.clone(), Arc::clone(gone)));
        let now_active = active.iter().map(|(job, active)| (job.clone(), Arc::clone(active)));
        let all = Arc::new(gone.chain(now_active).collect());
        self.before = latest.map(|at| (at, all)).into_iter().collect();
    }

    /// The clock on the wall was moved. A process that starts after that takes removals for older or younger than they
    /// are, and schedules may be put back.
    pub fn clock_moved(&mut self) {
        self.clock_was_moved = true;
    }

    fn check_version(&mut self, job: &JobId, old: Option<&Arc<ActiveJob>>, active: &Arc<ActiveJob>) {
        let record = &active.record;
        let last = self.generations.insert(job.clone(), record.generation);
        match old {
            Some(old) if old.job.hash == active.job.hash => {
                let mut expected = old.record.clone();
                expected.file.clone_from(&record.file);
                // A schedule that counts from an instant to come, since the clock was put back, is put back as well.
                if self.clock_was_moved {
                    expected.anchor = expected.anchor.min(record.anchor);
                    expected.scheduled_since = expected.scheduled_since.min(record.scheduled_since);
                }
                assert_eq!(expected, *record, "{job} did not change, and its schedule did");
            }
            Some(_) | None => assert_eq!(record.generation, last.unwrap_or(0) + 1, "the generation of {job}"),
        }
    }

    /// Of the largest set of the last minute, no more than so many may be gone that nobody asked to go.
    fn check_guard(&self, new: &ActiveSet, disk: &Disk) {
        let largest = self
            .before
            .iter()
            .map(|(_, before)| before)
            .max_by_key(|before| before.len());
        let largest = largest.expect("the one that was just replaced");
        let gone = largest.keys().filter(|job| !new.contains_key(*job)).count();
        let allowed = disk.allow_empty && disk.files.is_empty() || self.clock_was_moved;
        assert!(
            allowed || gone < 5 || gone * 100 <= usize::from(GUARD) * largest.len(),
            "{gone} of {} jobs vanished within a minute, unasked",
            largest.len()
        );
    }
}

/// A job may go when its file was missed for long enough, or certainly states another job.
fn check_removal(active: &ActiveJob, disk: &Disk) {
    let (job, file) = (&active.record.job, &active.record.file);
    assert_eq!(disk.mount, Mount::Here, "{job} was removed while the folder was away");
    if disk.is_gone(file) {
        return;
    }
    let moved_on = disk
        .said
        .iter()
        .any(|(at, path, text)| path == file && text.job(path) != *job && *at > active_since(active, disk));
    assert!(
        moved_on,
        "{job} was removed, and {file} does not say so: {:?}",
        disk.files.get(file)
    );
}

/// Since when the file may have said something else than what is active.
fn active_since(active: &ActiveJob, disk: &Disk) -> Micros {
    let (job, file) = (&active.record.job, &active.record.file);
    let said = disk
        .said
        .iter()
        .filter(|(_, path, text)| path == file && text.job(path) == *job);
    said.map(|(at, ..)| *at).min().unwrap_or(0)
}

/// The rows of the history, read from the first to the last, tell how the active set came about.
pub fn check_history(journal: &Memory, active: &ActiveSet) {
    let mut rows = journal.reconciles(u32::MAX).expect("a journal in memory");
    rows.reverse();
    let mut hash = set_hash(&ActiveSet::new());
    let mut told: BTreeSet<String> = BTreeSet::new();
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows {
        assert_eq!(row.old_set, hash, "a change of the active set is in no row");
        for action in &row.actions {
            let mut words = action.split(' ');
            let (verb, job) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let is_news = match verb {
                "add" => told.insert(job.to_owned()),
                "update" => told.contains(job),
                "remove" => told.remove(job),
                _ => continue,
            };
            assert!(is_news, "{action}: {told:?}");
            if verb != "remove" {
                *versions.entry(job.to_owned()).or_default() += 1;
            }
        }
        hash = row.new_set;
    }
    assert_eq!(hash, set_hash(active));
    assert_eq!(told, active.keys().map(ToString::to_string).collect());
    for (job, active) in active {
        assert_eq!(versions[job.as_str()], active.record.generation, "rows of {job}");
    }
}

/// What the journal has is what is active.
pub fn check_journal(journal: &Memory, active: &ActiveSet) {
    let rows = journal.active().expect("a journal in memory");
    let records: Vec<_> = active.values().map(|active| active.record.clone()).collect();
    assert_eq!(rows, records);
    for record in records {
        let spec = journal
            .spec(&record.spec_hash)
            .expect("a journal in memory")
            .expect("kept");
        assert_eq!(SpecHash::of(spec.canonical.as_bytes()), record.spec_hash);
    }
}
