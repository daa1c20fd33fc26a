//! Whole files through all gates: the mistakes that people make, and how they are told; the example of the format; and
//! hostile input.

mod agreement;
mod mistakes;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::{
    check::{Checked, check_file},
    diagnostic::{Diagnostic, Kind, Severity},
    explain::{self, Subject},
    render, schema,
    set::{Member, check_capacity, check_set, check_uses},
    settings::{self, LoadedSettings, Retention, Settings, SettingsError},
    yaml,
};
use crate::core::{capacity::SystemResources, job::Job, spec::JobSpec, task::TaskRegistry};

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(folder)
}

fn check(name: &str, text: &str) -> Checked {
    check_file(Path::new(name), text.as_bytes(), &Settings::default())
}

/// A machine with little.
fn capacity() -> SystemResources {
    SystemResources {
        tasks: 8,
        cpu_millis: 4_000,
        memory_bytes: 8 << 30,
        pools: [("db".to_owned(), 2), ("gpu".to_owned(), 1)].into(),
    }
}

fn rendered(checked: &Checked) -> String {
    render::render_human(&checked.diagnostics, |_| Some(&checked.yaml), false)
}

#[test]
fn a_rust_task_must_be_registered_in_this_program() {
    let text = "tasks:\n  load:\n    uses: lode\n    with: {n: 3}\n  other: {uses: load}";
    let checked = check("j.yaml", text);
    let job = checked.job.as_ref().expect("good by itself");
    let yaml = &checked.yaml;
    let file = "j.yaml";
    let found = |names: &[&str]| {
        let mut tasks = TaskRegistry::default();
        for name in names {
            let task = async |_: crate::TaskContext| Ok(());
            tasks.register(*name, task).expect("a new name");
        }
        let found = check_uses(&Member { file, job, yaml }, &tasks);
        render::render_human(&found, |_| Some(yaml), false)
    };
    insta::assert_snapshot!(found(&["load", "page"]), @r"
    error[unknown-rust-task]: no Rust task is registered as `lode`
     --> j.yaml:3:11
      |
    3 |     uses: lode
      |           ^^^^ expected one of `load`, `page`
      |
      = help: did you mean `load`?
    ");
    insta::assert_snapshot!(found(&[]), @r#"
    error[unknown-rust-task]: no Rust task is registered as `lode`
     --> j.yaml:3:11
      |
    3 |     uses: lode
      |           ^^^^ expected `command`, since this program has no Rust tasks
      |
      = help: `uses` names a task of the program that embeds Petit and registers it; see README.md, "The library"

    error[unknown-rust-task]: no Rust task is registered as `load`
     --> j.yaml:5:17
      |
    5 |   other: {uses: load}
      |                 ^^^^ expected `command`, since this program has no Rust tasks
      |
      = help: `uses` names a task of the program that embeds Petit and registers it; see README.md, "The library"
    "#);
    assert_eq!(found(&["load", "lode"]), "");
}

/// Every fixture of a folder: invalid, and told as its snapshot shows.
fn snapshot_folder(folder: &str, of: impl Fn(&Checked) -> String) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(fixtures(folder))
        .expect("the folder of fixtures")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 20, "{folder} holds {}", files.len());
    for file in files {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read(&file).expect("a fixture");
        let checked = check_file(Path::new(&name), &text, &Settings::default());
        assert!(checked.job.is_none(), "{name} is valid");
        assert!(checked.diagnostics.iter().any(Diagnostic::is_error), "{name}");
        insta::with_settings!({snapshot_suffix => name.trim_end_matches(".yaml").replace(' ', "-"), omit_expression => true, prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!(folder, of(&checked));
        });
    }
}

#[test]
fn what_the_schema_refuses_is_explained() {
    snapshot_folder("refused-by-schema", rendered);
    for file in std::fs::read_dir(fixtures("refused-by-schema")).expect("the folder") {
        let text = std::fs::read(file.expect("an entry").path()).expect("a fixture");
        let Ok(document) = yaml::parse(&text) else { continue };
        assert!(!schema::job_schema().validator.is_valid(&document.value));
    }
}

#[test]
fn what_the_schema_cannot_refuse_is_explained() {
    snapshot_folder("invalid", rendered);
}

