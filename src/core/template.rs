//! The expressions in a job: `${{ params.day }}`, also through filters, as in `${{ tasks.load.outputs.rows | default(0) }}`.
//!
//! An expression is one dotted name, optionally followed by `minijinja`'s filters. The names are parsed here and not by
//! `minijinja`, for two reasons: ids may hold a hyphen, which a template language reads as a minus, and a name that can
//! be listed exactly can be checked when a file is validated. Everything outside `${{ … }}` (a bare `$`, `${VAR}`,
//! `{{ }}`, `{% %}`) is text and stays as it is.
//!
//! In goes a text, and later one JSON value that holds `params`, `config`, `env`, `run` and `tasks`; out comes a text.
//! Which names can exist where is decided in [`super::job`].

use std::{collections::BTreeMap, ops::Range, sync::OnceLock};

use minijinja::{Environment, ErrorKind, Expression, UndefinedBehavior, value::Serde};
use serde_json::Value;

const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// Whether a text holds an expression, or the beginning of one.
pub fn is_template(text: &str) -> bool {
    text.contains(OPEN)
}

/// A text with expressions, parsed.
#[derive(Debug)]
pub struct Template {
    parts: Vec<Part>,
}

/// What is wrong with an expression, or with what it asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// What is wrong.
    pub message: String,
    /// Where in the template's text, in bytes.
    pub range: Range<usize>,
}

/// What an expression asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `params.NAME`.
    Param(String),
    /// `config.KEY`, and what lies inside it.
    Config(Vec<String>),
    /// `env.NAME`.
    Env(String),
    /// `run.FIELD`.
    Run(RunField),
    /// `tasks.ID.outputs.KEY`.
    TaskOutput {
        /// The task that writes it.
        task: String,
        /// The key that it writes.
        key: String,
    },
    /// `tasks.ID.status`.
    TaskStatus {
        /// The task.
        task: String,
    },
    /// `tasks.ID.exit_code`.
    TaskExitCode {
        /// The task.
        task: String,
    },
    /// No name that Petit knows.
    Unknown(String),
}

/// What an expression can ask of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunField {
    /// The run's id.
    Id,
    /// The job's id.
    Job,
    /// The slot, or for a run by hand the time of its creation.
    ScheduledAt,
    /// The date of `scheduled_at` in the job's zone.
    ScheduledDate,
    /// When the run's first task was granted.
    StartedAt,
    /// The number of the attempt, from 1.
    Attempt,
    /// The git commit of the job's file.
    Revision,
}

impl RunField {
    /// All fields with their names.
    pub const ALL: [(&str, RunField); 7] = [
        ("id", RunField::Id),
        ("job", RunField::Job),
        ("scheduled_at", RunField::ScheduledAt),
        ("scheduled_date", RunField::ScheduledDate),
        ("started_at", RunField::StartedAt),
        ("attempt", RunField::Attempt),
        ("revision", RunField::Revision),
    ];
}

#[derive(Debug)]
enum Part {
    Text(String),
    Expression {
        /// From `${{` to `}}`.
        range: Range<usize>,
        path: Vec<String>,
        path_range: Range<usize>,
        reference: Reference,
        /// The filters, compiled over a variable `value`.
        filters: Option<Expression<'static, 'static>>,
    },
}

impl Template {
    /// Parses a text. Any text without `${{` is a template that renders as itself.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(found) = text[at..].find(OPEN) {
            let start = at + found;
            if start > at {
                parts.push(Part::Text(text[at..start].to_owned()));
            }
            let inner = start + OPEN.len();
            let Some(length) = expression_length(&text[inner..]) else {
                return Err(TemplateError {
                    message: "`${{` without a closing `}}`".to_owned(),
                    range: start..text.len(),
                });
            };
            at = inner + length + CLOSE.len();
            parts.push(parse_expression(text, inner..inner + length, start..at)?);
        }
        if at < text.len() {
            parts.push(Part::Text(text[at..].to_owned()));
        }
        Ok(Self { parts })
    }

    /// What the expressions ask for, each with the bytes of its name in the text.
    pub fn placed_references(&self) -> impl Iterator<Item = (&Reference, Range<usize>)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expression {
                reference, path_range, ..
            } => Some((reference, path_range.clone())),
        })
    }

    /// Puts the values in: a string as it is, a number or truth value as JSON writes it, a list or map as JSON. A name
    /// that the context does not hold is an error, unless a filter such as `default` takes it.
    pub fn render(&self, context: &Value) -> Result<String, TemplateError> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Expression {
                    range, path, filters, ..
                } => {
                    let value = look_up(context, path);
                    let rendered = match (filters, value) {
                        (None, Some(value)) => as_text(value),
                        (None, None) => Err(format!("`{}` does not exist", path.join("."))),
                        (Some(filters), value) => apply(filters, value)
                            .and_then(|value| as_text(&value))
                            .map_err(|message| format!("`{}`: {message}", path.join("."))),
                    };
                    out.push_str(&rendered.map_err(|message| TemplateError {
                        message,
                        range: range.clone(),
                    })?);
                }
            }
        }
        Ok(out)
    }
}

