//! The language in which runs are picked, the same on the command line and on the screens: `job=etl-* status=failed
//! since=30d`.
//!
//! Pure: a text becomes a [`Filter`] or a [`FilterError`] that points at the word it is about, and a filter is written
//! back as the shortest text that means the same. It does not know who is asked: `history` makes conditions of it, a
//! screen asks it about each row. Terms with different keys must all hold; the values of one key are alternatives.

use std::{fmt, ops::Range, str::FromStr};

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, Utc};

use serde::{Deserialize, Serialize};

use super::RunView;
use crate::{
    core::{
        Timestamp,
        pattern::Pattern,
        revision::RevisionPick,
        state::{RunStatus, Trigger},
        suggest::did_you_mean,
        units::HumanDuration,
    },
    storage::RunFilter,
};

/// Which runs, or slots, are meant. The default is all of them. Serialized as its text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Filter {
    /// Only of jobs with one of these names.
    pub jobs: Vec<Pattern>,
    /// Only of tasks with one of these names.
    pub tasks: Vec<Pattern>,
    /// Only runs with one of these statuses.
    pub statuses: Vec<RunStatus>,
    /// Only runs that one of these made.
    pub triggers: Vec<Trigger>,
    /// Only runs of one of these versions of their job.
    pub revisions: Vec<RevisionPick>,
    /// Only from this moment on.
    pub since: Option<Moment>,
    /// Only before this moment.
    pub until: Option<Moment>,
}

/// A moment, fixed or counted back from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// So long ago.
    Ago(HumanDuration),
    /// This instant.
    At(Timestamp),
}

/// A word that does not belong to the language.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FilterError {
    /// Where it stands in the text, in bytes.
    pub span: Range<usize>,
    /// What is wrong with it, and what was expected.
    pub message: String,
    /// What to write instead, where that can be guessed.
    pub hint: Option<String>,
}

/// The keys, with an example of each; what a screen offers while a filter is typed.
pub const KEYS: [(&str, &str); 7] = [
    ("job", "job=etl-*"),
    ("task", "task=load"),
    ("status", "status=failed,timed_out"),
    ("trigger", "trigger=schedule"),
    ("rev", "rev=last:5"),
    ("since", "since=30d"),
    ("until", "until=2026-01-31"),
];

impl Filter {
    /// Whether everything is meant.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a job's name fits.
    pub fn fits_job(&self, job: &str) -> bool {
        self.jobs.is_empty() || self.jobs.iter().any(|pattern| pattern.fits(job))
    }

    /// Whether a task's name fits.
    pub fn fits_task(&self, task: &str) -> bool {
        self.tasks.is_empty() || self.tasks.iter().any(|pattern| pattern.fits(task))
    }

    /// Whether an instant lies within `since` and `until`.
    pub fn fits_instant(&self, at: Timestamp, now: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since.instant(now))
            && self.until.is_none_or(|until| at < until.instant(now))
    }

    /// The runs of the journal that are meant, as of now.
    pub fn of_runs(self, now: Timestamp) -> RunFilter {
        RunFilter {
            job: None,
            jobs: self.jobs,
            tasks: self.tasks,
            statuses: self.statuses,
            triggers: self.triggers,
            revisions: self.revisions,
            since: self.since.map(|since| since.instant(now)),
            until: self.until.map(|until| until.instant(now)),
            retry_of: None,
            limit: None,
        }
    }

    /// Whether a run fits. It counts from its creation; one that is listed without its tasks fits any task. How many newer
    /// versions of its job there are a run does not say, so that `rev=last:5` fits it.
    pub fn fits_run(&self, run: &RunView, now: Timestamp) -> bool {
        self.fits_job(run.job.as_str())
            && (self.statuses.is_empty() || self.statuses.contains(&run.status))
            && (self.triggers.is_empty() || self.triggers.contains(&run.trigger))
            && (self.revisions.is_empty() || self.revisions.iter().any(|pick| fits_revision(pick, run)))
            && self.fits_instant(run.created_at, now)
            && (run.tasks.is_empty() || run.tasks.iter().any(|task| self.fits_task(task.id.as_str())))
    }
}

fn fits_revision(pick: &RevisionPick, run: &RunView) -> bool {
    match pick {
        RevisionPick::Last(_) => true,
        RevisionPick::Named(digits) => {
            let begins = |name: &str| name.starts_with(digits.as_str());
            begins(run.spec_hash.as_str()) || run.revision.as_deref().is_some_and(begins)
        }
    }
}

