//! How files and jobs stand: each state, with why, where, what to do, and since when.

use std::collections::BTreeMap;

use super::{active, at, desired, id, invalid, job, version};
use crate::{
    config::{
        diagnostic::{Finding, locate},
        settings::Prune,
    },
    core::active::ActiveSet,
    reconcile::{
        FileStatus, Health, JobStatus, SyncState, SyncStatus,
        desired::{Desired, DesiredFile, Faults, FileState},
        plan::{Past, Policy, plan, set_hash},
        scan::Refusal,
        settle::{Settled, Unsettled},
        standing::{Facts, standings},
        watch::Watching,
    },
};

/// A name, what the files ask for, what is active, which files change, whether to prune, and how that stands.
type Case = (
    &'static str,
    Desired,
    ActiveSet,
    &'static [&'static str],
    Prune,
    SyncState,
    Health,
);

/// What is said of files and jobs at a second, after what was said `before`.
fn told(
    desired: &Desired,
    active: &ActiveSet,
    changing: &[&str],
    prune: Prune,
    before: &SyncStatus,
    second: i64,
) -> (Vec<FileStatus>, Vec<JobStatus>) {
    let policy = Policy {
        prune,
        prune_guard: 50,
        approved: None,
    };
    let past = Past {
        refused: &[],
        largest: active,
        set_hash: &set_hash(active),
    };
    let plan = plan(desired, active, past, &policy, at(second));
    let settled = Settled {
        changing: changing
            .iter()
            .map(|file| Unsettled {
                file: (*file).to_owned(),
                for_long: Default::default(),
            })
            .collect(),
        ..Settled::default()
    };
    let facts = Facts {
        settled: &settled,
        desired,
        plan: &plan,
        active,
    };
    standings(facts, before, at(second))
}

fn nothing(active: &ActiveSet) -> SyncStatus {
    SyncStatus::unknown("jobs.d".to_owned(), Watching::Native, active, at(0))
}

fn faulty(file: &str) -> FileState {
    FileState::Invalid(
        Faults {
            id: Some(id("a")),
            text: crate::core::id::SpecHash::of(b"bad"),
            diagnostics: locate(
                file,
                "x: 1\ny: 2\n",
                vec![Finding::error(5..6, "unknown", "what is `y`?")],
            ),
        }
        .into(),
    )
}

