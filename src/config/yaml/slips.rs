//! What a person most likely did when a text is not YAML: the parser's words are exact, and rarely helpful.
//!
//! Guesses look at the line that the parser stopped at and at the one before, and each names the one thing to change.

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
    if info.contains("unprintable character") {
        return control_character(text, at);
    }
    if info.contains("unknown anchor") && text[at..].starts_with('*') {
        return alias(text, at);
    }
    value_of(line)
        .and_then(|(value, offset)| of_value(value, start + offset, info))
        .or_else(|| of_brackets(text, at, info))
        .or_else(|| of_lines(text, start, info))
        .unwrap_or_else(|| {
            Finding::error(line_from(text, at), "yaml", format!("this is not YAML: {info}"))
                .expected("YAML 1.2")
                .hint("look at the indentation and the quotes of this line and the one before")
        })
}

/// What is wrong with the value of a key, judged by how it begins.
fn of_value(value: &str, start: usize, info: &str) -> Option<Finding> {
    let span = start..start + value.len();
    let quoted = format!("write it in quotes: \"{value}\"");
    if value.starts_with('*') {
        return Some(unquoted_alias(value, span));
    }
    if value.starts_with(['@', '`', '%']) {
        return Some(
            Finding::error(span, "unquoted", format!("a value cannot begin with `{}`", &value[..1]))
                .expected("a text in quotes")
                .hint(quoted),
        );
    }
    if value.starts_with(['"', '\'']) && info.contains("escape") {
        return Some(
            Finding::error(
                span,
                "bad-escape",
                "a `\\` in this text begins no escape that YAML knows",
            )
            .expected("`\\\\` for a backslash, or the text in '…', where a backslash is itself")
            .hint(format!("write it as '{}'", value.trim_matches('"'))),
        );
    }
    if value.starts_with(['"', '\'']) && info.contains("quoted scalar") {
        return Some(
            Finding::error(
                span,
                "unclosed-quote",
                "a quote is opened here and not closed as it should be",
            )
            .expected("the same quote again, with nothing but a comment after it")
            .hint("inside \"…\" write a quote as `\\\"`, inside '…' as `''`"),
        );
    }
    if value.starts_with(['[', '{']) && value.contains("${{") {
        return Some(
            Finding::error(span, "unquoted", "an expression inside `[…]` or `{…}` is not in quotes")
                .expected("\"${{ … }}\" in quotes, because `{` and `}` mean something to YAML")
                .hint("put quotes around each text with `${{ … }}`"),
        );
    }
    if value.contains(": ") && !value.starts_with(['"', '\'', '[', '{', '|', '>']) {
        return Some(
            Finding::error(
                span,
                "unquoted",
                "the value holds a colon and a blank, which begin a map",
            )
            .expected("a text in quotes")
            .hint(format!("write it in quotes: '{value}'")),
        );
    }
    None
}

/// What is wrong with the brackets before a byte, or inside them.
fn of_brackets(text: &str, at: usize, info: &str) -> Option<Finding> {
    if info.contains("misplaced bracket") {
        let (at, bracket) = text[at..].char_indices().next().map(|(i, c)| (at + i, c))?;
        return Some(
            Finding::error(
                at..at + bracket.len_utf8(),
                "stray-bracket",
                format!("this `{bracket}` closes nothing"),
            )
            .expected("as many closing brackets as were opened")
            .hint("remove it, or open the bracket that it should close"),
        );
    }
    let open = open_bracket(&text[..at])?;
    let closing = if text[open..].starts_with('[') { ']' } else { '}' };
    if info.contains("trailing content") {
        return Some(
            Finding::error(line_from(text, at), "missing-comma", "a comma is missing before this")
                .expected(format!("`,` between two items, or `{closing}` after the last"))
                .hint("write a comma between them; a text that holds a quote needs the other kind of quotes"),
        );
    }
    Some(
        Finding::error(
            open..open + 1,
            "unclosed-bracket",
            format!("this `{}` is not closed", &text[open..=open]),
        )
        .expected(format!("`{closing}` after its last item, and a comma between two"))
        .hint("close it; in `[…]` and `{…}` put texts with `,` `:` `[` `]` `{` `}` or `#` in quotes"),
    )
}

