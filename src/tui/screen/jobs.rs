//! Jobs: every job with its schedule, its next fire, its latest runs and how its file stands.

use super::{Cell, Column, Row, Section, Target, pending, strip};
use crate::{
    core::Timestamp,
    tui::{look, state::State, text},
};

/// How many runs a job's strip shows.
pub(super) const STRIP: usize = 20;

pub(super) fn sections(state: &State, _now: Timestamp) -> Vec<Section> {
    let Some(jobs) = &state.jobs else {
        return vec![Section::new("jobs", &[], pending(state))];
    };
    let columns = [
        Column::new("", 0),
        Column::new("job", 0),
        Column::new("state", 1),
        Column::new("schedule", 3),
        Column::new("next", 2),
        Column::new("last runs", 4),
        Column::new("p50", 5).right(),
        Column::new("p95", 6).right(),
        Column::new("revision", 7),
    ];
    let rows = jobs.iter().map(|job| {
        let percentile = |percent| {
            let found = text::percentile(state.runs_of(&job.id), percent);
            Cell::muted(found.map_or_else(|| "-".to_owned(), text::millis))
        };
        Row::new(
            Some(Target::Job(job.id.clone())),
            [
                Cell::sign(state, look::of_job(job)),
                job.id.as_str().into(),
                Cell::toned(look::of_job(job).1, standing(job)),
                job.schedule_text().into(),
                job.next.as_deref().map_or("-", without_seconds).into(),
                strip(state, state.runs_of(&job.id), STRIP),
                percentile(50),
                percentile(95),
                Cell::muted(job.spec_hash.as_ref().map_or("-", |hash| hash.short())),
            ],
        )
    });
    let folder = state.status.as_ref().map_or("jobs.d", |status| &status.sync.jobs_dir);
    let empty = format!("there are no jobs: put a YAML file into {folder}, or let `petit init` write one");
    vec![Section::new(format!("jobs {}", jobs.len()), &columns, empty).with(rows)]
}

/// Sync, health and what keeps it from firing, in a few words.
pub(super) fn standing(job: &crate::view::JobView) -> String {
    let mut words = vec![job.state_text()];
    if job.paused {
        words.push("paused".to_owned());
    }
    if !job.enabled {
        words.push("disabled".to_owned());
    }
    words.join(", ")
}

/// An RFC 3339 time with its offset, without what makes it long.
fn without_seconds(at: &str) -> &str {
    at.get(..19).unwrap_or(at)
}
