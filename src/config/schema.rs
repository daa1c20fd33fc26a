//! The JSON schemas of job files and settings, generated from the Rust types, and the validators compiled from them.
//!
//! What is written to `schema/*.json` for editors is byte for byte what files are checked with. `null` is taken out of
//! the generated schemas: an optional key may be left away, but a key without a value is a mistake, and the types say
//! the same.

use std::sync::OnceLock;

use jsonschema::Validator;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::settings::Settings;
use crate::core::spec::JobSpec;

/// A schema with its compiled form.
pub struct Checked {
    /// The schema.
    pub schema: Value,
    /// Checks values against it.
    pub validator: Validator,
}

/// The schema of a job file.
pub fn job_schema() -> &'static Checked {
    static SCHEMA: OnceLock<Checked> = OnceLock::new();
    SCHEMA.get_or_init(|| compile(generate::<JobSpec>("urn:petit:schema:job")))
}

/// The schema of the settings.
pub fn settings_schema() -> &'static Checked {
    static SCHEMA: OnceLock<Checked> = OnceLock::new();
    SCHEMA.get_or_init(|| compile(generate::<Settings>("urn:petit:schema:settings")))
}

/// The text of `schema/job.schema.json`.
pub fn job_schema_text() -> String {
    text_of(&job_schema().schema)
}

/// The text of `schema/settings.schema.json`.
pub fn settings_schema_text() -> String {
    text_of(&settings_schema().schema)
}

fn text_of(schema: &Value) -> String {
    format!("{schema:#}\n")
}

fn compile(schema: Value) -> Checked {
    let validator = jsonschema::draft202012::options()
        .build(&schema)
        .expect("a generated schema compiles, which a test shows");
    Checked { schema, validator }
}

fn generate<T: JsonSchema>(id: &str) -> Value {
    let generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
    let mut schema = Value::from(generator.into_root_schema_for::<T>());
    without_null(&mut schema);
    if let Value::Object(map) = &mut schema {
        map.insert("$id".to_owned(), id.into());
    }
    schema
}

fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            // Ranges of numbers are written out, so the names of Rust's types add nothing.
            map.remove("format");
            unwrap_nullable(map);
            for (key, value) in map.iter_mut() {
                if !matches!(key.as_str(), "default" | "examples" | "const" | "enum") {
                    without_null(value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `anyOf: [X, null]` is X.
fn unwrap_nullable(map: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = map.get_mut("anyOf") else {
        return;
    };
    branches.retain(|branch| branch.get("type").is_none_or(|kind| kind != "null"));
    if let [Value::Object(only)] = &branches[..] {
        let only = only.clone();
        map.remove("anyOf");
        for (key, value) in only {
            map.entry(key).or_insert(value);
        }
    }
}
