//! The typed inputs of a run: whether a value may be given to a parameter.
//!
//! The same rules judge a default when a file is checked and a value when a run is asked for.

use regex::Regex;
use serde_json::Value;

use crate::core::spec::{ParamSpec, ParamType};

/// Why a value cannot be given to a parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidParam {
    /// Not of the parameter's type.
    #[error("{found} is not {}", .expected.with_article())]
    Type {
        /// The type of the parameter.
        expected: ParamType,
        /// The value, as JSON.
        found: String,
    },
    /// A string that the pattern does not match.
    #[error("`{found}` does not match the pattern `{pattern}`")]
    Pattern {
        /// The value.
        found: String,
        /// The pattern.
        pattern: String,
    },
    /// The pattern itself is no regular expression.
    #[error("the pattern `{pattern}` is not a regular expression: {reason}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What the parser says.
        reason: String,
    },
}

impl ParamType {
    /// As it stands in a sentence.
    pub fn with_article(self) -> &'static str {
        match self {
            ParamType::String => "a text",
            ParamType::Integer => "a whole number",
            ParamType::Number => "a number",
            ParamType::Boolean => "`true` or `false`",
        }
    }
}

impl ParamSpec {
    /// Reads a value given as text, as on a command line.
    pub fn read(&self, text: &str) -> Result<Value, InvalidParam> {
        let value = match self.kind {
            ParamType::String => Value::from(text),
            ParamType::Integer | ParamType::Number | ParamType::Boolean => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
            }
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Whether the parameter may have a value.
    pub fn check(&self, value: &Value) -> Result<(), InvalidParam> {
        let fits = match self.kind {
            ParamType::String => value.is_string(),
            ParamType::Integer => value.is_i64() || value.is_u64(),
            ParamType::Number => value.is_number(),
            ParamType::Boolean => value.is_boolean(),
        };
        if !fits {
            return Err(InvalidParam::Type {
                expected: self.kind,
                found: value.to_string(),
            });
        }
        match (self.compiled_pattern()?, value.as_str()) {
            (Some(pattern), Some(text)) if !pattern.is_match(text) => Err(InvalidParam::Pattern {
                found: text.to_owned(),
                pattern: pattern.as_str().to_owned(),
            }),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// The pattern, ready to match. Like a JSON schema's it may match anywhere unless it is anchored.
    pub(super) fn compiled_pattern(&self) -> Result<Option<Regex>, InvalidParam> {
        let Some(pattern) = &self.pattern else {
            return Ok(None);
        };
        Regex::new(pattern).map(Some).map_err(|error| InvalidParam::BadPattern {
            pattern: pattern.clone(),
            // The parser draws an arrow over several lines; its last line says what is wrong.
            reason: error
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_by_type() {
        let param = |kind| ParamSpec {
            kind,
            default: None,
            pattern: None,
            description: None,
        };
        for (kind, text, expected) in [
            (ParamType::String, "1", Some(Value::from("1"))),
            (ParamType::Integer, "1", Some(Value::from(1))),
            (ParamType::Integer, "1.5", None),
            (ParamType::Integer, "x", None),
            (ParamType::Number, "1.5", Some(Value::from(1.5))),
            (ParamType::Boolean, "true", Some(Value::from(true))),
            (ParamType::Boolean, "yes", None),
        ] {
            assert_eq!(param(kind).read(text).ok(), expected, "{kind:?} {text}");
        }
    }
}
