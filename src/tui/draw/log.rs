//! The lines of a log that fit on the screen, below a line that says which log it is.

use super::pen::Pen;
use crate::{
    execution::output::Stream,
    tui::{look::Tone, state::State},
};

pub(super) fn draw(state: &State, pen: &mut Pen<'_>) {
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
    head(state, &format!("{} try {} of run {}", of.task, of.attempt, of.run), pen);
    let mut body = pen.part(0, 1, pen.width(), pen.height().saturating_sub(1));
    if let Some(problem) = &log.problem {
        body.text(1, 0, Tone::Bad, &format!("! {problem}"));
        return;
    }
    if log.lines.is_empty() {
        body.text(1, 0, Tone::Muted, "it has said nothing yet");
        return;
    }
    let first = log.first(usize::from(body.height()));
    let needle = log.search.to_lowercase();
    for (y, (at, line)) in (0..body.height()).zip(log.lines.iter().enumerate().skip(first)) {
        let mut x = 0;
        if log.times {
            x = body.text(x, y, Tone::Muted, &line.at.format("%H:%M:%S%.3f ").to_string());
        }
        // What went to standard error is marked, and not coloured alone.
        x = match line.stream {
            Stream::Stdout => body.text(x, y, Tone::Plain, "  "),
            Stream::Stderr => body.text(x, y, Tone::Bad, "! "),
        };
        // One letter more than fits shows that the line goes on.
        let most = usize::from(body.width()) + 1;
        let text: String = line.text.chars().skip(log.left).take(most).collect();
        let matches = !needle.is_empty() && line.text.to_lowercase().contains(&needle);
        body.text(x, y, if matches { Tone::Active } else { Tone::Plain }, &text);
        if log.found == Some(at) {
            body.reverse(0, y, body.width());
        }
    }
}

fn head(state: &State, name: &str, pen: &mut Pen<'_>) {
    let log = &state.log;
    let mut parts = vec![match (log.paused, log.unseen) {
        (false, _) => "following".to_owned(),
        (true, 0) => "paused: G follows".to_owned(),
        (true, unseen) => format!("paused, {unseen} new: G follows"),
    }];
    if !log.search.is_empty() {
        parts.push(format!("/{}", log.search));
    }
    if log.dropped > 0 {
        parts.push(format!("{} earlier lines let go", log.dropped));
    }
    let x = pen.text(0, 0, Tone::Heading, name);
    pen.text(x + 2, 0, Tone::Muted, &parts.join(", "));
}
