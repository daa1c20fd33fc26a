//! Fires to come, and the jobs of which none will come by itself.

use std::{cmp::Reverse, collections::BinaryHeap};

use chrono::SecondsFormat;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::words::{list, local, who_paused};
use crate::{
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::JobId,
        record::PauseRecord,
        schedule::Schedule,
    },
    reconcile::{JobStatus, SyncState},
    scheduler::series::Series,
};

/// What comes next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextView {
    /// The fires, soonest first.
    pub fires: Vec<NextFire>,
    /// The jobs that no schedule will start, and why, by name.
    pub silent: Vec<SilentJob>,
}

/// A fire to come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextFire {
    /// The job.
    pub job: JobId,
    /// The instant, with the offset of the job's zone.
    pub at: String,
    /// The same instant in UTC.
    pub at_utc: Timestamp,
    /// When it starts: the instant and its share of the jitter.
    pub starts_at: Timestamp,
    /// The job's zone.
    pub timezone: String,
    /// What may keep it from starting then, in words.
    pub note: Option<String>,
}

/// A job that no schedule will start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SilentJob {
    /// The job.
    pub job: JobId,
    /// Why.
    pub reason: Silence,
    /// The same in words.
    pub message: String,
}

/// Why no schedule will start a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Silence {
    /// It, or everything, is paused.
    Paused,
    /// Its file says `enabled: false`.
    Disabled,
    /// It runs after other jobs.
    Dependency,
    /// It runs by hand alone.
    Manual,
    /// No good version of its file was ever applied.
    Inactive,
    /// Its schedule has come to its end.
    Over,
}

/// What the question is about.
pub(super) struct Question<'a> {
    pub active: &'a ActiveSet,
    /// The jobs that are asked about.
    pub jobs: Vec<&'a JobStatus>,
    pub pauses: &'a [PauseRecord],
    pub after: Timestamp,
    /// How many fires.
    pub count: usize,
}

/// The next fires of the jobs together, and why some have none.
pub(super) fn next(question: &Question<'_>) -> NextView {
    let mut silent = Vec::new();
    let mut firing = Vec::new();
    for &status in &question.jobs {
        match voice(question, status) {
            Ok(voice) => firing.push(voice),
            Err(job) => silent.push(job),
        }
    }
    let fires = merged(&firing, question.after, question.count)
        .map(|(slot, voice)| NextFire {
            note: note(voice.status, voice.entry),
            ..fire(voice.entry, &voice.series, slot)
        })
        .collect();
    NextView { fires, silent }
}

/// The next fire of a job that nothing holds.
pub(super) fn next_fire(entry: &ActiveJob, pauses: &[PauseRecord], after: Timestamp) -> Option<NextFire> {
    if !entry.job.spec.enabled || pauses.iter().any(|pause| pause.covers(&entry.job.id)) {
        return None;
    }
    let series = Series::of(entry)?;
    Some(fire(entry, &series, series.next_after(after)?))
}

/// A job whose schedule starts it.
struct Voice<'a> {
    status: &'a JobStatus,
    entry: &'a ActiveJob,
    series: Series<'a>,
}

fn voice<'a>(question: &Question<'a>, status: &'a JobStatus) -> Result<Voice<'a>, SilentJob> {
    let silent = |reason, message| SilentJob {
        job: status.job.clone(),
        reason,
        message,
    };
    let Some(entry) = question.active.get(&status.job) else {
        let message = status.standing.message.as_deref().unwrap_or("its file was never valid");
        let message = format!("no version of it is active: {message}");
        return Err(silent(Silence::Inactive, message));
    };
    let Some(series) = Series::of(entry) else {
        let (reason, message) = without_schedule(entry);
        return Err(silent(reason, message));
    };
    let Some(first) = series.next_after(question.after) else {
        let message = "its schedule names no date that is still to come".to_owned();
        return Err(silent(Silence::Over, message));
    };
    let zone = zone(entry);
    let would = format!("it would fire at {}", local(first, zone));
    if !entry.job.spec.enabled {
        let message = format!("disabled in {}; {would}", entry.record.file);
        return Err(silent(Silence::Disabled, message));
    }
    if let Some(pause) = question.pauses.iter().find(|pause| pause.covers(&status.job)) {
        let message = format!("{}; {would}", who_paused(pause, zone));
        return Err(silent(Silence::Paused, message));
    }
    Ok(Voice { status, entry, series })
}

