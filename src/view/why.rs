//! What became of a slot, in a sentence: the answer of `petit why`.
//!
//! Here it is decided what there is to tell: a time that is no slot is answered with its neighbours, one to come with what
//! may hold it, a job that is gone with what it left. Nothing is guessed. What the journal knows is looked up in
//! [`facts`], and how it is said is in [`sentence`].

mod facts;
mod sentence;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use self::facts::{Row, just_before};
use super::{asked::AskedTime, words::local};
use crate::{
    core::{
        Timestamp,
        active::ActiveJob,
        id::JobId,
        record::{PauseRecord, RunRecord, SlotRecord, StretchRecord},
    },
    reconcile::JobStatus,
    scheduler::{neighbours, series::Series},
    storage::{Storage, StorageError},
};

/// The answer to "what became of it?".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The job.
    pub job: JobId,
    /// The time that was asked about.
    pub at: Timestamp,
    /// The answer, in a sentence.
    pub answer: String,
    /// The slot, if the time is one and it has its own row.
    pub slot: Option<SlotRecord>,
    /// The row that the slot shares with others, if it does.
    #[serde(default)]
    pub stretch: Option<StretchRecord>,
    /// The slot before the time.
    pub previous: Option<Timestamp>,
    /// The slot after the time.
    pub next: Option<Timestamp>,
}

/// What a question is answered from.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub storage: &'a dyn Storage,
    pub job: &'a JobId,
    /// The job as it is active, if it is.
    pub entry: Option<&'a ActiveJob>,
    /// How its file stands, if it has one.
    pub status: Option<&'a JobStatus>,
    /// The pause that holds it.
    pub pause: Option<&'a PauseRecord>,
    pub now: Timestamp,
}

/// Explains the slot at a time, or without one the latest that is in the ledger.
pub(super) fn why(question: &Question<'_>, asked: Option<AskedTime>) -> Result<Why, StorageError> {
    let zone = question.zone()?;
    let told = Told { question, zone };
    let Some(asked) = asked else {
        return told.latest();
    };
    let resolved = asked.resolve(zone, question.now);
    let why = told.of(resolved.at)?;
    Ok(match resolved.note {
        Some(note) => Why {
            answer: format!("{note} {}", why.answer),
            ..why
        },
        None => why,
    })
}

/// A question, and the zone in which it is answered.
struct Told<'a> {
    question: &'a Question<'a>,
    zone: Tz,
}

