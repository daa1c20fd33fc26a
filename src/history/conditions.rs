//! A [`Filter`] as conditions of SQL. Whatever the user wrote is a bound parameter and never a part of the text.

use duckdb::types::Value;

use super::values::At;
use crate::{
    core::{Timestamp, pattern::Pattern, revision::RevisionPick},
    view::Filter,
};

/// Conditions that must all hold, with the values of their parameters in order.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    texts: Vec<String>,
    pub values: Vec<Value>,
}

impl Conditions {
    /// What a filter says of `runs`: a run counts from its creation, as in `petit runs since=1d`.
    pub fn of_runs(filter: &Filter, now: Timestamp) -> Self {
        let mut these = Self::default();
        these.named("job", &filter.jobs);
        these.one_of("status", filter.statuses.iter().map(|status| status.as_str()));
        these.one_of("trigger", filter.triggers.iter().map(|trigger| trigger.as_str()));
        these.revisions(&filter.revisions);
        these.between("created_at", "created_at", filter, now);
        these
    }

    /// What a filter says of `attempts`: those of the runs that it picks, and of its tasks.
    pub fn of_attempts(filter: &Filter, now: Timestamp) -> Self {
        let without_triggers = Filter {
            triggers: Vec::new(),
            ..filter.clone()
        };
        let mut these = Self::of_outputs(&without_triggers, now);
        these.one_of("run_trigger", filter.triggers.iter().map(|trigger| trigger.as_str()));
        these
    }

    /// What a filter says of `outputs`: those of the runs that it picks, and of its tasks. The runs themselves are looked up
    /// only for what the rows do not say of them, because that is most of the work.
    pub fn of_outputs(filter: &Filter, now: Timestamp) -> Self {
        let mut these = Self::default();
        these.named("task", &filter.tasks);
        these.named("job", &filter.jobs);
        these.between("run_created_at", "run_created_at", filter, now);
        if !(filter.statuses.is_empty() && filter.triggers.is_empty() && filter.revisions.is_empty()) {
            let runs = Self::of_runs(filter, now);
            let of_runs = format!("run_id IN (SELECT run_id FROM runs WHERE {})", runs.sql());
            these.and(of_runs, runs.values);
        }
        these
    }

    /// What a filter says of `runs`, its tasks included: a run fits that tried one of them.
    pub fn of_runs_with_tasks(filter: &Filter, now: Timestamp) -> Self {
        let mut these = Self::of_runs(filter, now);
        if !filter.tasks.is_empty() {
            // How the runs ended has been asked of the runs already.
            let attempts = Filter {
                statuses: Vec::new(),
                ..filter.clone()
            };
            let attempts = Self::of_attempts(&attempts, now);
            let of_attempts = format!("run_id IN (SELECT run_id FROM attempts WHERE {})", attempts.sql());
            these.and(of_attempts, attempts.values);
        }
        these
    }

    /// A further condition with its values.
    pub fn and(&mut self, text: String, values: Vec<Value>) {
        self.texts.push(text);
        self.values.extend(values);
    }

    /// The column holds a name that fits one of the patterns, if there are any.
    pub fn named(&mut self, column: &str, patterns: &[Pattern]) {
        // A pattern holds no brackets, so that what GLOB knows beyond `*` and `?` cannot be said in it.
        self.any(
            patterns
                .iter()
                .map(|pattern| (format!("{column} GLOB ?"), pattern.as_str())),
        );
    }

    /// What lies from one column to the other touches the time between `since` and `until`.
    pub fn between(&mut self, first: &str, last: &str, filter: &Filter, now: Timestamp) {
        let bounds = [(last, ">=", filter.since), (first, "<", filter.until)];
        for (column, relation, moment) in bounds {
            if let Some(moment) = moment {
                self.texts.push(format!("{column} {relation} ?"));
                self.values.push(At(moment.instant(now)).stored());
            }
        }
    }

    /// The version that a run ran is one of these.
    fn revisions(&mut self, picks: &[RevisionPick]) {
        // A hash belongs to one job. A journal that was begun anew tells of a version again.
        const NTH: &str =
            "SELECT hash, row_number() OVER (PARTITION BY job ORDER BY min(first_seen) DESC, hash DESC) AS nth
             FROM specs GROUP BY job, hash";
        let mut any = Vec::new();
        for pick in picks {
            match pick {
                RevisionPick::Last(count) => {
                    any.push(format!("spec_hash IN (SELECT hash FROM ({NTH}) WHERE nth <= ?)"));
                    self.values.push(Value::BigInt(count.get().into()));
                }
                RevisionPick::Named(digits) => {
                    any.push("starts_with(spec_hash, ?) OR coalesce(starts_with(revision, ?), false)".to_owned());
                    self.values
                        .extend([digits, digits].map(|digits| Value::Text(digits.clone())));
                }
            }
        }
        if !any.is_empty() {
            self.texts.push(format!("({})", any.join(" OR ")));
        }
    }

    fn one_of(&mut self, column: &str, names: impl Iterator<Item = &'static str>) {
        self.any(names.map(|name| (format!("{column} = ?"), name)));
    }

    fn any<'a>(&mut self, alternatives: impl Iterator<Item = (String, &'a str)>) {
        let (texts, values): (Vec<_>, Vec<_>) = alternatives.unzip();
        if !texts.is_empty() {
            self.texts.push(format!("({})", texts.join(" OR ")));
            self.values
                .extend(values.into_iter().map(|value| Value::Text(value.to_owned())));
        }
    }

    /// For a `WHERE`.
    pub fn sql(&self) -> String {
        if self.texts.is_empty() {
            "true".to_owned()
        } else {
            self.texts.join(" AND ")
        }
    }
}
