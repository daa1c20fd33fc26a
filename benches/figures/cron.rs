//! Cron expressions: the next instant after another, against `croner`, an independent crate.
//!
//! Petit answers with zones and clock changes; `croner` gets its instants in the same zone.

use std::{hint::black_box, str::FromStr, time::Instant};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds},
};
use petit::core::schedule::{CronExpr, Schedule, Timing};

use crate::paired::{Pair, Row, Unit, in_turn};

/// What people write, from every minute to once in four years.
const EXPRESSIONS: [&str; 11] = [
    "* * * * *",
    "*/10 * * * * *",
    "*/5 * * * *",
    "0,30 8-17 * * 1-5",
    "15 * * * *",
    "0 3 * * *",
    "30 2 * * *",
    "0 4 * * 0",
    "0 0 1 * *",
    "0 0 1 1 *",
    "0 0 29 2 *",
];
/// A date that does not exist.
const NEVER: &str = "0 0 30 2 *";
const QUESTIONS: i32 = 200;
const ROUNDS: usize = 21;

pub fn cron() -> Vec<Row> {
    let mut rows = Vec::new();
    for zone in [Tz::UTC, Tz::Europe__Berlin] {
        let mut pairs: Vec<(&str, Pair)> = EXPRESSIONS.map(|text| (text, next(text, zone))).into();
        pairs.sort_by(|a, b| a.1.subject.median.total_cmp(&b.1.subject.median));
        let middle = &pairs[pairs.len() / 2];
        let slowest = &pairs[pairs.len() - 1];
        let by_ratio = |a: &&(&str, Pair), b: &&(&str, Pair)| a.1.ratio.median.total_cmp(&b.1.ratio.median);
        let worst = pairs.iter().max_by(by_ratio).expect("there are expressions");
        for (which, (text, pair)) in [("median", middle), ("slowest", slowest), ("worst ratio", worst)] {
            let what = format!("{zone}, {which}: `{text}`; croner");
            rows.push(pair.row("cron", what, Unit::Seconds, "under 1 µs; not over croner"));
        }
    }
    rows.push(never().row(
        "cron",
        format!("matches never: `{NEVER}`; croner"),
        Unit::Seconds,
        "not over croner",
    ));
    rows
}

/// The time of one question, at instants all over two years.
fn next(text: &str, zone: Tz) -> Pair {
    let timing = Timing::parse(text).expect("a valid expression");
    let schedule = Schedule::new(vec![timing], zone).expect("it matches some date");
    let other = oracle(text);
    let start = DateTime::from_timestamp(1_790_000_000, 0).expect("in chrono's range");
    let instants: Vec<DateTime<Utc>> = (0..QUESTIONS)
        .map(|i| start + TimeDelta::seconds(315_377) * i)
        .collect();
    let local: Vec<DateTime<Tz>> = instants.iter().map(|at| at.with_timezone(&zone)).collect();
    in_turn(
        ROUNDS,
        || {
            time_of_each(&instants, |at| {
                black_box(schedule.next_after(*at, start));
            })
        },
        || {
            time_of_each(&local, |at| {
                black_box(other.find_next_occurrence(at, false)).expect("it matches some date");
            })
        },
    )
}

fn never() -> Pair {
    let expr = CronExpr::parse(NEVER).expect("a valid expression");
    let other = oracle(NEVER);
    let now = DateTime::from_timestamp(1_790_000_000, 0).expect("in chrono's range");
    in_turn(
        ROUNDS,
        || time_of_each(&[()], |()| assert!(!black_box(expr.can_match()))),
        || {
            time_of_each(&[()], |()| {
                assert!(black_box(other.find_next_occurrence(&now, false)).is_err())
            })
        },
    )
}

fn oracle(text: &str) -> Cron {
    let with_seconds = text.split(' ').count() == 6;
    let parser = CronParser::builder().seconds(Seconds::Required).build();
    let parsed = if with_seconds {
        parser.parse(text)
    } else {
        Cron::from_str(text)
    };
    parsed.expect("both read it")
}

fn time_of_each<T>(questions: &[T], mut ask: impl FnMut(&T)) -> f64 {
    let begun = Instant::now();
    questions.iter().for_each(&mut ask);
    begun.elapsed().as_secs_f64() / questions.len() as f64
}
