//! Schedules against two independent answers: `croner` for the calendar, and for the jumps of the clock a walk through
//! every single second or minute that states the rules literally.
//!
//! Expressions are generated as structures, so that the walk matches on what was meant and shares no parser with the
//! code under test.

use std::collections::HashSet;
use std::fmt;

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Schedule, Timing};

/// One item of a field, with its values spelt out.
#[derive(Clone, Debug)]
struct Item {
    text: String,
    values: Vec<u32>,
}

#[derive(Clone)]
struct Meant {
    /// Second, minute, hour, day of the month, month, weekday; each a list of items.
    fields: [Vec<Item>; 6],
}

impl Meant {
    fn starred(&self, field: usize) -> bool {
        self.fields[field][0].text.starts_with('*')
    }

    fn has(&self, field: usize, value: u32) -> bool {
        self.fields[field].iter().any(|item| item.values.contains(&value))
    }

    fn interval(&self) -> bool {
        (0..3).any(|field| self.starred(field))
    }

    fn matches(&self, wall: NaiveDateTime) -> bool {
        let weekday = wall.weekday().num_days_from_sunday();
        let date = self.has(3, wall.day());
        let weekday = self.has(5, weekday) || weekday == 0 && self.has(5, 7);
        let day = if self.starred(3) || self.starred(5) {
            date && weekday
        } else {
            date || weekday
        };
        self.has(0, wall.second())
            && self.has(1, wall.minute())
            && self.has(2, wall.hour())
            && self.has(4, wall.month())
            && day
    }

    fn schedule(&self, zone: Tz) -> Schedule {
        let timing = Timing::parse(&self.to_string()).unwrap_or_else(|error| panic!("{self}: {error}"));
        Schedule::new(vec![timing], zone).unwrap_or_else(|error| panic!("{self}: {error}"))
    }
}

impl fmt::Display for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields.iter().map(|items| {
            let items: Vec<&str> = items.iter().map(|item| item.text.as_str()).collect();
            items.join(",")
        });
        f.write_str(&fields.collect::<Vec<_>>().join(" "))
    }
}

/// The report of a failure shows the expression, which says all.
impl fmt::Debug for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

fn item(text: String, values: impl Iterator<Item = u32>) -> Item {
    Item {
        text,
        values: values.collect(),
    }
}

/// Items of a field that runs from `min` to `max`.
fn items(min: u32, max: u32) -> impl Strategy<Value = Item> {
    let step = 1..=max;
    let pair = (min..=max, min..=max).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![
        4 => (min..=max).prop_map(|n| item(n.to_string(), n..=n)),
        2 => Just(item("*".to_owned(), min..=max)),
        2 => step.clone().prop_map(move |s| item(format!("*/{s}"), (min..=max).step_by(s as usize))),
        2 => pair.clone().prop_map(|(a, b)| item(format!("{a}-{b}"), a..=b)),
        1 => (pair, step.clone()).prop_map(|((a, b), s)| item(format!("{a}-{b}/{s}"), (a..=b).step_by(s as usize))),
        1 => (min..=max, step).prop_map(move |(n, s)| item(format!("{n}/{s}"), (n..=max).step_by(s as usize))),
    ]
}

fn field(min: u32, max: u32) -> impl Strategy<Value = Vec<Item>> {
    vec(items(min, max), 1..3)
}

fn every_value(min: u32, max: u32) -> Just<Vec<Item>> {
    Just(vec![item("*".to_owned(), min..=max)])
}

fn second_zero() -> Just<Vec<Item>> {
    Just(vec![item("0".to_owned(), 0..=0)])
}

/// Times near which the clocks jump are more interesting than noon.
fn hour_of_a_jump() -> impl Strategy<Value = Vec<Item>> {
    let night = (0_u32..4).prop_map(|n| item(n.to_string(), n..=n));
    prop_oneof![3 => vec(night, 1..4), 2 => field(0, 23), 1 => every_value(0, 23)]
}

/// Days are left free in most cases, since the windows are short.
fn around_a_jump(second: impl Strategy<Value = Vec<Item>>) -> impl Strategy<Value = Meant> {
    let date = prop_oneof![4 => every_value(1, 31), 1 => field(1, 31)];
    let weekday = prop_oneof![4 => every_value(0, 6), 1 => field(0, 6)];
    (
        second,
        field(0, 59),
        hour_of_a_jump(),
        date,
        every_value(1, 12),
        weekday,
    )
        .prop_map(|(second, minute, hour, date, month, weekday)| Meant {
            fields: [second, minute, hour, date, month, weekday],
        })
}

