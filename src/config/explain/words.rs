//! Values and pieces of a schema in words.

use serde_json::Value;

use crate::{
    config::settings::PERCENT_PATTERN,
    core::{
        id::{SLUG_PATTERN, is_slug},
        units::{DURATION_PATTERN, SIZE_PATTERN},
    },
};

/// What an id looks like.
pub const SLUG: &str = "1 to 63 lower-case letters, digits, `-` and `_`, the first a letter or digit";

/// What a schema asks for.
pub fn describe(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    match schema.get("pattern").and_then(Value::as_str) {
        Some(DURATION_PATTERN) => return "a duration such as `90s`, `5m` or `1h30m`".to_owned(),
        Some(SIZE_PATTERN) => return "a size such as `512MiB` or `2GB`".to_owned(),
        Some(PERCENT_PATTERN) => return "a share from `0%` to `100%`".to_owned(),
        Some(SLUG_PATTERN) => return SLUG.to_owned(),
        Some(pattern) => return format!("a text of the form {pattern}"),
        None => {}
    }
    for keyword in ["anyOf", "oneOf"] {
        let branches = schema.get(keyword).and_then(Value::as_array);
        let branches: Vec<&Value> = branches.into_iter().flatten().collect();
        let constants: Vec<&str> = branches.iter().filter_map(|branch| branch["const"].as_str()).collect();
        if !constants.is_empty() {
            return one_of(&constants);
        }
        if !branches.is_empty() && schema.get("type").is_none() {
            let words: Vec<String> = branches.iter().map(|branch| describe(root, branch)).collect();
            return words.join(" or ");
        }
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") if schema.get("minLength").is_some() => "a text that is not empty".to_owned(),
        Some("string") => "a text".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("integer") => format!("a whole number{}", range(schema)),
        Some("number") => format!("a number{}", range(schema)),
        Some("array") if schema.get("minItems").is_some() => "a list with at least one item".to_owned(),
        Some("array") => match schema.get("items").map(|items| resolve(root, items)) {
            Some(items) if items["type"] == "string" && items.get("pattern").is_none() => "a list of texts".to_owned(),
            Some(items) if items["pattern"] == SLUG_PATTERN => "a list of ids".to_owned(),
            Some(_) | None => "a list".to_owned(),
        },
        Some("object") => match first_key(schema) {
            Some(key) => format!("a map with keys such as `{key}`"),
            None if schema.get("minProperties").is_some() => "a map with at least one key".to_owned(),
            None => "a map of keys and values".to_owned(),
        },
        Some(_) | None => "another value".to_owned(),
    }
}

/// Follows a reference into the schema's definitions.
pub fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema.get("$ref").and_then(Value::as_str);
    match reference.and_then(|reference| root.pointer(reference.strip_prefix('#')?)) {
        Some(target) => resolve(root, target),
        None => schema,
    }
}

/// What a value is.
pub fn found(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(truth) => format!("the truth value `{truth}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.is_empty() => "an empty text".to_owned(),
        Value::String(text) => format!("the text `{}`", shortened(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

/// The options as a sentence.
pub fn one_of(options: &[&str]) -> String {
    let quoted: Vec<String> = options.iter().map(|option| format!("`{option}`")).collect();
    match quoted.as_slice() {
        [only] => only.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
        [] => "nothing".to_owned(),
    }
}

/// A text that fits into a sentence.
pub fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What to do about a value of the wrong type. `written` is how it stands in the file.
pub fn type_hint(root: &Value, schema: &Value, value: &Value, written: &str) -> Option<String> {
    let takes = |kind: &str| {
        let branches = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        std::iter::once(schema)
            .chain(branches)
            .any(|schema| resolve(root, schema)["type"] == kind)
    };
    let pattern = schema.get("pattern").and_then(Value::as_str);
    match value {
        Value::Null => Some("give it a value, or remove the key".to_owned()),
        Value::Number(number) if number.is_u64() && pattern == Some(DURATION_PATTERN) => Some(format!(
            "write a unit: `{number}s` for seconds, `{number}m` for minutes"
        )),
        Value::Number(number) if number.is_u64() && pattern == Some(SIZE_PATTERN) => {
            Some(format!("write a unit: `{number}MiB`, or `{number}B` for bytes"))
        }
        Value::Number(_) | Value::Bool(_) if takes("string") && pattern.is_none() => {
            Some(format!("write it in quotes: \"{written}\""))
        }
        Value::String(text) if takes("boolean") => match text.to_ascii_lowercase().as_str() {
            "yes" | "y" | "on" | "true" | "1" => Some("write `true`".to_owned()),
            "no" | "n" | "off" | "false" | "0" => Some("write `false`".to_owned()),
            _ => None,
        },
        Value::String(text) if takes("integer") || takes("number") => {
            let digits = text.trim().trim_start_matches('0');
            let number: f64 = if digits.is_empty() { "0" } else { digits }.parse().ok()?;
            Some(format!("write `{number}`, without quotes or leading zeros"))
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) if takes("array") => {
            Some(format!("write it as a list: [{}]", shortened(written)))
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What to do about a text that is not of the form that a schema asks for.
pub fn pattern_hint(schema: &Value, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    match schema.get("pattern").and_then(Value::as_str)? {
        DURATION_PATTERN if text.contains(' ') => Some("write it without blanks, as in `1h30m`".to_owned()),
        DURATION_PATTERN if text.bytes().all(|b| b.is_ascii_digit()) => {
            Some(format!("write a unit: `{text}s` for seconds"))
        }
        DURATION_PATTERN => Some("the units are `ms`, `s`, `m`, `h` and `d`; fractions are not used".to_owned()),
        SIZE_PATTERN => Some("the units are `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB` and `TiB`".to_owned()),
        SLUG_PATTERN => slug_hint(text),
        _ => None,
    }
}

/// The id that a name would give.
pub fn slug_hint(name: &str) -> Option<String> {
    let slug = name.trim().to_lowercase().replace([' ', '.', '/'], "-");
    is_slug(&slug).then(|| format!("write `{slug}`"))
}

fn range(schema: &Value) -> String {
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => format!(" from {least} to {most}"),
        (Some(least), None) => format!(" of at least {least}"),
        (None, Some(most)) => format!(" of at most {most}"),
        (None, None) => String::new(),
    }
}

/// A key that stands for the others: a required one, else the first.
fn first_key(schema: &Value) -> Option<&str> {
    let required = schema
        .get("required")
        .or_else(|| schema.get("oneOf")?.get(0)?.get("required"))
        .and_then(|required| required.get(0)?.as_str());
    required.or_else(|| schema.get("properties")?.as_object()?.keys().next().map(String::as_str))
}