impl Moment {
    /// The instant that is meant.
    pub fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now
                .checked_sub_signed(ago.to_delta())
                .unwrap_or(DateTime::<Utc>::MIN_UTC),
        }
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.to_string()
    }
}

impl TryFrom<String> for Filter {
    type Error = FilterError;

    fn try_from(text: String) -> Result<Self, FilterError> {
        text.parse()
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for word in words(text) {
            filter.add(text, word)?;
        }
        Ok(filter)
    }
}

impl Filter {
    fn add(&mut self, text: &str, word: Range<usize>) -> Result<(), FilterError> {
        let written = &text[word.clone()];
        let Some((key, values)) = written.split_once('=') else {
            return Err(FilterError {
                message: format!("`{written}` is not a filter: expected key=value, such as `job=etl-*` or `since=30d`"),
                hint: Pattern::new(written).map(|_| format!("`job={written}` picks the job of that name")),
                span: word,
            });
        };
        let key_span = word.start..word.start + key.len();
        let mut start = key_span.end + 1;
        for value in values.split(',') {
            let value = Value {
                text: value,
                span: start..start + value.len(),
            };
            start = value.span.end + 1;
            match key {
                "job" => self.jobs.push(value.pattern("the name of a job")?),
                "task" => self.tasks.push(value.pattern("the name of a task")?),
                "status" => self.statuses.push(value.name(RunStatus::ALL, RunStatus::as_str)?),
                "trigger" => self.triggers.push(value.name(Trigger::ALL, Trigger::as_str)?),
                "rev" => self.revisions.push(value.revision()?),
                "since" => value.moment(key, &mut self.since)?,
                "until" => value.moment(key, &mut self.until)?,
                _ => return Err(unknown_key(key, key_span)),
            }
        }
        Ok(())
    }
}

fn unknown_key(key: &str, span: Range<usize>) -> FilterError {
    let keys = KEYS.map(|(name, _)| name);
    FilterError {
        message: format!(
            "`{key}` is not something to filter by: expected one of {}",
            keys.join(", ")
        ),
        hint: did_you_mean(key, keys),
        span,
    }
}

/// One of the values of a key.
struct Value<'a> {
    text: &'a str,
    span: Range<usize>,
}

impl Value<'_> {
    fn pattern(self, what: &str) -> Result<Pattern, FilterError> {
        Pattern::new(self.text).ok_or_else(|| FilterError {
            message: format!(
                "`{}` is not {what}: expected lower-case letters, digits, `-` and `_`, with `*` for any of them",
                self.text
            ),
            hint: None,
            span: self.span,
        })
    }

    fn revision(self) -> Result<RevisionPick, FilterError> {
        RevisionPick::new(self.text).ok_or_else(|| FilterError {
            message: format!(
                "`{}` is not a version: expected `last:5` for the newest five of each job, or at least four digits with which a \
                 spec's hash or a git commit begins",
                self.text
            ),
            hint: None,
            span: self.span,
        })
    }

    fn name<T: Copy>(self, all: &[T], text_of: impl Fn(T) -> &'static str) -> Result<T, FilterError> {
        let known = all.iter().copied().find(|&each| text_of(each) == self.text);
        known.ok_or_else(|| {
            let names: Vec<_> = all.iter().copied().map(text_of).collect();
            FilterError {
                message: format!("`{}` is not known: expected one of {}", self.text, names.join(", ")),
                hint: did_you_mean(self.text, names),
                span: self.span,
            }
        })
    }

    fn moment(self, key: &str, place: &mut Option<Moment>) -> Result<(), FilterError> {
        if place.is_some() {
            return Err(FilterError {
                message: format!("`{key}` is given twice: expected one moment"),
                hint: None,
                span: self.span,
            });
        }
        let day = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        let moment = (self.text.parse().map(Moment::Ago).ok())
            .or_else(|| {
                let at = DateTime::parse_from_rfc3339(self.text).ok()?;
                Some(Moment::At(at.with_timezone(&Utc)))
            })
            .or_else(|| self.text.parse().ok().map(|date| Moment::At(day(date))));
        *place = Some(moment.ok_or_else(|| FilterError {
            message: format!(
                "`{}` is not a moment: expected how long ago, such as `30d` or `90m`, a day in UTC such as `2026-01-31`, \
                 or an instant such as `2026-01-31T02:00:00Z`",
                self.text
            ),
            hint: None,
            span: self.span,
        })?);
        Ok(())
    }
}

