//! What a question to the history is answered with, in one shape for the command line, the socket and the screens.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunView;
use crate::core::Timestamp;

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's name, such as `duration`.
    pub view: String,
    /// What the ranked rows hold, from left to right.
    pub columns: Vec<Column>,
    /// The rows, the one that matters most first. A row has a value for each column.
    pub rows: Vec<Vec<Value>>,
    /// What a chart draws: one or several lines over time.
    pub series: Vec<Series>,
    /// Up to when the history knew everything.
    pub as_of: Timestamp,
    /// What keeps the answer from being complete, in a sentence.
    pub note: Option<String>,
    /// The query whose rows these are, in one line.
    #[serde(default)]
    pub sql: Option<String>,
}

/// Runs that a filter picked out of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PickedRuns {
    /// The runs, newest first, without their tasks.
    pub runs: Vec<RunView>,
    /// Whether there are more than these.
    pub more: bool,
    /// The query that gives all of them, in one line.
    pub sql: String,
    /// Up to when the history knew everything.
    pub as_of: Timestamp,
}

/// A column of an [`Answer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, which is also the key in JSON: `p95_ms`, `job`.
    pub name: String,
    /// How its values are shown.
    pub kind: ColumnKind,
}

/// How values are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// As it is.
    Text,
    /// A number of things.
    Count,
    /// Milliseconds.
    Millis,
    /// Bytes.
    Bytes,
    /// A part of one, shown in percent.
    Ratio,
    /// An instant, RFC 3339.
    Time,
}

/// A line of a chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What it is called: `p50`, or a job's id.
    pub label: String,
    /// Instants and values, in order.
    pub points: Vec<(Timestamp, f64)>,
}
