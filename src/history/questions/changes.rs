//! What changed the jobs, or tried to: reconciles, newest first, with who was behind them and from which commit.

use super::{Found, columns, series};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter},
};

/// A row for each reconcile that changed or refused something. With `job=`, those that were about such a job; the counts
/// are of the whole reconcile all the same. Reconciles of before there was a column for their files have counts from
/// their lines.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let mut reconciles = Conditions::default();
    reconciles.between("decided_at", "decided_at", filter, now);
    if !filter.jobs.is_empty() {
        let mut jobs = Conditions::default();
        // A line names the job after its verb; of a file that cannot be followed the file, whose name is mostly the job's.
        let subject = "split_part(line, ' ', 2)";
        let stem = format!("split_part(split_part({subject}, '.y', 1), '/', -1)");
        let named_in_line = format!("CASE WHEN starts_with(line, 'invalid ') THEN {stem} ELSE {subject} END");
        jobs.named(&named_in_line, &filter.jobs);
        let mut named = Conditions::default();
        named.named("json_job", &filter.jobs);
        let about = format!(
            "(EXISTS (SELECT 1 FROM (SELECT unnest({LINES}) AS line) WHERE {})
              OR EXISTS (SELECT 1 FROM (SELECT unnest({JOBS}) AS json_job) WHERE {}))",
            jobs.sql(),
            named.sql()
        );
        let values = jobs.values.into_iter().chain(named.values).collect();
        reconciles.and(about, values);
    }
    let count = |word: &str| format!("len(list_filter({LINES}, lambda line: starts_with(line, '{word} ')))");
    let refused = ["invalid", "conflict", "blocked"].map(count).join(" + ");
    let samples = format!(
        "SELECT *, decided_at AS moment, {} AS added, {} AS updated, {} AS removed, {refused} AS refused, {} AS held
         FROM reconciles WHERE {}",
        count("add"),
        count("update"),
        count("remove"),
        count("held"),
        reconciles.sql()
    );
    let ranked = history.ranked(
        &format!(
            "SELECT decided_at, coalesce(asked_by || ' (' || actor || ')', actor),
                    coalesce(result, CASE WHEN added + updated + removed = 0 THEN 'refused'
                                          WHEN refused + held > 0 THEN 'partly' ELSE 'applied' END),
                    added, updated, removed, refused, held, array_to_string({LINES}, '; '), revision, plan_id,
                    left(old_set, 12), left(new_set, 12), duration_ms
             FROM ({samples}) ORDER BY decided_at DESC, fact DESC"
        ),
        &reconciles.values,
    )?;
    let ignored = [
        ("task", filter.tasks.is_empty()),
        ("status", filter.statuses.is_empty()),
        ("trigger", filter.triggers.is_empty()),
        ("rev", filter.revisions.is_empty()),
    ];
    Ok(Found {
        columns: columns(&[
            ("decided_at", ColumnKind::Time),
            ("asked_by", ColumnKind::Text),
            ("result", ColumnKind::Text),
            ("added", ColumnKind::Count),
            ("updated", ColumnKind::Count),
            ("removed", ColumnKind::Count),
            ("refused", ColumnKind::Count),
            ("held", ColumnKind::Count),
            ("actions", ColumnKind::Text),
            ("revision", ColumnKind::Text),
            ("plan", ColumnKind::Text),
            ("old_set", ColumnKind::Text),
            ("new_set", ColumnKind::Text),
            ("duration_ms", ColumnKind::Millis),
        ]),
        ranked,
        series: series::over_time(
            history,
            &samples,
            &reconciles.values,
            &[
                ("jobs changed", "sum(added + updated + removed)"),
                ("refused", "sum(refused + held)"),
            ],
        )?,
        ignored: ignored
            .into_iter()
            .filter(|(_, unused)| !unused)
            .map(|(key, _)| key)
            .collect(),
    })
}

/// The lines of a reconcile, as a list.
const LINES: &str = "from_json(actions, '[\"VARCHAR\"]')";
/// The jobs of its files, as a list.
const JOBS: &str = "json_extract_string(coalesce(files, '[]'), '$[*].job')";
