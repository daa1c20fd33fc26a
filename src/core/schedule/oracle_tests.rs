//! Schedules against two independent answers: `croner` for the calendar, and for the jumps of the clock a walk through
//! every single second or minute that states the rules literally.
//!
//! Expressions are generated as structures, so that the walk matches on what was meant and shares no parser with the
//! code under test: the two have nothing in common but the zone database.
//!
//! `PETIT_CASES` says how many expressions each property is tried with; `cargo xtask long cron` sets it to 10,000. With
//! `PROPTEST_RNG_SEED` they are the same ones again. A failure prints the expression, the zone and the question.

use std::collections::HashSet;
use std::fmt;
use std::sync::LazyLock;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Schedule, Timing};

/// How many expressions a property is tried with; `PETIT_CASES` says otherwise for a long look.
fn cases(daily: u32) -> ProptestConfig {
    let cases = std::env::var("PETIT_CASES").ok();
    let cases = cases.map(|cases| cases.parse().expect("PETIT_CASES is a number"));
    ProptestConfig::with_cases(cases.unwrap_or(daily))
}

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

    fn interval(&self) -> bool {
        (0..3).any(|field| self.starred(field))
    }

    fn sets(&self) -> Sets {
        let set = |field: usize| {
            let values = self.fields[field].iter().flat_map(|item| &item.values);
            values.fold(0_u64, |set, value| set | 1 << value)
        };
        Sets {
            values: [0, 1, 2, 3, 4, 5].map(set),
            both_days: self.starred(3) || self.starred(5),
        }
    }

    /// Whether any day matches: as the calendar repeats, 28 years without a missing leap day hold all there are.
    fn has_dates(&self) -> bool {
        let first = NaiveDate::from_ymd_opt(2001, 1, 1).expect("a date");
        let sets = self.sets();
        first.iter_days().take(28 * 366).any(|date| sets.match_date(date))
    }

    fn schedule(&self, zone: Tz) -> Schedule {
        let timing = Timing::parse(&self.to_string()).unwrap_or_else(|error| panic!("{self}: {error}"));
        Schedule::new(vec![timing], zone).unwrap_or_else(|error| panic!("{self}: {error}"))
    }
}

/// The values of the fields, so that a walk of many steps is quick.
struct Sets {
    values: [u64; 6],
    both_days: bool,
}

impl Sets {
    fn has(&self, field: usize, value: u32) -> bool {
        self.values[field] & 1 << value != 0
    }

    fn match_wall(&self, wall: NaiveDateTime) -> bool {
        self.has(0, wall.second())
            && self.has(1, wall.minute())
            && self.has(2, wall.hour())
            && self.match_date(wall.date())
    }

