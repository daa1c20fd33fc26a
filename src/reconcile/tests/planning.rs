//! What a plan says, and what carrying it out does.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::{active, at, desired, id, invalid, job, version};
use crate::{
    config::settings::Prune,
    core::{active::ActiveSet, job::Job, record::Actor},
    reconcile::{
        apply::{Applied, Before, Occasion, apply},
        desired::{Desired, DesiredFile, FileState},
        plan::{Action, Past, Plan, PlanId, Policy, plan, set_hash},
    },
    storage::Change,
};

fn policy(prune: Prune) -> Policy {
    Policy {
        prune,
        prune_guard: 50,
        approved: None,
    }
}

fn planned(desired: &Desired, active: &ActiveSet) -> Plan {
    let past = Past {
        refused: &[],
        largest: active,
        set_hash: &set_hash(active),
    };
    plan(desired, active, past, &policy(Prune::Auto), at(10))
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(ToString::to_string).collect()
}

fn carried(plan: &Plan, active: &ActiveSet, seconds: i64) -> Applied {
    let occasion = Occasion {
        actor: Actor::Watcher,
        by: None,
        revision: None,
        now: at(seconds),
        duration_ms: 3,
    };
    let before = Before {
        active,
        set_hash: &set_hash(active),
        retired: &BTreeMap::new(),
        refused: &[],
    };
    apply(plan, before, occasion)
}

/// `n` jobs named `j0`, `j1` and so on, each from its own file.
fn jobs(n: usize) -> Vec<Arc<Job>> {
    (0..n).map(|i| job(&format!("j{i}"), "")).collect()
}

fn files(jobs: &[Arc<Job>]) -> Desired {
    let named: Vec<(String, FileState)> = jobs
        .iter()
        .map(|job| {
            let file = format!("{}.yaml", job.id);
            let state = version(&file, job);
            (file, state)
        })
        .collect();
    desired(named.iter().map(|(file, state)| (file.as_str(), state.clone())))
}

#[test]
fn additions_updates_and_removals_are_sorted_and_named() {
    let before = [job("b", "schedule: '@daily'"), job("c", ""), job("same", "")];
    let load = "tasks: {t: {command: [\"false\"], timeout: 5s}, u: {command: [x]}}";
    let spec = serde_yaml::from_str(&format!("{load}\nschedule: '@hourly'")).expect("YAML");
    let b = Arc::new(Job::new(spec, &id("b"), chrono_tz::Tz::UTC).expect("a job"));
    let desired = desired([
        ("a.yaml", version("a.yaml", &job("a", ""))),
        ("b.yaml", version("b.yaml", &b)),
        ("same.yaml", version("same.yaml", &job("same", ""))),
    ]);
    let plan = planned(&desired, &active(&before));
    assert_eq!(
        lines(&plan),
        [
            "add a (a.yaml)",
            "update b (b.yaml): schedule, tasks.t.command, tasks.t.timeout, tasks.u",
            "remove c (c.yaml is gone)",
        ]
    );
    assert!(plan.changes_jobs());
    let json = serde_json::to_value(&plan).expect("JSON");
    assert_eq!(json["actions"][1]["action"], "update");
    assert_eq!(json["actions"][1]["fields"][0], "schedule");
}

#[test]
fn a_file_that_is_not_good_keeps_its_job() {
    let set = active(&[job("a", ""), job("named", "")]);
    for state in [
        invalid("x", Some(id("a"))),
        invalid("x", None),
        FileState::Unsettled,
        FileState::Refused(crate::reconcile::scan::Refusal::NotAFile),
    ] {
        let files = desired([("a.yaml", state), ("moved.yaml", invalid("y", Some(id("named"))))]);
        let plan = planned(&files, &set);
        assert!(!plan.changes_jobs(), "{plan}");
        assert_eq!(carried(&plan, &set, 20).active, set);
    }
}

