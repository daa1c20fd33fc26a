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
const EXPRESSIONS: [&str; 13] = [
    "* * * * *",
    "*/7 * * * * *",
    "0-59/13 */3 * * * *",
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
        "under 20 µs; not over croner",
    ));
    rows.extend(worst());
    rows
}

/// How many expressions are searched for the slowest.
const SEARCHED: usize = 5_000;

/// The slowest question about random expressions, those that match seldom or never among them. An expression's time is
/// the least of three, so that what else the machine does is not taken for it.
fn worst() -> [Row; 2] {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let start = DateTime::from_timestamp(1_790_000_000, 0).expect("in chrono's range");
    let least = |ask: &dyn Fn()| (0..3).map(|_| time_of_each(&[()], |()| ask())).fold(f64::MAX, f64::min);
    let (mut next, mut never) = ((0.0, String::new()), (0.0, String::new()));
    for _ in 0..SEARCHED {
        let text = chance.expression();
        let expr = CronExpr::parse(&text).expect("a valid expression");
        let timing = Timing::parse(&text).expect("a valid expression");
        let (slowest, took) = match Schedule::new(vec![timing], Tz::Europe__Berlin) {
            Ok(schedule) => {
                let after = start + TimeDelta::seconds(i64::from(chance.below(300_000_000)));
                (
                    &mut next,
                    least(&|| assert!(black_box(schedule.next_after(after, start)).is_some())),
                )
            }
            Err(_) => (&mut never, least(&|| assert!(!black_box(expr.can_match())))),
        };
        if took > slowest.0 {
            *slowest = (took, text);
        }
    }
    let row = |(took, text): (f64, String), which, goal| {
        let what = format!("slowest of {SEARCHED} random expressions {which}: `{text}`");
        Row::alone("cron", what, Unit::Seconds.written(took), goal)
    };
    [
        row(next, "in Berlin", "under 1 ms"),
        row(never, "that match never", "under 1 ms"),
    ]
}

/// The same numbers each time (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 32) % u64::from(bound)).expect("below a bound of 32 bits")
    }

    fn expression(&mut self) -> String {
        let time = [(0, 59), (0, 59), (0, 23)].map(|bounds| self.field(bounds));
        // Days at the ends of months and single months are what is hard to find.
        let date = match self.below(3) {
            0 => self.field((1, 31)),
            1 => (29 + self.below(3)).to_string(),
            _ => format!("{}/{}", 29 + self.below(3), 1 + self.below(31)),
        };
        let month = match self.below(2) {
            0 => self.field((1, 12)),
            _ => (1 + self.below(12)).to_string(),
        };
        let weekday = match self.below(3) {
            0 => self.field((0, 6)),
            1 => "*".to_owned(),
            _ => format!("*/{}", 1 + self.below(6)),
        };
        format!("{} {date} {month} {weekday}", time.join(" "))
    }

    fn field(&mut self, (min, max): (u32, u32)) -> String {
        let (a, b) = (min + self.below(max - min + 1), min + self.below(max - min + 1));
        let step = 1 + self.below(max);
        match self.below(5) {
            0 => "*".to_owned(),
            1 => format!("*/{step}"),
            2 => a.to_string(),
            3 => format!("{}-{}", a.min(b), a.max(b)),
            _ => format!("{a},{}/{step}", b),
        }
    }
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
