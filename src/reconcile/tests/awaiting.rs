//! What somebody waits for, look by look, and what is remembered of plans.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{active, at, desired, job, version};
use crate::{
    core::active::ActiveSet,
    reconcile::{
        AwaitedOutcome, FileStatus, Health, JobStatus, Standing, SyncState, SyncStatus,
        awaited::Awaited,
        desired::Desired,
        plan::{Past, PlanId, Policy, plan, set_hash},
        scan::{Blob, Content, FolderId, Look, Seen, Stamp},
        settle::{Settle, Settled},
        stale::Shown,
        watch::{WatchList, Watching},
    },
};

/// A folder that is looked at every 100 ms, with a status that follows whatever has settled.
struct Folder {
    settle: Settle,
    start: Instant,
    ticks: u64,
    files: BTreeMap<&'static str, &'static str>,
    git_busy: bool,
    blind: bool,
}

impl Folder {
    fn of(files: &[(&'static str, &'static str)]) -> Self {
        let mut folder = Self {
            settle: Settle::new(Duration::from_millis(150), []),
            start: Instant::now(),
            ticks: 0,
            files: files.iter().copied().collect(),
            git_busy: false,
            blind: false,
        };
        for _ in 0..4 {
            folder.look();
        }
        folder
    }

    fn look(&mut self) -> (Look, Settled, SyncStatus) {
        self.ticks += 1;
        let seen = |text: &&str| Seen {
            // The texts of these tests differ in the sum of their bytes.
            stamp: Stamp::for_test(1, text.bytes().map(u64::from).sum(), (0, 0)),
            changed_at: SystemTime::UNIX_EPOCH,
            content: Content::Bytes(Arc::new(Blob::new(text.as_bytes().to_vec()))),
        };
        let files = self.files.iter().map(|(path, text)| ((*path).into(), seen(text)));
        let look = Look {
            folder: FolderId::for_test(1),
            allow_empty: false,
            git_busy: self.git_busy,
            files: Arc::new(files.collect()),
            blind: self
                .blind
                .then(|| ("sub".to_owned(), "cannot be read".to_owned()))
                .into_iter()
                .collect(),
            watch: WatchList::default(),
            took: Duration::ZERO,
        };
        let now = self.start + Duration::from_millis(100 * self.ticks);
        let settled = self.settle.observe(&look, now, SystemTime::UNIX_EPOCH);
        let status = status(&settled);
        (look, settled, status)
    }

    fn observe(&mut self, awaited: &mut Awaited) {
        let (look, settled, status) = self.look();
        awaited.observe(&look, &settled, &status);
    }
}

/// Contents that begin with `bad` are invalid, all others are synced as soon as they settle.
fn status(settled: &Settled) -> SyncStatus {
    let standing = |sync, health| {
        Standing::new(
            sync,
            health,
            (sync != SyncState::Synced).then(|| "why".to_owned()),
            at(0),
        )
    };
    let mut status = SyncStatus::unknown("jobs.d".to_owned(), Watching::Native, &ActiveSet::new(), at(0));
    for (path, file) in &*settled.files {
        let blob = file.content.as_ref().and_then(Content::bytes);
        let good = blob.is_some_and(|blob| !blob.bytes.starts_with(b"bad"));
        let standing = match (good, blob.is_some()) {
            (true, _) => standing(SyncState::Synced, Health::Ok),
            (false, true) => standing(SyncState::Invalid, Health::Failing),
            (false, false) => standing(SyncState::OutOfSync, Health::Ok),
        };
        status.files.push(FileStatus {
            file: path.to_string(),
            job: None,
            standing: standing.clone(),
            file_hash: blob.map(|blob| blob.hash.clone()),
            diagnostics: Vec::new(),
        });
        status.jobs.push(JobStatus {
            job: path.trim_end_matches(".yaml").parse().expect("a slug"),
            file: path.to_string(),
            standing,
            spec_hash: None,
            generation: blob.map(|_| 1),
        });
    }
    status
}

fn outcomes(awaited: &Awaited) -> Vec<(String, AwaitedOutcome)> {
    awaited
        .outcomes()
        .into_iter()
        .map(|file| (file.file, file.outcome))
        .collect()
}

fn expect(awaited: &Awaited, expected: &[(&str, AwaitedOutcome)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(file, outcome)| ((*file).to_owned(), *outcome))
        .collect();
    assert_eq!(outcomes(awaited), expected);
}

#[test]
fn what_is_there_and_counts_is_decided_at_once() {
    let mut folder = Folder::of(&[("a.yaml", "one"), ("b.yaml", "bad")]);
    let mut awaited = Awaited::only([]);
    assert!(!awaited.is_over());
    folder.observe(&mut awaited);
    assert!(awaited.is_over());
    expect(
        &awaited,
        &[("a.yaml", AwaitedOutcome::Synced), ("b.yaml", AwaitedOutcome::Refused)],
    );
    assert_eq!(awaited.outcomes()[1].message.as_deref(), Some("why"));
}

#[test]
fn a_content_is_waited_for_until_it_counts_and_later_ones_are_not() {
    let mut folder = Folder::of(&[("a.yaml", "one"), ("b.yaml", "one")]);
    folder.files.insert("a.yaml", "two");
    let mut awaited = Awaited::only([]);
    folder.observe(&mut awaited);
    expect(
        &awaited,
        &[
            ("a.yaml", AwaitedOutcome::Undecided),
            ("b.yaml", AwaitedOutcome::Synced),
        ],
    );
    // What was decided stays, and what comes later is nobody's concern.
    folder.files.insert("b.yaml", "bad");
    folder.files.insert("c.yaml", "bad");
    for _ in 0..30 {
        folder.observe(&mut awaited);
    }
    assert!(awaited.is_over());
    expect(
        &awaited,
        &[("a.yaml", AwaitedOutcome::Synced), ("b.yaml", AwaitedOutcome::Synced)],
    );
}