    fn match_date(&self, wall: NaiveDate) -> bool {
        let weekday = wall.weekday().num_days_from_sunday();
        let date = self.has(3, wall.day());
        let weekday = self.has(5, weekday) || weekday == 0 && self.has(5, 7);
        let day = if self.both_days {
            date && weekday
        } else {
            date || weekday
        };
        day && self.has(4, wall.month())
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

fn zero() -> Vec<Item> {
    vec![item("0".to_owned(), 0..=0)]
}

fn second_zero() -> Just<Vec<Item>> {
    Just(zero())
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

/// Zones with a date on which their clock jumps: by a quarter of an hour, by half of one, one, two, three, by a day, at
/// midnight, a minute past it, forwards and back.
const JUMPS: [(Tz, &str); 27] = [
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
    (Tz::Antarctica__Casey, "2009-10-18"),
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
    let (sets, interval) = (meant.sets(), meant.interval());
    // The walk begins early, so that the first pass of a repeated hour is known when the second one begins. Walks in
    // seconds, which would be long, begin near jumps of two hours at most.
    let early = if step < TimeDelta::minutes(1) { 5 } else { 27 };
    let mut now = from - TimeDelta::hours(early);
    let mut seen = HashSet::new();
    let mut before = wall_at(now - step);
    while now <= until {
        let wall = wall_at(now);
        let mut due = sets.match_wall(wall) && (interval || seen.insert(wall));
        let gap = wall - before - step;
        if !interval && gap > TimeDelta::zero() && gap <= TimeDelta::hours(3) {
            let mut inside = before + step;
            while inside < wall {
                due |= sets.match_wall(inside);
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

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn around_jumps_of_the_clock_minutes_follow_the_rules(
        meant in around_a_jump(second_zero()),
        (zone, day) in jump(),
        // A question inside a gap, a first or a second pass must be answered as well as one from far before.
        offset in -36_i64 * 60..36 * 60,
    ) {
        prop_assume!(meant.has_dates());
        let from = day + TimeDelta::minutes(offset);
        compare(&meant, zone, from, day + TimeDelta::hours(60), TimeDelta::minutes(1))?;
    }

    #[test]
    fn the_next_instant_is_the_first_of_the_walk_wherever_it_is_asked(
        meant in around_a_jump(second_zero()),
        (zone, day) in jump(),
        seconds in vec(-26_i64 * 3600..26 * 3600, 20),
    ) {
        prop_assume!(meant.has_dates());
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

/// Every change of offset of every zone, of the years in which offsets are whole minutes.
static CHANGES: LazyLock<Vec<(Tz, DateTime<Utc>)>> = LazyLock::new(|| {
    let zones = TZ_VARIANTS.iter().copied();
    zones
        .flat_map(|zone| changes(zone).into_iter().map(move |at| (zone, at)))
        .collect()
});

fn changes(zone: Tz) -> Vec<DateTime<Utc>> {
    let offset = |seconds: i64| {
        let instant = DateTime::from_timestamp(seconds, 0).expect("in chrono's range");
        zone.offset_from_utc_datetime(&instant.naive_utc()).fix()
    };
    let (first, last) = (
        at("1973-01-01T00:00:00Z").timestamp(),
        at("2040-01-01T00:00:00Z").timestamp(),
    );
    let week = 7 * 86_400;
    let weeks = (first..last).step_by(week as usize);
    let changed = weeks.filter(|start| offset(*start) != offset(start + week));
    changed
        .map(|start| {
            let (mut before, mut after) = (start, start + week);
            while after - before > 1 {
                let middle = before + (after - before) / 2;
                if offset(middle) == offset(start) {
                    before = middle;
                } else {
                    after = middle;
                }
            }
            DateTime::from_timestamp(after, 0).expect("in chrono's range")
        })
        .collect()
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn around_any_change_of_any_zone_minutes_follow_the_rules(
        meant in around_a_jump(second_zero()),
        change in any::<prop::sample::Index>(),
        offset in -30_i64 * 60..6 * 60,
    ) {
        prop_assume!(meant.has_dates());
        let (zone, at) = *change.get(&CHANGES);
        let from = at + TimeDelta::minutes(offset);
        compare(&meant, zone, from, at + TimeDelta::hours(30), TimeDelta::minutes(1))?;
    }

    #[test]
    fn what_never_matches_is_refused_and_nothing_else(meant in rare_dates()) {
        let timing = Timing::parse(&meant.to_string()).unwrap_or_else(|error| panic!("{meant}: {error}"));
        let refused = Schedule::new(vec![timing], Tz::UTC).is_err();
        prop_assert_eq!(refused, !meant.has_dates(), "{}", meant);
    }
}

/// The last days of the month, with and without a weekday that must fall on them.
fn rare_dates() -> impl Strategy<Value = Meant> {
    let date =
        (28_u32..=31, 1_u32..=31).prop_map(|(n, s)| vec![item(format!("{n}/{s}"), (n..=31).step_by(s as usize))]);
    let month = vec((1_u32..=12).prop_map(|n| item(n.to_string(), n..=n)), 1..3);
    let weekday = prop_oneof![
        every_value(0, 6),
        (1_u32..=6).prop_map(|s| vec![item(format!("*/{s}"), (0..=6).step_by(s as usize))]),
        (0_u32..=6).prop_map(|n| vec![item(n.to_string(), n..=n)]),
    ];
    (date, month, weekday).prop_map(|(date, month, weekday)| Meant {
        fields: [zero(), zero(), zero(), date, month, weekday],
    })
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn around_jumps_of_the_clock_seconds_follow_the_rules(
        meant in around_a_jump(field(0, 59)),
        index in 0_usize..16,
        offset in -7200_i64..7200,
    ) {
        prop_assume!(meant.has_dates());
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

/// What chance may pass over: every jump with times of the night that name it exactly.
#[test]
fn every_jump_is_met_by_fixed_and_interval_expressions_of_the_night() {
    let any = |min: u32, max: u32| vec![item("*".to_owned(), min..=max)];
    let one = |value: u32| vec![item(value.to_string(), value..=value)];
    let expressions = (0..5).flat_map(|hour| {
        [one(0), one(30), vec![item("*/20".to_owned(), (0..60).step_by(20))]].map(|minute| Meant {
            fields: [one(0), minute, one(hour), any(1, 31), any(1, 12), any(0, 6)],
        })
    });
    for meant in expressions {
        for (zone, date) in JUMPS {
            let day = at(&format!("{date}T00:00:00Z"));
            let (from, until) = (day - TimeDelta::hours(26), day + TimeDelta::hours(38));
            let outcome = compare(&meant, zone, from, until, TimeDelta::minutes(1));
            outcome.unwrap_or_else(|difference| panic!("{difference}"));
        }
    }
}

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
    #![proptest_config(cases(500))]

    #[test]
    fn in_utc_the_calendar_agrees_with_croner(
        meant in shared_with_croner(),
        after in 1_600_000_000_i64..2_000_000_000,
    ) {
        prop_assume!(meant.has_dates());
        let after = DateTime::from_timestamp(after, 0).expect("in chrono's range");
        let parser = croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Required).build();
        let oracle = parser.parse(&meant.to_string()).unwrap_or_else(|error| panic!("{meant}: {error}"));
        let fires = meant.schedule(Tz::UTC).slots_after(after, after).take(5).collect::<Vec<_>>();
        let expected = oracle.iter_after(after).take(fires.len()).collect::<Vec<_>>();
        prop_assert_eq!(fires, expected, "{} after {}", meant, after);
    }
}
