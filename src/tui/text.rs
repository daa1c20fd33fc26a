//! Times, durations and widths as they are shown. Times are UTC, as everywhere in Petit where no job's zone applies.

use chrono::TimeDelta;
use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{
    core::{Timestamp, harmless::harmless, units::HumanDuration},
    view::ColumnKind,
};

/// Text from anywhere in one line that moves no cursor: see [`harmless`]; a tab becomes a blank.
pub fn clean(text: &str) -> String {
    // Most texts are short and plain, and are looked at for every frame.
    if text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return text.to_owned();
    }
    harmless(text.as_bytes()).replace('\t', " ")
}

/// The hour of an instant; its day too, if that is not today.
pub fn clock(at: Timestamp, now: Timestamp) -> String {
    if at.date_naive() == now.date_naive() {
        at.format("%H:%M:%S").to_string()
    } else {
        at.format("%Y-%m-%d %H:%M").to_string()
    }
}

/// A length of time, as Petit says it everywhere.
pub fn duration(length: TimeDelta) -> String {
    millis(length.num_milliseconds())
}

/// The same, of milliseconds.
pub fn millis(millis: i64) -> String {
    HumanDuration::elapsed(millis).to_string()
}

/// A length that still grows: whole seconds, so that a screen changes once a second and not more often.
pub fn elapsed(length: TimeDelta) -> String {
    millis(length.num_seconds() * 1000)
}

/// A number of bytes in binary units.
pub fn bytes(count: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut count = count;
    let mut unit = 0;
    while count >= 1024.0 && unit + 1 < units.len() {
        count /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count:.0} B")
    } else {
        format!("{count:.1} {}", units[unit])
    }
}

/// A number in a column of this kind, which a chart's axis shows too.
pub fn number(value: f64, kind: ColumnKind) -> String {
    match kind {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "`as` saturates, and nobody reads a chart that closely"
        )]
        ColumnKind::Millis => millis(value.round() as i64),
        ColumnKind::Bytes => bytes(value),
        ColumnKind::Ratio => format!("{:.0} %", value * 100.0),
        ColumnKind::Text | ColumnKind::Count | ColumnKind::Time => {
            if value.fract() == 0.0 {
                format!("{value:.0}")
            } else {
                format!("{value:.1}")
            }
        }
    }
}

/// A value of an answer.
pub fn value(value: &Value, kind: ColumnKind, now: Timestamp) -> String {
    match (value, kind) {
        (Value::Null, _) => "-".to_owned(),
        (Value::Number(count), ColumnKind::Count | ColumnKind::Millis | ColumnKind::Bytes | ColumnKind::Ratio) => count
            .as_f64()
            .map_or_else(|| count.to_string(), |count| number(count, kind)),
        (Value::String(text), ColumnKind::Time) => match text.parse::<Timestamp>() {
            Ok(at) => clock(at, now),
            Err(_) => text.clone(),
        },
        (Value::String(text), _) => text.clone(),
        (other, _) => other.to_string(),
    }
}

/// How many columns a clean text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// A clean text cut to a width; `cut` marks that it goes on.
pub fn fit(text: &str, room: usize, cut: &str) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut left = room.saturating_sub(width(cut));
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        kept.push(c);
    }
    if width(cut) <= room {
        kept.push_str(cut);
    }
    kept
}

/// A clean text in pieces of at most this width.
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut left = room;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > left {
            pieces.push(String::new());
            left = room;
        }
        left = left.saturating_sub(wide);
        if let Some(piece) = pieces.last_mut() {
            piece.push(c);
        }
    }
    pieces
}

/// A length of time in milliseconds, or a dash.
pub fn millis_or_dash(length: Option<i64>) -> String {
    length.map_or_else(|| "-".to_owned(), millis)
}

/// A time with its offset as a listing shows it: the hour today, else the day and the minute.
pub fn local_clock(at: &str, now: Timestamp) -> String {
    let Ok(at) = chrono::DateTime::parse_from_rfc3339(at) else {
        return at.to_owned();
    };
    if at.date_naive() == now.with_timezone(at.offset()).date_naive() {
        at.format("%H:%M:%S").to_string()
    } else {
        at.format("%m-%d %H:%M").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_still_grow_are_whole_seconds() {
        assert_eq!(millis(61_000), "1m1s");
        assert_eq!(elapsed(TimeDelta::milliseconds(1_900)), "1s");
        assert_eq!(bytes(1536.0), "1.5 KiB");
    }

    #[test]
    fn a_time_of_today_shows_its_hour_in_its_own_zone() {
        let now = "2026-11-23T23:30:00Z".parse().expect("an instant");
        assert_eq!(local_clock("2026-11-24T03:00:00+01:00", now), "03:00:00");
        assert_eq!(local_clock("2026-11-25T03:00:00+01:00", now), "11-25 03:00");
        assert_eq!(local_clock("soon", now), "soon");
    }

    #[test]
    fn texts_are_cut_by_columns_and_not_by_characters() {
        assert_eq!(fit("plain", 5, "…"), "plain");
        assert_eq!(fit("plainer", 5, "…"), "plai…");
        assert_eq!(fit("日本語", 5, "…"), "日本…");
        assert_eq!(fit("日本語", 1, "…"), "…");
        assert_eq!(fit("日本語", 0, "…"), "");
    }

    #[test]
    fn long_texts_go_on_below() {
        assert_eq!(wrap("abcdefg", 3), ["abc", "def", "g"]);
        assert_eq!(wrap("日本語", 5), ["日本", "語"]);
        assert_eq!(wrap("", 5), [""]);
        // A letter that is wider than the room stands alone; drawing cuts it.
        assert_eq!(wrap("日本", 1).concat(), "日本");
    }

    #[test]
    fn what_would_act_on_a_terminal_is_shown_instead() {
        assert_eq!(clean("a\x1b[2J\tb\u{202e}"), "a^[[2J b\\u{202e}");
    }
}