/// Where the words of a text stand.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.split_whitespace().map(|word| {
        let start = word.as_ptr().addr() - text.as_ptr().addr();
        start..start + word.len()
    })
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revisions: Vec<_> = self.revisions.iter().map(RevisionPick::to_string).collect();
        let join = |key: &str, values: Vec<&str>| (!values.is_empty()).then(|| format!("{key}={}", values.join(",")));
        let terms = [
            join("job", self.jobs.iter().map(Pattern::as_str).collect()),
            join("task", self.tasks.iter().map(Pattern::as_str).collect()),
            join("status", self.statuses.iter().map(|status| status.as_str()).collect()),
            join(
                "trigger",
                self.triggers.iter().map(|trigger| trigger.as_str()).collect(),
            ),
            join("rev", revisions.iter().map(String::as_str).collect()),
            self.since.map(|since| format!("since={since}")),
            self.until.map(|until| format!("until={until}")),
        ];
        f.pad(&terms.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ago(ago) => ago.fmt(f),
            Self::At(at) if at.time() == NaiveTime::MIN => at.date_naive().fmt(f),
            Self::At(at) => f.pad(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn now() -> Timestamp {
        "2026-02-01T00:00:00Z".parse().expect("an instant")
    }

    #[test]
    fn texts_are_read_and_written_in_one_order() {
        for (text, canonical) in [
            ("", ""),
            ("  since=24h   job=etl-* ", "job=etl-* since=1d"),
            ("job=a job=b,c", "job=a,b,c"),
            (
                "status=failed,timed_out trigger=schedule",
                "status=failed,timed_out trigger=schedule",
            ),
            ("since=1d rev=last:5,ab12cd", "rev=last:5,ab12cd since=1d"),
            ("until=2026-01-31 task=load", "task=load until=2026-01-31"),
            ("since=2026-01-31T02:00:00+02:00", "since=2026-01-31"),
        ] {
            let filter: Filter = text.parse().expect(text);
            assert_eq!(filter.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(filter));
        }
    }

    #[test]
    fn mistakes_are_pointed_at() {
        for (text, at, says) in [
            ("job=a staus=failed", "staus", "did you mean `status`?"),
            ("status=failed,suceeded", "suceeded", "did you mean `succeeded`?"),
            ("nightly", "nightly", "`job=nightly`"),
            ("job=Nightly", "Nightly", "lower-case"),
            ("since=yesterday", "yesterday", "30d"),
            ("since=1d since=2d", "2d", "twice"),
            ("rev=last:0", "last:0", "last:5"),
            ("rev=newest", "newest", "hash"),
            ("job=", "", "lower-case"),
            ("until=2026-13-01", "2026-13-01", "2026-01-31"),
        ] {
            let error = text.parse::<Filter>().expect_err(text);
            assert_eq!(&text[error.span.clone()], at, "{error:?}");
            let all = format!("{error} {}", error.hint.as_deref().unwrap_or_default());
            assert!(all.contains(says), "{all}");
        }
    }

    #[test]
    fn moments_bound_from_both_sides() {
        let filter: Filter = "since=1d until=2026-01-31T12:00:00Z".parse().expect("a filter");
        let fits = |at: &str| filter.fits_instant(at.parse().expect("an instant"), now());
        assert!(fits("2026-01-31T00:00:00Z") && fits("2026-01-31T11:59:59Z"));
        assert!(!fits("2026-01-30T23:59:59Z") && !fits("2026-01-31T12:00:00Z"));
        let ever: Filter = "since=999999999d".parse().expect("a filter");
        assert!(ever.fits_instant(DateTime::<Utc>::UNIX_EPOCH, now()));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_back_as_it_was(
            terms in prop::collection::vec(
                (select(KEYS.map(|(key, _)| key).to_vec()), "[a-z0-9*?-]{1,6}|failed|schedule|last:[0-9]{1,2}|[0-9]{1,3}[smhd]|2026-0[1-9]-1[0-9]"),
                0..5,
            ),
        ) {
            let text: Vec<_> = terms.iter().map(|(key, value)| format!("{key}={value}")).collect();
            if let Ok(filter) = text.join(" ").parse::<Filter>() {
                prop_assert_eq!(filter.to_string().parse(), Ok(filter));
            }
        }

        #[test]
        fn nothing_typed_panics(text in "\\PC{0,40}") {
            if let Err(error) = text.parse::<Filter>() {
                prop_assert!(text.get(error.span.clone()).is_some(), "{:?}", error);
            }
        }
    }
}
