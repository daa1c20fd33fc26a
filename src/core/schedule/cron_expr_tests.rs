//! Which texts are cron expressions, what they mean, and how each fault is told.

use std::ops::Range;

use super::CronErrorKind as E;
use super::{CronExpr, Field, cron_expr::Kind};

fn parse(text: &str) -> CronExpr {
    CronExpr::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn every_error_has_its_kind_and_points_at_its_bytes() {
    let second = Field::Second;
    let (minute, hour) = (Field::Minute, Field::Hour);
    let (date, month, weekday) = (Field::DayOfMonth, Field::Month, Field::DayOfWeek);
    let own = str::to_owned;
    let long = "0 ".repeat(600);
    let backward = |field, from, to, instead| E::BackwardRange {
        field,
        from: own(from),
        to: own(to),
        instead: own(instead),
    };
    let malformed = |field, found| E::Malformed {
        field,
        found: own(found),
    };
    let cases: Vec<(&str, E, Range<usize>)> = vec![
        ("", E::Empty, 0..0),
        ("  \t", E::Empty, 0..3),
        (&long, E::TooLong { bytes: 1200 }, 0..1200),
        ("\u{ff10} 0 * * *", E::NotAscii { found: '\u{ff10}' }, 0..3),
        (
            "* * * *",
            E::FieldCount {
                found: 4,
                spaced: false,
            },
            0..7,
        ),
        (
            "******",
            E::FieldCount {
                found: 1,
                spaced: false,
            },
            0..6,
        ),
        (" 0 0 0 1 - 5 * *", E::FieldCount { found: 8, spaced: true }, 1..16),
        ("* * * * * * *", E::YearField, 12..13),
        ("0 0 12 1 1 2026", E::YearField, 11..15),
        ("@DAILY", E::UnknownShortcut { found: own("@DAILY") }, 0..6),
        ("@reboot", E::Reboot, 0..7),
        ("@every 5m", E::EveryIsNotCron, 0..6),
        (
            "@daily 5 6",
            E::ShortcutWithMore {
                shortcut: own("@daily"),
            },
            7..10,
        ),
        ("TZ=UTC 0 0 * * *", E::InlineZone, 0..6),
        (",1 * * * *", E::EmptyItem { field: minute }, 0..0),
        ("1,,2 * * * *", E::EmptyItem { field: minute }, 2..2),
        ("1, * * * *", E::EmptyItem { field: minute }, 2..2),
        ("-1 * * * *", malformed(minute, "-1"), 0..2),
        ("1- * * * *", malformed(minute, "1-"), 0..2),
        ("1.5 * * * *", malformed(minute, "1.5"), 0..3),
        ("*//2 * * * *", malformed(minute, "*//2"), 0..4),
        ("*/ * * * *", malformed(minute, "*/"), 0..2),
        ("*5 * * * *", malformed(minute, "*5"), 0..2),
        ("1-2-3 * * * *", malformed(minute, "2-3"), 2..5),
        ("0 0 ?/2 * *", malformed(date, "?/2"), 4..7),
        ("0 0 * * mon;", malformed(weekday, "mon;"), 8..12),
        (
            "* 5 j * * *",
            E::UnknownName {
                field: hour,
                found: own("j"),
            },
            4..5,
        ),
        (
            "0 0 * * MONDAY",
            E::UnknownName {
                field: weekday,
                found: own("MONDAY"),
            },
            8..14,
        ),
        (
            "60 * * * * *",
            E::OutOfRange {
                field: second,
                value: own("60"),
            },
            0..2,
        ),
        (
            "0 24 * * *",
            E::OutOfRange {
                field: hour,
                value: own("24"),
            },
            2..4,
        ),
        (
            "0 0 0 * *",
            E::OutOfRange {
                field: date,
                value: own("0"),
            },
            4..5,
        ),
        (
            "* * * 0 *",
            E::OutOfRange {
                field: month,
                value: own("0"),
            },
            6..7,
        ),
        (
            "* * * * 1,8",
            E::OutOfRange {
                field: weekday,
                value: own("8"),
            },
            10..11,
        ),
        (
            "300 * * * *",
            E::OutOfRange {
                field: minute,
                value: own("300"),
            },
            0..3,
        ),
        ("0 0 * * FRI-MON", backward(weekday, "FRI", "MON", "FRI-SUN,MON"), 8..15),
        ("0 0 * * 5-2/2", backward(weekday, "5", "2", "5-7,1-2"), 8..11),
        (
            "0 0 * NOV-FEB *",
            backward(month, "NOV", "FEB", "NOV-DEC,JAN-FEB"),
            6..13,
        ),
        ("0 22-2 * * *", backward(hour, "22", "2", "22-23,0-2"), 2..6),
        ("15/0 * * * *", E::StepZero { field: minute }, 3..4),
        (
            "*/90 * * * *",
            E::StepTooLarge {
                field: minute,
                step: own("90"),
            },
            2..4,
        ),
        (
            "*/900 * * * *",
            E::StepTooLarge {
                field: minute,
                step: own("900"),
            },
            2..5,
        ),
        (
            "0 0 L * *",
            E::Unsupported {
                field: date,
                symbol: 'L',
            },
            4..5,
        ),
        (
            "0 0 L-3 * *",
            E::Unsupported {
                field: date,
                symbol: 'L',
            },
            4..5,
        ),
        (
            "0 0 * * friL",
            E::Unsupported {
                field: weekday,
                symbol: 'L',
            },
            8..12,
        ),
        (
            "0 0 15W * *",
            E::Unsupported {
                field: date,
                symbol: 'W',
            },
            4..7,
        ),
        (
            "0 0 * * FRI#2",
            E::Unsupported {
                field: weekday,
                symbol: '#',
            },
            8..13,
        ),
        (
            "H 0 * * *",
            E::Unsupported {
                field: minute,
                symbol: 'H',
            },
            0..1,
        ),
        (
            "H(0-7)/2 0 * * *",
            E::Unsupported {
                field: minute,
                symbol: 'H',
            },
            0..3,
        ),
        (
            "0~30 0 * * *",
            E::Unsupported {
                field: minute,
                symbol: '~',
            },
            0..4,
        ),
        ("? * * * *", E::QuestionMark { field: minute }, 0..1),
        ("0 0 * ? *", E::QuestionMark { field: month }, 6..7),
    ];
    for (text, kind, range) in cases {
        let error = CronExpr::parse(text).expect_err(text);
        assert_eq!((error.kind(), error.range()), (&kind, range), "{text}");
        assert!(!error.expected().is_empty(), "{text}");
    }
}

#[test]
fn what_people_bring_from_other_crons_is_answered_with_a_hint() {
    let cases = [
        ("@DAILY", "did you mean `@daily`?"),
        ("@hourli", "did you mean `@hourly`?"),
        ("0 0 * * FRI-MON", "write `FRI-SUN,MON`"),
        ("0 0 * * MONDAY", "names have three letters: `MON`"),
        (
            "0 0 0 1 - 5 * *",
            "write lists and ranges without blanks: `1-5`, `1,15`",
        ),
        (
            "******",
            "separate the fields with blanks; a shortcut begins with `@`, as in `@daily`",
        ),
        (
            "@daily 5",
            "`@daily` is `0 0 * * *`; write the fields out to change them",
        ),
        ("0 24 * * *", "midnight is hour 0 of the next day"),
        ("? * * * *", "write `*`"),
    ];
    for (text, hint) in cases {
        let error = CronExpr::parse(text).expect_err(text);
        assert_eq!(error.hint().as_deref(), Some(hint), "{text}");
    }
    for text in [
        "",
        "*/0 * * * *",
        "*/90 * * * *",
        "L * * * *",
        "0 0 1W * *",
        "0 0 * * 1#1",
        "H * * * *",
        "~ * * * *",
        "* * * * * * *",
        "@reboot",
        "TZ=UTC * * * * *",
    ] {
        let error = CronExpr::parse(text).expect_err(text);
        assert!(error.hint().is_some(), "{text}");
    }
}

#[test]
fn spellings_of_the_same_sets_are_equal() {
    let same = [
        ("@daily", "0 0 0 * * *"),
        ("0 0 * * FRI-SUN", "0 0 * * 5,6,0"),
        ("0 0 * * 5-0", "0 0 * * 5-7"),
        ("0 0 * * 7/2", "0 0 * * 0,2,4,6"),
        ("0 0 * * 1/2", "0 0 * * 1,3,5"),
        ("0 0 1 jan,JUL ?", "00  00 01\t1,7 *"),
        ("0/30 * * * *", "0,30 * * * *"),
        ("2-5,4-8 1 * * *", "2-8 1 * * *"),
    ];
    for (left, right) in same {
        assert_eq!(parse(left), parse(right), "{left} and {right}");
    }
}

#[test]
fn a_star_at_the_front_is_part_of_the_meaning() {
    assert_ne!(parse("*/30 * * * *"), parse("0,30 0-23 * * *"));
    assert_eq!(parse("*,5 1 * * *").kind(), Kind::Interval);
    assert_eq!(parse("5,* 1 * * *").kind(), Kind::Fixed);
    assert_eq!(parse("5 1 * * *").kind(), Kind::Fixed);
    assert_eq!(parse("@hourly").kind(), Kind::Interval);
}

#[test]
fn what_never_matches_says_so() {
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 ?"] {
        assert!(!parse(never).can_match(), "{never}");
    }
    for rare in ["0 0 29 2 *", "0 0 29 2 */6", "0 0 30 2 MON"] {
        assert!(parse(rare).can_match(), "{rare}");
    }
}