#[test]
fn every_state_says_why_where_and_what_to_do() {
    let (old, new) = (job("a", "priority: 1"), job("a", "priority: 2"));
    let lonely = job("a", "depends_on: [{job: nowhere}]");
    let was = || active([&old]);
    let none = ActiveSet::new;
    let refused = || FileState::Refused(Refusal::Unreadable("permission denied".to_owned()));
    let gone = || Desired::new(BTreeMap::new(), BTreeMap::new(), false);
    let missing = |state| {
        let file = DesiredFile { state, missing: true };
        Desired::new([("a.yaml".into(), file)].into(), BTreeMap::new(), false)
    };
    let one = |state| desired([("a.yaml", state)]);
    let cases: [Case; 14] = [
        (
            "synced",
            one(version("a.yaml", &old)),
            was(),
            &[],
            Prune::Auto,
            SyncState::Synced,
            Health::Ok,
        ),
        (
            "not applied",
            one(version("a.yaml", &new)),
            was(),
            &[],
            Prune::Auto,
            SyncState::OutOfSync,
            Health::Ok,
        ),
        (
            "changing",
            one(version("a.yaml", &old)),
            was(),
            &["a.yaml"],
            Prune::Auto,
            SyncState::OutOfSync,
            Health::Ok,
        ),
        (
            "unsettled",
            one(FileState::Unsettled),
            was(),
            &["a.yaml"],
            Prune::Auto,
            SyncState::OutOfSync,
            Health::Ok,
        ),
        (
            "leaving",
            missing(version("a.yaml", &old)),
            was(),
            &[],
            Prune::Auto,
            SyncState::OutOfSync,
            Health::Ok,
        ),
        (
            "never pruned",
            gone(),
            was(),
            &[],
            Prune::Never,
            SyncState::OutOfSync,
            Health::Ok,
        ),
        ("held", gone(), was(), &[], Prune::Hold, SyncState::Held, Health::Ok),
        (
            "invalid",
            one(faulty("a.yaml")),
            was(),
            &[],
            Prune::Auto,
            SyncState::Invalid,
            Health::Degraded,
        ),
        (
            "invalid and new",
            one(faulty("a.yaml")),
            none(),
            &[],
            Prune::Auto,
            SyncState::Invalid,
            Health::Failing,
        ),
        (
            "blocked",
            one(version("a.yaml", &lonely)),
            was(),
            &[],
            Prune::Auto,
            SyncState::Blocked,
            Health::Degraded,
        ),
        (
            "blocked and new",
            one(version("a.yaml", &lonely)),
            none(),
            &[],
            Prune::Auto,
            SyncState::Blocked,
            Health::Failing,
        ),
        (
            "conflict",
            desired([("a.yaml", version("a.yaml", &old)), ("b.yaml", version("b.yaml", &new))]),
            was(),
            &[],
            Prune::Auto,
            SyncState::Conflict,
            Health::Degraded,
        ),
        (
            "conflict, and what is active waits for nobody",
            desired([("a.yaml", version("a.yaml", &old)), ("b.yaml", version("b.yaml", &new))]),
            active([&lonely]),
            &[],
            Prune::Auto,
            SyncState::Conflict,
            Health::Degraded,
        ),
        (
            "unreadable",
            one(refused()),
            was(),
            &[],
            Prune::Auto,
            SyncState::Unknown,
            Health::Degraded,
        ),
    ];
    for (case, desired, active, changing, prune, sync, health) in cases {
        let before = nothing(&active);
        let (files, jobs) = told(&desired, &active, changing, prune, &before, 10);
        let job = &jobs.iter().find(|status| status.job == id("a")).expect(case).standing;
        assert_eq!((job.sync, job.health), (sync, health), "{case}");
        let well = sync == SyncState::Synced;
        assert_eq!(job.message.is_none(), well, "{case}: a reason: {job:?}");
        assert_eq!(job.hint.is_none(), well, "{case}: what to do: {job:?}");
        assert_eq!(job.since, at(10), "{case}");
        let placed = matches!(sync, SyncState::Invalid | SyncState::Blocked | SyncState::Conflict);
        assert_eq!(
            job.line.is_some() && job.column.is_some(),
            placed,
            "{case}: a place: {job:?}"
        );
        for file in &files {
            assert_eq!(
                file.standing.message.is_none(),
                file.standing.sync == SyncState::Synced,
                "{case}: {file:?}"
            );
        }

        // The same again is so since then; what becomes well is so from then on.
        let before = SyncStatus { files, jobs, ..before };
        let (_, later) = told(&desired, &active, changing, prune, &before, 20);
        assert_eq!(later[0].standing.since, at(10), "{case}");
        if !well {
            let good = self::active([&old]);
            let (_, mended) = told(&one(version("a.yaml", &old)), &good, &[], prune, &before, 30);
            assert_eq!(
                (mended[0].standing.sync, mended[0].standing.since),
                (SyncState::Synced, at(30)),
                "{case}"
            );
        }
    }
}

#[test]
fn an_error_has_its_place() {
    let (_, jobs) = told(
        &desired([("a.yaml", faulty("a.yaml"))]),
        &ActiveSet::new(),
        &[],
        Prune::Auto,
        &nothing(&ActiveSet::new()),
        1,
    );
    let standing = &jobs[0].standing;
    assert_eq!((standing.line, standing.column), (Some(2), Some(1)));
    assert_eq!(standing.message.as_deref(), Some("what is `y`?"));
    // One whose errors have no place is named all the same.
    let (files, _) = told(
        &desired([("b.yaml", invalid("?", None))]),
        &ActiveSet::new(),
        &[],
        Prune::Auto,
        &nothing(&ActiveSet::new()),
        1,
    );
    assert_eq!(
        (files[0].standing.sync, files[0].standing.health),
        (SyncState::Invalid, Health::Failing)
    );
}