/// What is wrong with a line and the one before it, as far as indentation and colons tell.
fn of_lines(text: &str, start: usize, info: &str) -> Option<Finding> {
    let before = text[..start].lines().rev().find(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    })?;
    let before_start = before.as_ptr() as usize - text.as_ptr() as usize;
    let before_indent = before.len() - before.trim_start().len();
    if info.contains("mapping values are not allowed") {
        let word = before.trim();
        let span = before_start + before_indent..before_start + before_indent + word.len();
        let is_key =
            |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        return match word.split_once(':') {
            Some((key, value)) if is_key(key) && !value.is_empty() && !value.starts_with(' ') => Some(
                Finding::error(span, "missing-blank", format!("a blank is missing after `{key}:`"))
                    .expected("a blank between a key's colon and its value")
                    .hint(format!("write `{key}: {value}`")),
            ),
            None if is_key(word) => Some(
                Finding::error(span, "missing-colon", format!("a colon is missing after `{word}`"))
                    .expected("`KEY: VALUE`, or `KEY:` before lines that are indented deeper")
                    .hint(format!("write `{word}:`")),
            ),
            Some(_) | None => None,
        };
    }
    let line = text[start..].lines().next().unwrap_or_default();
    let indent = line.len() - line.trim_start().len();
    let misplaced = info.contains("did not find expected key") || info.contains("did not find expected '-'");
    (misplaced && indent != before_indent && indent < line.len()).then(|| {
        let blanks = |n: usize| format!("{n} blank{}", if n == 1 { "" } else { "s" });
        Finding::error(
            start + indent..start + line.trim_end().len(),
            "indentation",
            format!("this line is indented by {}, like nothing before it", blanks(indent)),
        )
        .expected("the same indentation as the lines that it belongs to")
        .hint(format!("the line before is indented by {}", blanks(before_indent)))
    })
}

/// An alias of something that nothing before it is called.
fn alias(text: &str, at: usize) -> Finding {
    let line = line_from(text, at);
    let written = &text[line.clone()];
    let inside = open_bracket(&text[..at]).is_some();
    let end = written.find(" #").unwrap_or(written.len());
    let end = if inside {
        written.find([',', ']', '}']).unwrap_or(end)
    } else {
        end
    };
    let value = written[..end].trim_end();
    let span = at..at + value.len();
    let name = value[1..].trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if !is_name {
        return unquoted_alias(value, span);
    }
    Finding::error(
        span,
        "unknown-anchor",
        format!("`{value}` is a YAML alias, and nothing before it is called `&{name}`"),
    )
    .expected(format!("`&{name}` before a value further up, or a text in quotes"))
    .hint(format!(
        "write the value here; if a text is meant, write it in quotes: \"{value}\""
    ))
}

fn unquoted_alias(value: &str, span: Range<usize>) -> Finding {
    Finding::error(span, "unquoted-alias", format!("`{value}` is read as a YAML alias"))
        .expected("a text in quotes, if it is a cron expression")
        .hint(format!("write it in quotes: \"{value}\""))
}

fn control_character(text: &str, at: usize) -> Finding {
    let found = text[at..].chars().next().unwrap_or_default();
    Finding::error(
        at..at + found.len_utf8(),
        "control-character",
        format!("the character U+{:04X} may not stand in YAML", u32::from(found)),
    )
    .expected("text that can be printed")
    .hint("remove it; it may have come along with copied text")
}

/// The last bracket that is opened and not closed, apart from those in quotes and comments.
fn open_bracket(text: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut quote = None;
    let mut before = '\n';
    let mut in_comment = false;
    for (at, c) in text.char_indices() {
        match (c, quote) {
            _ if in_comment => in_comment = c != '\n',
            (_, Some('"')) if before == '\\' => {
                // What is escaped ends nothing, and an escaped backslash escapes nothing.
                before = ' ';
                continue;
            }
            (_, Some(opened)) if c == opened => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) if !before.is_alphanumeric() => quote = Some(c),
            ('#', None) if before.is_whitespace() => in_comment = true,
            ('[' | '{', None) => open.push(at),
            (']' | '}', None) => {
                open.pop();
            }
            (_, None) => {}
        }
        before = c;
    }
    open.pop()
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
