//! Plans made by hand, and everything that is said of them.

use std::sync::Arc;

use chrono_tz::Tz;

use super::*;
use crate::{
    config::settings::Settings,
    core::{job::Job, record::ActiveRecord, spec::JobSpec},
    reconcile::{
        Options,
        desired::{Desired, DesiredFile, FileState, Version},
        plan::Past,
        scan::Blob,
    },
};

const UTC_NOON: &str = "2026-11-23T12:00:00Z";

fn job(name: &str, yaml: &str) -> Arc<Job> {
    let yaml = match yaml.contains("tasks:") {
        true => yaml.to_owned(),
        false => format!("{yaml}\ntasks: {{only: {{command: [x]}}}}"),
    };
    let spec: JobSpec = serde_yaml::from_str(&yaml).expect("the test's own YAML");
    Arc::new(Job::new(spec, &name.parse().expect("a slug"), Tz::UTC).expect("a valid job"))
}

fn wants(schedule: &str, slots: u32) -> String {
    format!("schedule: {schedule}\ntasks: {{t: {{command: [x], resources: {{slots: {{gpu: {slots}}}}}}}}}")
}

/// The view of a plan from some jobs to others, on a machine whose pool `gpu` has one slot.
fn view_at(now: &str, before: &[(&str, &str)], after: &[(&str, &str)], budget: usize) -> PlanView {
    let now: Timestamp = now.parse().expect("an instant");
    let applied = now - TimeDelta::days(2);
    let active: ActiveSet = before
        .iter()
        .map(|(name, yaml)| {
            let job = job(name, yaml);
            let record = ActiveRecord {
                job: job.id.clone(),
                file: format!("{name}.yaml"),
                spec_hash: job.hash.clone(),
                generation: 1,
                applied_at: applied,
                anchor: applied,
                scheduled_since: applied,
            };
            (job.id.clone(), Arc::new(ActiveJob { job, record }))
        })
        .collect();
    let files = after.iter().map(|(name, yaml)| {
        let file = format!("{name}.yaml");
        let version = Version {
            file: file.clone(),
            job: job(name, yaml),
            text: Arc::new(Blob::new(yaml.as_bytes().to_vec())),
            diagnostics: Vec::new(),
        };
        let state = FileState::Job(Arc::new(version));
        (file.as_str().into(), DesiredFile { state, missing: false })
    });
    let desired = Desired::new(files.collect(), Default::default(), false);
    let settings = Settings::default();
    let capacity = SystemResources {
        pools: [("gpu".to_owned(), 1)].into(),
        tasks: 8,
        cpu_millis: 8_000,
        memory_bytes: 1 << 30,
    };
    let options = Options::from_settings("jobs.d".into(), &settings, capacity.clone());
    let past = Past {
        refused: &[],
        largest: &active,
        set_hash: &set_hash(&active),
    };
    let proposal = Proposal::new(&desired, Arc::new(active.clone()), past, &options, now);
    PlanView::within(proposal, &capacity, &mut Budget(budget))
}

fn view(before: &[(&str, &str)], after: &[(&str, &str)]) -> PlanView {
    view_at(UTC_NOON, before, after, MOST_COMPUTED)
}

fn counts(change: &JobChange) -> (u64, u64) {
    (change.gained.count, change.lost.count)
}

#[test]
fn what_comes_brings_its_fires_and_what_goes_takes_them() {
    let view = view(
        &[("old", "schedule: '0 * * * *'"), ("same", "schedule: '0 * * * *'")],
        &[
            ("new", "schedule: {cron: '30 9 * * *', timezone: Asia/Kolkata}"),
            ("same", "schedule: '0 * * * *'"),
        ],
    );
    let [new, old] = &view.changes[..] else {
        panic!("{view:#?}")
    };
    assert_eq!((new.change, counts(new)), (Change::Add, (1, 0)));
    assert_eq!(new.gained.at, ["2026-11-24T09:30:00+05:30"]);
    assert_eq!(new.gained.timezone.as_deref(), Some("Asia/Kolkata"));
    assert_eq!((old.change, counts(old)), (Change::Remove, (0, 24)));
    assert_eq!(old.lost.at[0], "2026-11-23T13:00:00+00:00");
    assert!(view.complete && view.collisions.is_empty());
    assert_ne!(view.active_set_hash, view.resulting_set_hash);
}

