//! What the screens of the past hold beside the answer, and how they change the filter: the window of time moved and made
//! narrower or wider, a row or a point turned into the filter of its runs.
//!
//! The filter is the whole truth about what is asked. Whatever a key does ends as terms that stand among the chips and can
//! be typed as well.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    core::Timestamp,
    view::{Answer, Filter, PickedRuns, filter::Moment},
};

/// The state of History's own things.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// The point of the chart that is chosen: which of its instants.
    pub point: Option<usize>,
    /// What the list of runs is picked by.
    pub runs_filter: String,
    /// The runs, with what picked them.
    pub runs: Option<(String, PickedRuns)>,
    /// The query of the SQL pane.
    pub sql: String,
    /// The query that was asked last, and its rows.
    pub asked: Option<String>,
    /// The rows, with the query that gave them.
    pub rows: Option<(String, Answer)>,
    /// The views that were kept.
    pub views: Vec<KeptView>,
}

/// A question and a filter under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptView {
    /// Its name.
    pub name: String,
    /// The question's name.
    pub question: String,
    /// The filter.
    pub filter: String,
}

/// A change of the window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// Half a window back.
    Earlier,
    /// Half a window on.
    Later,
    /// Half as wide, around the middle.
    Narrower,
    /// Twice as wide.
    Wider,
}

/// No window is narrower.
const NARROWEST: TimeDelta = TimeDelta::seconds(10);

/// The filter with the window of time moved; or why it cannot be.
pub fn shifted(filter: &str, answer: Option<&Answer>, now: Timestamp, shift: Shift) -> Result<String, String> {
    let mut filter: Filter = filter
        .parse()
        .map_err(|error: crate::view::FilterError| error.to_string())?;
    let (from, to) = window(&filter, answer, now).ok_or("there is no time to move in: nothing is shown yet")?;
    let width = (to - from).max(NARROWEST);
    let (from, to) = match shift {
        Shift::Earlier => (from - width / 2, to - width / 2),
        Shift::Later => (from + width / 2, to + width / 2),
        Shift::Narrower if width / 2 < NARROWEST => {
            return Err("the window of time is as narrow as it gets".to_owned());
        }
        Shift::Narrower => (from + width / 4, to - width / 4),
        Shift::Wider => {
            let beyond = from.checked_sub_signed(width / 2).zip(to.checked_add_signed(width / 2));
            beyond.ok_or("the window of time is as wide as it gets")?
        }
    };
    filter.since = Some(Moment::At(whole_second(from)));
    filter.until = Some(Moment::At(whole_second(to)));
    Ok(filter.to_string())
}

/// The time that is shown: what the filter says, and else from the first point to now.
fn window(filter: &Filter, answer: Option<&Answer>, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let points = || instants(answer).into_iter();
    let since = filter.since.map(|since| since.instant(now)).or_else(|| points().min());
    let until = filter.until.map(|until| until.instant(now));
    let until = until.or_else(|| points().max().map(|last| last.max(now)))?;
    since.filter(|since| *since < until).map(|since| (since, until))
}

