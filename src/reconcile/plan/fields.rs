//! Which fields two versions of a job differ in, in the words of the file.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::core::spec::JobSpec;

/// Which fields differ between two specs: `schedule`, `tasks.load.command`, `tasks.new`.
pub(super) fn changed_fields(old: &JobSpec, new: &JobSpec) -> Vec<String> {
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
            _ => changed.push(field.to_owned()),
        }
    }
    changed
}

fn changed_tasks(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<String> {
    let of_task = |task: &str| match (old.get(task), new.get(task)) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => differing(old, new)
            .into_iter()
            .map(|field| format!("tasks.{task}.{field}"))
            .collect(),
        _ => vec![format!("tasks.{task}")],
    };
    differing(old, new).into_iter().flat_map(of_task).collect()
}

/// The keys whose values differ, or that only one of the two has.
fn differing<'a>(old: &'a Map<String, Value>, new: &'a Map<String, Value>) -> Vec<&'a str> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(String::as_str)
        .collect()
}
