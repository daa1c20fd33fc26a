//! What a task published: reads the text of the file named by `$PETIT_OUTPUT`.
//!
//! ```text
//! rows=1200            a value that parses as JSON keeps its type: the number 1200
//! day=2026-01-31       anything else is text
//! report<<END          a block: the lines up to one that says END
//! first line
//! END
//! ```
//!
//! A key that is written again replaces its former value. Empty lines mean nothing. Knows nothing of files; text in,
//! values or the first mistake with its line out.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::core::task::{MAX_OUTPUT_BYTES, is_output_key};

/// The most that a task may publish: 1 MiB.
pub const MAX_BYTES: usize = MAX_OUTPUT_BYTES;

/// What there is to say of a task that published a secret. `did` is how, as in "what it wrote".
pub(super) fn with_secret(did: &str) -> String {
    format!(
        "what it {did} contains a secret, and outputs are kept in the journal and the history: let the tasks that need it \
         name the secret themselves"
    )
}

/// Why a task's outputs cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// More than [`MAX_BYTES`].
    #[error(
        "the task published more than 1 MiB: write less to $PETIT_OUTPUT, or a path to a file instead of its content"
    )]
    TooLarge,
    /// Not text.
    #[error("line {line} of $PETIT_OUTPUT is not UTF-8")]
    NotText {
        /// The line, from 1.
        line: usize,
    },
    /// Neither `key=value` nor `key<<EOF`.
    #[error("line {line} of $PETIT_OUTPUT is neither `key=value` nor `key<<END`: {text}")]
    NotAssignment {
        /// The line, from 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// A key that an expression could not name.
    #[error(
        "line {line} of $PETIT_OUTPUT: `{key}` is not a key: expected a letter or `_`, then letters, digits, `_` and `-`"
    )]
    BadKey {
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// The end of a block is missing.
    #[error("line {line} of $PETIT_OUTPUT begins the block `{key}<<{end}`, but no line says `{end}`")]
    OpenBlock {
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// What would end it.
        end: String,
    },
}

/// Reads what was published.
pub fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Value>, OutputError> {
    if bytes.len() > MAX_BYTES {
        return Err(OutputError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        OutputError::NotText {
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
        }
    })?;
    let mut outputs = BTreeMap::new();
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) = match split(line) {
            None => {
                return Err(OutputError::NotAssignment {
                    line: number,
                    text: line.chars().take(60).collect(),
                });
            }
            Some((key, Assignment::Value(value))) => (key, value.to_owned()),
            Some((key, Assignment::Block(end))) => {
                let mut block: Vec<&str> = Vec::new();
                loop {
                    match lines.next() {
                        Some((_, line)) if line == end => break,
                        Some((_, line)) => block.push(line),
                        None => {
                            return Err(OutputError::OpenBlock {
                                line: number,
                                key: key.to_owned(),
                                end: end.to_owned(),
                            });
                        }
                    }
                }
                (key, block.join("\n"))
            }
        };
        if !is_output_key(key) {
            return Err(OutputError::BadKey {
                line: number,
                key: key.to_owned(),
            });
        }
        outputs.insert(key.to_owned(), typed(value));
    }
    Ok(outputs)
}

enum Assignment<'a> {
    Value(&'a str),
    Block(&'a str),
}

/// Splits at whichever of `=` and `<<` comes first, so that a value may contain either.
fn split(line: &str) -> Option<(&str, Assignment<'_>)> {
    match (line.find('='), line.find("<<")) {
        (Some(equals), Some(block)) if block < equals => block_at(line, block),
        (Some(equals), _) => Some((&line[..equals], Assignment::Value(&line[equals + 1..]))),
        (None, Some(block)) => block_at(line, block),
        (None, None) => None,
    }
}

fn block_at(line: &str, at: usize) -> Option<(&str, Assignment<'_>)> {
    let end = &line[at + 2..];
    (!end.is_empty()).then_some((&line[..at], Assignment::Block(end)))
}

fn typed(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_keep_their_json_type_and_the_rest_is_text() {
        let text = "rows=1200\nratio=0.5\nok=true\nnone=null\nlist=[1, \"a\"]\nday=2026-01-31\nempty=\n\nquoted=\"12\"\nurl=a=b<<c\n";
        let expected = json!({
            "rows": 1200, "ratio": 0.5, "ok": true, "none": null, "list": [1, "a"], "day": "2026-01-31",
            "empty": "", "quoted": "12", "url": "a=b<<c",
        });
        assert_eq!(json!(parse(text.as_bytes()).expect("all well-formed")), expected);
    }

    #[test]
    fn blocks_hold_lines_and_the_last_value_wins() {
        let text = "report<<END\na=1\n\nlast\nEND\nreport2<<E\nE\nn=1\nn=2\njson<<J\n{\"a\":\n1}\nJ";
        let expected = json!({"report": "a=1\n\nlast", "report2": "", "n": 2, "json": {"a": 1}});
        assert_eq!(json!(parse(text.as_bytes()).expect("all well-formed")), expected);
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, line) in [
            (&b"a=1\nnonsense"[..], "line 2"),
            (b"a b=1", "line 1"),
            (b"=1", "line 1"),
            (b"\n\nk<<", "line 3"),
            (b"a=1\nk<<END\nx\n", "line 2"),
            (b"a=1\nb=\xff", "line 2"),
        ] {
            let error = parse(text).expect_err("a mistake").to_string();
            assert!(error.contains(line), "{error}");
        }
        assert_eq!(parse(&vec![b'a'; MAX_BYTES + 1]), Err(OutputError::TooLarge));
    }

    proptest! {
        #[test]
        fn no_text_is_too_hostile(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_lines_survive_a_block(lines in proptest::collection::vec("[a-z=<]{0,12}", 0..6)) {
            let block = lines.join("\n");
            let outputs = parse(format!("k<<__END__\n{block}\n__END__\n").as_bytes()).expect("a block");
            let expected = if lines.is_empty() { String::new() } else { block };
            prop_assert_eq!(&outputs["k"], &typed(expected));
        }
    }
}