fn without_schedule(entry: &ActiveJob) -> (Silence, String) {
    let upstream: Vec<String> = entry.job.spec.depends_on.iter().map(|it| it.job.to_string()).collect();
    if upstream.is_empty() {
        let message = format!("no schedule: it runs when `petit trigger {}` asks for it", entry.job.id);
        (Silence::Manual, message)
    } else {
        let message = format!("no schedule: it runs after {}", list(&upstream));
        (Silence::Dependency, message)
    }
}

/// What a fire may have to wait for.
fn note(status: &JobStatus, entry: &ActiveJob) -> Option<String> {
    match status.standing.sync {
        SyncState::Blocked => {
            let message = status
                .standing
                .message
                .as_deref()
                .unwrap_or("a job it depends on is missing");
            Some(format!("blocked: {message}"))
        }
        SyncState::Held => Some("its file is gone; its removal waits for approval".to_owned()),
        SyncState::Synced
        | SyncState::OutOfSync
        | SyncState::Invalid
        | SyncState::Conflict
        | SyncState::Paused
        | SyncState::Unknown => {
            let upstream: Vec<String> = entry.job.spec.depends_on.iter().map(|it| it.job.to_string()).collect();
            (!upstream.is_empty()).then(|| format!("if {} allows it", list(&upstream)))
        }
    }
}

/// The slots of all jobs in the order of their instants, of which each job computes no more than are taken.
fn merged<'a>(
    firing: &'a [Voice<'a>],
    after: Timestamp,
    count: usize,
) -> impl Iterator<Item = (Timestamp, &'a Voice<'a>)> {
    let following = |index: usize, after| {
        let slot = firing[index].series.next_after(after)?;
        Some(Reverse((slot, &firing[index].entry.job.id, index)))
    };
    let mut heads: BinaryHeap<_> = (0..firing.len()).filter_map(|index| following(index, after)).collect();
    std::iter::from_fn(move || {
        let Reverse((slot, _, index)) = heads.pop()?;
        heads.extend(following(index, slot));
        Some((slot, &firing[index]))
    })
    .take(count)
}

fn fire(entry: &ActiveJob, series: &Series<'_>, slot: Timestamp) -> NextFire {
    let zone = zone(entry);
    NextFire {
        job: entry.job.id.clone(),
        at: slot.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, false),
        at_utc: slot,
        starts_at: series.start_of(slot),
        timezone: zone.name().to_owned(),
        note: None,
    }
}

