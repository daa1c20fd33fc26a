//! The questions on a history made by hand, whose answers can be counted.

use serde_json::Value;

use crate::{
    core::{
        Timestamp,
        id::{JobId, SpecHash},
        record::{Actor, ChangeKind, FileChange, ReconcileRecord, ReconcileResult},
        state::{RunStatus, SlotOutcome},
    },
    history::{
        History,
        tests::{Journal, at, fed},
    },
    storage::Change,
    view::{Answer, Filter, Question},
};

/// Day 0: ten runs of `etl` that take 1 to 10 s and start 1 to 10 ms late, the last of which fails; its `load` fails once
/// and passes in two of them. Day 1: four slots of `etl` and one of `report` do not run.
fn history() -> History {
    let mut journal = Journal::default();
    journal.spec("etl", 1, 0);
    journal.spec("report", 1, 0);
    for n in 1..=10_i64 {
        let (status, attempts): (_, &[_]) = match n {
            1..=2 => (
                RunStatus::Succeeded,
                &[("extract", 0, 400), ("load", 1, 250), ("load", 0, 250)],
            ),
            10 => (
                RunStatus::Failed,
                &[("extract", 0, 400), ("load", 1, 250), ("load", 1, 250)],
            ),
            _ => (RunStatus::Succeeded, &[("extract", 0, 400), ("load", 0, 250)]),
        };
        journal.run("etl", n * 600, (n, n * 1_000), status, attempts);
    }
    journal.spec("etl", 2, 3_000);
    let day = 86_400;
    journal.stretch("etl", day, day + 1_200, 3);
    journal.slot("etl", day + 1_800, SlotOutcome::Skipped);
    journal.slot("report", day, SlotOutcome::Skipped);
    journal.slot("report", day + 600, SlotOutcome::Ran);
    reconcile(
        &journal,
        0,
        None,
        ReconcileResult::Applied,
        &["add etl (etl.yaml)", "add report (report.yaml)"],
    );
    let half = [
        "invalid report.yaml:3:1: what is `x`?; report stays on its last good version",
        "update etl (etl.yaml): tasks.load",
    ];
    reconcile(&journal, 3_000, Some("ada"), ReconcileResult::Partly, &half);
    reconcile(
        &journal,
        day,
        None,
        ReconcileResult::Refused,
        &["held old (old.yaml is gone): `prune: hold`"],
    );
    fed(&journal)
}

fn reconcile(journal: &Journal, second: i64, by: Option<&str>, result: ReconcileResult, actions: &[&str]) {
    let invalid = FileChange {
        file: "report.yaml".to_owned(),
        job: JobId::new("report").ok(),
        change: ChangeKind::Invalid,
        old_hash: None,
        new_hash: None,
    };
    journal.commit(vec![Change::Reconcile(ReconcileRecord {
        at: at(second),
        actor: by.map_or(Actor::Watcher, |_| Actor::Command),
        by: by.map(str::to_owned),
        plan_id: format!("plan-{second}"),
        result,
        actions: actions.iter().map(|&line| line.to_owned()).collect(),
        files: by.map(|_| invalid).into_iter().collect(),
        revision: by.map(|_| "0123abc-dirty".to_owned()),
        old_set: SpecHash::of(b"old"),
        new_set: SpecHash::of(b"new"),
        duration_ms: 7,
    })]);
}

fn now() -> Timestamp {
    at(2 * 86_400)
}

fn ask(question: Question, filter: &str) -> Answer {
    let filter: Filter = filter.parse().unwrap();
    history().ask(question, &filter, now()).unwrap()
}

/// A line for each row, then one for each series, for a snapshot that people can check.
pub(super) fn text(answer: &Answer) -> String {
    let names: Vec<_> = answer.columns.iter().map(|column| column.name.as_str()).collect();
    let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows = answer
        .rows
        .iter()
        .map(|row| row.iter().map(cell).collect::<Vec<_>>().join(" | "));
    let series = answer.series.iter().map(|series| {
        let points = series
            .points
            .iter()
            .map(|(at, value)| format!("{}={value}", at.format("%d %H:%M")));
        format!("{}: {}", series.label, points.collect::<Vec<_>>().join(" "))
    });
    let note = answer.note.iter().map(|note| format!("note: {note}"));
    let lines: Vec<_> = [names.join(" | ")]
        .into_iter()
        .chain(rows)
        .chain(series)
        .chain(note)
        .collect();
    lines.join("\n")
}

#[test]
fn durations_have_percentiles_points_and_ticks() {
    insta::assert_snapshot!(text(&ask(Question::Duration, "")));
}

#[test]
fn durations_of_tasks_are_those_of_their_attempts() {
    insta::assert_snapshot!(text(&ask(Question::Duration, "task=l* status=succeeded")));
}

#[test]
fn lateness_is_counted_from_the_slot() {
    insta::assert_snapshot!(text(&ask(Question::Lateness, "task=load")));
}

#[test]
fn missed_slots_are_counted_by_day_and_reason() {
    insta::assert_snapshot!(text(&ask(Question::Missed, "status=failed")));
}

#[test]
fn what_failed_and_passed_is_flaky() {
    insta::assert_snapshot!(text(&ask(Question::Flaky, "")));
}

