//! One file of the folder of jobs: where it stands and what happens next, each mistake with its source line and span, what
//! differs from the version that is active, its text.

use super::{Cell, Section, difference, pending, sync::what_next};
use crate::{
    config::render::render_human,
    tui::{
        look::{self, Tone},
        state::State,
    },
};

pub(super) fn sections(state: &State) -> Vec<Section> {
    let Some(name) = &state.open_file else {
        return vec![Section::new("file", &[], "no file is open: choose one on 5 Sync")];
    };
    let text = state
        .source
        .as_ref()
        .filter(|(file, _)| file == name)
        .map(|(_, text)| text.as_str());
    let mut sections = Vec::new();
    if let Some(file) = state.status.as_ref().and_then(|status| status.sync.file(name)) {
        let standing = &file.standing;
        let (sign, tone) = look::of_sync(standing.sync, standing.health);
        let state_text = format!(
            "{} {}, {}",
            state.look.sign(sign),
            standing.sync.as_str(),
            standing.health.as_str()
        );
        let mut lines = vec![Cell::toned(tone, state_text)];
        lines.extend(standing.message.clone().map(Cell::from));
        lines.push(Cell::field("next", what_next(standing)));
        lines.extend(standing.hint.clone().map(|hint| Cell::field("to do", hint)));
        sections.push(Section::lines(name.clone(), lines));
        // The file may have changed since it was judged; a span beyond its end is cut to it.
        let found = render_human(&file.diagnostics, |_| text, false);
        if !file.diagnostics.is_empty() {
            sections.push(Section::lines("mistakes", found.trim_end().lines().map(Cell::from)));
        }
    }
    if let Some(text) = text {
        sections.push(against_active(state, text));
    }
    let numbered = text.unwrap_or_default().lines().enumerate().map(|(at, line)| {
        Cell::Text(vec![
            (Tone::Muted, format!("{:>4} ", at + 1)),
            (Tone::Plain, line.to_owned()),
        ])
    });
    let empty = if text.is_some() {
        "the file is empty".to_owned()
    } else {
        pending(state)
    };
    sections.push(Section {
        empty,
        is_source: true,
        ..Section::lines("text", numbered)
    });
    sections
}

/// The file's text against that of the version which is active.
fn against_active(state: &State, text: &str) -> Section {
    let nothing = |why: String| Section::new("difference", &[], why);
    let Some(job) = state.job_of_open_file() else {
        return nothing("the file states no job that is known, so there is nothing to compare it with".to_owned());
    };
    let open = state.job.as_ref().map(|(detail, _)| detail);
    match open.filter(|detail| detail.job.id == *job) {
        None => nothing(pending(state)),
        Some(detail) => match &detail.yaml {
            None => nothing(format!("no version of {job} is active, so all of the file is new")),
            Some(active) => difference::section(active, text),
        },
    }
}