#[test]
fn an_update_names_its_fields_and_only_the_fires_that_differ() {
    let view = view(
        &[("a", "schedule: {cron: ['0 6 * * *', '0 7 * * *']}\npriority: 1")],
        &[(
            "a",
            "schedule: {cron: ['0 7 * * *', '0 8 * * *']}\npriority: 2\ntasks: {only: {command: [y]}}",
        )],
    );
    let [change] = &view.changes[..] else {
        panic!("{view:#?}")
    };
    assert_eq!(change.change, Change::Update);
    let fields = change.fields.iter().map(|field| {
        let text = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{}: {} -> {}", field.field, text(&field.old), text(&field.new))
    });
    assert_eq!(
        fields.collect::<Vec<_>>(),
        [
            "priority: 1 -> 2",
            r#"schedule: {"cron":["0 6 * * *","0 7 * * *"]} -> {"cron":["0 7 * * *","0 8 * * *"]}"#,
            r#"tasks.only.command: ["x"] -> ["y"]"#,
        ]
    );
    assert_eq!(change.gained.at, ["2026-11-24T08:00:00+00:00"]);
    assert_eq!(change.lost.at, ["2026-11-24T06:00:00+00:00"]);
}

#[test]
fn an_edit_that_leaves_the_times_alone_changes_no_fire() {
    for (old, new) in [
        (
            "schedule: '* * * * * *'\npriority: 1",
            "schedule: '* * * * * *'\npriority: 2",
        ),
        ("schedule: {every: 7m}", "schedule: {every: 7m}\npriority: 2"),
        ("schedule: '0 0 * * *'", "schedule: '@daily'"),
        (
            "enabled: false\nschedule: '0 * * * *'",
            "enabled: false\nschedule: '1 * * * *'",
        ),
    ] {
        let view = view(&[("a", old)], &[("a", new)]);
        assert_eq!(view.changes.iter().map(counts).collect::<Vec<_>>(), [(0, 0)], "{new}");
    }
}

#[test]
fn disabling_loses_all_fires_and_new_periods_count_from_now() {
    let disabled = view(
        &[("a", "schedule: '0 * * * *'")],
        &[("a", "enabled: false\nschedule: '0 * * * *'")],
    );
    assert_eq!(counts(&disabled.changes[0]), (0, 24));
    let period = view(&[("a", "schedule: {every: 7h}")], &[("a", "schedule: {every: 8h}")]);
    let change = &period.changes[0];
    assert_eq!(
        change.gained.at,
        ["2026-11-24T04:00:00+00:00", "2026-11-24T12:00:00+00:00"],
        "20:00 was one of the old ones"
    );
    assert!(
        change
            .note
            .as_ref()
            .is_some_and(|note| note.contains("counts from when")),
        "{change:?}"
    );
}

