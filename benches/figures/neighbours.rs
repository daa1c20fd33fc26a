//! What a task that prints without end costs the tasks beside it, in a real daemon.

use std::{fs, path::Path};

use petit::{
    core::id::JobId,
    daemon::journal_path,
    storage::{RunFilter, Sqlite, Storage},
};

use crate::{
    paired::{Row, Spread, Unit},
    place::{self, Daemon, PETIT},
};

/// How many tasks of nothing follow each other.
const HOPS: usize = 60;
/// How often the chain is measured beside each.
const CHAINS: usize = 12;
/// As much as is printed, in lines of 71 bytes. Endless, so that it lasts as long as the measuring; a gigabyte is some of it.
const FLOOD: &str = "yes 0123456789012345678901234567890123456789012345678901234567890123456789";

pub fn neighbours() -> Vec<Row> {
    let folder = place::folder();
    let jobs_dir = folder.path().join("jobs.d");
    fs::create_dir(&jobs_dir).expect("a new folder");
    let chain: String = (0..HOPS)
        .map(|hop| match hop.checked_sub(1) {
            None => format!("  t{hop}: {{command: [/bin/true]}}\n"),
            Some(before) => format!("  t{hop}: {{command: [/bin/true], depends_on: [t{before}]}}\n"),
        })
        .collect();
    let flood = |into: &str| format!("tasks:\n  main: {{command: '{FLOOD} {into}'}}\n");
    for (name, yaml) in [
        ("chain", format!("tasks:\n{chain}")),
        ("printed", flood("")),
        ("piped", flood("| cat > /dev/null")),
    ] {
        fs::write(jobs_dir.join(format!("{name}.yaml")), yaml).expect("a writable folder");
    }
    let daemon = Daemon::start(folder.path(), 3);
    let place = Place(folder.path());
    place.seconds_of_chain();
    let alone = place.chains();
    let [printed, piped] = ["printed", "piped"].map(|job| {
        place.petit(&["trigger", job]);
        let beside = place.chains();
        place.petit(&["cancel", job]);
        beside
    });
    let most = place::memory(daemon.pid(), "VmHWM");
    drop(daemon);
    let row = |what: &str, beside: Spread, goal| Row {
        name: "neighbours",
        what: format!("a chain of {HOPS} beside a task that {what}; alone"),
        subject: beside.written(|value| Unit::Seconds.written(value)),
        reference: alone.written(|value| Unit::Seconds.written(value)),
        ratio: format!("{:.2}", beside.median / alone.median),
        goal,
    };
    vec![
        row("prints without end", printed, "1.1"),
        row("prints as much to a program that throws it away", piped, "–"),
        Row::alone(
            "neighbours",
            "peak memory of the daemon meanwhile",
            Unit::Bytes.written(most),
            "flat",
        ),
    ]
}

struct Place<'a>(&'a Path);

impl Place<'_> {
    fn petit(&self, words: &[&str]) {
        let status = place::command(PETIT, self.0).args(words).status();
        assert!(status.expect("the binary starts").success(), "{words:?}");
    }

    fn chains(&self) -> Spread {
        Spread::of((0..CHAINS).map(|_| self.seconds_of_chain()))
    }

    /// From the run's creation to its end, as the journal has them.
    fn seconds_of_chain(&self) -> f64 {
        self.petit(&["trigger", "chain", "--wait"]);
        let journal = Sqlite::open_read_only(&journal_path(&self.0.join(".petit"))).expect("the daemon's journal");
        let newest = RunFilter {
            job: Some(JobId::new("chain").expect("a slug")),
            limit: Some(1),
            ..RunFilter::default()
        };
        let run = journal.runs(&newest).expect("a journal that can be read").remove(0);
        let took = run.ended_at.expect("it ended") - run.created_at;
        took.to_std().expect("a clock that goes on").as_secs_f64()
    }
}
