//! Times, durations and widths as they are shown. Times are UTC, as everywhere in Petit where no job's zone applies.

use chrono::TimeDelta;
use ratatui::text::Span;
use serde_json::Value;

use crate::{
    core::Timestamp,
    execution::output::harmless,
    view::{ColumnKind, RunView},
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

/// A length of time, in the two units that say enough.
pub fn duration(length: TimeDelta) -> String {
    millis(length.num_milliseconds())
}

/// The same, of milliseconds.
pub fn millis(millis: i64) -> String {
    let seconds = millis / 1000;
    match millis {
        ..0 => "-".to_owned(),
        0..1_000 => format!("{millis}ms"),
        1_000..60_000 => format!("{seconds}.{}s", millis % 1000 / 100),
        60_000..3_600_000 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600_000..86_400_000 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        86_400_000.. => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A length that still grows: whole seconds, so that a screen changes once a second and not more often.
pub fn elapsed(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        millis(seconds * 1000)
    }
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
    Span::raw(text).width()
}

/// A clean text cut to a width; `cut` marks that it goes on.
pub fn fit(text: &str, room: usize, cut: &str) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut left = room.saturating_sub(width(cut));
    for c in text.chars() {
        let wide = width(c.encode_utf8(&mut [0; 4]));
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

/// The duration below which a share of these runs stayed; none if too few succeeded to say.
pub fn percentile<'a>(runs: impl IntoIterator<Item = &'a RunView>, percent: usize) -> Option<i64> {
    const ENOUGH: usize = 3;
    let mut durations: Vec<i64> = runs
        .into_iter()
        .filter(|run| run.status == crate::core::state::RunStatus::Succeeded)
        .filter_map(|run| run.duration_ms)
        .collect();
    if durations.len() < ENOUGH {
        return None;
    }
    durations.sort_unstable();
    Some(durations[(durations.len() * percent / 100).min(durations.len() - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_keep_two_units() {
        let cases = [
            (0, "0ms"),
            (999, "999ms"),
            (1_250, "1.2s"),
            (61_000, "1m 01s"),
            (3_720_000, "1h 02m"),
            (90_000_000, "1d 01h"),
            (-5, "-"),
        ];
        for (given, shown) in cases {
            assert_eq!(millis(given), shown);
        }
        assert_eq!(elapsed(TimeDelta::milliseconds(1_900)), "1s");
        assert_eq!(bytes(1536.0), "1.5 KiB");
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
    fn what_would_act_on_a_terminal_is_shown_instead() {
        assert_eq!(clean("a\x1b[2J\tb\u{202e}"), "a^[[2J b\\u{202e}");
    }
}
