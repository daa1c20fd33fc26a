//! Which fields two versions of a job differ in, in the words of the file, and what stands in them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::core::spec::JobSpec;

/// A field in which two versions differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its place in the file: `schedule`, `tasks.load.command`, `tasks.new`.
    pub field: String,
    /// What stood there; `null` if nothing did.
    pub old: Option<Value>,
    /// What stands there now; `null` if nothing does.
    pub new: Option<Value>,
}

/// The names of the fields that differ between two specs.
pub(super) fn changed_fields(old: &JobSpec, new: &JobSpec) -> Vec<String> {
    let changes = field_changes(old, new).into_iter();
    changes.map(|change| change.field).collect()
}

/// The fields that differ between two specs, with both values.
pub fn field_changes(old: &JobSpec, new: &JobSpec) -> Vec<FieldChange> {
    let fields = |spec: &JobSpec| match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    };
    let (old, new) = (fields(old), fields(new));
    let mut changed = Vec::new();
    for field in differing(&old, &new) {
        match (field, old.get(field), new.get(field)) {
            ("tasks", Some(Value::Object(old)), Some(Value::Object(new))) => {
                changed.extend(changed_tasks(old, new));
            }
            (_, old, new) => changed.push(change(field.to_owned(), old, new)),
        }
    }
    changed
}

fn changed_tasks(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<FieldChange> {
    let of_task = |task: &str| match (old.get(task), new.get(task)) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => differing(old, new)
            .into_iter()
            .map(|field| change(format!("tasks.{task}.{field}"), old.get(field), new.get(field)))
            .collect(),
        (old, new) => vec![change(format!("tasks.{task}"), old, new)],
    };
    differing(old, new).into_iter().flat_map(of_task).collect()
}

fn change(field: String, old: Option<&Value>, new: Option<&Value>) -> FieldChange {
    FieldChange {
        field,
        old: old.cloned(),
        new: new.cloned(),
    }
}

/// The keys whose values differ, or that only one of the two has.
fn differing<'a>(old: &'a Map<String, Value>, new: &'a Map<String, Value>) -> Vec<&'a str> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(String::as_str)
        .collect()
}