#[test]
fn what_lies_in_an_unreadable_folder_stays() {
    let mut set = active(&[job("a", ""), job("b", "")]);
    for (name, file) in [("a", "sub/a.yaml"), ("b", "subway/b.yaml")] {
        Arc::make_mut(set.get_mut(name).expect("there")).record.file = file.to_owned();
    }
    let mut files = desired([]);
    files.blind.insert("sub".to_owned(), "may not be read".to_owned());
    assert_eq!(lines(&planned(&files, &set)), ["remove b (subway/b.yaml is gone)"]);
}

#[test]
fn two_files_with_one_id_conflict_and_the_active_version_stays() {
    let old = job("a", "");
    let set = active(std::slice::from_ref(&old));
    let files = desired([
        ("a.yaml", version("a.yaml", &old)),
        ("b.yaml", version("b.yaml", &job("a", "priority: 3"))),
    ]);
    let plan = planned(&files, &set);
    assert_eq!(lines(&plan), ["conflict a: stated by a.yaml and b.yaml"]);
    assert_eq!(carried(&plan, &set, 20).active, set);
    assert!(
        carried(&planned(&files, &ActiveSet::new()), &ActiveSet::new(), 20)
            .active
            .is_empty()
    );
}

#[test]
fn a_rename_is_no_action_and_is_remembered() {
    let a = job("a", "id: a");
    let set = active(std::slice::from_ref(&a));
    let mut files = desired([("a.yaml", version("a.yaml", &a)), ("b.yaml", version("b.yaml", &a))]);
    files.files.get_mut("a.yaml").expect("there").missing = true;
    let plan = planned(&files, &set);
    assert!(plan.is_empty(), "{plan}");
    let applied = carried(&plan, &set, 20);
    let (old, new) = (&set["a"], &applied.active["a"]);
    assert_eq!((new.record.file.as_str(), new.record.generation), ("b.yaml", 1));
    assert!(Arc::ptr_eq(&old.job, &new.job));
    assert!(applied.record.is_none());

    files.files.insert("b.yaml".into(), files.files["a.yaml"].clone());
    let other = version("b.yaml", &job("a", "id: a\npriority: 1"));
    files.files.get_mut("b.yaml").expect("there").state = other;
    files.files.get_mut("b.yaml").expect("there").missing = false;
    assert!(
        planned(&files, &set).is_empty(),
        "an edited copy waits until the first file is gone for sure"
    );
    files.files.remove("a.yaml");
    assert_eq!(lines(&planned(&files, &set)), ["update a (b.yaml): priority"]);
}

#[test]
fn dependents_of_nothing_are_blocked_and_not_removed() {
    let needs_x = job("a", "depends_on: [{job: x}]");
    let needs_a = job("b", "depends_on: [{job: a}]");
    let files = desired([
        ("a.yaml", version("a.yaml", &needs_x)),
        ("b.yaml", version("b.yaml", &needs_a)),
        ("x.yaml", invalid("?", Some(id("x")))),
    ]);
    let plan = planned(&files, &ActiveSet::new());
    assert_eq!(
        lines(&plan)[1..],
        [
            "blocked a (a.yaml): depends on `x`, whose file x.yaml cannot be followed",
            "blocked b (b.yaml): depends on `a`, whose file a.yaml cannot be followed",
        ]
    );
    let set = active(&[needs_x.clone(), job("x", "")]);
    let plan = planned(&desired([("a.yaml", version("a.yaml", &needs_x))]), &set);
    assert_eq!(
        lines(&plan),
        [
            "remove x (x.yaml is gone)",
            "blocked a (a.yaml): depends on `x`, which no file states"
        ]
    );
    assert!(carried(&plan, &set, 20).active.contains_key("a"));
}

#[test]
fn jobs_that_wait_for_each_other_do_not_become_active() {
    let old = job("a", "");
    let set = active(std::slice::from_ref(&old));
    let files = desired([
        ("a.yaml", version("a.yaml", &job("a", "depends_on: [{job: b}]"))),
        ("b.yaml", version("b.yaml", &job("b", "depends_on: [{job: a}]"))),
    ]);
    let plan = planned(&files, &set);
    assert_eq!(lines(&plan).len(), 2, "{plan}");
    assert_eq!(
        lines(&plan)[0],
        "blocked a (a.yaml): jobs depend on each other: a -> b -> a"
    );
    assert_eq!(carried(&plan, &set, 20).active, set);
}