#[test]
fn a_content_that_is_replaced_before_it_counts_is_said_to_have_been() {
    let mut folder = Folder::of(&[("a.yaml", "one"), ("mine.yaml", "one")]);
    folder.files.insert("a.yaml", "two");
    folder.files.insert("mine.yaml", "two");
    let (mut all, mut mine) = (
        Awaited::only([]),
        Awaited::only(["mine.yaml".to_owned(), "typo.yaml".to_owned()]),
    );
    folder.observe(&mut all);
    folder.observe(&mut mine);
    folder.files.insert("a.yaml", "three");
    for _ in 0..30 {
        folder.observe(&mut all);
        folder.observe(&mut mine);
    }
    assert!(all.is_over() && mine.is_over());
    expect(
        &all,
        &[
            ("a.yaml", AwaitedOutcome::Superseded),
            ("mine.yaml", AwaitedOutcome::Synced),
        ],
    );
    expect(
        &mine,
        &[
            ("mine.yaml", AwaitedOutcome::Synced),
            ("typo.yaml", AwaitedOutcome::Refused),
        ],
    );
}

#[test]
fn what_cannot_be_seen_is_not_said_to_be_synced() {
    let mut folder = Folder::of(&[("a.yaml", "one")]);
    folder.blind = true;
    let (mut all, mut mine) = (Awaited::only([]), Awaited::only(["a.yaml".to_owned()]));
    folder.observe(&mut all);
    folder.observe(&mut mine);
    assert!(all.is_over() && mine.is_over());
    let (_, _, status) = folder.look();
    assert_eq!((all.is_synced(&status), mine.is_synced(&status)), (false, true));
}

#[test]
fn nothing_is_said_to_be_synced_while_a_removal_is_held() {
    let mut folder = Folder::of(&[("a.yaml", "one")]);
    let (mut all, mut mine) = (Awaited::only([]), Awaited::only(["a.yaml".to_owned()]));
    folder.observe(&mut all);
    folder.observe(&mut mine);
    let (_, _, mut status) = folder.look();
    assert!(all.is_synced(&status) && mine.is_synced(&status));
    status.waiting_plan = Some(PlanId::from_text("0123456789ab"));
    assert_eq!((all.is_synced(&status), mine.is_synced(&status)), (false, true));
}

#[test]
fn removals_and_git_are_waited_for() {
    let mut folder = Folder::of(&[("a.yaml", "one"), ("b.yaml", "one")]);
    folder.files.remove("b.yaml");
    folder.git_busy = true;
    let mut awaited = Awaited::only([]);
    folder.observe(&mut awaited);
    expect(&awaited, &[]);
    folder.git_busy = false;
    folder.observe(&mut awaited);
    expect(
        &awaited,
        &[
            ("a.yaml", AwaitedOutcome::Synced),
            ("b.yaml", AwaitedOutcome::Undecided),
        ],
    );
    assert!(!awaited.is_over());
    for _ in 0..40 {
        folder.observe(&mut awaited);
    }
    assert!(awaited.is_over());
    expect(
        &awaited,
        &[("a.yaml", AwaitedOutcome::Synced), ("b.yaml", AwaitedOutcome::Synced)],
    );
}

#[test]
fn a_file_that_comes_back_before_its_removal_counted_was_changed_again() {
    let mut folder = Folder::of(&[("a.yaml", "one")]);
    folder.files.remove("a.yaml");
    let mut awaited = Awaited::only([]);
    folder.observe(&mut awaited);
    expect(&awaited, &[("a.yaml", AwaitedOutcome::Undecided)]);
    folder.files.insert("a.yaml", "two");
    folder.observe(&mut awaited);
    assert!(awaited.is_over());
    expect(&awaited, &[("a.yaml", AwaitedOutcome::Superseded)]);
}

#[test]
fn what_has_changed_since_a_plan_is_told() {
    let policy = Policy {
        prune: crate::config::settings::Prune::Auto,
        prune_guard: 50,
        approved: None,
    };
    let id = |desired: &Desired, active: &ActiveSet| {
        let past = Past {
            refused: &[],
            largest: active,
            set_hash: &set_hash(active),
        };
        plan(desired, active, past, &policy, at(0)).id
    };
    let (a, changed, b) = (job("a", ""), job("a", "priority: 3"), job("b", ""));
    let then = Arc::new(desired([
        ("a.yaml", version("a.yaml", &a)),
        ("b.yaml", version("b.yaml", &b)),
    ]));
    let was = Arc::new(active([&a]));
    let shown_id = id(&then, &was);
    let mut shown = Shown::default();
    shown.remember(&shown_id, &then, &was);
    assert_eq!(shown.changes_since(&shown_id, &then, &was), Vec::<String>::new());
    let now = desired([
        ("a.yaml", version("a.yaml", &changed)),
        ("c.yaml", version("c.yaml", &b)),
    ]);
    assert_eq!(
        shown.changes_since(&shown_id, &now, &active([&changed, &b])),
        [
            "the file a.yaml has changed",
            "the file b.yaml is gone",
            "the file c.yaml has come",
            "the job a has another version",
            "the job b is active now",
        ]
    );
    let other = id(&now, &was);
    assert_eq!(
        shown.changes_since(&other, &now, &was),
        Vec::<String>::new(),
        "not remembered"
    );
}
