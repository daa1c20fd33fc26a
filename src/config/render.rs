//! Diagnostics for people, for programs, for GitHub and for SARIF's readers.
//!
//! A file's content is not trusted: what it holds of control characters, and of characters that turn the direction of
//! text, is written as its code, so that no file can write to the terminal of whoever validates it.

use std::{collections::BTreeSet, fmt::Write, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::diagnostic::{Diagnostic, Severity};
use crate::core::harmless::{acts, harmless_lines};

/// As a good compiler prints them. `source` gives the text of a file as spans count it; without one only the position is
/// printed.
pub fn render_human<'a>(diagnostics: &[Diagnostic], source: impl Fn(&str) -> Option<&'a str>, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics {
        let _ = writeln!(
            out,
            "{}\n",
            renderer.render(&[group(diagnostic, source(&diagnostic.file))])
        );
    }
    out
}

/// One JSON array.
pub fn render_json(diagnostics: &[Diagnostic]) -> String {
    let mut text = serde_json::to_string_pretty(diagnostics).expect("diagnostics are made of texts and numbers");
    text.push('\n');
    text
}

/// Workflow commands of GitHub Actions, one a line.
pub fn render_github(diagnostics: &[Diagnostic]) -> String {
    let value = |text: &str| {
        let text = harmless_lines(text).replace('%', "%25").replace('\n', "%0A");
        text.replace(':', "%3A").replace(',', "%2C")
    };
    let message = |text: &str| harmless_lines(text).replace('%', "%25").replace('\n', "%0A");
    let mut out = String::new();
    for diagnostic in diagnostics {
        let level = level_name(diagnostic.severity);
        let mut text = diagnostic.message.clone();
        if let Some(expected) = &diagnostic.expected {
            let _ = write!(text, "\nexpected {expected}");
        }
        if let Some(hint) = &diagnostic.hint {
            let _ = write!(text, "\nhelp: {hint}");
        }
        let _ = writeln!(
            out,
            "::{level} file={},line={},col={},endLine={},endColumn={},title={}::{}",
            value(&diagnostic.file),
            diagnostic.line,
            diagnostic.column,
            diagnostic.end_line,
            diagnostic.end_column,
            value(&diagnostic.code),
            message(&text),
        );
    }
    out
}

/// A SARIF 2.1.0 log.
pub fn render_sarif(diagnostics: &[Diagnostic]) -> String {
    let results: Vec<Value> = diagnostics
        .iter()
        .map(|diagnostic| {
            let mut text = diagnostic.message.clone();
            if let Some(expected) = &diagnostic.expected {
                let _ = write!(text, "; expected {expected}");
            }
            if let Some(hint) = &diagnostic.hint {
                let _ = write!(text, "; help: {hint}");
            }
            json!({
                "ruleId": diagnostic.code,
                "level": level_name(diagnostic.severity),
                "message": {"text": text},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": uri(&diagnostic.file)},
                    "region": {
                        "startLine": diagnostic.line,
                        "startColumn": diagnostic.column,
                        "endLine": diagnostic.end_line,
                        "endColumn": diagnostic.end_column,
                    },
                }}],
            })
        })
        .collect();
    let codes: BTreeSet<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code.as_str()).collect();
    let rules: Vec<Value> = codes.iter().map(|code| json!({"id": code})).collect();
    let log = json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{
            "tool": {"driver": {"name": "petit", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

/// A path as a relative reference, or a file's whole address.
fn uri(path: &str) -> String {
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}

fn level_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn group<'a>(diagnostic: &'a Diagnostic, source: Option<&'a str>) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(harmless_lines(&diagnostic.message))
        .id(harmless_lines(&diagnostic.code));
    let file = harmless_lines(&diagnostic.file);
    let expected = diagnostic
        .expected
        .as_ref()
        .map(|expected| format!("expected {}", harmless_lines(expected)));
    let mut notes = Vec::new();
    let mut group = match source {
        Some(text) => {
            let mut annotation = AnnotationKind::Primary.span(inside(text, &diagnostic.span));
            // A long list beside an arrow pushes the line off the screen.
            match expected {
                Some(expected) if expected.chars().count() <= 90 => annotation = annotation.label(expected),
                Some(expected) => notes.push(Level::NOTE.message(expected)),
                None => {}
            }
            let related = diagnostic.related.iter().map(|related| {
                AnnotationKind::Context
                    .span(inside(text, &related.span))
                    .label(harmless_lines(&related.message))
            });
            title.element(
                Snippet::source(visible(text))
                    .path(file)
                    .annotation(annotation)
                    .annotations(related),
            )
        }
        None => {
            notes.extend(expected.map(|expected| Level::NOTE.message(expected)));
            let origin = annotate_snippets::Origin::path(file)
                .line(diagnostic.line)
                .char_column(diagnostic.column);
            title.element(origin)
        }
    };
    notes.extend(
        diagnostic
            .hint
            .as_ref()
            .map(|hint| Level::HELP.message(harmless_lines(hint))),
    );
    for note in notes {
        group = group.element(note);
    }
    group
}

/// A span that the text has, in case the two do not belong together after all.
fn inside(text: &str, span: &Range<usize>) -> Range<usize> {
    let fits = span.start <= span.end && text.get(span.clone()).is_some();
    if fits { span.clone() } else { 0..0 }
}

/// A source text in which every character that could act on a terminal is replaced by one of the same length in bytes,
/// so that spans still hold.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            '\r' => ' ',
            _ if !acts(c) => c,
            _ => match c.len_utf8() {
                1 => '?',
                2 => '¿',
                _ => '\u{fffd}',
            },
        })
        .collect()
}