#[test]
fn many_removals_are_held_until_they_are_approved() {
    let all = jobs(10);
    let set = active(&all);
    let files = files(&all[..4]);
    let held = planned(&files, &set);
    assert!(held.waits_for_approval() && !held.changes_jobs());
    assert_eq!(held.refused.len(), 6);
    let past = Past {
        refused: &[],
        largest: &set,
        set_hash: &set_hash(&set),
    };
    let approve = |id: PlanId| Policy {
        approved: Some(id),
        ..policy(Prune::Auto)
    };
    let stale = plan(&files, &set, past, &approve(PlanId::from_text("other")), at(20));
    assert_eq!(stale.refused, held.refused);
    let approved = plan(&files, &set, past, &approve(held.id.clone()), at(20));
    assert_eq!(carried(&approved, &set, 20).active.len(), 4);
    assert_eq!(approved.id, held.id);
}

#[test]
fn the_guard_counts_what_vanished_in_the_last_minute_and_leaves_few_jobs_alone() {
    let all = jobs(10);
    let largest = active(&all);
    for left in (0..10).rev() {
        let now = active(&all[..=left]);
        let past = Past {
            refused: &[],
            largest: &largest,
            set_hash: &set_hash(&now),
        };
        let plan = plan(&files(&all[..left]), &now, past, &policy(Prune::Auto), at(10));
        assert_eq!(plan.waits_for_approval(), left < 5, "{left} left");
    }
    assert!(!planned(&desired([]), &active(&all[..1])).waits_for_approval());
    assert!(!planned(&desired([]), &active(&all[..4])).waits_for_approval());
    assert!(planned(&desired([]), &active(&all[..5])).waits_for_approval());
    let mut allowed = desired([]);
    allowed.allow_empty = true;
    assert!(!planned(&allowed, &largest).waits_for_approval());
}

#[test]
fn the_guard_counts_a_job_that_would_come_back_and_is_blocked() {
    let all = jobs(10);
    let largest = active(&all);
    let now = active(&all[..6]);
    let past = Past {
        refused: &[],
        largest: &largest,
        set_hash: &set_hash(&now),
    };
    let returns = |needs: &str| {
        let id = all[9].id.as_str();
        let back = version("back.yaml", &job(id, &format!("depends_on: [{{job: {needs}}}]")));
        let mut files = files(&all[..4]).files;
        files.insert(
            "back.yaml".into(),
            DesiredFile {
                state: back,
                missing: false,
            },
        );
        let files = Desired::new(files, BTreeMap::new(), false);
        plan(&files, &now, past, &policy(Prune::Auto), at(10)).waits_for_approval()
    };
    assert!(!returns(all[0].id.as_str()), "five of ten are gone");
    assert!(returns("nobody"), "six of ten are gone");
}

#[test]
fn a_job_that_moved_is_blocked_where_it_is_now() {
    let (waits, needed) = (job("a", "depends_on: [{job: b}]"), job("b", ""));
    let set = active([&waits, &needed]);
    let moved = desired([("moved.yaml", version("moved.yaml", &waits))]);
    assert_eq!(
        lines(&planned(&moved, &set)),
        [
            "remove b (b.yaml is gone)",
            "blocked a (moved.yaml): depends on `b`, which no file states"
        ]
    );
}

#[test]
fn what_was_held_stays_held_when_the_minute_is_over() {
    let all = jobs(10);
    let files = files(&all[..4]);
    let held = planned(&files, &active(&all));
    let later = active(&all[..5]);
    let past = Past {
        refused: &held.refused,
        largest: &later,
        set_hash: &set_hash(&later),
    };
    let again = plan(&files, &later, past, &policy(Prune::Auto), at(100));
    assert!(again.is_empty() && again.waits_for_approval());
}

