//! Sync: what the files state against what is active, each difference with its reason.

use super::{Cell, Column, Row, Section, Target, pending};
use crate::{
    core::Timestamp,
    reconcile::{FileStatus, Health, JobStatus, Standing, SyncState, SyncStatus, Watching},
    tui::{
        look::{self, Tone},
        state::State,
        text,
    },
};

pub(super) fn sections(state: &State, now: Timestamp) -> Vec<Section> {
    let Some(status) = &state.status else {
        return vec![Section::new("sync", &[], pending(state))];
    };
    let sync = &status.sync;
    let (well, unwell): (Vec<&FileStatus>, Vec<&FileStatus>) = sync
        .files
        .iter()
        .partition(|file| file.standing.sync == SyncState::Synced);
    let held = gone(sync);
    let columns = [
        Column::new("", 0),
        Column::new("file", 0),
        Column::new("job", 2),
        Column::new("state", 1),
        Column::grows("why, and what happens next"),
    ];
    let empty = if sync.files.is_empty() {
        format!("there are no files in {}", sync.jobs_dir)
    } else {
        "every file is followed".to_owned()
    };
    // What wants somebody stands first, under the cursor.
    let mut sections = Vec::new();
    if !held.is_empty() {
        let title = match &sync.waiting_plan {
            Some(plan) => format!("removals held by plan {plan}: `a` carries them out"),
            None => "jobs whose file is gone".to_owned(),
        };
        sections.push(Section::new(title, &columns, "").with(held.iter().map(|job| of_job(state, job))));
    }
    let title = format!("not in sync {}", unwell.len());
    sections.push(Section::new(title, &columns, empty).with(unwell.iter().map(|file| of_file(state, file))));
    sections.push(about(sync, now));
    if !well.is_empty() {
        let title = format!("in sync {}", well.len());
        sections.push(Section::new(title, &columns, "").with(well.iter().map(|file| of_file(state, file))));
    }
    sections
}

fn about(sync: &SyncStatus, now: Timestamp) -> Section {
    let mut lines = vec![Cell::field("folder", sync.jobs_dir.clone())];
    lines.push(Cell::field(
        "watching",
        match &sync.watching {
            Watching::Native => "the kernel tells of changes".to_owned(),
            Watching::Polling { reason } => format!("listed once a second: {reason}"),
        },
    ));
    lines.extend(sync.looked_at.map(|at| Cell::field("looked at", text::clock(at, now))));
    if let Some(last) = &sync.last_reconcile {
        let what = last.actions.first().map_or("nothing", String::as_str);
        let more = match last.actions.len() {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        lines.push(Cell::field(
            "last",
            format!("{} {what}{more}", text::clock(last.at, now)),
        ));
    }
    if !sync.settling.is_empty() {
        lines.push(Cell::field("settling", sync.settling.join(", ")));
    }
    lines.extend(
        sync.conditions
            .iter()
            .map(|condition| Cell::toned(Tone::Bad, format!("! {}", condition.message))),
    );
    Section::lines("sync", lines)
}

/// Jobs that are not as their file says, and have no file to show that.
fn gone(sync: &SyncStatus) -> Vec<&JobStatus> {
    let filed = |job: &JobStatus| sync.files.iter().any(|file| file.job.as_ref() == Some(&job.job));
    let unwell = |job: &&JobStatus| job.standing.sync != SyncState::Synced && !filed(job);
    sync.jobs.iter().filter(unwell).collect()
}

fn of_job(state: &State, job: &JobStatus) -> Row {
    let (sign, tone) = look::of_sync(job.standing.sync, job.standing.health);
    Row::new(
        Some(Target::Job(job.job.clone())),
        [
            Cell::sign(state, (sign, tone)),
            job.file.clone().into(),
            job.job.as_str().into(),
            Cell::toned(tone, job.standing.sync.as_str()),
            why(&job.standing, "its file is gone"),
        ],
    )
}

fn of_file(state: &State, file: &FileStatus) -> Row {
    let standing = &file.standing;
    let (sign, tone) = look::of_sync(standing.sync, standing.health);
    let place = match (standing.line, standing.column) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}", file.file),
        (Some(line), None) => format!("{}:{line}", file.file),
        (None, _) => file.file.clone(),
    };
    Row::new(
        Some(Target::File(file.file.clone())),
        [
            Cell::sign(state, (sign, tone)),
            place.into(),
            file.job.as_ref().map_or("-", |job| job.as_str()).into(),
            Cell::toned(tone, standing.sync.as_str()),
            why(standing, ""),
        ],
    )
}

/// The reason of a standing, and what happens next where all is not well.
fn why(standing: &Standing, otherwise: &str) -> Cell {
    let reason = standing.message.as_deref().unwrap_or(otherwise).to_owned();
    match standing.sync {
        SyncState::Synced => reason.into(),
        _ => Cell::Text(vec![
            (Tone::Plain, reason),
            (Tone::Muted, format!("; {}", what_next(standing))),
        ]),
    }
}

/// What comes of a standing by itself, or what it takes.
pub(super) fn what_next(standing: &Standing) -> &'static str {
    match (standing.sync, standing.health) {
        (SyncState::Synced, _) => "nothing is to be done",
        (SyncState::OutOfSync, _) => "it is applied once the file stands still",
        (SyncState::Invalid, Health::Degraded) => "its last good version runs on",
        (SyncState::Invalid, Health::Ok | Health::Failing) => "it runs once the file is good",
        (SyncState::Conflict, _) => "one of the files must go",
        (SyncState::Blocked, _) => "it follows its dependency",
        (SyncState::Held, _) => "`a` carries the removal out",
        (SyncState::Paused, _) => "`p` resumes it",
        (SyncState::Unknown, _) => "the file is read again in 30 s",
    }
}
