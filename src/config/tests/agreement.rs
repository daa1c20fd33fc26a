//! The schema and the types say the same, shown from both ends: what the types can hold is written as a file, accepted by
//! the schema and read back as the same job; what the schema describes is made up from the schema alone, and read by the
//! types.
//!
//! The schema cannot say everything. What a file that it accepts may still be refused for is listed in [`RULES`], and
//! nothing else counts.

use std::{cell::Cell, collections::BTreeMap, path::Path};

use jsonschema::{ValidationError, error::ValidationErrorKind};
use proptest::{
    prelude::*,
    sample::{Index, select},
    string::string_regex,
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value};

use super::{
    super::{
        check::{self, check_file},
        explain::Subject,
        schema,
        settings::Settings,
        yaml,
    },
    pointers,
};
use crate::core::{
    id::{JobId, SLUG_PATTERN, TaskId},
    spec::{
        CommandSpec, Condition, JobCondition, JobDependency, JobSpec, Limits, MisfirePolicy, MisfireSpec, NotifySpec,
        NotifyWhen, Overlap, ParamSpec, ParamType, ResourceRequirements, RetryCondition, RetryPolicy, ScheduleSpec,
        SecretSource, TaskDefaults, TaskSpec,
    },
    units::{ByteSize, HumanDuration},
};

/// The codes under which a file that the schema accepts may be refused, because they are about what several values say
/// together, about another language inside a text, or about what this version cannot do yet.
const RULES: &[&str] = &[
    // Names that lead nowhere, and graphs that go round.
    "job-cycle",
    "task-cycle",
    "unknown-task",
    "repeated-dependency",
    // One value that another one asks for, or forbids.
    "missing-window",
    "with-without-uses",
    "limits-of-rust-task",
    "pattern-without-string",
    "param-default",
    // Texts with a grammar of their own.
    "cron",
    "every",
    "never-fires",
    "unknown-timezone",
    "bad-pattern",
    "expression",
    "expression-in-shell",
    "unknown-param",
    "unknown-config",
    "unknown-env",
    "unknown-name",
    "name-out-of-place",
    "not-upstream",
    // Values of a form that a schema could only say to machines.
    "param-name",
    "env-name",
    "reserved-env",
    "env-and-secret",
    "expression-in-secret",
    "zero-timeout",
    "zero-limit",
    "empty",
    "nul",
    // Keys that this version refuses rather than ignores.
];

const SUBJECT: fn() -> Subject = || Subject {
    schema: schema::job_schema(),
    what: "a job",
};

// ---- From the types to a file ----

fn text() -> impl Strategy<Value = String> {
    let odd = select(
        &[
            "",
            "yes",
            "no",
            "null",
            "~",
            "007",
            "1e3",
            "0x1F",
            "12:30",
            "- a",
            "a: b",
            "#",
            "*/5 * * * *",
            "@daily",
            "é\n  ü",
            "\t",
            " x ",
            "'",
            "\"",
            "\\",
            "%",
            "!x",
            "&a",
            "2026-01-31",
            ".inf",
            "|",
            ">",
            "{",
            "[",
        ][..],
    );
    prop_oneof![odd.prop_map(str::to_owned), "\\PC{0,12}", "[a-z]{1,8}"]
}

fn some_text() -> impl Strategy<Value = String> {
    text().prop_filter("not empty", |text| !text.is_empty())
}

fn job_id() -> impl Strategy<Value = JobId> {
    slug().prop_map(|slug| JobId::new(slug).expect("a slug"))
}

fn task_id() -> impl Strategy<Value = TaskId> {
    slug().prop_map(|slug| TaskId::new(slug).expect("a slug"))
}

fn slug() -> impl Strategy<Value = String> {
    "[a-z0-9][a-z0-9_-]{0,9}"
}

fn duration() -> impl Strategy<Value = HumanDuration> {
    prop_oneof![
        Just(0),
        1..100_000_u64,
        any::<u32>().prop_map(|seconds| u64::from(seconds) * 1_000)
    ]
    .prop_map(HumanDuration::from_millis)
}

fn size() -> impl Strategy<Value = ByteSize> {
    prop_oneof![0..1_000_000_u64, (0..4_000_u64).prop_map(|mib| mib << 20)].prop_map(ByteSize::from_bytes)
}

/// Any value but nothing, which a key may not have.
fn free() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1_000_000..1_000_000_i32).prop_map(|n| Value::from(f64::from(n) / 64.0)),
        text().prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 12, 3, |inner| {
        let inner = prop_oneof![4 => inner, 1 => Just(Value::Null)];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..3).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn free_map() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map(text(), free(), 0..3).prop_map(|map| map.into_iter().collect())
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(text(), text(), 0..3)
}

