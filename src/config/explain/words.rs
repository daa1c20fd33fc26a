//! Values and pieces of a schema in words.

use serde_json::Value;

use crate::{
    config::settings::PERCENT_PATTERN,
    core::{
        id::{SLUG_PATTERN, is_slug},
        units::{ByteSize, DURATION_PATTERN, HumanDuration, SIZE_PATTERN},
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
pub fn type_hint(root: &Value, schema: &Value, value: &Value, written: &str) -> String {
    let takes = |kind: &str| {
        let branches = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        std::iter::once(schema)
            .chain(branches)
            .any(|schema| resolve(root, schema)["type"] == kind)
    };
    let pattern = schema.get("pattern").and_then(Value::as_str);
    let hint = match value {
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
        Value::Number(number) if takes("boolean") => truth(&number.to_string()),
        Value::Number(number) if takes("integer") => number
            .as_f64()
            .map(|number| format!("write `{}` or `{}`", number.floor(), number.ceil())),
        Value::String(text) if takes("boolean") => truth(text),
        Value::String(text) if takes("integer") || takes("number") => {
            let digits = text.trim().trim_start_matches('0');
            let number: Option<f64> = if digits.is_empty() { "0" } else { digits }.parse().ok();
            number.map(|number| format!("write `{number}`, without quotes or leading zeros"))
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) if takes("array") => {
            Some(format!("write it as a list: [{}]", shortened(written)))
        }
        Value::Array(_) | Value::Object(_) if takes("string") => {
            Some("put it in quotes if it is meant as a text".to_owned())
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    hint.unwrap_or_else(|| format!("write {}", describe(root, schema)))
}

fn truth(text: &str) -> Option<String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" | "true" | "1" => Some("write `true`".to_owned()),
        "no" | "n" | "off" | "false" | "0" => Some("write `false`".to_owned()),
        _ => None,
    }
}

/// What to do about a number that is too small or too large.
pub fn range_hint(schema: &Value, value: &Value) -> Option<String> {
    let limit = |key: &str| schema.get(key);
    let (least, most) = (limit("minimum"), limit("maximum"));
    match (
        value.as_f64(),
        least.and_then(Value::as_f64),
        most.and_then(Value::as_f64),
    ) {
        (Some(value), Some(at_least), _) if value < at_least => least.map(|least| format!("write {least} or more")),
        (Some(value), _, Some(at_most)) if value > at_most => most.map(|most| format!("write {most} or less")),
        (_, _, _) => None,
    }
}

/// What to do about a text that is not of the form that a schema asks for.
pub fn pattern_hint(schema: &Value, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    match schema.get("pattern").and_then(Value::as_str)? {
        DURATION_PATTERN => Some(duration_hint(text)),
        SIZE_PATTERN => Some(size_hint(text)),
        SLUG_PATTERN => Some(slug_hint(text)),
        PERCENT_PATTERN => Some("write a whole number from 0 to 100 and `%`, for example `50%`".to_owned()),
        _ => None,
    }
}

fn duration_hint(text: &str) -> String {
    let plain = text.trim().trim_start_matches(['-', '+']).trim_start();
    let digits = plain
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(plain.len());
    let (number, unit) = plain.split_at(digits);
    let unit = unit.trim().to_lowercase();
    let seconds = match unit.as_str() {
        "" if number == plain && !number.is_empty() && !number.contains('.') => {
            return format!("write a unit: `{number}s` for seconds");
        }
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 604_800,
        _ if text.contains(' ') => return "write it without blanks, as in `1h30m`".to_owned(),
        _ => return "the units are `ms`, `s`, `m`, `h` and `d`; fractions are not used".to_owned(),
    };
    let millis = number
        .parse::<f64>()
        .ok()
        .map(|number| number * f64::from(seconds) * 1e3);
    match millis {
        Some(millis) if (0.0..1e15).contains(&millis) && millis.fract() == 0.0 => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole and in range"
            )]
            let written = HumanDuration::from_millis(millis as u64);
            let negative = if text.trim().starts_with('-') {
                "a duration cannot be negative; "
            } else {
                ""
            };
            format!("{negative}write `{written}`")
        }
        Some(_) | None => "write at most nine digits before each unit".to_owned(),
    }
}

fn size_hint(text: &str) -> String {
    const UNITS: &str = "the units are `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB` and `TiB`";
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim().to_lowercase().as_str() {
        "" => return format!("write a unit: `{number}MiB`, or `{number}B` for bytes"),
        "b" | "byte" | "bytes" => "B",
        "kb" => "kB",
        "mb" => "MB",
        "gb" => "GB",
        "tb" => "TB",
        "k" | "ki" | "kib" => "KiB",
        "m" | "mi" | "mib" => "MiB",
        "g" | "gi" | "gib" => "GiB",
        "t" | "ti" | "tib" => "TiB",
        _ => return UNITS.to_owned(),
    };
    if number.is_empty() {
        return UNITS.to_owned();
    }
    let better = format!("{number}{unit}");
    match better.parse::<ByteSize>() {
        Ok(_) => format!("write `{better}`"),
        Err(_) => "write fewer digits: no machine has so much".to_owned(),
    }
}

/// What to do about a name that is no id.
pub fn slug_hint(name: &str) -> String {
    let mut slug = String::new();
    for c in name.trim().to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' | '_' => slug.push(c),
            'ä' => slug.push_str("ae"),
            'ö' => slug.push_str("oe"),
            'ü' => slug.push_str("ue"),
            'ß' => slug.push_str("ss"),
            _ if slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.truncate(63);
    let slug = slug.trim_matches(['-', '_']);
    if is_slug(slug) {
        format!("write `{slug}`")
    } else {
        "choose a short name, for example `nightly-load`".to_owned()
    }
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
    let properties = schema.get("properties").and_then(Value::as_object);
    // Of several that may all be left away, the one by which people know such a map.
    let known = ["policy", "retries"]
        .into_iter()
        .find(|key| properties.is_some_and(|keys| keys.contains_key(*key)));
    required
        .or(known)
        .or_else(|| properties?.keys().next().map(String::as_str))
}