#[test]
fn changes_say_who_did_what_and_what_was_refused() {
    insta::assert_snapshot!(text(&ask(Question::Changes, "status=failed")));
    let plans = |filter: &str| -> Vec<Value> {
        let answer = ask(Question::Changes, filter);
        answer.rows.into_iter().map(|row| row[10].clone()).collect()
    };
    assert_eq!(plans("job=etl"), ["plan-3000", "plan-0"]);
    assert_eq!(
        plans("job=rep*"),
        ["plan-3000", "plan-0"],
        "a file that is invalid names its job"
    );
    assert_eq!(plans("job=old"), ["plan-86400"]);
    assert_eq!(plans("since=25h until=24h"), Vec::<Value>::new());
}

#[test]
fn filters_restrict_and_cannot_be_more_than_values() {
    let rows = |question, filter| ask(question, filter).rows;
    assert_eq!(rows(Question::Duration, "job=etl status=failed")[0][1], 1);
    assert_eq!(rows(Question::Duration, "job=e* since=1h"), Vec::<Vec<Value>>::new());
    assert_eq!(rows(Question::Duration, "trigger=manual"), Vec::<Vec<Value>>::new());
    assert_eq!(rows(Question::Missed, "job=report").len(), 1);
    // A stretch that reaches into the time asked for belongs to it.
    assert_eq!(rows(Question::Missed, "since=1430m until=1421m").len(), 1);
    assert_eq!(rows(Question::Flaky, "task=extract"), Vec::<Vec<Value>>::new());
}

#[test]
fn a_history_of_nothing_answers_every_question_with_nothing() {
    for question in Question::ALL {
        let answer = History::of_nothing()
            .unwrap()
            .ask(question, &Filter::default(), now())
            .unwrap();
        assert!(answer.rows.is_empty() && answer.series.is_empty() && !answer.columns.is_empty());
    }
}

#[test]
fn an_answer_says_the_query_that_gives_its_rows() {
    for question in Question::ALL {
        for filter in [
            "",
            "job=e*,rep?rt task=l?ad since=2026-01-01 until=2026-02-01T01:02:03.5Z",
        ] {
            let answer = ask(question, filter);
            let sql = answer.sql.expect("a query");
            let (names, rows) = history()
                .named_rows(&sql, &[])
                .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            let expected: Vec<_> = answer.columns.into_iter().map(|column| column.name).collect();
            assert_eq!((names, rows), (expected, answer.rows), "{sql}");
            assert!(!sql.contains('\n'), "{sql}");
        }
    }
}

#[test]
fn runs_are_picked_newest_first() {
    let history = history();
    let picked = |filter: &str, limit| history.picked(&filter.parse().unwrap(), now(), limit).unwrap();
    let all = picked("", 100);
    assert_eq!((all.runs.len(), all.more), (10, false));
    assert!(all.runs.windows(2).all(|pair| pair[0].created_at > pair[1].created_at));
    assert_eq!(history.named_rows(&all.sql, &[]).unwrap().1.len(), 10);
    let some = picked("", 3);
    assert_eq!((some.runs.len(), some.more), (3, true));
    let failed = picked("status=failed", 100).runs;
    assert_eq!((failed.len(), failed[0].duration_ms), (1, Some(10_000)));
    assert_eq!(picked("task=nothing", 100).runs, []);
}

/// A history whose rows are written by hand. Instants are milliseconds from the beginning of 2026, a Thursday.
pub(super) struct Hand(pub History);

impl Hand {
    pub fn new() -> Self {
        Self(History::of_nothing().expect("a history in memory"))
    }

    pub fn sql(&self, sql: &str) {
        self.0.connection.execute_batch(sql).expect(sql);
    }

    /// A run that was created, started and ended.
    pub fn run(&self, run: &str, job: &str, spec: &str, trigger: &str, status: &str, times: [i64; 3]) {
        let [created, started, ended] = times.map(instant);
        self.sql(&format!(
            "INSERT INTO runs BY NAME SELECT '{run}' AS run_id, '{job}' AS job, '{trigger}' AS trigger,
                 '{spec}' AS spec_hash, 'rev-of-{spec}' AS revision, '{status}' AS status, {created} AS created_at,
                 {started} AS started_at, {ended} AS ended_at, '{{}}' AS params, 'j' AS journal, 0 AS fact"
        ));
    }

    /// An attempt of a run that is there, which was queued, granted, started, and exited with a code.
    pub fn attempt(&self, run: &str, job: &str, task: &str, attempt: u32, code: i32, times: [i64; 4]) {
        let [queued, granted, started, ended] = times.map(instant);
        self.sql(&format!(
            "INSERT INTO attempts BY NAME SELECT '{run}' AS run_id, '{job}' AS job, '{task}' AS task,
                 {attempt} AS attempt, 'exited' AS ending, {code} AS exit_code, {queued} AS queued_at,
                 {granted} AS granted_at, {started} AS started_at, {ended} AS ended_at, 'j' AS journal, 0 AS fact,
                 spec_hash AS run_spec_hash, trigger AS run_trigger, created_at AS run_created_at
             FROM runs WHERE run_id = '{run}'"
        ));
    }

    pub fn ask(&self, question: Question, filter: &str) -> Answer {
        let filter: Filter = filter.parse().expect(filter);
        let answer = self.0.ask(question, &filter, now()).expect("an answer");
        let sql = answer.sql.as_deref().expect("a query");
        let (_, again) = self
            .0
            .named_rows(sql, &[])
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(again, answer.rows, "{sql}");
        answer
    }
}

fn instant(ms: i64) -> String {
    format!("make_timestamp_ms({})", 1_767_225_600_000 + ms)
}