/// The length up to the `}}` that ends the expression; one inside a quoted string does not.
fn expression_length(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (i, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), _) if byte == open => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'}') if text[i..].starts_with(CLOSE) => return Some(i),
            (Some(_) | None, _) => {}
        }
    }
    None
}

/// Parses what stands between the delimiters (`inner`); `outer` includes them.
fn parse_expression(text: &str, inner: Range<usize>, outer: Range<usize>) -> Result<Part, TemplateError> {
    let body = &text[inner.clone()];
    let (name, filters) = match body.find('|') {
        Some(bar) => (&body[..bar], Some(&body[bar..])),
        None => (body, None),
    };
    let start = inner.start + (name.len() - name.trim_start().len());
    let name = name.trim();
    let path_range = start..start + name.len();
    if name.is_empty() {
        return Err(TemplateError {
            message: "the expression is empty".to_owned(),
            range: outer,
        });
    }
    let segment = |segment: &str| {
        !segment.is_empty()
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if !name.split('.').all(segment) {
        return Err(TemplateError {
            message: format!("`{name}` is not a name: expected one such as `params.day`"),
            range: path_range,
        });
    }
    let path: Vec<String> = name.split('.').map(str::to_owned).collect();
    let filters = filters
        .map(compile_filters)
        .transpose()
        .map_err(|message| TemplateError {
            message,
            range: path_range.end..inner.end,
        })?;
    Ok(Part::Expression {
        range: outer,
        reference: reference(&path),
        path,
        path_range,
        filters,
    })
}

fn compile_filters(filters: &str) -> Result<Expression<'static, 'static>, String> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    let environment = ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment
    });
    let problem = |error: &minijinja::Error| {
        error
            .detail()
            .map_or_else(|| error.to_string(), |detail| format!("{}: {detail}", error.kind()))
    };
    let expression = environment
        .compile_expression_owned(format!("value {}", filters.trim_end()))
        .map_err(|error| problem(&error))?;
    // Another name in a filter's argument would be one that no check has seen.
    if let Some(name) = expression
        .undeclared_variables(false)
        .into_iter()
        .find(|name| name != "value")
    {
        return Err(format!(
            "`{name}` stands in a filter's argument: expected a literal there"
        ));
    }
    // Filters are looked up when they run, so a trial finds one that does not exist.
    match expression.eval(minijinja::Value::from(BTreeMap::from([("value", "")]))) {
        Err(error) if error.kind() == ErrorKind::UnknownFilter => Err(problem(&error)),
        Ok(_) | Err(_) => Ok(expression),
    }
}

fn reference(path: &[String]) -> Reference {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    match words[..] {
        ["params", name] => Reference::Param(name.to_owned()),
        ["config", _, ..] => Reference::Config(path[1..].to_vec()),
        ["env", name] => Reference::Env(name.to_owned()),
        ["run", field] => match RunField::ALL.into_iter().find(|(name, _)| *name == field) {
            Some((_, field)) => Reference::Run(field),
            None => Reference::Unknown(path.join(".")),
        },
        ["tasks", task, "status"] => Reference::TaskStatus { task: task.to_owned() },
        ["tasks", task, "exit_code"] => Reference::TaskExitCode { task: task.to_owned() },
        // What lies inside a structured output is known only when the task has written it.
        ["tasks", task, "outputs", key, ..] => Reference::TaskOutput {
            task: task.to_owned(),
            key: key.to_owned(),
        },
        _ => Reference::Unknown(path.join(".")),
    }
}