#[test]
fn the_example_of_the_format_is_valid_and_warned_of_what_comes_later() {
    let text = std::fs::read_to_string(fixtures("job-format/nightly-etl.yaml")).expect("the example");
    let checked = check("nightly-etl.yaml", &text);
    let found: Vec<(Severity, &str, usize)> = checked
        .diagnostics
        .iter()
        .map(|found| (found.severity, found.code.as_str(), found.line))
        .collect();
    assert_eq!(
        found,
        [
            (Severity::Warning, "unused-window", 21),
            (Severity::Warning, "no-effect-yet", 32),
        ]
    );
    assert!(checked.job.is_some());
    insta::assert_snapshot!("nightly-etl", rendered(&checked));
}

#[test]
fn the_example_that_runs_anywhere_keeps_its_order() {
    let text = std::fs::read_to_string(fixtures("job-format/example.yaml")).expect("the example");
    let checked = check("example.yaml", &text);
    insta::assert_snapshot!("example", rendered(&checked));
    let job = checked.job.expect("valid");
    let tasks: Vec<&str> = job.spec.tasks.keys().map(|id| id.as_str()).collect();
    assert_eq!(tasks, ["extract", "transform", "alert"]);
    let back = Job::from_canonical(&job.spec.canonical()).expect("its own canonical text");
    assert_eq!(back.hash, job.hash);
}

#[test]
fn settings_are_checked_like_jobs() {
    let text = std::fs::read(fixtures("job-format/petit.yaml")).expect("the example");
    let (settings, found, source) = settings::check("petit.yaml", &text);
    assert!(settings.is_none());
    insta::assert_snapshot!("settings", render::render_human(&found, |_| Some(&source), false));

    let bad = b"timezone: Nowhere\njobs-dir: x\nreconcile: {prune: maybe, prune_guard: 150%}\nmax_concurrency: many\n";
    let (settings, found, source) = settings::check("petit.yaml", bad);
    assert!(settings.is_none());
    insta::assert_snapshot!(
        "settings-mistakes",
        render::render_human(&found, |_| Some(&source), false)
    );

    let good = b"timezone: Europe/Berlin\nretention: {runs: {age: 1d, count: 9}}\nresources: {pools: {db: 2}}\n";
    let (settings, found, _) = settings::check("petit.yaml", good);
    let settings = settings.expect("valid");
    assert_eq!(settings.zone(), chrono_tz::Tz::Europe__Berlin);
    assert_eq!(found, []);
    let kept = settings.retention.expect("given");
    assert_eq!((kept.runs.count, kept.logs), (Some(9), Retention::default().logs));
    let empty = b"retention: {runs: {}, logs: {count: 0}}\n";
    let (settings, found, _) = settings::check("petit.yaml", empty);
    assert_eq!((settings, found.len()), (None, 2), "{found:?}");
    for nothing in ["", "# only a comment\n\n"] {
        let (settings, found, _) = settings::check("petit.yaml", nothing.as_bytes());
        assert_eq!((settings, found), (Some(Settings::default()), Vec::new()));
    }
}

#[test]
fn paths_in_settings_are_relative_to_their_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("petit.yaml");
    std::fs::write(&file, "jobs_dir: jobs\nstate_dir: /var/lib/petit\n").expect("written");
    let loaded = settings::load(Some(&file)).expect("valid");
    assert_eq!(loaded.jobs_dir(), folder.path().join("jobs"));
    assert_eq!(loaded.state_dir(), Path::new("/var/lib/petit"));
    let without = LoadedSettings {
        settings: Settings::default(),
        file: None,
        warnings: Vec::new(),
    };
    assert_eq!(without.jobs_dir(), Path::new("jobs.d"));
    let absent = settings::load(Some(&folder.path().join("none.yaml")));
    assert!(matches!(absent, Err(SettingsError::Read { .. })));
    std::fs::write(&file, "jobs_dir: 7\n").expect("written");
    assert!(matches!(
        settings::load(Some(&file)),
        Err(SettingsError::Invalid { .. })
    ));
}

