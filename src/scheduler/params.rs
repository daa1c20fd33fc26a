//! The inputs of a run: what was given, checked by the job's spec, and the defaults of the rest, rendered.
//!
//! In: the job, the values that somebody gave, and what is known of the run when it is created. Out: every parameter with
//! a value of its type, or everything that is wrong. The run keeps the result to its end.

use serde_json::{Map, Value, json};

use crate::core::{
    Timestamp,
    id::RunId,
    job::{Job, params::InvalidParam},
    spec::ParamSpec,
    template::Template,
};

/// What is known of a run when it is created.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// Its id.
    pub id: RunId,
    /// Its slot, or its creation.
    pub scheduled_at: Timestamp,
    /// The git commit of the folder of jobs.
    pub revision: Option<String>,
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// The job has no such parameter.
    #[error("the job has no parameter `{name}`{}", names(.known))]
    Unknown {
        /// What was given.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It has no default and was not given.
    #[error("the parameter `{name}` has no default and was not given")]
    Missing {
        /// The parameter.
        name: String,
    },
    /// It may not have this value.
    #[error("the parameter `{name}`: {problem}")]
    Invalid {
        /// The parameter.
        name: String,
        /// Why not.
        problem: InvalidParam,
    },
    /// Its value would be kept and shown.
    #[error(
        "the parameter `{name}` contains a secret of the job, and parameters are kept in the journal and the history: let \
         the tasks that need it name the secret themselves"
    )]
    Secret {
        /// The parameter.
        name: String,
    },
    /// The default cannot be rendered.
    #[error("the default of the parameter `{name}` cannot be rendered: {problem}")]
    Default {
        /// The parameter.
        name: String,
        /// Why.
        problem: String,
    },
}

fn names(names: &[String]) -> String {
    if names.is_empty() {
        ": it has none".to_owned()
    } else {
        format!(": it has `{}`", names.join("`, `"))
    }
}

/// Gives every parameter of the job its value.
pub fn render(job: &Job, given: &Map<String, Value>, facts: &RunFacts) -> Result<Map<String, Value>, Vec<ParamError>> {
    let specs = &job.spec.params;
    let unknown = given.keys().filter(|name| !specs.contains_key(*name));
    let mut errors: Vec<ParamError> = unknown
        .map(|name| ParamError::Unknown {
            name: name.clone(),
            known: specs.keys().cloned().collect(),
        })
        .collect();
    let scope = scope(job, facts);
    let mut values = Map::new();
    for (name, spec) in specs {
        match value(name, spec, given.get(name), &scope) {
            Ok(value) => {
                values.insert(name.clone(), value);
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// What a default can name. Nothing of it depends on another parameter, so that their order does not matter.
fn scope(job: &Job, facts: &RunFacts) -> Value {
    let (scheduled_at, scheduled_date) = job.scheduled(facts.scheduled_at);
    json!({
        "config": job.spec.config,
        "run": {
            "id": facts.id.to_string(),
            "job": job.id.as_str(),
            "scheduled_at": scheduled_at,
            "scheduled_date": scheduled_date,
            "revision": facts.revision.as_deref().unwrap_or_default(),
        },
    })
}

fn value(name: &str, spec: &ParamSpec, given: Option<&Value>, scope: &Value) -> Result<Value, ParamError> {
    let raw = match (given, &spec.default) {
        (Some(given), _) => given.clone(),
        (None, Some(Value::String(template))) => {
            let rendered = Template::parse(template).and_then(|template| template.render(scope));
            Value::String(rendered.map_err(|error| ParamError::Default {
                name: name.to_owned(),
                problem: error.message,
            })?)
        }
        (None, Some(default)) => default.clone(),
        (None, None) => return Err(ParamError::Missing { name: name.to_owned() }),
    };
    // A text, which is all that a command line and a template can give, is read as the parameter's type.
    let value = match &raw {
        Value::String(text) => spec.read(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            spec.check(&raw).map(|()| raw.clone())
        }
    };
    value.map_err(|problem| ParamError::Invalid {
        name: name.to_owned(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::fixtures::{at, job, run_id};

    const YAML: &str = "
schedule: {cron: '@daily', timezone: Asia/Tokyo}
config: {batch: 500}
params:
  day: {default: '${{ run.scheduled_date }}', pattern: '^\\d{4}-\\d{2}-\\d{2}$'}
  size: {type: integer, default: '${{ config.batch }}'}
  share: {type: number, default: 0.5}
  dry: {type: boolean, default: false}
  who: {}";

    fn render(given: Value) -> Result<Value, String> {
        let facts = RunFacts {
            id: run_id(1),
            scheduled_at: at("2026-01-31T15:00:00Z"),
            revision: None,
        };
        let Value::Object(given) = given else {
            panic!("a map of parameters")
        };
        super::render(&job("job", YAML), &given, &facts)
            .map(Value::Object)
            .map_err(|errors| {
                let texts: Vec<String> = errors.iter().map(ParamError::to_string).collect();
                texts.join("; ")
            })
    }

    #[test]
    fn defaults_are_rendered_and_texts_read_as_their_type() {
        assert_eq!(
            render(json!({"who": "me"})),
            Ok(json!({"day": "2026-02-01", "size": 500, "share": 0.5, "dry": false, "who": "me"}))
        );
        assert_eq!(
            render(json!({"who": "me", "day": "2020-02-02", "size": "-7", "share": "1e3", "dry": "true"})),
            Ok(json!({"day": "2020-02-02", "size": -7, "share": 1e3, "dry": true, "who": "me"}))
        );
    }

    #[test]
    fn everything_wrong_is_said() {
        assert_eq!(
            render(json!({"nope": 1, "day": "today", "size": "1.5", "share": "much", "dry": "yes"})),
            Err(
                "the job has no parameter `nope`: it has `day`, `dry`, `share`, `size`, `who`; \
                 the parameter `day`: `today` does not match the pattern `^\\d{4}-\\d{2}-\\d{2}$`; \
                 the parameter `dry`: \"yes\" is not `true` or `false`; \
                 the parameter `share`: \"much\" is not a number; \
                 the parameter `size`: 1.5 is not a whole number; \
                 the parameter `who` has no default and was not given"
                    .to_owned()
            )
        );
    }
}
