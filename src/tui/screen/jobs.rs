//! Jobs: every job with its schedule, its next fire, its latest runs and how its file stands.

use super::{Cell, Column, Row, Section, Target, marks, pending};
use crate::{
    core::Timestamp,
    tui::{look, state::State, text},
};

pub(super) fn sections(state: &State, now: Timestamp) -> Vec<Section> {
    let Some(jobs) = &state.jobs else {
        return vec![Section::new("jobs", &[], pending(state))];
    };
    let columns = [
        Column::new("", 0),
        Column::new("job", 0),
        Column::new("state", 2),
        Column::new("last runs", 1),
        Column::new("next", 3),
        Column::new("p50", 4).right(),
        Column::new("p95", 5).right(),
        Column::new("schedule", 6),
        Column::new("revision", 7),
    ];
    let rows = jobs.iter().map(|job| {
        let next = job.next.as_ref();
        Row::new(
            Some(Target::Job(job.id.clone())),
            [
                Cell::sign(state, look::of_job(job)),
                job.id.as_str().into(),
                Cell::toned(look::of_job(job).1, standing(job)),
                marks(state, &job.last_runs),
                next.map_or_else(|| "-".to_owned(), |at| text::local_clock(at, now))
                    .into(),
                Cell::muted(text::millis_or_dash(job.usual.p50_ms)),
                Cell::muted(text::millis_or_dash(job.usual.p95_ms)),
                job.schedule_text().into(),
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