#[test]
fn schemas_on_disk_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let mut stale = Vec::new();
    for (name, text) in [
        ("job.schema.json", schema::job_schema_text()),
        ("settings.schema.json", schema::settings_schema_text()),
    ] {
        let path = folder.join(name);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            std::fs::create_dir_all(&folder).expect("the folder of schemas");
            std::fs::write(&path, text).expect("a refreshed schema");
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "{stale:?} were stale and have been refreshed: look at them and commit them"
    );
}

#[test]
fn the_whole_set_is_checked_for_references_and_capacity() {
    let files = [
        ("a.yaml", "depends_on: [{job: b}]\ntasks: {t: {command: [x]}}"),
        ("b.yaml", "depends_on: [{job: c}]\ntasks: {t: {command: [x]}}"),
        (
            "c.yaml",
            "depends_on:\n  - {job: d}\n  - {job: a}\ntasks: {t: {command: [x]}}",
        ),
        ("d.yaml", "depends_on: [{job: ingset}]\ntasks: {t: {command: [x]}}"),
        ("ingest.yaml", "tasks: {t: {command: [x]}}"),
        ("sub/ingest.yaml", "tasks: {t: {command: [x]}}"),
        (
            "e.yaml",
            "tasks:\n  t:\n    command: [x]\n    resources: {slots: {db: 3, gpuu: 1}, cpu: 64, memory: 1TiB}",
        ),
        (
            "ok.yaml",
            "depends_on: [{job: d}]\ntasks:\n  t:\n    command: [x]\n    resources: {slots: {db: 2, gpu: 1}, cpu: 4, memory: 1GiB}",
        ),
    ];
    let checked: Vec<(&str, Checked)> = files.iter().map(|(file, text)| (*file, check(file, text))).collect();
    let members: Vec<Member<'_>> = checked
        .iter()
        .map(|(file, checked)| Member {
            file,
            job: checked.job.as_ref().expect(file),
            yaml: &checked.yaml,
        })
        .collect();
    let capacity = capacity();
    let mut found = check_set(&members);
    found.extend(members.iter().flat_map(|member| check_capacity(member, &capacity)));
    let kinds: Vec<(&str, Kind, &str)> = found
        .iter()
        .map(|found| (found.file.as_str(), found.kind, found.code.as_str()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("a.yaml", Kind::File, "job-cycle"),
            ("b.yaml", Kind::File, "job-cycle"),
            ("c.yaml", Kind::File, "job-cycle"),
            ("d.yaml", Kind::Blocked, "missing-job"),
            ("ingest.yaml", Kind::Conflict, "duplicate-id"),
            ("sub/ingest.yaml", Kind::Conflict, "duplicate-id"),
            ("e.yaml", Kind::File, "beyond-capacity"),
            ("e.yaml", Kind::File, "unknown-pool"),
            ("e.yaml", Kind::File, "beyond-capacity"),
            ("e.yaml", Kind::File, "beyond-capacity"),
        ]
    );
    let source = |file: &str| {
        let (_, checked) = checked.iter().find(|(name, _)| *name == file)?;
        Some(checked.yaml.as_str())
    };
    insta::assert_snapshot!("set", render::render_human(&found, source, false));
}

#[test]
fn a_chain_of_many_jobs_is_no_cycle_and_no_deep_recursion() {
    let texts: Vec<(String, String)> = (0..20_000)
        .map(|i| {
            let upstream = format!("depends_on: [{{job: j{}}}]\n", i + 1);
            let upstream = if i + 1 < 20_000 { upstream } else { String::new() };
            (
                format!("j{i}.yaml"),
                format!("{upstream}tasks: {{t: {{command: [x]}}}}"),
            )
        })
        .collect();
    let checked: Vec<Checked> = texts.iter().map(|(file, text)| check(file, text)).collect();
    let members: Vec<Member<'_>> = texts
        .iter()
        .zip(&checked)
        .map(|((file, _), checked)| Member {
            file,
            job: checked.job.as_ref().expect("valid"),
            yaml: &checked.yaml,
        })
        .collect();
    assert_eq!(check_set(&members), []);
}