#[test]
fn prune_never_keeps_and_hold_asks() {
    let set = active(&jobs(1));
    let past = Past {
        refused: &[],
        largest: &set,
        set_hash: &set_hash(&set),
    };
    let with = |policy: &Policy| plan(&desired([]), &set, past, policy, at(10));
    let never = with(&policy(Prune::Never));
    assert!(!never.changes_jobs() && !never.waits_for_approval());
    let hold = with(&policy(Prune::Hold));
    assert!(!hold.changes_jobs() && hold.waits_for_approval());
    let approved = with(&Policy {
        approved: Some(hold.id),
        ..policy(Prune::Hold)
    });
    assert!(approved.changes_jobs());
}

#[test]
fn untouched_jobs_keep_their_arc_and_only_the_touched_ones_are_written() {
    let all = jobs(5);
    let set = active(&all);
    let mut next = all.clone();
    next[2] = job("j2", "priority: 1");
    let plan = planned(&files(&next), &set);
    let applied = carried(&plan, &set, 20);
    for (name, old) in &set {
        assert_eq!(Arc::ptr_eq(old, &applied.active[name]), name.as_str() != "j2", "{name}");
    }
    let [
        Change::PutSpec(spec),
        Change::SetActive(record),
        Change::Reconcile(audit),
    ] = applied.changes.as_slice()
    else {
        panic!("{:?}", applied.changes);
    };
    assert_eq!((&spec.hash, record.generation), (&next[2].hash, 2));
    assert_eq!(
        (&audit.old_set, &audit.new_set),
        (&set_hash(&set), &set_hash(&applied.active))
    );
    assert_eq!(audit.actions, ["update j2 (j2.yaml): priority"]);
}

#[test]
fn the_anchor_and_the_beginning_of_slots_follow_the_schedule() {
    let every = |rest: &str| job("a", &format!("schedule: {{every: 60s}}\n{rest}"));
    let update = |old: &Arc<Job>, new: &Arc<Job>| {
        let set = active(std::slice::from_ref(old));
        let plan = planned(&desired([("a.yaml", version("a.yaml", new))]), &set);
        let record = carried(&plan, &set, 20).active["a"].record.clone();
        (record.anchor, record.scheduled_since)
    };
    let plain = every("");
    assert_eq!(update(&plain, &every("priority: 1")), (at(0), at(0)));
    assert_eq!(
        update(&plain, &job("a", "schedule: {every: 60s, jitter: 5s}")),
        (at(0), at(0))
    );
    assert_eq!(update(&plain, &job("a", "schedule: {every: 90s}")), (at(20), at(20)));
    assert_eq!(update(&plain, &every("enabled: false")), (at(0), at(0)));
    assert_eq!(update(&every("enabled: false"), &plain), (at(0), at(20)));
    let applied = carried(
        &planned(&desired([("a.yaml", version("a.yaml", &plain))]), &ActiveSet::new()),
        &ActiveSet::new(),
        20,
    );
    assert_eq!(
        (applied.active["a"].record.anchor, applied.active["a"].record.generation),
        (at(20), 1)
    );
}

#[test]
fn a_schedule_that_counts_from_a_future_which_was_taken_back_begins_again() {
    let jobs = [
        job("beat", "schedule: {every: 7m}"),
        job("calendar", "schedule: '0 * * * *'"),
        job("waits", ""),
    ];
    let set = active(&jobs);
    let three_hours = 3 * 3_600;
    let after = |seconds| carried(&planned(&files(&jobs), &set), &set, seconds);
    assert_eq!(
        after(-three_hours).changes,
        [],
        "the clock comes there again soon enough"
    );

    let applied = after(-three_hours - 1);
    assert_eq!(applied.changes.len(), 3);
    let record = |name: &str| applied.active[name].record.clone();
    let now = at(-three_hours - 1);
    assert_eq!(
        (record("calendar").anchor, record("calendar").scheduled_since),
        (now, now)
    );
    let beat = record("beat");
    assert_eq!(beat.scheduled_since, now);
    // 26 periods before the old anchor, which is the first beat that is not ahead.
    assert_eq!(beat.anchor, at(-26 * 7 * 60));
    assert!(applied.changes.contains(&Change::SetActive(beat)));
}