/// Zones with a date on which their clock jumps: by an hour, half an hour, two hours, a quarter, a day, at midnight,
/// a minute past it, forwards and back.
const JUMPS: [(Tz, &str); 26] = [
    (Tz::America__New_York, "2024-03-10"),
    (Tz::America__New_York, "2024-11-03"),
    (Tz::Europe__Berlin, "2024-03-31"),
    (Tz::Europe__Berlin, "2024-10-27"),
    (Tz::Australia__Lord_Howe, "2024-04-07"),
    (Tz::Australia__Lord_Howe, "2024-10-06"),
    (Tz::Pacific__Apia, "2011-04-02"),
    (Tz::Pacific__Apia, "2011-09-24"),
    (Tz::Pacific__Apia, "2011-12-30"),
    (Tz::Africa__Casablanca, "2024-03-10"),
    (Tz::Africa__Casablanca, "2024-04-14"),
    (Tz::Antarctica__Troll, "2024-03-31"),
    (Tz::Antarctica__Troll, "2024-10-27"),
    (Tz::America__Havana, "2024-03-10"),
    (Tz::America__Havana, "2024-11-03"),
    (Tz::Asia__Kathmandu, "1986-01-01"),
    (Tz::America__St_Johns, "2011-03-13"),
    (Tz::America__St_Johns, "2010-11-07"),
    (Tz::America__St_Johns, "2024-11-03"),
    (Tz::Asia__Tehran, "2022-03-22"),
    (Tz::Asia__Tehran, "2022-09-22"),
    (Tz::America__Sao_Paulo, "2018-02-18"),
    (Tz::America__Sao_Paulo, "2018-11-04"),
    (Tz::Pacific__Kwajalein, "1993-08-21"),
    (Tz::Europe__London, "2090-10-29"),
    (Tz::UTC, "2024-02-29"),
];

/// An index, since a zone as such would fill the report of a failure.
fn jump() -> impl Strategy<Value = (Tz, DateTime<Utc>)> {
    (0..JUMPS.len()).prop_map(|index| {
        let (zone, date) = JUMPS[index];
        (zone, at(&format!("{date}T00:00:00Z")))
    })
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("an RFC 3339 instant")
}

/// Rules 5 to 7 as they are written, applied to each instant of (from, until] in steps that no offset and no match can
/// fall between.
fn walk(meant: &Meant, zone: Tz, from: DateTime<Utc>, until: DateTime<Utc>, step: TimeDelta) -> Vec<DateTime<Utc>> {
    let wall_at = |instant: DateTime<Utc>| instant.with_timezone(&zone).naive_local();
    let mut fires = Vec::new();
    // The walk begins early, so that the first pass of a repeated hour is known when the second one begins.
    let mut now = from - TimeDelta::hours(27);
    let mut seen = HashSet::new();
    let mut before = wall_at(now - step);
    while now <= until {
        let wall = wall_at(now);
        let mut due = meant.matches(wall) && (meant.interval() || seen.insert(wall));
        let gap = wall - before - step;
        if !meant.interval() && gap > TimeDelta::zero() && gap <= TimeDelta::hours(3) {
            let mut inside = before + step;
            while inside < wall {
                due |= meant.matches(inside);
                inside += step;
            }
        }
        if due && now > from {
            fires.push(now);
        }
        before = wall;
        now += step;
    }
    fires
}

fn compare(
    meant: &Meant,
    zone: Tz,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    step: TimeDelta,
) -> Result<(), TestCaseError> {
    let expected = walk(meant, zone, from, until, step);
    let schedule = meant.schedule(zone);
    let fires: Vec<_> = schedule.slots_in(from, until, from).collect();
    let first_difference = expected.iter().zip(&fires).find(|(expected, fire)| expected != fire);
    prop_assert!(
        expected == fires,
        "{meant} in {zone} after {from}: expected {} fires, got {}; first difference {first_difference:?}",
        expected.len(),
        fires.len()
    );
    Ok(())
}