fn command() -> impl Strategy<Value = CommandSpec> {
    prop_oneof![
        some_text().prop_map(CommandSpec::Shell),
        prop::collection::vec(text(), 1..4).prop_map(CommandSpec::Argv),
    ]
}

fn retry() -> impl Strategy<Value = RetryPolicy> {
    let when = select(&[RetryCondition::Always, RetryCondition::Transient, RetryCondition::Never][..]);
    (0..=1_000_u32, duration(), when).prop_map(|(retries, delay, when)| RetryPolicy { retries, delay, when })
}

fn schedule() -> impl Strategy<Value = ScheduleSpec> {
    let timing = prop_oneof![
        prop::collection::vec(text(), 1..3).prop_map(|cron| (cron, None)),
        duration().prop_map(|every| (Vec::new(), Some(every))),
    ];
    let policy = select(&[MisfirePolicy::Skip, MisfirePolicy::Once, MisfirePolicy::All][..]);
    let misfire = (policy, duration(), duration(), 1..=10_000_u32);
    let misfire = misfire.prop_map(|(policy, grace, window, limit)| MisfireSpec {
        policy,
        grace,
        window,
        limit,
    });
    let misfire = prop_oneof![Just(MisfireSpec::default()), misfire];
    (timing, prop::option::of(text()), duration(), misfire).prop_map(|((cron, every), timezone, jitter, misfire)| {
        ScheduleSpec {
            cron,
            every,
            timezone,
            jitter,
            misfire,
        }
    })
}

fn dependency() -> impl Strategy<Value = JobDependency> {
    let condition = select(
        &[
            JobCondition::LastSuccess,
            JobCondition::LastComplete,
            JobCondition::WithinWindow,
        ][..],
    );
    (job_id(), condition, prop::option::of(duration()), duration()).prop_map(|(job, condition, window, wait)| {
        JobDependency {
            job,
            condition,
            window,
            wait,
        }
    })
}

fn param() -> impl Strategy<Value = ParamSpec> {
    let kind = select(
        &[
            ParamType::String,
            ParamType::Integer,
            ParamType::Number,
            ParamType::Boolean,
        ][..],
    );
    let text = || prop::option::of(text());
    (kind, prop::option::of(free()), text(), text()).prop_map(|(kind, default, pattern, description)| ParamSpec {
        kind,
        default,
        pattern,
        description,
    })
}

fn notify() -> impl Strategy<Value = NotifySpec> {
    let when = select(
        &[
            NotifyWhen::Failure,
            NotifyWhen::Recovery,
            NotifyWhen::Success,
            NotifyWhen::Missed,
            NotifyWhen::Late,
        ][..],
    );
    let way = prop_oneof![
        command().prop_map(|command| (Some(command), None)),
        text().prop_map(|url| (None, Some(url))),
    ];
    (prop::collection::vec(when, 1..3), way).prop_map(|(when, (command, webhook))| NotifySpec {
        when,
        command,
        webhook,
    })
}

fn secrets() -> impl Strategy<Value = BTreeMap<String, SecretSource>> {
    let source = prop_oneof![text().prop_map(SecretSource::File), text().prop_map(SecretSource::Env),];
    prop::collection::btree_map(text(), source, 0..2)
}

fn defaults() -> impl Strategy<Value = TaskDefaults> {
    let duration = || prop::option::of(duration());
    let text = || prop::option::of(text());
    (duration(), duration(), prop::option::of(retry()), text(), text()).prop_map(
        |(timeout, kill_grace, retry, shell, working_dir)| TaskDefaults {
            timeout,
            kill_grace,
            retry,
            shell,
            working_dir,
        },
    )
}

fn resources() -> impl Strategy<Value = ResourceRequirements> {
    let slots = prop::collection::btree_map(text(), 1..=1_000_000_u32, 0..2);
    let cpu = prop::option::of((1..=10_000_u32).prop_map(|thousandths| f64::from(thousandths) / 1_000.0));
    (slots, cpu, prop::option::of(size())).prop_map(|(slots, cpu, memory)| ResourceRequirements { slots, cpu, memory })
}