fn zone(entry: &ActiveJob) -> Tz {
    entry.job.schedule.as_ref().map_or(Tz::UTC, Schedule::zone)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        core::{job::Job, record::ActiveRecord, spec::JobSpec},
        reconcile::{Health, Standing},
    };

    const NOW: &str = "2026-03-01T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    /// Jobs by name: what their files say, and how those stand.
    struct Jobs {
        active: ActiveSet,
        statuses: Vec<JobStatus>,
    }

    impl Jobs {
        fn of(files: &[(&str, &str)]) -> Self {
            let entries = files.iter().map(|(name, yaml)| {
                let yaml = format!("{yaml}\ntasks: {{only: {{command: [x]}}}}");
                let spec: JobSpec = serde_yaml::from_str(&yaml).expect("the test's own YAML");
                let job = Job::new(spec, &name.parse().expect("a slug"), Tz::UTC).expect("a valid job");
                let since = at("2026-03-01T00:00:00Z");
                let record = ActiveRecord {
                    job: job.id.clone(),
                    file: format!("{name}.yaml"),
                    spec_hash: job.hash.clone(),
                    generation: 1,
                    applied_at: since,
                    anchor: since,
                    scheduled_since: since,
                };
                let entry = ActiveJob {
                    job: Arc::new(job),
                    record,
                };
                (entry.record.job.clone(), Arc::new(entry))
            });
            let active: ActiveSet = entries.collect();
            let statuses = active.keys().map(|id| status(id, SyncState::Synced, None)).collect();
            Self { active, statuses }
        }

        fn standing(mut self, job: &str, sync: SyncState, message: &str) -> Self {
            let id: JobId = job.parse().expect("a slug");
            self.statuses.retain(|status| status.job != id);
            self.statuses.push(status(&id, sync, Some(message)));
            self
        }

        fn next(&self, count: usize, pauses: &[PauseRecord]) -> NextView {
            next(&Question {
                active: &self.active,
                jobs: self.statuses.iter().collect(),
                pauses,
                after: at(NOW),
                count,
            })
        }
    }

    fn status(job: &JobId, sync: SyncState, message: Option<&str>) -> JobStatus {
        JobStatus {
            job: job.clone(),
            file: format!("{job}.yaml"),
            standing: Standing {
                sync,
                health: Health::Ok,
                message: message.map(str::to_owned),
                hint: None,
                line: None,
                column: None,
                since: at(NOW),
            },
            spec_hash: None,
            generation: None,
        }
    }

    fn shown(view: &NextView) -> Vec<String> {
        let fires = view.fires.iter().map(|fire| format!("{} {}", fire.job, fire.at));
        fires.collect()
    }

    #[test]
    fn the_fires_of_all_jobs_come_in_the_order_of_time() {
        let jobs = Jobs::of(&[
            ("b", "schedule: '*/20 * * * *'"),
            (
                "a",
                "schedule: {cron: ['0 * * * *', '30 * * * *'], timezone: Asia/Kolkata}",
            ),
            ("c", "schedule: {every: 7h}"),
        ]);
        assert_eq!(
            shown(&jobs.next(6, &[])),
            [
                "b 2026-03-01T12:20:00+00:00",
                "a 2026-03-01T18:00:00+05:30",
                "b 2026-03-01T12:40:00+00:00",
                "a 2026-03-01T18:30:00+05:30",
                "b 2026-03-01T13:00:00+00:00",
                "b 2026-03-01T13:20:00+00:00",
            ]
        );
        // Each takes part as often as it is due, whatever the number.
        let many = jobs.next(10_000, &[]);
        let instants: Vec<Timestamp> = many.fires.iter().map(|fire| fire.at_utc).collect();
        assert!(instants.len() == 10_000 && instants.is_sorted());
        for entry in jobs.active.values() {
            let own: Vec<Timestamp> = many
                .fires
                .iter()
                .filter(|fire| fire.job == entry.job.id)
                .map(|fire| fire.at_utc)
                .collect();
            let schedule = entry.job.schedule.as_ref().expect("a schedule");
            let last = instants[instants.len() - 1];
            let alone: Vec<Timestamp> = schedule.slots_in(at(NOW), last, entry.record.anchor).collect();
            assert_eq!(own, alone[..own.len()]);
            assert!(
                alone.len() - own.len() <= 1,
                "only what shares the last instant may be cut off"
            );
        }
    }

    #[test]
    fn jitter_delays_the_start_and_not_the_instant() {
        let jobs = Jobs::of(&[
            ("a", "schedule: {cron: '0 * * * *', jitter: 10m}"),
            ("b", "schedule: '0 * * * *'"),
        ]);
        let view = jobs.next(2, &[]);
        let [late, exact] = &view.fires[..] else {
            panic!("{view:?}")
        };
        assert_eq!(late.at_utc, exact.at_utc);
        assert_eq!(exact.starts_at, exact.at_utc);
        let delay = late.starts_at - late.at_utc;
        assert!(delay.num_milliseconds() > 0 && delay.num_minutes() < 10, "{delay}");
    }

    #[test]
    fn jobs_without_a_fire_say_what_they_wait_for() {
        let pause = PauseRecord {
            job: Some("paused".parse().expect("a slug")),
            since: at("2026-03-01T11:00:00Z"),
            by: "ada".to_owned(),
            reason: Some("moving disks".to_owned()),
        };
        let jobs = Jobs::of(&[
            ("after", "depends_on: [{job: ingest}, {job: clean}]"),
            ("blocked", "schedule: '0 * * * *'\ndepends_on: [{job: gone}]"),
            ("disabled", "enabled: false\nschedule: '0 * * * *'"),
            ("manual", ""),
            ("paused", "schedule: {cron: '0 * * * *', timezone: Europe/Berlin}"),
            ("waits", "schedule: '0 * * * *'\ndepends_on: [{job: ingest}]"),
        ])
        .standing("blocked", SyncState::Blocked, "there is no job `gone`")
        .standing("bad", SyncState::Invalid, "bad.yaml has errors");
        let view = jobs.next(2, &[pause]);
        let fires = view.fires.iter().map(|fire| {
            let note = fire.note.as_deref().unwrap_or_default();
            format!("{} fires at {} {note}", fire.job, fire.at)
        });
        let silent = view
            .silent
            .iter()
            .map(|it| format!("{} ({:?}): {}", it.job, it.reason, it.message));
        let lines: Vec<String> = fires.chain(silent).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
