//! What the journal knows of a job, looked up for one question.
//!
//! Rows of the ledger, runs, versions and removals come out as they are recorded, or not at all; what they mean is
//! settled in [`super`]. Every look is bounded, whatever the job's past holds.

use chrono::TimeDelta;
use chrono_tz::Tz;

use super::Question;
use crate::{
    core::{
        Timestamp,
        id::SpecHash,
        job::Job,
        record::{RunRecord, SlotRecord, StretchRecord},
        state::{RunStatus, Trigger},
    },
    storage::{RunFilter, StorageError},
};

/// How far back the latest slot is looked for: first where it is likely, so that a job of every second does not bring a
/// year of rows.
const LOOK_BACK: [TimeDelta; 4] = [
    TimeDelta::minutes(2),
    TimeDelta::hours(2),
    TimeDelta::days(7),
    TimeDelta::days(366),
];
/// For how long a run that has not ended is looked for behind a time.
const LONGEST_RUN: TimeDelta = TimeDelta::days(7);
/// A time without seconds means its whole minute, when it is about runs.
const MINUTE: TimeDelta = TimeDelta::minutes(1);

impl Question<'_> {
    /// Whether the journal has anything of the job.
    pub(in crate::view) fn has_past(&self) -> Result<bool, StorageError> {
        Ok(self.latest_row(self.now)?.is_some() || self.latest_run()?.is_some())
    }

    /// The zone of the job's schedule; of one that is gone, that of its latest version.
    pub(super) fn zone(&self) -> Result<Tz, StorageError> {
        let schedule = match self.entry {
            Some(entry) => entry.job.schedule.clone(),
            None => match self.latest_row(self.now)? {
                Some(row) => self.version_of(&row)?.and_then(|job| job.schedule),
                None => None,
            },
        };
        Ok(schedule.map_or(Tz::UTC, |schedule| schedule.zone()))
    }

    /// The latest row at or before an instant.
    pub(super) fn latest_row(&self, until: Timestamp) -> Result<Option<Row>, StorageError> {
        for far in LOOK_BACK {
            let from = until - far;
            let slot = self.storage.slots(self.job, from, until)?.pop().map(Row::Slot);
            let stretch = self.storage.stretches(self.job, from, until)?.pop().map(Row::Stretch);
            if let Some(row) = slot.into_iter().chain(stretch).max_by_key(Row::last) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// The row that an instant has, by itself or with others.
    pub(super) fn row_at(&self, at: Timestamp) -> Result<Option<Row>, StorageError> {
        if let Some(slot) = self.storage.slots(self.job, at, at)?.pop() {
            return Ok(Some(Row::Slot(slot)));
        }
        for stretch in self.storage.stretches(self.job, at, at)? {
            if self.is_of(&stretch, at)? {
                return Ok(Some(Row::Stretch(stretch)));
            }
        }
        Ok(None)
    }

    /// Whether an instant inside a stretch is one of its slots, by the schedule that the job had then. The first slot of
    /// a stretch serves as the anchor of a period.
    pub(super) fn is_of(&self, stretch: &StretchRecord, at: Timestamp) -> Result<bool, StorageError> {
        if at == stretch.from || at == stretch.to {
            return Ok(true);
        }
        let job = self.version(&stretch.spec_hash)?;
        Ok(job
            .and_then(|job| job.schedule)
            .is_some_and(|schedule| schedule.next_after(just_before(at), stretch.from) == Some(at)))
    }

    pub(super) fn version_of(&self, row: &Row) -> Result<Option<Job>, StorageError> {
        match row {
            Row::Slot(slot) => self.version(&slot.spec_hash),
            Row::Stretch(stretch) => self.version(&stretch.spec_hash),
        }
    }

    /// A version of the job, if it is kept and this version of Petit can read it.
    pub(super) fn version(&self, hash: &SpecHash) -> Result<Option<Job>, StorageError> {
        let spec = self.storage.spec(hash)?;
        Ok(spec.and_then(|spec| Job::from_canonical(&spec.canonical).ok()))
    }

    pub(super) fn run_of(&self, row: &Row) -> Result<Option<RunRecord>, StorageError> {
        let run = match row {
            Row::Slot(slot) => slot.run,
            Row::Stretch(stretch) => stretch.run,
        };
        Ok(match run {
            Some(run) => self.storage.run(run)?.map(|detail| detail.run),
            None => None,
        })
    }

    pub(super) fn latest_run(&self) -> Result<Option<RunRecord>, StorageError> {
        let filter = RunFilter {
            job: Some(self.job.clone()),
            limit: Some(1),
            ..RunFilter::default()
        };
        Ok(self.storage.runs(&filter)?.pop())
    }

    pub(super) fn unfinished_run(&self) -> Result<Option<RunRecord>, StorageError> {
        let filter = RunFilter {
            job: Some(self.job.clone()),
            statuses: vec![RunStatus::Running, RunStatus::Queued],
            limit: Some(1),
            ..RunFilter::default()
        };
        Ok(self.storage.runs(&filter)?.pop())
    }

    /// The runs that no slot made and that were going at an instant, or began in its minute; oldest first.
    pub(super) fn runs_about(&self, at: Timestamp) -> Result<Vec<RunRecord>, StorageError> {
        let filter = RunFilter {
            job: Some(self.job.clone()),
            triggers: vec![Trigger::Manual, Trigger::Retry, Trigger::Dependency],
            since: Some(at - LONGEST_RUN),
            until: Some(at + MINUTE),
            ..RunFilter::default()
        };
        let mut about = self.storage.runs(&filter)?;
        about.retain(|run| run.created_at >= at || run.ended_at.is_none_or(|ended| ended > at));
        about.reverse();
        Ok(about)
    }

    /// When the job was removed: by the reconciles that the journal keeps, else by what it keeps of jobs that are gone.
    pub(super) fn removed_at(&self) -> Result<Option<Timestamp>, StorageError> {
        const LOOKED_THROUGH: u32 = 1_000;
        let begins = format!("remove {} (", self.job);
        let reconciles = self.storage.reconciles(LOOKED_THROUGH)?;
        let reconcile = reconciles
            .into_iter()
            .find(|reconcile| reconcile.actions.iter().any(|action| action.starts_with(&begins)));
        if let Some(reconcile) = reconcile {
            return Ok(Some(reconcile.at));
        }
        let removed = self.storage.removed()?;
        let of_job = removed.into_iter().find(|removed| removed.active.job == *self.job);
        Ok(of_job.map(|removed| removed.removed_at))
    }
}

/// A row of the ledger.
pub(super) enum Row {
    Slot(SlotRecord),
    Stretch(StretchRecord),
}

impl Row {
    pub(super) fn last(&self) -> Timestamp {
        match self {
            Self::Slot(slot) => slot.at,
            Self::Stretch(stretch) => stretch.to,
        }
    }

    /// A slot of it that is not after an instant, after which the row does not begin.
    pub(super) fn last_until(&self, until: Timestamp) -> Timestamp {
        match self {
            Self::Slot(slot) => slot.at,
            Self::Stretch(stretch) if stretch.to <= until => stretch.to,
            Self::Stretch(stretch) => stretch.from,
        }
    }
}

/// Slots are whole seconds, so that a millisecond is fine enough.
pub(super) fn just_before(at: Timestamp) -> Timestamp {
    at - TimeDelta::milliseconds(1)
}
