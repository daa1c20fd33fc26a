//! What a task published: reads the text of the file named by `$PETIT_OUTPUT`.
//!
//! ```text
//! rows=1200            a value that parses as JSON keeps its type: the number 1200
//! id=12345678901234567890123   a number that cannot be kept to its last digit is text, also within a list
//! version="1.10"       text, where the number 1.1 is not meant
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
    match serde_json::from_str(&text) {
        // Digits are what most values are made of, and few have so many that they could be lost.
        Ok(Value::Number(_)) if !is_kept(text.trim()) => Value::String(text.trim().to_owned()),
        Ok(Value::Array(_) | Value::Object(_)) => {
            serde_json::from_str(&quote_lost_numbers(&text)).unwrap_or(Value::String(text))
        }
        Ok(value) => value,
        Err(_) => Value::String(text),
    }
}

/// The JSON text with every number in quotes that could not be kept.
fn quote_lost_numbers(json: &str) -> String {
    let mut quoted = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => rest
                .find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'))
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        match first {
            '-' | '0'..='9' if !is_kept(token) => quoted.extend(["\"", token, "\""]),
            _ => quoted.push_str(token),
        }
        rest = after;
    }
    quoted
}

/// How long the text is that begins here with its quote.
fn string_length(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}

/// Whether a number of JSON says the same after it was read: as 64 bits, or as the double that is written with the same
/// value again. How it is written (`1.10`, `1e3`) is not kept.
fn is_kept(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    // As JSON writes it: two texts can be equally short and near, and the formatter of `std` may choose the other one.
    let read = number.parse().ok().and_then(serde_json::Number::from_f64);
    match (decimal(number), read.and_then(|read| decimal(&read.to_string()))) {
        (Some(written), Some(read)) => written == read,
        (None, _) | (_, None) => false,
    }
}

/// A number's sign, its digits without zeros at either end, and the power of ten of the last one. None when that power is
/// beyond all reason.
fn decimal(number: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let significant = digits.trim_end_matches('0');
    let power = i64::try_from(digits.len() - significant.len()).ok()? - i64::try_from(fraction.len()).ok()?;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let exponent: i64 = exponent.parse().ok()?;
    Some((
        whole.starts_with('-'),
        significant.to_owned(),
        exponent.checked_add(power)?,
    ))
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
    fn a_number_that_would_lose_digits_is_text() {
        for kept in [
            "0",
            "-0",
            "1.10",
            "-2.50",
            "1e3",
            "1E+3",
            "0.1",
            "18446744073709551615",
            "-9223372036854775808",
            "1e22",
            "9007199254740992.0",
            "123456789.125",
            "0e999999999999999999999",
            "5e-324",
            "270753116531443.62",
        ] {
            assert!(typed(kept.to_owned()).is_number(), "{kept}");
        }
        for lost in [
            "12345678901234567890123",
            "18446744073709551616",
            "-9223372036854775809",
            "0.1000000000000000055511151231257827",
            "9007199254740993.0",
            "270753116531443.63",
            "1e-400",
            "1e400",
            "3.14159265358979323846",
            "1e-99999999999999999999999",
        ] {
            assert_eq!(typed(lost.to_owned()), json!(lost));
        }
        assert_eq!(
            typed(" 12345678901234567890123 ".to_owned()),
            json!("12345678901234567890123")
        );
        let nested =
            r#"{"12345678901234567890123": [12345678901234567890123,1.5, "a\\", "\"123", -0.10000000000000000001e2]}"#;
        let expected = json!({"12345678901234567890123":
            ["12345678901234567890123", 1.5, "a\\", "\"123", "-0.10000000000000000001e2"]});
        assert_eq!(typed(nested.to_owned()), expected);
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
        fn whatever_json_can_hold_is_kept(bits: u64, integer: i64) {
            let double = f64::from_bits(bits);
            prop_assume!(double.is_finite());
            for value in [json!(double), json!(integer), json!([double, {"k": integer}])] {
                prop_assert_eq!(typed(value.to_string()), value);
            }
        }

        #[test]
        fn no_digit_of_a_decimal_is_lost(text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?") {
            let shown = match typed(text.clone()) {
                Value::String(shown) => shown,
                value => value.to_string(),
            };
            prop_assert_eq!(decimal(&shown), decimal(&text));
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
