//! YAML: from bytes to one value tree and the place of each of its values.
//!
//! Two parsers read the same text. `saphyr-parser` goes first and gives the events with their markers, from which comes
//! the map of places; it is also where the budgets (size, depth, aliases) are kept, before anything is expanded.
//! `serde_yaml` then gives the values, so that what a scalar means (`yes`, `007`, `1e3`) is decided by the parser that
//! the types are used with. A file must please both.
//!
//! What is YAML and yet not wanted in Petit's files ends here too: keys given twice, several documents, tags, merge
//! keys, numbers that JSON cannot hold. Nothing here knows what a job is.

mod places;
mod slips;

use std::ops::Range;

use serde_json::Value;

use self::places::Places;
use super::diagnostic::Finding;

/// The largest file that is read.
pub const MOST_BYTES: usize = 1 << 20;
/// How deep maps and lists may be nested.
pub const MOST_DEPTH: usize = 64;
/// How many values the aliases of a file may stand for.
pub const MOST_ALIASED: usize = 10_000;

/// A text that is one YAML map, with the place of each value.
#[derive(Debug)]
pub struct Document {
    /// The text, without a byte order mark.
    pub text: String,
    /// What it says.
    pub value: Value,
    places: Places,
}

/// A text that is not.
#[derive(Debug)]
pub struct Unreadable {
    /// The text as far as it is text, for showing.
    pub text: String,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
}

/// Reads a file's bytes.
pub fn parse(bytes: &[u8]) -> Result<Document, Unreadable> {
    let text = decode(bytes)?;
    let places = match places::read(&text) {
        Ok(places) => places,
        Err(findings) => return Err(Unreadable { text, findings }),
    };
    match serde_yaml::from_str::<Value>(&text) {
        Ok(value) if value.is_object() => Ok(Document { text, value, places }),
        Ok(_) => {
            let finding = Finding::error(
                places.root(&text),
                "not-a-map",
                "the file is not a map of keys and values",
            );
            Err(Unreadable {
                findings: vec![
                    finding
                        .expected("keys such as `schedule:` and `tasks:` at the top")
                        .hint("begin with `tasks: {main: {command: [echo, hello]}}`"),
                ],
                text,
            })
        }
        Err(error) => {
            let at = error.location().map_or(0, |location| location.index());
            let findings = vec![refused(&text, at, &strip_position(&error.to_string()))];
            Err(Unreadable { text, findings })
        }
    }
}

impl Document {
    /// The bytes to point at for the value at a JSON pointer, or for its key. The nearest value above stands in for one
    /// that is not there, and the key for a value that goes over several lines.
    pub fn place(&self, pointer: &str, at_key: bool) -> Range<usize> {
        self.places.find(&self.text, pointer, at_key)
    }

    /// A part of a scalar, given in bytes of its value, or all of it where the text is written otherwise than it reads
    /// (with escapes, or folded over lines).
    pub fn place_within(&self, pointer: &str, part: Range<usize>) -> Range<usize> {
        let whole = self.place(pointer, false);
        let written = &self.text[whole.clone()];
        let Some(value) = self.scalar(pointer) else {
            return whole;
        };
        let start = if written == value {
            whole.start
        } else if written.len() == value.len() + 2 && written[1..].starts_with(value) {
            whole.start + 1
        } else if let Some(found) = value.get(part.clone()).and_then(|part| sole_match(written, part)) {
            return whole.start + found..whole.start + found + part.len();
        } else {
            return whole;
        };
        match part.is_empty() {
            // An arrow under nothing is no arrow.
            true => start + part.start..(start + part.start + 1).min(whole.end.max(start + part.start)),
            false => start + part.start..start + part.end,
        }
    }

    /// The bytes of the value at a pointer as they are written.
    pub fn written(&self, pointer: &str) -> &str {
        &self.text[self.place(pointer, false)]
    }

    /// The keys of the map at a pointer, in the order of the file.
    pub fn keys(&self, pointer: &str) -> Vec<&str> {
        self.places.keys(pointer)
    }

    /// The text at a pointer, or at the nearest value above it.
    fn scalar(&self, pointer: &str) -> Option<&str> {
        let mut pointer = pointer;
        loop {
            if let Some(value) = self.value.pointer(pointer) {
                return value.as_str();
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }
}

/// What the second parser refuses and the first did not.
fn refused(text: &str, at: usize, message: &str) -> Finding {
    let line = slips::line_from(text, at);
    if !message.contains("number out of range") {
        return Finding::error(line, "yaml", message)
            .expected("YAML 1.2 that JSON could hold too")
            .hint("write the value in another way, or in quotes if it is a text");
    }
    let written = &text[line.clone()];
    let digits = written.find(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c));
    let number = &written[..digits.unwrap_or(written.len())];
    Finding::error(
        line.start..line.start + number.len().max(1),
        "not-a-number",
        format!("`{number}` is larger than numbers can be"),
    )
    .expected(format!("a whole number from {} to {}", i64::MIN, u64::MAX))
    .hint("write it in quotes if it is a text")
}

/// Where `part` stands in `text`, if it stands there once.
fn sole_match(text: &str, part: &str) -> Option<usize> {
    let mut found = text.match_indices(part).map(|(i, _)| i);
    match (found.next(), found.next()) {
        (Some(only), None) if !part.is_empty() => Some(only),
        (Some(_) | None, Some(_) | None) => None,
    }
}

fn decode(bytes: &[u8]) -> Result<String, Unreadable> {
    if bytes.len() > MOST_BYTES {
        let start = String::from_utf8_lossy(&bytes[..1024]).into_owned();
        let message = format!("the file has {} bytes", bytes.len());
        return Err(Unreadable {
            findings: vec![
                Finding::error(slips::line_from(&start, 0), "too-large", message)
                    .expected(format!("at most {MOST_BYTES} bytes"))
                    .hint("keep data in files of its own, and let tasks read them"),
            ],
            text: start,
        });
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let at = error.valid_up_to();
            let text = String::from_utf8_lossy(bytes).into_owned();
            let message = match bytes {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "the file is written in UTF-16".to_owned(),
                [..] => format!("byte {at} is not UTF-8"),
            };
            // It is shown as the character for what is none.
            let end = at + char::REPLACEMENT_CHARACTER.len_utf8();
            Err(Unreadable {
                findings: vec![
                    Finding::error(at..end, "not-utf8", message)
                        .expected("text in UTF-8")
                        .hint("save the file as UTF-8"),
                ],
                text,
            })
        }
    }
}

/// `serde_yaml` ends its messages with the position, which the diagnostic shows by itself.
fn strip_position(message: &str) -> String {
    match message.find(" at line ") {
        Some(end) => message[..end].to_owned(),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
