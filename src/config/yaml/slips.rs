//! What a person most likely did when a text is not YAML: the parser's words are exact, and rarely helpful.
//!
//! Guesses look only at the line that the parser stopped at, and each names the one thing to change.

use std::ops::Range;

use super::super::diagnostic::Finding;

/// Explains a parser's error at a byte of the text.
pub fn explain(text: &str, at: usize, info: &str) -> Finding {
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    if let Some(tab) = indent.find('\t') {
        return Finding::error(start + tab..start + tab + 1, "tab", "a tab indents this line")
            .expected("spaces; YAML does not allow tabs here")
            .hint("replace each tab by two spaces, and set the editor to do so");
    }
    if let Some((value, offset)) = value_of(line) {
        let span = start + offset..start + offset + value.len();
        let quoted = format!("write it in quotes: \"{value}\"");
        if value.starts_with('*') {
            return Finding::error(span, "unquoted-alias", format!("`{value}` is read as a YAML alias"))
                .expected("a text in quotes, if it is a cron expression")
                .hint(quoted);
        }
        if value.starts_with(['@', '`', '%']) {
            return Finding::error(span, "unquoted", format!("a value cannot begin with `{}`", &value[..1]))
                .expected("a text in quotes")
                .hint(quoted);
        }
        if value.starts_with(['"', '\'']) && info.contains("quoted scalar") {
            return Finding::error(
                span,
                "unclosed-quote",
                "a quote is opened here and not closed as it should be",
            )
            .expected("the same quote again, with nothing but a comment after it")
            .hint("inside \"…\" write a quote as `\\\"`, inside '…' as `''`");
        }
        if value.starts_with(['[', '{']) && value.contains("${{") {
            return Finding::error(span, "unquoted", "an expression inside `[…]` or `{…}` is not in quotes")
                .expected("\"${{ … }}\" in quotes, because `{` and `}` mean something to YAML")
                .hint("put quotes around each text with `${{ … }}`");
        }
        if value.contains(": ") && !value.starts_with(['"', '\'', '[', '{', '|', '>']) {
            return Finding::error(
                span,
                "unquoted",
                "the value holds a colon and a blank, which begin a map",
            )
            .expected("a text in quotes")
            .hint(format!("write it in quotes: '{value}'"));
        }
    }
    Finding::error(line_from(text, at), "yaml", format!("this is not YAML: {info}"))
        .expected("YAML 1.2; look at the indentation and the quotes of this line and the one before")
}

/// From a byte to the end of its line; never empty where there is a text to point at.
pub fn line_from(text: &str, at: usize) -> Range<usize> {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let rest = text[at..].split('\n').next().unwrap_or_default().trim_end();
    if !rest.is_empty() {
        return at..at + rest.len();
    }
    // At the end of a line, or of the text: the last character before it.
    match text[..at].trim_end().char_indices().next_back() {
        Some((i, last)) => i..i + last.len_utf8(),
        None => 0..0,
    }
}

/// What follows `key: ` or `- ` on a line, without a comment, and where.
fn value_of(line: &str) -> Option<(&str, usize)> {
    let after_key = line.find(": ").map(|i| i + 2);
    let trimmed = line.trim_start();
    let after_dash = trimmed.starts_with("- ").then(|| line.len() - trimmed.len() + 2);
    let from = match (after_key, after_dash) {
        (Some(key), Some(dash)) if line[dash..].trim_start().starts_with(['*', '@', '"', '\'']) => key.min(dash),
        (Some(key), _) => key,
        (None, Some(dash)) => dash,
        (None, None) => return None,
    };
    let rest = &line[from..];
    let rest = rest.find(" #").map_or(rest, |comment| &rest[..comment]);
    let value = rest.trim();
    let offset = from + (rest.len() - rest.trim_start().len());
    (!value.is_empty()).then_some((value, offset))
}
