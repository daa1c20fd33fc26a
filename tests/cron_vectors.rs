//! The expressions of `fixtures/cron/vectors.json`, on whose answers independent implementations agree: asked of the
//! library, and of `petit next --cron`.

mod support;

use chrono::{DateTime, SecondsFormat, Utc};
use petit::core::schedule::{Schedule, ScheduleError, Timing, local_time, parse_timezone};
use serde::Deserialize;
use support::Place;

#[derive(Deserialize)]
struct Vector {
    expr: String,
    tz: String,
    after: DateTime<Utc>,
    anchor: Option<DateTime<Utc>>,
    next: Option<Vec<String>>,
    #[serde(default)]
    error: bool,
    tags: Vec<String>,
}

/// What the entry says of a correct answer, or how this one differs.
fn check(vector: &Vector) -> Result<(), String> {
    let timing = match Timing::parse(&vector.expr) {
        Ok(_) if vector.error => return Err("it was accepted".to_owned()),
        Err(_) if vector.error => return Ok(()),
        Ok(timing) => timing,
        Err(error) => return Err(format!("it was refused: {error}")),
    };
    let expected = vector.next.as_ref().ok_or("the entry has neither `next` nor `error`")?;
    let zone = parse_timezone(&vector.tz).map_err(|error| error.to_string())?;
    let never = vector.tags.iter().any(|tag| tag == "never");
    let schedule = match Schedule::new(vec![timing], zone) {
        Ok(_) if never => return Err("it was taken to match".to_owned()),
        Err(ScheduleError::Never { .. }) if never => return Ok(()),
        Ok(schedule) => schedule,
        Err(error) => return Err(error.to_string()),
    };
    let fires: Vec<String> = schedule
        .slots_after(vector.after, vector.anchor.unwrap_or(vector.after))
        .take(expected.len())
        .map(|fire| local_time(fire, zone).to_rfc3339())
        .collect();
    if fires == *expected {
        Ok(())
    } else {
        Err(format!("expected {expected:?}, got {fires:?}"))
    }
}

/// The same of the command, which counts a period from the question, as all entries do.
fn check_command(place: &Place, vector: &Vector) -> Result<(), String> {
    let after = vector.after.to_rfc3339_opts(SecondsFormat::Secs, true);
    let expected = vector.next.as_deref().unwrap_or_default();
    let number = expected.len().max(1).to_string();
    let (expr, zone) = (vector.expr.as_str(), vector.tz.as_str());
    let ended = place.run(&["next", "--cron", expr, "--tz", zone, "--after", &after, "-n", &number]);
    if expected.is_empty() {
        let refused = ended.code == 1 && ended.stdout.is_empty() && ended.stderr.contains("expected");
        return if refused { Ok(()) } else { Err(format!("{ended:?}")) };
    }
    let fires: Vec<&str> = ended.stdout.lines().collect();
    if ended.code == 0 && fires == *expected {
        Ok(())
    } else {
        Err(format!("expected {expected:?}, got {ended:?}"))
    }
}

fn every_vector(check: impl Fn(&Vector) -> Result<(), String>) {
    let text = include_str!("fixtures/cron/vectors.json");
    let vectors: Vec<Vector> = serde_json::from_str(text).expect("the fixture is valid");
    assert!(vectors.len() >= 135, "only {} vectors", vectors.len());
    let failures: Vec<String> = vectors
        .iter()
        .filter_map(|vector| {
            let failure = check(vector).err()?;
            Some(format!(
                "{:?} in {} after {}: {failure}",
                vector.expr, vector.tz, vector.after
            ))
        })
        .collect();
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_vector_holds() {
    every_vector(check);
}

#[test]
fn the_command_answers_every_vector_alike() {
    let place = Place::new();
    every_vector(|vector| check_command(&place, vector));
}