#[test]
fn machines_get_the_same_in_their_forms() {
    let checked = check("a.yaml", "overlap: skipp\ntasks: {t: {command: [x], timeout: 5}}\n");
    insta::assert_snapshot!("json", render::render_json(&checked.diagnostics));
    insta::assert_snapshot!("github", render::render_github(&checked.diagnostics));
    let sarif: Value = serde_json::from_str(&render::render_sarif(&checked.diagnostics)).expect("JSON");
    assert_eq!(sarif["runs"][0]["results"].as_array().map(Vec::len), Some(2));
    let rules = serde_json::json!([{"id": "invalid-value"}, {"id": "wrong-type"}]);
    assert_eq!(sarif["runs"][0]["tool"]["driver"]["rules"], rules);
    let checked = check("jobs.d/ü b.yaml", "name: \"é\" x\ntasks: {t: {command: [x]}}\n");
    let sarif: Value = serde_json::from_str(&render::render_sarif(&checked.diagnostics)).expect("JSON");
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "jobs.d/%C3%BC%20b.yaml");
    assert_eq!(
        (&place["region"]["startColumn"], &place["region"]["endColumn"]),
        (&7.into(), &12.into())
    );
    let checked = check("a.yaml", "overlap: skipp\ntasks: {t: {command: [x], timeout: 5}}\n");
    let back: Vec<Diagnostic> = serde_json::from_str(&render::render_json(&checked.diagnostics)).expect("itself");
    assert_eq!(back, checked.diagnostics);
}

#[test]
fn no_file_writes_to_the_terminal() {
    let text =
        "name: \"\u{202e}x\u{9b}31m\"\noverlap: \"\\e[31mred\\x07\"\n\"k\\e[2J\": 1\ntasks: {t: {command: [x]}}\n";
    let checked = check("a\u{1b}[31m.yaml", text);
    assert!(!checked.diagnostics.is_empty());
    let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    for out in [rendered(&checked), render::render_github(&checked.diagnostics)] {
        assert!(!out.chars().any(acts), "{out:?}");
    }
}

#[test]
fn a_whole_number_may_be_written_with_a_fraction_of_zero() {
    let text = "priority: 3.0\nconfig: {x: 3.0}\nmax_concurrency: 2.0\n\
                tasks: {t: {command: [x], retry: {retries: 1e1}, resources: {cpu: 2.0, slots: {db: 1.0}}}}\n";
    let job = check("a.yaml", text).job.expect("valid");
    assert_eq!((job.spec.priority, job.spec.max_concurrency), (3, Some(2)));
    assert_eq!(job.spec.config["x"].to_string(), "3.0");
    let plain = text.replace("priority: 3.0", "priority: 3").replace("1e1", "10");
    assert_eq!(check("a.yaml", &plain).job.expect("valid").hash, job.hash);
}

/// A job in which every key of the format has a value that is not its default.
fn every_key() -> Value {
    serde_json::json!({
        "id": "a", "name": "A", "description": "d", "tags": ["t"], "enabled": false,
        "schedule": {
            "cron": ["@daily"], "timezone": "Europe/Berlin", "jitter": "1s",
            "misfire": {"policy": "all", "grace": "1s", "window": "1h", "limit": 7},
        },
        "overlap": "queue", "max_concurrency": 2, "timeout": "1h", "priority": 1,
        "depends_on": [{"job": "b", "condition": "within_window", "window": "1h", "wait": "1m"}],
        "params": {"p": {"type": "integer", "default": 1, "pattern": "x", "description": "d"}},
        "config": {"k": 1}, "env": {"E": "1"}, "secrets": {"S": {"file": "/s"}, "T": {"env": "T"}},
        "defaults": {
            "timeout": "1m", "kill_grace": "1s", "shell": "/bin/bash -c", "working_dir": "/tmp",
            "retry": {"retries": 1, "delay": "1s", "when": "transient"},
        },
        "notify": [{"when": ["failure"], "command": ["x"], "webhook": "u"}],
        "tasks": {"t": {
            "command": ["x"], "uses": "u", "with": {"w": 1}, "shell": "s", "description": "d", "depends_on": ["u"],
            "condition": "always", "working_dir": "/w", "env": {"E": "2"},
            "secrets": {"U": {"file": "/u"}},
            "resources": {"slots": {"s": 1}, "cpu": 1.5, "memory": "1MiB"}, "limits": {"memory": "2MiB"},
            "timeout": "2m", "kill_grace": "2s", "retry": {"retries": 2, "delay": "2s", "when": "never"},
        }},
    })
}