/// A file of a small folder: which of four jobs it states and how, or what else is the matter with it.
fn any_file() -> impl Strategy<Value = (FileState, bool)> {
    let name = (0..4usize).prop_map(|i| ["a", "b", "c", "d"][i]);
    let needs = prop::option::of((0..4usize).prop_map(|i| ["a", "b", "c", "d"][i]));
    let state = prop_oneof![
        6 => (name.clone(), 0..3i32, needs).prop_map(|(name, priority, needs)| {
            let needs = needs.filter(|needs| *needs != name);
            let needs = needs.map(|job| format!("depends_on: [{{job: {job}}}]")).unwrap_or_default();
            version("", &job(name, &format!("id: {name}\npriority: {priority}\n{needs}")))
        }),
        1 => prop::option::of(name).prop_map(|name| invalid("x", name.map(id))),
        1 => Just(FileState::Unsettled),
    ];
    (state, prop::bool::weighted(0.2))
}

fn any_desired() -> impl Strategy<Value = Desired> {
    prop::collection::btree_map((0..5usize).prop_map(|i| format!("f{i}.yaml")), any_file(), 0..5).prop_map(|files| {
        let mut all = desired([]);
        for (path, (state, missing)) in files {
            let state = match state {
                FileState::Job(stated) => version(&path, &stated.job),
                other => other,
            };
            all.files
                .insert(path.into(), crate::reconcile::desired::DesiredFile { state, missing });
        }
        all
    })
}

proptest! {
    /// Whatever the folder was and is: a second plan has nothing to add, references hold, and only what is certainly
    /// gone is removed.
    #[test]
    fn a_plan_is_carried_out_once(before in any_desired(), after in any_desired()) {
        let first = planned(&before, &ActiveSet::new());
        let set = carried(&first, &ActiveSet::new(), 10).active;
        let plan_after = planned(&after, &set);
        let applied = carried(&plan_after, &set, 20);
        let past = Past { refused: &plan_after.refused, largest: &applied.active, set_hash: &applied.set_hash };
        let again = plan(&after, &applied.active, past, &policy(Prune::Auto), at(30));
        prop_assert!(again.is_empty(), "{plan_after}\nthen\n{again}");
        prop_assert!(carried(&again, &applied.active, 30).changes.is_empty());
        let stands = Plan { at: again.at, ..plan_after.clone().once_carried_out(&after, &applied.set_hash, Prune::Auto) };
        prop_assert_eq!(stands, again, "what stands after a plan needs no second one");

        let mut sorted = plan_after.actions.clone();
        sorted.sort();
        prop_assert_eq!(&sorted, &plan_after.actions);
        for (job, new) in &applied.active {
            let added = !set.contains_key(job);
            for needs in new.job.spec.depends_on.iter().filter(|_| added) {
                prop_assert!(applied.active.contains_key(&needs.job), "{job} needs {}", needs.job);
            }
        }
        for (job, old) in &set {
            let file = after.files.get(&*old.record.file);
            let unclear = file.is_some_and(|file| !matches!(file.state, FileState::Job(_)));
            let stated = after.files.values().any(|file| matches!(&file.state, FileState::Job(v) if v.job.id == *job));
            if unclear || stated {
                prop_assert!(applied.active.contains_key(job), "{job} was removed");
            }
            if let Some(new) = applied.active.get(job).filter(|new| new.job.hash == old.job.hash) {
                prop_assert!(Arc::ptr_eq(&new.job, &old.job));
                prop_assert_eq!(new.record.generation, old.record.generation);
            }
        }
        let removed = plan_after.actions.iter().filter(|action| matches!(action, Action::Remove { .. })).count();
        let kept = set.keys().filter(|job| applied.active.contains_key(*job)).count();
        prop_assert_eq!(set.len() - kept, removed);
    }
}