fn task() -> impl Strategy<Value = TaskSpec> {
    let what = prop_oneof![
        3 => command().prop_map(|command| (Some(command), None)),
        1 => text().prop_map(|uses| (None, Some(uses))),
    ];
    let condition = select(
        &[
            Condition::AllSuccess,
            Condition::OnFailure,
            Condition::AllDone,
            Condition::Always,
        ][..],
    );
    let text = || prop::option::of(text());
    let about = (text(), text(), text(), free_map(), texts(), secrets());
    let order = (prop::collection::vec(task_id(), 0..3), condition);
    let needs = (
        resources(),
        prop::option::of(size()).prop_map(|memory| Limits { memory }),
    );
    let times = (
        prop::option::of(duration()),
        prop::option::of(duration()),
        prop::option::of(retry()),
    );
    (what, about, order, needs, times).prop_map(
        |(
            (command, uses),
            (shell, description, working_dir, with, env, secrets),
            (depends_on, condition),
            (resources, limits),
            (timeout, kill_grace, retry),
        )| TaskSpec {
            command,
            uses,
            with,
            shell,
            description,
            depends_on,
            condition,
            working_dir,
            env,
            secrets,
            resources,
            limits,
            timeout,
            kill_grace,
            retry,
        },
    )
}

/// Jobs as the types allow them, with every field of every type.
fn job() -> impl Strategy<Value = JobSpec> {
    let about = (
        prop::option::of(job_id()),
        prop::option::of(text()),
        prop::option::of(text()),
        prop::collection::vec(text(), 0..3),
        any::<bool>(),
    );
    let overlap = select(&[Overlap::Skip, Overlap::Queue, Overlap::Replace, Overlap::Allow][..]);
    let when = (
        prop::option::of(schedule()),
        overlap,
        prop::option::of(1..=10_000_u32),
        prop::option::of(duration()),
        -1_000_000..=1_000_000_i32,
        prop::collection::vec(dependency(), 0..2),
    );
    let values = (
        prop::collection::btree_map(text(), param(), 0..2),
        free_map(),
        texts(),
        secrets(),
        defaults(),
    );
    let tasks = prop::collection::btree_map(task_id(), task(), 1..3);
    let rest = (prop::collection::vec(notify(), 0..2), tasks);
    (about, when, values, rest).prop_map(
        |(
            (id, name, description, tags, enabled),
            (schedule, overlap, max_concurrency, timeout, priority, depends_on),
            (params, config, env, secrets, defaults),
            (notify, tasks),
        )| JobSpec {
            id,
            name,
            description,
            tags,
            enabled,
            schedule,
            overlap,
            max_concurrency,
            timeout,
            priority,
            depends_on,
            params,
            config,
            env,
            secrets,
            defaults,
            notify,
            tasks: tasks.into_iter().collect(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_the_types_hold_is_a_file_that_is_read_as_the_same_job(spec in job()) {
        let text = serde_yaml::to_string(&spec.canonical_value()).expect("a spec is YAML");
        let document = yaml::parse(text.as_bytes());
        prop_assert!(document.is_ok(), "{:?}\n{}", document, text);
        let document = document.expect("asserted");
        let accepted = schema::job_schema().validator.validate(&document.value);
        prop_assert!(accepted.is_ok(), "{:?}\n{}", accepted, text);
        let read: Result<JobSpec, _> = check::gate(&document, &SUBJECT());
        prop_assert!(read.is_ok(), "{:?}\n{}", read, text);
        let read = read.expect("asserted");
        prop_assert_eq!(read.hash(), spec.hash(), "{}", text);
        prop_assert_eq!(read, spec);
    }
}

// ---- From the schema to the types ----

/// Values that a schema accepts, made from the schema alone. `key` is where the value stands: texts whose grammar the
/// schema does not know are right now and then.
fn of_schema(root: &Value, schema: &Value, key: &str) -> BoxedStrategy<Value> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(&reference[1..]).expect("a definition");
        return of_schema(root, target, key);
    }
    if let Some(only) = schema.get("const") {
        return Just(only.clone()).boxed();
    }
    let branches = |keyword: &str| {
        schema
            .get(keyword)
            .and_then(Value::as_array)
            .filter(|_| schema.get("type").is_none())
    };
    if let Some(branches) = branches("anyOf").or_else(|| branches("oneOf")) {
        let branches: Vec<_> = branches.iter().map(|branch| of_schema(root, branch, key)).collect();
        return proptest::strategy::Union::new(branches).boxed();
    }
    let number = |keyword: &str| schema.get(keyword).and_then(Value::as_i64);
    match schema.get("type").and_then(Value::as_str) {
        None => free().boxed(),
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("integer") => {
            let (least, most) = (
                number("minimum").unwrap_or(i64::MIN),
                number("maximum").unwrap_or(i64::MAX),
            );
            let number = prop_oneof![least..=most, least..=most.min(least.saturating_add(9)), Just(most)];
            // What is whole is an integer, however it is written.
            (number, any::<bool>())
                .prop_map(|(n, pointed)| if pointed { Value::from(n as f64) } else { Value::from(n) })
                .boxed()
        }
        Some("number") => {
            let most = number("maximum").unwrap_or(1_000);
            (1..=most).prop_map(|n| Value::from(n as f64 / 2.0)).boxed()
        }
        Some("string") => of_text(schema, key),
        Some("array") => {
            let least = number("minItems").unwrap_or(0) as usize;
            let items = of_schema(root, &schema["items"], key);
            prop::collection::vec(items, least..least + 3)
                .prop_map(Value::from)
                .boxed()
        }
        Some("object") => of_object(root, schema),
        Some(other) => unreachable!("the schema has no {other}"),
    }
}

fn of_text(schema: &Value, key: &str) -> BoxedStrategy<Value> {
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        let inside = pattern.trim_start_matches('^').trim_end_matches('$');
        let matching = string_regex(inside).expect("a pattern that can be made up");
        // Short names meet each other, so that some references lead somewhere.
        return match pattern {
            SLUG_PATTERN => prop_oneof![matching, "[a-c]"].prop_map(Value::from).boxed(),
            _ => matching.prop_map(Value::from).boxed(),
        };
    }
    let right: &[&str] = match key {
        "cron" | "schedule" => &["@daily", "0 2 * * *", "*/5 * * * *", "@every 5m"],
        "timezone" => &["UTC", "Europe/Berlin"],
        "pattern" => &["^a", "[0-9]+"],
        _ => &["x", "make all", "${{ run.id }}"],
    };
    let any = if schema.get("minLength").is_some() {
        some_text().boxed()
    } else {
        text().boxed()
    };
    prop_oneof![1 => any, 9 => select(right.to_vec()).prop_map(str::to_owned)]
        .prop_map(Value::from)
        .boxed()
}

