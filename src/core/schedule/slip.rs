//! Expressions that are valid and yet seldom meant: what `validate` warns of.
//!
//! A warning must earn its place. `* 9-17 * * *` is every minute of the office hours on purpose; `* */4 * * *` is
//! nearly always a forgotten 0. What tells them apart is whether the coarser field names times that stand alone.

use std::ops::Range;

use super::cron_expr::{CronExpr, Fields};
use super::field::{Field, FieldSet};

/// What looks wrong in an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slip {
    /// Which slip it is.
    pub kind: SlipKind,
    /// The bytes of the expression that look wrong.
    pub range: Range<usize>,
    /// What the expression does, as opposed to what was probably meant.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

/// The slips that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlipKind {
    /// A `*` in a field finer than the one that was meant to choose the time: it fires throughout.
    FiresThroughout {
        /// The field that holds the `*`.
        finer: Field,
        /// The field that names single times.
        coarser: Field,
    },
    /// A day that some months lack: they are passed over.
    SkipsMonths {
        /// The day of the month.
        day: u8,
    },
}

/// The slips in an expression; a shortcut has none.
pub fn likely_slips(expr: &CronExpr) -> Vec<Slip> {
    if expr.is_shortcut() {
        return Vec::new();
    }
    let fields = expr.fields();
    fires_throughout(fields)
        .into_iter()
        .chain(skips_months(fields))
        .collect()
}

fn fires_throughout(fields: &Fields) -> Option<Slip> {
    let (finer, finer_set, coarser, each, whole) = if fields.second.is_full() {
        if !fields.minute.is_full() {
            (
                Field::Second,
                &fields.second,
                (Field::Minute, &fields.minute),
                "second",
                "minute",
            )
        } else if !fields.hour.is_full() {
            (
                Field::Second,
                &fields.second,
                (Field::Hour, &fields.hour),
                "second",
                "hour",
            )
        } else {
            (Field::Second, &fields.second, restricted_day(fields)?, "second", "day")
        }
    } else if fields.minute.is_full() {
        if !fields.hour.is_full() {
            (
                Field::Minute,
                &fields.minute,
                (Field::Hour, &fields.hour),
                "minute",
                "hour",
            )
        } else {
            (Field::Minute, &fields.minute, restricted_day(fields)?, "minute", "day")
        }
    } else {
        return None;
    };
    let (coarser, coarser_set) = coarser;
    if !stands_alone(coarser_set) {
        return None;
    }
    let hint = match finer {
        Field::Second => "write 0 as the second (and 0 for the fields between) to fire once",
        Field::Minute | Field::Hour | Field::DayOfMonth | Field::Month | Field::DayOfWeek => {
            "write 0 as the minute (and 0 for the hour, if that is `*` too) to fire once"
        }
    };
    Some(Slip {
        kind: SlipKind::FiresThroughout { finer, coarser },
        range: finer_set.range(),
        message: format!("it fires every {each} of each matching {whole}, not once"),
        hint: hint.to_owned(),
    })
}

fn restricted_day(fields: &Fields) -> Option<(Field, &FieldSet)> {
    let by_date = (Field::DayOfMonth, &fields.day_of_month);
    let by_weekday = (Field::DayOfWeek, &fields.day_of_week);
    [by_date, by_weekday].into_iter().find(|(_, set)| !set.is_full())
}

/// Whether no two values are neighbours, as they would be in a range that was meant as a stretch of time.
fn stands_alone(set: &FieldSet) -> bool {
    set.values().all(|value| !set.contains(value + 1))
}

fn skips_months(fields: &Fields) -> Option<Slip> {
    let days = &fields.day_of_month;
    if days.is_starred() {
        return None;
    }
    // `28-31` covers the end of every month; a day that stands alone was meant for each of them.
    let day = (29..=31).find(|&day| days.contains(day) && !days.contains(day - 1))?;
    let lacking: Vec<&str> = SHORT_MONTHS
        .iter()
        .filter(|(month, _, length)| fields.month.contains(*month) && *length < day)
        .map(|(_, name, _)| *name)
        .collect();
    let (last, others) = lacking.split_last()?;
    let months = match others {
        [] => (*last).to_owned(),
        others => format!("{} and {last}", others.join(", ")),
    };
    let unless = if day == 29 { " outside leap years" } else { "" };
    Some(Slip {
        kind: SlipKind::SkipsMonths { day },
        range: days.range(),
        message: format!("there is no day {day} in {months}{unless}"),
        hint: "choose a day up to 28, or the first of the month after".to_owned(),
    })
}

/// The months that lack a day 31, with their usual length.
const SHORT_MONTHS: [(u8, &str, u8); 5] = [
    (2, "February", 28),
    (4, "April", 30),
    (6, "June", 30),
    (9, "September", 30),
    (11, "November", 30),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn slips(text: &str) -> Vec<(SlipKind, Range<usize>)> {
        let expr = CronExpr::parse(text).expect(text);
        likely_slips(&expr)
            .into_iter()
            .map(|slip| (slip.kind, slip.range))
            .collect()
    }

    #[test]
    fn a_star_left_of_a_lone_time_is_a_slip() {
        let throughout = |finer, coarser| SlipKind::FiresThroughout { finer, coarser };
        let (second, minute, hour) = (Field::Second, Field::Minute, Field::Hour);
        let cases = [
            ("* */4 * * *", throughout(minute, hour), 0..1),
            ("* 9 * * *", throughout(minute, hour), 0..1),
            ("* * */4 * * *", throughout(second, hour), 0..1),
            ("0 * */4 * * *", throughout(minute, hour), 2..3),
            ("* */5 * * * *", throughout(second, minute), 0..1),
            ("* * 1 * *", throughout(minute, Field::DayOfMonth), 0..1),
            ("* * * * SUN", throughout(minute, Field::DayOfWeek), 0..1),
        ];
        for (text, kind, range) in cases {
            assert_eq!(slips(text), [(kind, range)], "{text}");
        }
    }

    #[test]
    fn a_lone_day_at_the_end_of_the_month_is_a_slip_where_months_lack_it() {
        let message = |text: &str| {
            let expr = CronExpr::parse(text).expect(text);
            likely_slips(&expr)
                .into_iter()
                .map(|slip| slip.message)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            message("0 0 31 * *"),
            ["there is no day 31 in February, April, June, September and November"]
        );
        assert_eq!(message("0 0 30 * *"), ["there is no day 30 in February"]);
        assert_eq!(
            message("0 0 1,29 * *"),
            ["there is no day 29 in February outside leap years"]
        );
        assert_eq!(message("0 0 31 3-5 *"), ["there is no day 31 in April"]);
    }

    #[test]
    fn what_is_meant_is_left_alone() {
        for text in [
            "* * * * *",
            "* * * * * *",
            "*/5 * * * *",
            "0 */4 * * *",
            "* 9-17 * * MON-FRI",
            "0 0 28-31 * *",
            "0 0 31 12 *",
            "0 0 30 4 *",
            "0 0 */10 * *",
            "@monthly",
            "@hourly",
            "0 0 15 * *",
        ] {
            assert_eq!(slips(text), [], "{text}");
        }
    }
}
