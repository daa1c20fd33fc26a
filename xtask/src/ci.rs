//! What a submission must pass, as steps that can also be run one by one.
//!
//! The steps stand in the order of what they cost and how often they fail. One that fails does not stop the others: one
//! run then shows all there is to mend.

use std::time::{Duration, Instant};

use crate::{
    hook, programs, reader, schema, tools,
    workshop::{Failure, Outcome, Workshop, run as run_command},
};

/// Check everything that a submission must pass
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The steps to run; all of them when none is named
    #[arg(value_name = "STEP", value_parser = clap::builder::PossibleValuesParser::new(STEPS.map(|step| step.name)))]
    steps: Vec<String>,
    /// Leave out what needs other builds or tools from outside
    #[arg(long, conflicts_with = "steps")]
    quick: bool,
    /// Name the steps and run none
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    about: &'static str,
    /// Whether `--quick` runs it too.
    quick: bool,
    run: fn(&Workshop) -> Outcome,
}

const STEPS: [Step; 11] = [
    Step {
        name: "format",
        about: "rustfmt has nothing to change",
        quick: true,
        run: format,
    },
    Step {
        name: "generated",
        about: "the schemas are as the types write them",
        quick: true,
        run: schema::check,
    },
    Step {
        name: "clippy",
        about: "no warning with the default features",
        quick: true,
        run: clippy,
    },
    Step {
        name: "test",
        about: "the whole test suite",
        quick: true,
        run: test,
    },
    Step {
        name: "clippy-lean",
        about: "no warning without features",
        quick: false,
        run: clippy_lean,
    },
    Step {
        name: "lean",
        about: "the binary without features works and links no DuckDB",
        quick: false,
        run: programs::lean,
    },
    Step {
        name: "tui",
        about: "`cargo build --features tui` works as written",
        quick: false,
        run: programs::tui,
    },
    Step {
        name: "json-schema",
        about: "check-jsonschema agrees on good and bad job files",
        quick: false,
        run: tools::json_schema,
    },
    Step {
        name: "reader",
        about: "Python's DuckDB counts the same rows beside the daemon, and nothing is lost",
        quick: false,
        run: reader::python,
    },
    Step {
        name: "hook",
        about: "pre-commit with the installed petit refuses a bad job file",
        quick: false,
        run: hook::with_installed_petit,
    },
    Step {
        name: "hook-built",
        about: "pre-commit builds petit itself and refuses a bad job file",
        quick: false,
        run: hook::with_built_petit,
    },
];

pub(crate) fn run(workshop: &Workshop, arguments: &Arguments) -> Outcome {
    let chosen: Vec<Step> = STEPS.into_iter().filter(|step| is_chosen(step, arguments)).collect();
    if arguments.list {
        for step in chosen {
            println!("{:12} {}", step.name, step.about);
        }
        return Ok(());
    }
    let done: Vec<Done> = chosen.into_iter().map(|step| carry_out(step, workshop)).collect();
    summarise(&done)
}

fn is_chosen(step: &Step, arguments: &Arguments) -> bool {
    if arguments.steps.is_empty() {
        step.quick || !arguments.quick
    } else {
        arguments.steps.iter().any(|name| name == step.name)
    }
}

struct Done {
    step: Step,
    outcome: Outcome,
    took: Duration,
}

fn carry_out(step: Step, workshop: &Workshop) -> Done {
    println!("\n=== {}: {}", step.name, step.about);
    let began = Instant::now();
    let outcome = (step.run)(workshop);
    let took = began.elapsed();
    match &outcome {
        Ok(()) => println!("--- {} passed in {:.1} s", step.name, took.as_secs_f64()),
        Err(failure) => println!("--- {} FAILED after {:.1} s: {failure}", step.name, took.as_secs_f64()),
    }
    Done { step, outcome, took }
}

fn summarise(done: &[Done]) -> Outcome {
    println!("\n=== summary");
    for Done { step, outcome, took } in done {
        let verdict = if outcome.is_ok() { "passed" } else { "FAILED" };
        println!("{verdict} {:8.1} s  {}", took.as_secs_f64(), step.name);
    }
    let failed: Vec<&str> = done
        .iter()
        .filter(|done| done.outcome.is_err())
        .map(|done| done.step.name)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "failed: {}; repeat with `cargo xtask ci {}`",
        failed.join(", "),
        failed.join(" ")
    )))
}

fn format(workshop: &Workshop) -> Outcome {
    run_command(&mut workshop.cargo("fmt --all --check"))
}

fn clippy(workshop: &Workshop) -> Outcome {
    run_command(&mut workshop.cargo("clippy --workspace --all-targets -- -D warnings"))
}

fn clippy_lean(workshop: &Workshop) -> Outcome {
    run_command(&mut workshop.cargo("clippy --workspace --all-targets --no-default-features -- -D warnings"))
}

fn test(workshop: &Workshop) -> Outcome {
    run_command(&mut workshop.cargo("test --workspace --no-fail-fast"))
}