fn of_object(root: &Value, schema: &Value) -> BoxedStrategy<Value> {
    let no_keys = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&no_keys);
    let required_by = |schema: &Value| -> Vec<String> {
        let keys = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        keys.filter_map(|key| key.as_str().map(str::to_owned)).collect()
    };
    let required = required_by(schema);
    // Of the keys that exclude each other, one.
    let ways: Vec<String> = schema["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(required_by)
        .collect();
    let known: Vec<BoxedStrategy<Option<(String, Value)>>> = properties
        .iter()
        .filter(|(key, _)| !ways.contains(key))
        .map(|(key, schema)| {
            let name = key.clone();
            let given = of_schema(root, schema, key).prop_map(move |value| Some((name.clone(), value)));
            let share = if required.contains(key) { 0 } else { 3 };
            match share {
                0 => given.boxed(),
                share => prop_oneof![share => Just(None), 1 => given].boxed(),
            }
        })
        .collect();
    let way = match ways.is_empty() {
        true => Just(None).boxed(),
        false => select(ways)
            .prop_flat_map({
                let (root, properties) = (root.clone(), properties.clone());
                move |key| of_schema(&root, &properties[&key], &key).prop_map(move |value| Some((key.clone(), value)))
            })
            .boxed(),
    };
    let more: BoxedStrategy<BTreeMap<String, Value>> =
        match (&schema["patternProperties"], &schema["additionalProperties"]) {
            (Value::Object(patterns), _) => {
                let (pattern, inner) = patterns.iter().next().expect("a pattern");
                assert_eq!(pattern, SLUG_PATTERN);
                let least = usize::from(schema.get("minProperties").is_some());
                prop::collection::btree_map("[a-c]|[a-z0-9][a-z0-9_-]{0,9}", of_schema(root, inner, ""), least..3)
                    .boxed()
            }
            (_, Value::Bool(false)) => Just(BTreeMap::new()).boxed(),
            (_, Value::Object(_)) => {
                let inner = of_schema(root, &schema["additionalProperties"], "");
                prop::collection::btree_map(prop_oneof![1 => text(), 9 => "[a-z]{1,6}"], inner, 0..3).boxed()
            }
            (_, _) => prop::collection::btree_map(text(), free(), 0..3).boxed(),
        };
    (known, way, more)
        .prop_map(|(known, way, more)| {
            let known = known.into_iter().flatten().chain(way);
            Value::Object(known.chain(more).collect())
        })
        .boxed()
}