#[test]
fn a_clock_change_says_what_it_does_to_the_schedule() {
    let berlin = |cron: &str| format!("schedule: {{cron: '{cron}', timezone: Europe/Berlin}}");
    let told = |now: &str, cron: &str| {
        let view = view_at(now, &[], &[("a", &berlin(cron))], MOST_COMPUTED);
        let changes = view.changes[0].clock_changes.iter().map(|change| {
            let touched = change.touched.iter().map(|it| {
                let times: Vec<String> = it.times.iter().take(2).map(|time| time.time().to_string()).collect();
                let instead = it.instead.as_deref().unwrap_or("-");
                format!("{:?} {} {} instead {instead}", it.fate, it.count, times.join(" "))
            });
            let touched: Vec<String> = touched.collect();
            format!(
                "{:?} at {}: {} -> {}: {}",
                change.direction,
                change.at.format("%d %H:%M"),
                change.clock_before.time(),
                change.clock_after.time(),
                touched.join("; ")
            )
        });
        changes.collect::<Vec<_>>().join("\n")
    };
    let (spring, autumn) = ("2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z");
    for (now, cron, expected) in [
        (
            spring,
            "30 2 * * *",
            "Forward at 29 01:00: 02:00:00 -> 03:00:00: Moved 1 02:30:00 instead 2026-03-29T03:00:00+02:00",
        ),
        (
            spring,
            "*/30 * * * *",
            "Forward at 29 01:00: 02:00:00 -> 03:00:00: Skipped 2 02:00:00 02:30:00 instead -",
        ),
        (spring, "0 5 * * *", "Forward at 29 01:00: 02:00:00 -> 03:00:00: "),
        (
            autumn,
            "30 2 * * *",
            "Back at 25 01:00: 03:00:00 -> 02:00:00: Once 1 02:30:00 instead -",
        ),
        (
            autumn,
            "*/30 * * * *",
            "Back at 25 01:00: 03:00:00 -> 02:00:00: Twice 2 02:00:00 02:30:00 instead -",
        ),
        (UTC_NOON, "30 2 * * *", ""),
    ] {
        assert_eq!(told(now, cron), expected, "{cron} after {now}");
    }
}

#[test]
fn a_job_that_newly_meets_others_in_a_pool_too_small_collides() {
    let (hourly, daily) = (wants("'0 * * * *'", 1), wants("'0 6 * * *'", 1));
    let view = view(&[("hourly", &hourly)], &[("hourly", &hourly), ("daily", &daily)]);
    let [collision] = &view.collisions[..] else {
        panic!("{view:#?}")
    };
    assert_eq!(
        (collision.pool.as_str(), collision.slots, collision.wanted),
        ("gpu", 1, 2)
    );
    assert_eq!(
        collision.jobs.iter().map(JobId::as_str).collect::<Vec<_>>(),
        ["daily", "hourly"]
    );
    assert_eq!(
        (collision.count, &collision.at[..]),
        (1, &["2026-11-24T06:00:00+00:00".to_owned()][..])
    );
}

#[test]
fn what_met_before_or_has_room_or_jitter_is_no_news() {
    let hourly = wants("'0 * * * *'", 1);
    let louder = format!("priority: 3\n{hourly}");
    let jittered = wants("{cron: '0 * * * *', jitter: 1m}", 1);
    let [hourly, louder, jittered] = [&hourly, &louder, &jittered].map(String::as_str);
    let without = "schedule: '0 * * * *'";
    for (before, after) in [
        (vec![("a", hourly), ("b", hourly)], vec![("a", hourly), ("b", louder)]),
        (vec![("a", hourly)], vec![("a", hourly), ("b", jittered)]),
        (vec![("a", hourly)], vec![("a", hourly), ("b", without)]),
        (vec![("a", hourly), ("b", hourly)], vec![("a", louder)]),
    ] {
        assert_eq!(view(&before, &after).collisions, [], "{after:?}");
    }
}

#[test]
fn a_budget_that_is_spent_is_said() {
    let view = view_at(UTC_NOON, &[], &[("a", "schedule: '* * * * * *'")], 100);
    assert!(!view.complete);
    assert_eq!(view.changes[0].gained.count, 100);
}

#[test]
fn a_view_reads_back_as_it_was_sent() {
    let view = view(&[("a", "schedule: '0 * * * *'")], &[("b", "schedule: '0 * * * *'")]);
    let text = serde_json::to_string(&view).expect("JSON");
    let back: PlanView = serde_json::from_str(&text).expect("the same");
    assert_eq!((back.changes, back.plan.actions), (view.changes, view.plan.actions));
}