/// The pointers of all values inside a value.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                out.push(format!("{at}/{key}"));
                pointers(child, &format!("{at}/{key}"), out);
            }
        }
        Value::Array(items) => {
            for (i, child) in items.iter().enumerate() {
                pointers(child, &format!("{at}/{i}"), out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_key_of_the_format_is_in_the_hash() {
    let full = every_key();
    let hash = |value: &Value| {
        serde_json::from_value::<JobSpec>(value.clone())
            .map(|spec| spec.hash())
            .ok()
    };
    let whole = hash(&full).expect("the types accept it");
    let mut all = Vec::new();
    pointers(&full, "", &mut all);
    for pointer in &all {
        let (owner, key) = pointer.rsplit_once('/').expect("a pointer");
        let mut without = full.clone();
        let owner = without
            .pointer_mut(owner)
            .and_then(Value::as_object_mut)
            .expect("a map");
        owner.remove(key);
        // A key that may not be left away is told by the types instead.
        assert_ne!(hash(&without), Some(whole.clone()), "{pointer}");
    }
    let schema = &schema::job_schema().schema;
    let maps = std::iter::once(schema).chain(schema["$defs"].as_object().into_iter().flat_map(|defs| defs.values()));
    for key in maps
        .filter_map(|map| map["properties"].as_object())
        .flat_map(|keys| keys.keys())
    {
        let known = all.iter().any(|pointer| pointer.ends_with(&format!("/{key}")));
        assert!(known || key == "every", "`{key}` is new: add it to the job above");
    }
}

#[test]
fn what_is_written_at_its_default_is_not_in_the_hash() {
    let plain = r#"{"id":"a","depends_on":[{"job":"b"}],"params":{"p":{}},"schedule":{"cron":["@daily"]},"tasks":{"t":{"command":["x"],"retry":{}}}}"#;
    let full = serde_json::json!({
        "id": "a", "tags": [], "enabled": true, "overlap": "skip", "priority": 0, "config": {}, "env": {}, "secrets": {},
        "schedule": {
            "cron": "@daily", "jitter": "0s",
            "misfire": {"policy": "once", "grace": "60s", "window": "24h", "limit": 100},
        },
        "depends_on": [{"job": "b", "condition": "last_success", "wait": "0s"}],
        "params": {"p": {"type": "string"}}, "defaults": {}, "notify": [],
        "tasks": {"t": {
            "command": ["x"], "with": {}, "depends_on": [], "condition": "all_success", "env": {},
            "resources": {"slots": {}}, "limits": {}, "retry": {"retries": 0, "delay": "0s", "when": "always"},
        }},
    });
    let plain: Value = serde_json::from_str(plain).expect("JSON");
    let spec: JobSpec = serde_json::from_value(full).expect("every default may be written");
    assert_eq!(spec.canonical_value(), plain);
    // What one version of Petit has stored, every later one must find unchanged.
    let example = JobSpec {
        id: None,
        ..serde_json::from_value(every_key()).expect("the types accept it")
    };
    insta::assert_snapshot!("canonical", example.canonical());
}

/// Values that look like parts of a job, right and wrong.
fn job_like() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![Just(0), Just(1), Just(-1), Just(500), any::<i64>()].prop_map(Value::from),
        prop_oneof![Just(1.0), Just(0.5), any::<f64>()].prop_map(Value::from),
        prop::sample::select(
            &[
                "",
                "a",
                "x y",
                "5m",
                "0s",
                "9999999999s",
                "1GiB",
                "999999999999TiB",
                "skip",
                "once",
                "last_success",
                "always",
                "string",
                "@daily",
                "failure",
            ][..]
        )
        .prop_map(Value::from),
    ];
    let keys = || {
        prop::sample::select(
            &[
                "id",
                "name",
                "tags",
                "enabled",
                "schedule",
                "cron",
                "every",
                "timezone",
                "jitter",
                "misfire",
                "policy",
                "grace",
                "window",
                "limit",
                "overlap",
                "max_concurrency",
                "timeout",
                "priority",
                "depends_on",
                "job",
                "condition",
                "wait",
                "params",
                "type",
                "default",
                "config",
                "env",
                "secrets",
                "file",
                "defaults",
                "retry",
                "retries",
                "delay",
                "when",
                "notify",
                "command",
                "webhook",
                "tasks",
                "uses",
                "with",
                "resources",
                "slots",
                "cpu",
                "memory",
                "limits",
                "shell",
                "a",
                "A b",
            ][..],
        )
        .prop_map(str::to_owned)
    };
    let tree = scalar.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(keys(), inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    // Half of them begin as a valid job, so that both answers are common.
    (tree, any::<bool>(), keys(), any::<prop::sample::Index>()).prop_map(|(tree, graft, key, place)| {
        if !graft {
            return tree;
        }
        let mut job = serde_json::json!({
            "schedule": {"cron": "@daily", "misfire": {"policy": "once"}},
            "depends_on": [{"job": "a"}],
            "params": {"a": {"type": "string"}},
            "defaults": {"retry": {"retries": 1}},
            "tasks": {"a": {"command": ["x"], "resources": {"slots": {"a": 1}}, "retry": {}}},
        });
        let places = [
            "",
            "/schedule",
            "/schedule/misfire",
            "/depends_on/0",
            "/params/a",
            "/defaults",
            "/defaults/retry",
            "/tasks",
            "/tasks/a",
            "/tasks/a/resources",
            "/tasks/a/resources/slots",
            "/tasks/a/retry",
        ];
        if let Some(Value::Object(map)) = job.pointer_mut(places[place.index(places.len())]) {
            map.insert(key, tree);
        }
        job
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_the_schema_accepts_the_types_accept_and_the_rest_is_explained(value in job_like()) {
        let text = value.to_string();
        let subject = Subject { schema: schema::job_schema(), what: "a job" };
        let Ok(document) = yaml::parse(text.as_bytes()) else {
            prop_assert!(!value.is_object());
            return Ok(());
        };
        let findings = explain::check(&document, &subject);
        let accepted = subject.schema.validator.is_valid(&document.value);
        prop_assert_eq!(findings.is_empty(), accepted);
        for finding in &findings {
            prop_assert!(finding.expected.is_some(), "{:?}", finding);
            prop_assert!(finding.code != "schema", "{:?}", finding);
        }
        if accepted {
            let read = super::check::gate::<JobSpec>(&document, &subject);
            prop_assert!(read.is_ok(), "{:?}", read);
        }
    }
}

const SEED: &str = "id: a\nschedule: {cron: \"*/5 * * * *\"}\nenv: &e {A: \"é ${{ config.x }}\"}\nconfig: {x: [1, 2.5, yes]}\n\
                    tasks:\n  t: {command: |\n      echo hi\n    }\n  u:\n    command: ['a', \"b\\n\"]\n    env: *e\n    depends_on: [t]\n";

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let checked = check_file(Path::new("a.yaml"), &bytes, &Settings::default());
        prop_assert!(checked.job.is_some() || !checked.diagnostics.is_empty());
    }

    #[test]
    fn no_text_makes_it_panic(text in "([ \t\n:,\\[\\]{}&*!|>'\"%@`#?-]|\\PC|[a-e]|tasks|command|\\$\\{\\{|\\}\\}|é)*") {
        let checked = check("a.yaml", &text);
        prop_assert!(checked.job.is_some() || checked.diagnostics.iter().any(Diagnostic::is_error));
        let _ = rendered(&checked);
    }

    #[test]
    fn no_edit_of_a_valid_file_makes_it_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..8, "[ \t\n:,\\[\\]{}&*!|>'\"#?é\u{0}a-]{0,3}"), 1..4),
    ) {
        let mut text = SEED.to_owned();
        for (at, length, insert) in cuts {
            let chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len() + 1);
            let end = (at + length).min(chars.len());
            text = chars[..at].iter().collect::<String>() + &insert + &chars[end..].iter().collect::<String>();
        }
        let checked = check("a.yaml", &text);
        prop_assert!(checked.job.is_some() || checked.diagnostics.iter().any(Diagnostic::is_error));
        for diagnostic in &checked.diagnostics {
            prop_assert!(checked.yaml.get(diagnostic.span.clone()).is_some());
        }
        let _ = rendered(&checked);
    }
}
