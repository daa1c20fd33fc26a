//! One mistake in one file, with its place: what every check of this room returns.
//!
//! A check first makes a [`Finding`], which knows only bytes; [`locate`] turns findings into diagnostics with lines and
//! columns, so that a text is indexed once and only if something is wrong with it.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A mistake in a file, or something worth telling its author. Lines and columns count from 1, columns in characters,
/// and the end is just past the last character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The file, as the caller named it.
    pub file: String,
    /// The line on which it begins.
    pub line: usize,
    /// The column at which it begins.
    pub column: usize,
    /// The line on which it ends.
    pub end_line: usize,
    /// The column just past its end.
    pub end_column: usize,
    /// Whether it makes the file invalid.
    pub severity: Severity,
    /// What it means for the job.
    pub kind: Kind,
    /// A stable name of the kind of mistake, such as `unknown-key`: lower case with hyphens, unlike the codes of failed
    /// commands, which have underscores.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What was expected there.
    pub expected: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// The bytes it is about.
    pub span: Range<usize>,
    /// Other places in the same file that belong to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
}

/// Another place that belongs to a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Related {
    /// What is there.
    pub message: String,
    /// The line on which it begins.
    pub line: usize,
    /// The column at which it begins.
    pub column: usize,
    /// The bytes it is about.
    pub span: Range<usize>,
}

/// Whether something is wrong or only worth saying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file is not accepted.
    Error,
    /// The file is accepted.
    Warning,
}

/// What a diagnostic means for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is about this file, whatever lies beside it.
    File,
    /// The file is good by itself, and something that it needs is missing.
    Blocked,
    /// Another file claims the same id.
    Conflict,
}

impl Diagnostic {
    /// Whether the file is not accepted because of this.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// A mistake and its bytes, before lines and columns are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The bytes it is about.
    pub span: Range<usize>,
    /// Whether it makes the file invalid.
    pub severity: Severity,
    /// What it means for the job.
    pub kind: Kind,
    /// A stable name of the kind of mistake.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What was expected there.
    pub expected: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Other places that belong to it.
    pub related: Vec<(String, Range<usize>)>,
}

impl Finding {
    /// An error of the file with nothing more to say.
    pub fn error(span: Range<usize>, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            span,
            severity: Severity::Error,
            kind: Kind::File,
            code,
            message: message.into(),
            expected: None,
            hint: None,
            related: Vec::new(),
        }
    }

    /// With what was expected.
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// With what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// So many mistakes of one file are shown; nobody reads more, and a hostile file could hold a million.
pub const MOST_PER_FILE: usize = 100;

/// Finds the lines and columns of findings, in the order of the file, errors and warnings mixed.
pub fn locate(file: &str, text: &str, mut findings: Vec<Finding>) -> Vec<Diagnostic> {
    if findings.is_empty() {
        return Vec::new();
    }
    findings.sort_by_key(|finding| (finding.span.start, finding.span.end));
    // An error must survive the cut, or a file with a hundred warnings would look valid.
    if findings.len() > MOST_PER_FILE {
        findings.sort_by_key(|finding| finding.severity == Severity::Warning);
        let more = findings.len() - MOST_PER_FILE;
        findings.truncate(MOST_PER_FILE);
        findings.sort_by_key(|finding| (finding.span.start, finding.span.end));
        if let Some(last) = findings.last_mut() {
            last.hint = Some(match last.hint.take() {
                Some(hint) => format!("{hint} ({more} more mistakes are not shown)"),
                None => format!("{more} more mistakes are not shown"),
            });
        }
    }
    let lines = Lines::new(text);
    findings
        .into_iter()
        .map(|finding| {
            let span = lines.clamp(finding.span);
            let (line, column) = lines.position(span.start);
            let (end_line, end_column) = lines.position(span.end);
            Diagnostic {
                file: file.to_owned(),
                line,
                column,
                end_line,
                end_column,
                severity: finding.severity,
                kind: finding.kind,
                code: finding.code.to_owned(),
                message: finding.message,
                expected: finding.expected,
                hint: finding.hint,
                span,
                related: finding
                    .related
                    .into_iter()
                    .map(|(message, span)| {
                        let span = lines.clamp(span);
                        let (line, column) = lines.position(span.start);
                        Related {
                            message,
                            line,
                            column,
                            span,
                        }
                    })
                    .collect(),
            }
        })
        .collect()
}

struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(i, _)| i + 1))
            .collect();
        Self { text, starts }
    }

    /// Into the text, and onto the boundaries of characters.
    fn clamp(&self, span: Range<usize>) -> Range<usize> {
        let boundary = |mut at: usize| {
            at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = boundary(span.start);
        start..boundary(span.end).max(start)
    }

    fn position(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts[line - 1];
        (line, self.text[start..at].chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_from_one() {
        let text = "a\nüé x\n";
        let found = locate("f", text, vec![Finding::error(7..8, "c", "m")]);
        let found = &found[0];
        assert_eq!(
            (found.line, found.column, found.end_line, found.end_column),
            (2, 4, 2, 5)
        );
    }

    #[test]
    fn a_flood_of_warnings_hides_no_error() {
        let warning = Finding {
            severity: Severity::Warning,
            ..Finding::error(0..1, "w", "w")
        };
        let mut findings = vec![warning; 500];
        findings.push(Finding::error(5..6, "e", "e"));
        let found = locate("f", "abcdefgh", findings);
        assert_eq!(found.len(), MOST_PER_FILE);
        assert!(found.iter().any(Diagnostic::is_error));
    }
}