impl Told<'_> {
    fn of(&self, at: Timestamp) -> Result<Why, StorageError> {
        let (previous, next) = self.around(at);
        let row = self.question.row_at(at)?;
        let answer = self.answer(at, row.as_ref())?;
        let (slot, stretch) = match row {
            Some(Row::Slot(slot)) => (Some(slot), None),
            Some(Row::Stretch(stretch)) => (None, Some(stretch)),
            None => (None, None),
        };
        Ok(Why {
            job: self.question.job.clone(),
            at,
            answer,
            slot,
            stretch,
            previous,
            next,
        })
    }

    /// Nothing was asked about but the job itself.
    fn latest(&self) -> Result<Why, StorageError> {
        let Question { job, entry, now, .. } = *self.question;
        let Some(row) = self.question.latest_row(now)? else {
            let first = entry.and_then(Series::of).and_then(|series| series.next_after(now));
            let Some(first) = first else {
                return self.of(now);
            };
            let why = self.of(first)?;
            return Ok(Why {
                at: now,
                answer: format!("The journal has no slot of {job} yet. {}", why.answer),
                ..why
            });
        };
        let why = self.of(row.last())?;
        Ok(match entry.and_then(|_| self.held()) {
            Some(held) => Why {
                answer: format!("{} It is held now: {held}.", why.answer),
                ..why
            },
            None => why,
        })
    }

    fn answer(&self, at: Timestamp, row: Option<&Row>) -> Result<String, StorageError> {
        let Some(entry) = self.question.entry else {
            return self.of_no_job(at, row);
        };
        if let Some(row) = row {
            return self.of_row(at, row);
        }
        let Some(series) = Series::of(entry) else {
            return self.of_no_schedule(entry, at);
        };
        if at <= entry.record.scheduled_since {
            return self.of_time_before(entry, at);
        }
        if series.next_after(just_before(at)) != Some(at) {
            return self.of_no_slot(entry, at);
        }
        if at > self.question.now {
            return self.of_slot_to_come(entry, &series, at);
        }
        Ok(self.of_undecided(entry, &series, at))
    }

    fn of_row(&self, at: Timestamp, row: &Row) -> Result<String, StorageError> {
        let run = self.question.run_of(row)?;
        Ok(match row {
            Row::Slot(slot) => sentence::of_slot(slot, run.as_ref(), self.zone),
            Row::Stretch(stretch) => sentence::of_stretch(stretch, at, run.as_ref(), self.zone),
        })
    }

    /// A job of which nothing is active: its file is gone, or was never good.
    fn of_no_job(&self, at: Timestamp, row: Option<&Row>) -> Result<String, StorageError> {
        let Question { job, status, now, .. } = *self.question;
        if let Some(status) = status {
            let why = status
                .standing
                .message
                .as_deref()
                .unwrap_or("no good version of its file was ever applied");
            let now = format!("{job} is not active: {why}.");
            return Ok(match row {
                Some(row) => format!("{} Now {now}", self.of_row(at, row)?),
                None => now,
            });
        }
        let when = self.question.removed_at()?;
        let when = when
            .map(|when| format!(" at {}", local(when, self.zone)))
            .unwrap_or_default();
        if let Some(row) = row {
            return Ok(format!("{} The job was removed{when}.", self.of_row(at, row)?));
        }
        let latest = match self.question.latest_row(now)? {
            Some(row) => self.of_row(row.last(), &row)?,
            None => "No slot of it is in the journal.".to_owned(),
        };
        let at = local(at, self.zone);
        Ok(format!(
            "{job} has no slot at {at} in the journal, and there is no such job any more: it was removed{when}. The \
             latest that is known of it: {latest}"
        ))
    }

    fn of_no_schedule(&self, entry: &ActiveJob, at: Timestamp) -> Result<String, StorageError> {
        let job = self.question.job;
        let mut said = vec![if entry.job.spec.depends_on.is_empty() {
            format!("{job} has no schedule: it runs only when `petit trigger {job}` asks for it.")
        } else {
            self.of_upstreams(entry)?
        }];
        let held = self.held().filter(|_| !entry.job.spec.depends_on.is_empty());
        said.extend(held.map(|held| format!("It is held now: {held}.")));
        let about = self.question.runs_about(at)?;
        if about.is_empty() {
            said.push(match self.question.latest_run()? {
                Some(latest) => format!("Its latest is {}.", sentence::of_run(&latest, self.zone)),
                None => "It has never run.".to_owned(),
            });
        }
        said.extend(self.about(&about, at));
        Ok(said.join(" "))
    }

    fn about<'r>(&'r self, runs: &'r [RunRecord], at: Timestamp) -> impl Iterator<Item = String> + 'r {
        let is_now = at == self.question.now;
        runs.iter().map(move |run| sentence::about(run, is_now, self.zone))
    }

    /// What a job that runs after others waits for.
    fn of_upstreams(&self, entry: &ActiveJob) -> Result<String, StorageError> {
        let storage = self.question.storage;
        let consumed = storage.latest(self.question.job)?.by_dependency;
        let consumed = consumed.map(|run| run.consumed).unwrap_or_default();
        let mut upstreams = Vec::new();
        for dependency in &entry.job.spec.depends_on {
            let latest = storage.latest(&dependency.job)?;
            upstreams.push(sentence::of_upstream(dependency, &latest, &consumed, self.zone));
        }
        Ok(sentence::of_dependency(self.question.job, &upstreams))
    }

    fn of_no_slot(&self, entry: &ActiveJob, at: Timestamp) -> Result<String, StorageError> {
        let (previous, next) = self.around(at);
        let previous = previous.filter(|slot| *slot > entry.record.scheduled_since);
        let name = |slot: Timestamp| local(slot, self.zone);
        let around = match (previous, next) {
            (Some(previous), Some(next)) => {
                format!(
                    "the one before it is {}, the one after it {}",
                    name(previous),
                    name(next)
                )
            }
            (Some(previous), None) => format!("the one before it is {}, and none comes after it", name(previous)),
            (None, Some(next)) => format!("its first one is {}", name(next)),
            (None, None) => "its schedule names no date that is still to come".to_owned(),
        };
        let mut said = vec![format!("{} is no slot of {}: {around}.", name(at), self.question.job)];
        let about = self.question.runs_about(at)?;
        said.extend(self.about(&about, at));
        if at > self.question.now {
            if let Some(next) = next {
                said.push(self.answer(next, None)?);
            }
        } else if let Some(previous) = previous {
            said.push(self.answer(previous, self.question.row_at(previous)?.as_ref())?);
        }
        Ok(said.join(" "))
    }

    /// A time before the present schedule counted.
    fn of_time_before(&self, entry: &ActiveJob, at: Timestamp) -> Result<String, StorageError> {
        let (job, when) = (self.question.job, local(at, self.zone));
        let since = local(entry.record.scheduled_since, self.zone);
        let earlier = self.question.latest_row(at)?;
        if entry.record.generation == 1 && earlier.is_none() {
            return Ok(format!(
                "{job} had no slot at {when}: the job was first applied at {since}."
            ));
        }
        let mut said = format!(
            "{job} had no slot at {when}: its present schedule counts only from {since}, when it was written, enabled or \
             brought back."
        );
        if let Some(row) = earlier {
            said += " The latest before that: ";
            said += &self.of_row(row.last_until(at), &row)?;
        }
        Ok(said)
    }

    fn of_slot_to_come(&self, entry: &ActiveJob, series: &Series<'_>, at: Timestamp) -> Result<String, StorageError> {
        if let Some(held) = self.held() {
            let when = local(at, self.zone);
            let job = self.question.job;
            return Ok(format!("{job} will not fire at {when} as things stand: {held}."));
        }
        let fire = sentence::ToCome {
            at,
            starts: series.start_of(at),
            unfinished: self.question.unfinished_run()?,
            status: self.question.status,
        };
        Ok(sentence::of_slot_to_come(entry, &fire, self.question.now, self.zone))
    }

    /// A slot that is over, or begins now, and has no row. A pause is one row, which is written when it ends.
    fn of_undecided(&self, entry: &ActiveJob, series: &Series<'_>, at: Timestamp) -> String {
        let (job, when) = (self.question.job, local(at, self.zone));
        let starts = series.start_of(at);
        let paused = self.question.pause.is_some_and(|pause| pause.since <= at);
        match self.held() {
            Some(held) if paused || !entry.job.spec.enabled => format!("{job} was skipped at {when}: {held}."),
            Some(_) | None if starts > self.question.now => format!(
                "{job} is due since {when}, and its jitter delays the start to {}.",
                local(starts, self.zone)
            ),
            Some(_) | None => format!(
                "The slot of {job} at {when} has no row in the journal yet: either it is being decided at this moment, or \
                 Petit is not running and will decide when it starts again."
            ),
        }
    }

    /// What keeps the schedule from starting the job now, as a clause.
    fn held(&self) -> Option<String> {
        let Question { entry, pause, .. } = *self.question;
        let entry = entry?;
        if entry.job.spec.enabled {
            pause.map(|pause| sentence::of_pause(pause, self.zone))
        } else {
            let file = &entry.record.file;
            Some(format!("the job is disabled, since {file} says `enabled: false`"))
        }
    }

    /// The slots on both sides of a time, by the schedule that is active.
    fn around(&self, at: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
        let Some((entry, schedule)) = self
            .question
            .entry
            .and_then(|entry| Some((entry, entry.job.schedule.as_ref()?)))
        else {
            return (None, None);
        };
        neighbours(schedule, at, entry.record.anchor)
    }
}

#[cfg(test)]
mod tests;