fn look_up<'a>(context: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(context, |value, key| match value {
        Value::Object(map) => map.get(key),
        Value::Array(items) => key.parse::<usize>().ok().and_then(|i| items.get(i)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn apply(filters: &Expression<'_, '_>, value: Option<&Value>) -> Result<Value, String> {
    let value = value.map_or(minijinja::Value::UNDEFINED, |value| {
        minijinja::Value::from(Serde(value))
    });
    let result = filters
        .eval(minijinja::Value::from(BTreeMap::from([("value", value)])))
        .map_err(|error| error.to_string())?;
    if result.is_undefined() {
        return Err("does not exist".to_owned());
    }
    serde_json::to_value(&result).map_err(|error| error.to_string())
}

fn as_text(value: &Value) -> Result<String, String> {
    Ok(match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn render(text: &str) -> Result<String, String> {
        let context = json!({
            "params": {"day": "2026-01-31", "n": 3, "on": true},
            "config": {"paths": ["/a", "/b"], "deep": {"er": {"x": 1.5}}},
            "tasks": {"load-data": {"status": "success", "exit_code": 0, "outputs": {"rows": 12}}},
        });
        Template::parse(text)
            .and_then(|template| template.render(&context))
            .map_err(|error| error.message)
    }

    #[test]
    fn names_are_replaced_by_their_values() {
        for (text, expected) in [
            ("--day=${{ params.day }}", "--day=2026-01-31"),
            ("${{params.n}}${{ params.on }}", "3true"),
            ("${{ config.paths.1 }}", "/b"),
            ("${{ config.paths }}", r#"["/a","/b"]"#),
            ("${{ config.deep }}", r#"{"er":{"x":1.5}}"#),
            ("${{ tasks.load-data.outputs.rows }} rows", "12 rows"),
            ("${{ params.day | replace('-', '') }}", "20260131"),
            ("${{ tasks.load-data.outputs.none | default('}}') }}", "}}"),
            ("${{ params.day | upper | default(1) }}", "2026-01-31"),
        ] {
            assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_text() {
        for text in [
            "$",
            "${VAR}",
            "{{ x }}",
            "{% if %}",
            "{# c #}",
            "$${ {x} }",
            "}}",
            "é$é",
            "",
        ] {
            assert_eq!(render(text).as_deref(), Ok(text));
            assert!(!is_template(text));
        }
    }

    #[test]
    fn mistakes_name_the_expression() {
        for (text, expected) in [
            ("${{ params.week }}", "`params.week` does not exist"),
            (
                "${{ tasks.load-data.outputs.x.y }}",
                "`tasks.load-data.outputs.x.y` does not exist",
            ),
            ("a ${{ params.day", "`${{` without a closing `}}`"),
            ("${{ }}", "the expression is empty"),
            (
                "${{ 1 + 1 }}",
                "`1 + 1` is not a name: expected one such as `params.day`",
            ),
            (
                "${{ params.day | default(params.n) }}",
                "`params` stands in a filter's argument: expected a literal there",
            ),
        ] {
            assert_eq!(render(text), Err(expected.to_owned()), "{text}");
        }
        assert!(Template::parse("${{ params.day | upper | nosuch }}").is_err());
        assert!(render("${{ params.day | }}").is_err());
        assert!(render("${{ params.day or 1 }}").is_err());
        assert!(render("${{ params.week | upper }}").is_err());
    }

    #[test]
    fn references_say_what_is_asked_for_and_where() {
        let text = "é ${{ tasks.a-b.outputs.k }} ${{config.a.b | upper}} ${{ run.nope }} ${{ run.attempt }}";
        let template = Template::parse(text).expect("four expressions");
        let found: Vec<(Reference, &str)> = template
            .placed_references()
            .map(|(reference, range)| (reference.clone(), &text[range]))
            .collect();
        assert_eq!(
            found,
            [
                (
                    Reference::TaskOutput {
                        task: "a-b".to_owned(),
                        key: "k".to_owned()
                    },
                    "tasks.a-b.outputs.k"
                ),
                (Reference::Config(vec!["a".to_owned(), "b".to_owned()]), "config.a.b"),
                (Reference::Unknown("run.nope".to_owned()), "run.nope"),
                (Reference::Run(RunField::Attempt), "run.attempt"),
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"(\PC|\$\{\{|\}\}|params\.x|\||'|"|\\)*"#) {
            if let Ok(template) = Template::parse(&text) {
                let rendered = template.render(&json!({"params": {"x": 1}}));
                if !is_template(&text) {
                    prop_assert_eq!(rendered, Ok(text));
                }
            }
        }
    }
}
