//! The moves of the clock that rule 11 names, one by one: by an hour, by four, by a day, both ways; across a clock change and
//! inside a repeated hour.
//!
//! What is expected stands in the table, and the oracle watches besides.

use chrono::TimeDelta;
use chrono_tz::Tz;

use super::{
    calendar::{Cron, Field, Times},
    stories::{Act, Overlap, Policy, Spec},
    world::World,
};
use crate::{scheduler::fixtures::at, testing::story::Dice};

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

struct Case {
    zone: Tz,
    minute: Field,
    hour: Field,
    begins: &'static str,
    /// Minutes until the clock is moved, by how many seconds, and how many minutes are watched then.
    before: i64,
    by: i64,
    after: i64,
    /// The slots that ran, with the time at which they did if it was another; a stroke where the clock was moved. Then what
    /// became of others.
    expected: &'static str,
}

fn only(value: u32) -> Field {
    Field::Only(vec![value])
}

fn hourly(by: i64, expected: &'static str) -> Case {
    Case {
        zone: Tz::UTC,
        minute: only(0),
        hour: Field::Any,
        begins: "2026-06-10T10:30:00Z",
        before: 120,
        by,
        after: 300,
        expected,
    }
}

/// In Berlin the clock jumps at 01:00Z from 02:00 to 03:00.
fn at_night_in_spring(before: i64, by: i64, expected: &'static str) -> Case {
    Case {
        zone: Tz::Europe__Berlin,
        minute: only(30),
        hour: only(2),
        begins: "2026-03-28T22:00:00Z",
        before,
        by,
        after: 120,
        expected,
    }
}

/// In Berlin 02:00 to 03:00 is shown from 00:00Z and again from 01:00Z.
fn in_the_repeated_hour(minute: Field, hour: Field, before: i64, by: i64, expected: &'static str) -> Case {
    Case {
        zone: Tz::Europe__Berlin,
        minute,
        hour,
        begins: "2026-10-24T23:50:00Z",
        before,
        by,
        after: 90,
        expected,
    }
}

fn told(case: &Case) -> String {
    let mut world = World::new(at(case.begins), 1, Dice::new(0));
    let cron = Cron {
        second: only(0),
        minute: case.minute.clone(),
        hour: case.hour.clone(),
        day: Field::Any,
        weekday: Field::Any,
    };
    let spec = Spec {
        times: Some(Times::Crons(vec![cron])),
        zone: case.zone,
        jitter: TimeDelta::zero(),
        policy: Policy::Once,
        limit: 1,
        window: TimeDelta::days(1),
        grace: TimeDelta::seconds(60),
        overlap: Overlap::Skip,
        enabled: true,
        needs: Vec::new(),
    };
    world.write(0, Some(spec), 0);
    world.pass(case.before * 60_000);
    let moved = world.history.len();
    world.live(if case.by > 0 {
        Act::Leap {
            seconds: case.by,
            unnoticed: 0,
        }
    } else {
        Act::PutBack {
            seconds: -case.by,
            unnoticed: 0,
        }
    });
    world.pass(case.after * 60_000);
    let mut words = Vec::new();
    for (position, (slot, when)) in world.history.iter().enumerate() {
        if position == moved {
            words.push("|".to_owned());
        }
        let (slot, when) = (slot.format("%dT%H:%M").to_string(), when.format("%dT%H:%M").to_string());
        words.push(if slot == when { slot } else { format!("{slot}@{when}") });
    }
    if world.history.len() == moved {
        words.push("|".to_owned());
    }
    for ((outcome, reason), many) in world.passed(0) {
        words.push(format!(
            "{many} {outcome} {}",
            reason.map_or("", |reason| reason.as_str())
        ));
    }
    words.join(" ")
}

#[test]
fn each_move_of_the_clock_is_answered_as_rule_11_says() {
    let (half_hours, hours) = (Field::Only(vec![0, 30]), Field::Any);
    let cases = [
        // Forwards is a backlog: the latest runs, the others are merged into it.
        hourly(
            HOUR,
            "10T11:00 10T12:00 | 10T13:00@10T13:30 10T14:00 10T15:00 10T16:00 10T17:00 10T18:00",
        ),
        hourly(
            4 * HOUR,
            "10T11:00 10T12:00 | 10T16:00@10T16:30 10T17:00 10T18:00 10T19:00 10T20:00 10T21:00 3 merged clock",
        ),
        hourly(
            DAY,
            "10T11:00 10T12:00 | 11T12:00@11T12:30 11T13:00 11T14:00 11T15:00 11T16:00 11T17:00 23 merged clock",
        ),
        // Backwards a little: nothing until the clock has passed the last slot.
        hourly(-HOUR, "10T11:00 10T12:00 | 10T13:00 10T14:00 10T15:00 10T16:00"),
        // Back further than three hours: again from there, but for what ran and what was before the job.
        hourly(-4 * HOUR, "10T11:00 10T12:00 | 10T13:00"),
        hourly(-DAY, "10T11:00 10T12:00 | 09T13:00 09T14:00 09T15:00 09T16:00 09T17:00"),
        // Over the gap: 02:30 does not exist that night and is made up for at the first instant after it, which was leapt over.
        at_night_in_spring(150, HOUR, "| 29T01:00@29T01:30"),
        // Back over the gap, after it ran: not again.
        at_night_in_spring(210, -HOUR, "29T01:00 |"),
        at_night_in_spring(210, -4 * HOUR, "29T01:00 |"),
        at_night_in_spring(150, DAY, "| 30T00:30 1 merged clock"),
        // From the first pass of the repeated hour into the second, and back; a fixed time has its slot in the first.
        in_the_repeated_hour(only(30), only(2), 20, HOUR, "| 25T00:30@25T01:10"),
        in_the_repeated_hour(only(30), only(2), 80, -HOUR, "25T00:30 |"),
        in_the_repeated_hour(
            half_hours.clone(),
            hours.clone(),
            20,
            HOUR,
            "25T00:00 | 25T01:00@25T01:10 25T01:30 25T02:00 25T02:30 1 merged clock",
        ),
        in_the_repeated_hour(half_hours, hours, 80, -HOUR, "25T00:00 25T00:30 25T01:00 | 25T01:30"),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .map(|case| (case, told(case)))
        .filter(|(case, told)| case.expected != told)
        .map(|(case, told)| {
            format!(
                "{} {} {} by {}:\n  expected {}\n  told     {told}",
                case.zone, case.minute, case.hour, case.by, case.expected
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
