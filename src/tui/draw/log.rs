//! The lines of a log that fit on the screen, below a line that says which log it is.

use super::pen::Pen;
use crate::{
    core::Timestamp,
    execution::output::Stream,
    tui::{
        log::{LogLine, LogView, MARK_WIDTH, Room, Sought, TIME_WIDTH},
        look::Tone,
        message::LogId,
        state::State,
        text,
    },
};

pub(super) fn draw(state: &State, now: Timestamp, pen: &mut Pen<'_>) {
    let log = &state.log;
    let Some(of) = &log.of else {
        let text = match (&state.run, state.open_run) {
            (Some(run), Some(id)) if run.id == id => "no task of this run has begun, so nothing was said",
            (_, Some(_)) => "loading",
            (_, None) => match &state.runs {
                Some(runs) if runs.is_empty() => "no job has run yet: `t` on a job of 2 Jobs runs it",
                Some(_) | None => "loading",
            },
        };
        pen.text(1, 0, Tone::Muted, text);
        return;
    };
    head(state, of, now, pen);
    let mut body = pen.part(0, 1, pen.width(), pen.height().saturating_sub(1));
    if let Some(problem) = &log.problem {
        body.text(1, 0, Tone::Bad, &format!("! {problem}"));
        return;
    }
    if log.lines.is_empty() {
        body.text(1, 0, Tone::Muted, "it has said nothing yet");
        return;
    }
    let room = state.log_room(now);
    let needle = log.search.to_ascii_lowercase();
    let spot = log.spot(room);
    let mut y = 0;
    for (at, line) in log.lines.iter().enumerate().skip(spot.line) {
        if y >= body.height() {
            break;
        }
        let matches = !needle.is_empty() && line.text.to_ascii_lowercase().contains(&needle);
        let tone = if matches { Tone::Active } else { Tone::Plain };
        let above = if at == spot.line { spot.row } else { 0 };
        for (row, text) in rows(log, line, room).into_iter().enumerate().skip(above) {
            let x = if row == 0 {
                mark(log, line, y, &mut body)
            } else {
                indent(log)
            };
            body.text(x, y, tone, &text);
            if log.found == Some(line.begin) {
                body.reverse(0, y, body.width());
            }
            y += 1;
        }
    }
}

/// What a line's rows say.
fn rows(log: &LogView, line: &LogLine, room: Room) -> Vec<String> {
    if log.wrap {
        return text::wrap(&text::clean(&line.text), room.width.max(1));
    }
    // One letter more than fits shows that the line goes on.
    vec![line.text.chars().skip(log.left).take(room.width + 1).collect()]
}

/// Writes what stands before a line's text.
fn mark(log: &LogView, line: &LogLine, y: u16, pen: &mut Pen<'_>) -> u16 {
    let mut x = 0;
    if log.times {
        x = pen.text(x, y, Tone::Muted, &line.at.format("%H:%M:%S%.3f ").to_string());
    }
    // What went to standard error is marked, and not coloured alone.
    match line.stream {
        Stream::Stdout => pen.text(x, y, Tone::Plain, "  "),
        Stream::Stderr => pen.text(x, y, Tone::Bad, "! "),
    }
}

fn indent(log: &LogView) -> u16 {
    let wide = if log.times { TIME_WIDTH + MARK_WIDTH } else { MARK_WIDTH };
    u16::try_from(wide).unwrap_or(u16::MAX)
}

fn head(state: &State, of: &LogId, now: Timestamp, pen: &mut Pen<'_>) {
    let log = &state.log;
    let mut parts = vec![match (log.paused, log.unseen) {
        (false, _) => "following".to_owned(),
        (true, 0) => "paused: G follows".to_owned(),
        (true, unseen) => format!("paused, {unseen} new: G follows"),
    }];
    if log.paused {
        parts.push(format!("{} %", log.percent(state.log_room(now))));
    }
    match &log.searching {
        Some(searching) => {
            let what = match &searching.search.sought {
                Sought::Text(text) => format!("/{text}"),
                Sought::Error => "an error".to_owned(),
            };
            parts.push(format!("searching {what}, {} %: Esc stops", searching.percent));
        }
        None if !log.search.is_empty() => parts.push(format!("/{}", log.search)),
        None => {}
    }
    if log.wrap {
        parts.push("wrapped".to_owned());
    }
    let said = parts.join(", ");
    let short = format!("{} try {}", of.task, of.attempt);
    let long = format!("{short} of run {}", of.run);
    // What happens matters more than where.
    let fits = text::width(&long) + 2 + text::width(&said) <= usize::from(pen.width());
    let x = pen.text(0, 0, Tone::Heading, if fits { &long } else { &short });
    pen.text(x + 2, 0, Tone::Muted, &said);
}