/// The instants of the chart's points, each once.
pub fn instants(answer: Option<&Answer>) -> Vec<Timestamp> {
    let series = answer.into_iter().flat_map(|answer| &answer.series);
    let mut all: Vec<Timestamp> = series
        .flat_map(|series| series.points.iter().map(|(at, _)| *at))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The filter of the runs at a point of the chart, which stands for the time up to the next one.
pub fn of_point(filter: &str, answer: &Answer, point: usize) -> Option<String> {
    let mut filter: Filter = filter.parse().ok()?;
    let instants = instants(Some(answer));
    let from = *instants.get(point)?;
    filter.since = Some(Moment::At(from));
    if let Some(next) = instants.get(point + 1) {
        filter.until = Some(Moment::At(*next));
    }
    Some(filter.to_string())
}

/// The filter of the runs that a ranked row is about: those of its job, its task and its day.
pub fn of_row(filter: &str, answer: &Answer, row: usize) -> Option<String> {
    let mut filter: Filter = filter.parse().ok()?;
    let row = answer.rows.get(row)?;
    let text = |name: &str| {
        let at = answer.columns.iter().position(|column| column.name == name)?;
        row.get(at)?.as_str()
    };
    let named = |key: &str, value: &str| format!("{key}={value}").parse::<Filter>().ok();
    if let Some(job) = text("job") {
        filter.jobs = named("job", job)?.jobs;
    }
    if let Some(task) = text("task") {
        filter.tasks = named("task", task)?.tasks;
    }
    if let Some(day) = text("day").and_then(|day| day.parse::<NaiveDate>().ok()) {
        let start = |day: NaiveDate| Moment::At(day.and_time(chrono::NaiveTime::MIN).and_utc());
        filter.since = Some(start(day));
        filter.until = day.checked_add_days(Days::new(1)).map(start);
    }
    Some(filter.to_string())
}

/// The chips say whole seconds.
fn whole_second(at: Timestamp) -> Timestamp {
    DateTime::<Utc>::from_timestamp(at.timestamp(), 0).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().expect("an instant")
    }

    fn answer() -> Answer {
        let answer = json!({
            "view": "missed", "note": null, "as_of": now(),
            "columns": [{"name": "day", "kind": "text"}, {"name": "job", "kind": "text"}, {"name": "task", "kind": "text"}],
            "rows": [["2026-11-22", "etl", "load"], [null, "etl", null]],
            "series": [
                {"label": "a", "points": [["2026-11-23T10:00:00Z", 1.0], ["2026-11-23T11:00:00Z", 2.0]]},
                {"label": "b", "points": [["2026-11-23T10:30:00Z", 3.0]]},
            ],
        });
        serde_json::from_value(answer).expect("an answer")
    }

    #[test]
    fn the_window_moves_and_shows_among_the_chips() {
        let answer = answer();
        for (filter, shift, expected) in [
            (
                "job=a since=2026-11-20 until=2026-11-22",
                Shift::Earlier,
                "job=a since=2026-11-19 until=2026-11-21",
            ),
            (
                "since=2026-11-20 until=2026-11-22",
                Shift::Later,
                "since=2026-11-21 until=2026-11-23",
            ),
            (
                "since=2d",
                Shift::Narrower,
                "since=2026-11-22T00:00:00Z until=2026-11-23T00:00:00Z",
            ),
            (
                "since=2026-11-20 until=2026-11-22",
                Shift::Wider,
                "since=2026-11-19 until=2026-11-23",
            ),
            (
                "",
                Shift::Earlier,
                "since=2026-11-23T09:00:00Z until=2026-11-23T11:00:00Z",
            ),
        ] {
            let expected = expected.parse::<Filter>().expect(expected).to_string();
            assert_eq!(shifted(filter, Some(&answer), now(), shift), Ok(expected), "{filter}");
        }
    }

    #[test]
    fn a_window_that_cannot_move_says_why() {
        for (filter, shift, says) in [
            ("", Shift::Wider, "nothing is shown"),
            ("since=1d since=2d", Shift::Wider, "twice"),
            ("since=12s", Shift::Narrower, "narrow"),
        ] {
            let answer = answer();
            let answer = (!filter.is_empty()).then_some(&answer);
            let error = shifted(filter, answer, now(), shift).expect_err(says);
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn rows_and_points_become_filters_of_their_runs() {
        let answer = answer();
        let of_row = |row| of_row("status=failed job=e*", &answer, row).expect("a filter");
        assert_eq!(
            of_row(0),
            "job=etl task=load status=failed since=2026-11-22 until=2026-11-23"
        );
        assert_eq!(of_row(1), "job=etl status=failed");
        let of_point = |point| of_point("job=etl", &answer, point).expect("a filter");
        assert_eq!(
            of_point(0),
            "job=etl since=2026-11-23T10:00:00Z until=2026-11-23T10:30:00Z"
        );
        assert_eq!(of_point(2), "job=etl since=2026-11-23T11:00:00Z");
    }
}
