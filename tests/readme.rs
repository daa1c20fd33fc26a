//! Every command of the README is run: those of `petit` here, in a place with the README's jobs, those of `cargo` by the
//! project's own gate.

mod support;

use std::{fs, path::Path};

use support::{Place, wait_for};

/// What the gate runs, so that a `cargo` line of the README is no empty promise. `cargo run -- run` is what the whole
/// suite does with the built binary; a bundled build takes too long for every change and belongs to a release.
const RUN_BY_THE_GATE: [&str; 8] = [
    "cargo run -- run",
    "cargo test",
    "cargo build",
    "cargo build --no-default-features",
    "cargo build --features bundled",
    "cargo install --path . --features bundled",
    "cargo xtask schema",
    "cargo xtask ci",
];

/// The lines of the README's fenced blocks in a language.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("the README");
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in readme.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(tag)) => open = Some((tag == language, String::new())),
            (Some((wanted, block)), Some(_)) => {
                if *wanted {
                    blocks.push(std::mem::take(block));
                }
                open = None;
            }
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The words of a command line, as a shell splits them; the README uses double quotes only.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('"').enumerate() {
        if i % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn copy_jobs(place: &Place) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(root.join("jobs.d")).expect("the examples") {
        let entry = entry.expect("a readable folder");
        fs::copy(entry.path(), place.job_file(&entry.file_name().to_string_lossy())).expect("a writable folder");
    }
    fs::copy(root.join("petit.yaml"), place.path().join("petit.yaml")).expect("a writable folder");
}

#[test]
fn every_command_of_the_readme_works() {
    let place = Place::new();
    copy_jobs(&place);
    let _daemon = place.daemon();
    place.wait_synced("pipeline");
    // It has a schedule of its own, which may have fired just now.
    let health = place.json(&["trigger", "health", "--wait", "--ignore-overlap"]);
    assert_eq!(health["status"], "succeeded", "{health}");
    let mut run = 0;
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        let command = line.split(" #").next().unwrap_or_default().trim();
        if command.starts_with("cargo ") {
            assert!(RUN_BY_THE_GATE.contains(&command), "the gate does not run `{command}`");
            continue;
        }
        let words = words(command);
        let Some((program, args)) = words.split_first() else {
            continue;
        };
        assert_eq!(program, "petit", "{line}");
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        if matches!(args[0], "history" | "sql") && cfg!(not(feature = "history")) {
            continue;
        }
        let done = wait_for(line, || {
            // A run that a schedule has made at this very minute is in the way until it has ended.
            Some(place.run(&args)).filter(|done| !done.stderr.contains("--ignore-overlap"))
        });
        assert_eq!(done.code, 0, "{line}: {done:?}");
        assert!(!done.stdout.is_empty() || args[0] == "runs", "{line} prints nothing");
        run += 1;
    }
    assert!(run > 15, "only {run} commands found");
}

#[test]
fn the_jobs_and_settings_of_the_readme_are_valid() {
    let mut jobs = 0;
    for (i, block) in blocks("yaml").iter().enumerate() {
        let place = Place::new();
        let done = if block.contains("\ntasks:") {
            jobs += 1;
            fs::write(place.job_file("example.yaml"), block).expect("a writable folder");
            place.run(&["validate"])
        } else if block.contains("max_concurrency") {
            fs::write(place.path().join("petit.yaml"), block).expect("a writable folder");
            place.run(&["list"])
        } else {
            continue;
        };
        assert_eq!(done.code, 0, "block {i}: {done:?}");
        assert!(
            done.stderr.is_empty() || !done.stderr.contains("warning"),
            "block {i}: {done:?}"
        );
    }
    assert_eq!(jobs, 1, "the job by example");
}

#[test]
fn the_examples_are_valid_and_one_run_of_each_does_what_it_says() {
    let place = Place::new();
    copy_jobs(&place);
    let checked = place.run(&["validate"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let _daemon = place.daemon();
    for job in ["disk-space", "health", "pipeline", "flaky", "slots"] {
        place.wait_synced(job);
        let ended = place.json(&["trigger", job, "--wait", "--ignore-overlap"]);
        assert_eq!(ended["status"], "succeeded", "{job}: {ended}");
        match job {
            "disk-space" => assert!(ended["tasks"][0]["outputs"]["free_bytes"].is_u64(), "{ended}"),
            "flaky" => assert_eq!(
                ended["tasks"][0]["attempts"].as_array().map(Vec::len),
                Some(3),
                "{ended}"
            ),
            _ => {}
        }
    }
    place.wait_run("report", "the pipeline's success made", |run| {
        run["trigger"] == "dependency" && run["status"] == "succeeded"
    });
}