fn described() -> BoxedStrategy<Value> {
    let schema = &schema::job_schema().schema;
    of_schema(schema, schema, "")
}

/// A value as a file has it: as JSON, which is YAML but for the line ends that only YAML 1.1 knows. Those must not stand in a
/// key as they are.
fn written(value: &Value) -> String {
    value
        .to_string()
        .replace('\u{85}', "\\u0085")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[test]
fn a_line_end_of_yaml_in_a_key_is_read_as_json_writes_it() {
    let value = serde_json::json!({"tasks": {"a": {"command": ["true"]}}, "config": {"\u{85}\u{2028}\u{2029}": 1}});
    let checked = check_file(Path::new("a.yaml"), written(&value).as_bytes(), &Settings::default());
    let job = checked.job.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    assert_eq!(serde_json::to_value(&job.spec.config).unwrap(), value["config"]);
}

#[test]
fn what_the_schema_describes_is_refused_only_by_the_rules_that_are_listed() {
    let valid = Cell::new(0);
    let mut runner = TestRunner::new(Config::with_cases(512));
    let outcome = runner.run(&described(), |value| {
        let text = written(&value);
        prop_assert!(
            schema::job_schema().validator.is_valid(&value),
            "not made as described: {}",
            text
        );
        let checked = check_file(Path::new("a.yaml"), text.as_bytes(), &Settings::default());
        for found in checked.diagnostics.iter().filter(|found| found.is_error()) {
            prop_assert!(RULES.contains(&found.code.as_str()), "{:?}\n{}", found, text);
        }
        valid.set(valid.get() + usize::from(checked.job.is_some()));
        Ok(())
    });
    outcome.expect("schema and types agree");
    assert!(valid.get() >= 25, "only {} of the documents were valid", valid.get());
}

/// A document as described, and one change to it.
fn damaged() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        "[a-z_]{1,8}",
        select(&["cron", "command", "job", "when", "cmd", "id"][..]).prop_map(str::to_owned)
    ];
    (
        described(),
        any::<Index>(),
        prop_oneof![free(), Just(Value::Null)],
        key,
        0..3_u8,
    )
        .prop_map(|(mut document, place, value, key, how)| {
            let mut places = vec![String::new()];
            pointers(&document, "", &mut places);
            let place = &places[place.index(places.len())];
            let Some(at) = document.pointer_mut(place) else {
                return document;
            };
            match (how, at) {
                (0, Value::Object(map)) => {
                    map.insert(key, value);
                }
                (1, Value::Object(map)) => {
                    let first = map.keys().next().cloned();
                    first.and_then(|key| map.remove(&key));
                }
                (_, at) => *at = value,
            }
            document
        })
}

/// Whether an error is about how much, how many or which of several keys, of which the types know nothing; or about a
/// list, as which the types would take a map's values too.
fn is_beyond_types(error: &ValidationError<'_>) -> bool {
    matches!(
        error.kind(),
        ValidationErrorKind::Minimum { .. }
            | ValidationErrorKind::Maximum { .. }
            | ValidationErrorKind::MinItems { .. }
            | ValidationErrorKind::MaxItems { .. }
            | ValidationErrorKind::MinLength { .. }
            | ValidationErrorKind::MinProperties { .. }
            | ValidationErrorKind::AnyOf { .. }
            | ValidationErrorKind::OneOfNotValid { .. }
            | ValidationErrorKind::OneOfMultipleValid { .. }
    ) || matches!(error.kind(), ValidationErrorKind::Type { .. }) && error.instance().is_array()
}

#[test]
fn what_the_schema_refuses_is_refused() {
    let refused = Cell::new(0);
    let mut runner = TestRunner::new(Config::with_cases(1_024));
    let outcome = runner.run(&damaged(), |value| {
        let validator = &schema::job_schema().validator;
        if validator.is_valid(&value) {
            return Ok(());
        }
        refused.set(refused.get() + 1);
        let text = written(&value);
        let checked = check_file(Path::new("a.yaml"), text.as_bytes(), &Settings::default());
        prop_assert!(
            checked.job.is_none() && checked.diagnostics.iter().any(|it| it.is_error()),
            "{}",
            text
        );
        if !validator.iter_errors(&value).all(|error| is_beyond_types(&error)) {
            let read = serde_json::from_value::<JobSpec>(value);
            prop_assert!(read.is_err(), "only the schema refuses {}", text);
        }
        Ok(())
    });
    outcome.expect("schema and types agree");
    assert!(
        refused.get() >= 256,
        "only {} of the documents were refused",
        refused.get()
    );
}
