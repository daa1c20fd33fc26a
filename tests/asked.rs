//! What people ask about schedules, through the whole binary: what fires next, why something did not, who paused it, and
//! what a checker says before a file is dropped in.

mod support;

use chrono::{TimeDelta, Timelike, Utc};
use support::Place;

const HOURLY: &str = "schedule: {cron: '0 * * * *', timezone: Asia/Kolkata}\ntasks: {main: {command: ['true']}}\n";

#[track_caller]
fn says(place: &Place, args: &[&str], parts: &[&str]) {
    let done = place.run(args);
    for part in parts {
        assert!(
            done.code == 0 && done.stdout.contains(part),
            "`{part}` is not in {done:?}"
        );
    }
}

#[test]
fn a_pause_is_told_of_by_whom_when_and_why_wherever_it_matters() {
    let place = Place::new();
    let _daemon = place.daemon();
    // Half a day from now, so that no slot is due while the job is paused.
    let hour = (Utc::now() + TimeDelta::minutes(17 * 60 + 30)).hour();
    place.save("etl.yaml", &HOURLY.replace("0 * * * *", &format!("0 {hour} * * *")));
    place.wait_synced("etl");
    assert_eq!(place.run(&["pause", "etl", "--reason", "moving disks"]).code, 0);
    let (who, why) = ("tester paused etl at ", "moving disks");
    for args in [
        &["status"][..],
        &["list"],
        &["show", "etl"],
        &["next"],
        &["next", "etl"],
        &["why", "etl"],
    ] {
        says(&place, args, &[who, why]);
    }
    says(
        &place,
        &["why", "etl", &format!("tomorrow {hour:02}:00")],
        &["will not fire at", "IST", who, why, "`petit resume etl`"],
    );
    let entry = &place.json(&["next"])[0];
    assert_eq!(
        (&entry["job"], &entry["reason"]),
        (&"etl".into(), &"paused".into()),
        "{entry}"
    );
    assert!(entry["at"].is_null() && entry["at_utc"].is_null(), "{entry}");
    let job = place.job("etl").expect("it is listed");
    assert_eq!(job["conditions"][0]["reason"], "paused", "{job}");
    assert!(
        job["conditions"][0]["message"]
            .as_str()
            .is_some_and(|said| said.contains(why)),
        "{job}"
    );

    assert_eq!(place.run(&["resume", "etl"]).code, 0);
    assert_eq!(place.run(&["pause"]).code, 0);
    says(&place, &["list"], &["tester paused everything at "]);
    assert_eq!(place.run(&["resume"]).code, 0);
    for args in [&["status"][..], &["list"], &["next"], &["why", "etl"]] {
        let done = place.run(args);
        assert!(done.code == 0 && !done.stdout.contains("paused"), "{done:?}");
    }
    let fire = &place.json(&["next", "-n", "1"])[0];
    assert!(fire["at"].as_str().is_some_and(|at| at.ends_with("+05:30")), "{fire}");
    assert_eq!(fire["starts_at"], fire["at_utc"], "{fire}");
}

#[test]
fn a_time_is_that_of_the_job_and_may_be_relative() {
    let place = Place::new();
    place.save("etl.yaml", HOURLY);
    // No daemon: a job that was never applied says so, whatever the form of the time.
    for time in [
        "03:00",
        "yesterday 03:00",
        "-2h",
        "+2h",
        "2026-01-31T02:00",
        "2026-01-31T02:00:00Z",
        "now",
    ] {
        says(&place, &["why", "etl", time], &["etl is not active"]);
    }
    for args in [
        &["why", "etl", "someday"][..],
        &["why", "etl", "-2"],
        &["next", "--after", "later"],
    ] {
        let wrong = place.run(args);
        assert!(
            wrong.code == 64 && wrong.stderr.contains("yesterday 02:00"),
            "{wrong:?}"
        );
    }
    // A global option after the time is still an option.
    let json = place.run(&["why", "etl", "-2h", "--format", "json"]).json();
    assert_eq!(json["job"], "etl");
    let fires = place.run(&[
        "next",
        "--cron",
        "0 3 * * *",
        "--tz",
        "Asia/Tokyo",
        "--after",
        "2026-01-31 03:00",
        "-n",
        "1",
    ]);
    assert_eq!(fires.stdout, "2026-02-01T03:00:00+09:00\n", "{fires:?}");
}

#[test]
fn validate_shows_the_next_fires_of_a_few_good_files_and_warns_of_slips() {
    let place = Place::new();
    place.save("etl.yaml", HOURLY);
    place.save(
        "beat.yaml",
        "schedule: {every: 5m}\ntasks: {main: {command: ['true']}}\n",
    );
    place.save("by-hand.yaml", "tasks: {main: {command: ['true']}}\n");
    let done = place.run(&["validate"]);
    let line = done.stdout.lines().find(|line| line.starts_with("etl fires next at "));
    let line = line.unwrap_or_else(|| panic!("{done:?}"));
    assert_eq!(line.matches(":00:00+05:30").count(), 3, "{line}");
    assert!(done.stdout.contains("beat fires every 5m"), "{done:?}");
    assert!(!done.stdout.contains("by-hand fires"), "{done:?}");
    let quiet = place.run(&["validate", "-q"]);
    assert!(quiet.code == 0 && !quiet.stdout.contains("fires"), "{quiet:?}");
    assert_eq!(place.json(&["validate"]), serde_json::json!([]));

    for (schedule, code) in [("'* */4 * * *'", "cron-slip"), ("'0 0 31 * *'", "cron-slip")] {
        place.save(
            "slip.yaml",
            &format!("schedule: {schedule}\ntasks: {{main: {{command: ['true']}}}}\n"),
        );
        let found = &place.json(&["validate", "jobs.d/slip.yaml"])[0];
        assert_eq!(
            (&found["code"], &found["severity"]),
            (&code.into(), &"warning".into()),
            "{found}"
        );
    }
    std::fs::write(place.path().join("petit.yaml"), "resources: {pools: {gpu: 1}}\n").expect("a writable folder");
    for name in ["a", "b"] {
        let task = "{command: ['true'], resources: {slots: {gpu: 1}}}";
        place.save(
            &format!("{name}.yaml"),
            &format!("schedule: '@daily'\ntasks: {{main: {task}}}\n"),
        );
    }
    // The other job is in the folder, not among the files that were asked for.
    let found = &place.json(&["validate", "jobs.d/a.yaml"])[0];
    assert_eq!(found["code"], "same-second", "{found}");
    assert!(
        found["message"].as_str().is_some_and(|said| said.contains("`b`")),
        "{found}"
    );

    for n in 0..20 {
        place.save(&format!("many-{n}.yaml"), HOURLY);
    }
    let many = place.run(&["validate"]);
    assert!(many.code == 0 && !many.stdout.contains("fires next"), "{many:?}");
}