/// Dates that never come are refused before anything can be compared.
fn has_dates(meant: &Meant) -> bool {
    let timing = Timing::parse(&meant.to_string()).unwrap_or_else(|error| panic!("{meant}: {error}"));
    Schedule::new(vec![timing], Tz::UTC).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn around_jumps_of_the_clock_minutes_follow_the_rules(
        meant in around_a_jump(second_zero()),
        (zone, day) in jump(),
        // A question inside a gap, a first or a second pass must be answered as well as one from far before.
        offset in -36_i64 * 60..36 * 60,
    ) {
        prop_assume!(has_dates(&meant));
        let from = day + TimeDelta::minutes(offset);
        compare(&meant, zone, from, day + TimeDelta::hours(60), TimeDelta::minutes(1))?;
    }

    #[test]
    fn the_next_instant_is_the_first_of_the_walk_wherever_it_is_asked(
        meant in around_a_jump(second_zero()),
        (zone, day) in jump(),
        seconds in vec(-26_i64 * 3600..26 * 3600, 20),
    ) {
        prop_assume!(has_dates(&meant));
        let until = day + TimeDelta::hours(50);
        let fires = walk(&meant, zone, day - TimeDelta::hours(30), until, TimeDelta::minutes(1));
        let schedule = meant.schedule(zone);
        for offset in seconds {
            let asked = day + TimeDelta::seconds(offset) + TimeDelta::milliseconds(offset.rem_euclid(1000));
            let next = schedule.next_after(asked, asked).filter(|next| *next <= until);
            let expected = fires.iter().find(|fire| **fire > asked).copied();
            prop_assert_eq!(next, expected, "{} in {} after {}", meant, zone, asked);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn around_jumps_of_the_clock_seconds_follow_the_rules(
        meant in around_a_jump(field(0, 59)),
        index in 0_usize..16,
        offset in -7200_i64..7200,
    ) {
        prop_assume!(has_dates(&meant));
        let (zone, jump) = JUMP_INSTANTS[index];
        let from = at(jump) + TimeDelta::seconds(offset);
        compare(&meant, zone, from, at(jump) + TimeDelta::hours(3), TimeDelta::seconds(1))?;
    }
}

/// The first instants of a new offset, for the walks in seconds, which are too long to cover days.
const JUMP_INSTANTS: [(Tz, &str); 16] = [
    (Tz::America__New_York, "2024-03-10T07:00:00Z"),
    (Tz::America__New_York, "2024-11-03T06:00:00Z"),
    (Tz::Europe__Berlin, "2024-03-31T01:00:00Z"),
    (Tz::Europe__Berlin, "2024-10-27T01:00:00Z"),
    (Tz::Australia__Lord_Howe, "2024-04-06T15:00:00Z"),
    (Tz::Australia__Lord_Howe, "2024-10-05T15:30:00Z"),
    (Tz::Pacific__Apia, "2011-12-30T10:00:00Z"),
    (Tz::Africa__Casablanca, "2024-03-10T02:00:00Z"),
    (Tz::Africa__Casablanca, "2024-04-14T02:00:00Z"),
    (Tz::Antarctica__Troll, "2024-03-31T01:00:00Z"),
    (Tz::Antarctica__Troll, "2024-10-27T01:00:00Z"),
    (Tz::America__Havana, "2024-11-03T05:00:00Z"),
    (Tz::Asia__Kathmandu, "1985-12-31T18:30:00Z"),
    (Tz::America__St_Johns, "2011-03-13T03:31:00Z"),
    (Tz::Asia__Tehran, "2022-03-21T20:30:00Z"),
    (Tz::Asia__Tehran, "2022-09-21T19:30:00Z"),
];

#[test]
fn the_clock_does_jump_where_the_tables_say() {
    let offset = |zone: Tz, instant: DateTime<Utc>| instant.with_timezone(&zone).naive_local() - instant.naive_utc();
    for (zone, jump) in JUMP_INSTANTS {
        let jump = at(jump);
        assert_ne!(
            offset(zone, jump),
            offset(zone, jump - TimeDelta::seconds(1)),
            "{zone} {jump}"
        );
    }
    for (zone, date) in JUMPS.into_iter().filter(|(zone, _)| *zone != Tz::UTC) {
        let day = at(&format!("{date}T00:00:00Z"));
        let (before, after) = (day - TimeDelta::hours(24), day + TimeDelta::hours(30));
        assert_ne!(offset(zone, before), offset(zone, after), "{zone} {date}");
    }
}

/// What both read alike: `croner` wants a range or a star before a step, has no star in lists, and takes a stepped star
/// in a day field as another way to be due.
fn shared_with_croner() -> impl Strategy<Value = Meant> {
    let list = |min, max| {
        let plain = items(min, max).prop_filter("a star, or `n/step`", |item| {
            !item.text.contains('*') && (item.text.contains('-') || !item.text.contains('/'))
        });
        vec(plain, 1..4)
    };
    let day = move |min, max| prop_oneof![every_value(min, max), list(min, max)];
    let time = move |min: u32, max: u32| {
        let stepped = (1..=max).prop_map(move |s| vec![item(format!("*/{s}"), (min..=max).step_by(s as usize))]);
        prop_oneof![every_value(min, max), stepped, list(min, max)]
    };
    let fields = (
        time(0, 59),
        time(0, 59),
        time(0, 23),
        day(1, 31),
        time(1, 12),
        day(0, 6),
    );
    fields.prop_map(|(second, minute, hour, date, month, weekday)| Meant {
        fields: [second, minute, hour, date, month, weekday],
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn in_utc_the_calendar_agrees_with_croner(
        meant in shared_with_croner(),
        after in 1_600_000_000_i64..2_000_000_000,
    ) {
        prop_assume!(has_dates(&meant));
        let after = DateTime::from_timestamp(after, 0).expect("in chrono's range");
        let parser = croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Required).build();
        let oracle = parser.parse(&meant.to_string()).unwrap_or_else(|error| panic!("{meant}: {error}"));
        let fires = meant.schedule(Tz::UTC).slots_after(after, after).take(5).collect::<Vec<_>>();
        let expected = oracle.iter_after(after).take(fires.len()).collect::<Vec<_>>();
        prop_assert_eq!(fires, expected, "{} after {}", meant, after);
    }
}
