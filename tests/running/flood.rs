//! A task that prints without end: what it costs the daemon, what is kept of it, and what its neighbours notice.
//!
//! Figures of a gigabyte are for a quiet machine and `PETIT_FLOOD_MIB=1024`; every day it is a part of that.

use std::fs;

use crate::support::{Daemon, Place, wait_for};

fn mebibytes() -> u64 {
    let asked = std::env::var("PETIT_FLOOD_MIB").ok();
    asked.map_or(64, |asked| asked.parse().expect("a number of MiB"))
}

/// A figure of `/proc/PID/status`, in bytes.
fn memory(daemon: &Daemon<'_>, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it lives");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .expect("a figure");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

#[test]
fn a_flood_of_output_costs_no_memory_and_keeps_head_and_tail() {
    let place = Place::new();
    fs::write(place.path().join("petit.yaml"), "retention: {log_size: 2MiB}\n").expect("a writable folder");
    let daemon = place.daemon();
    let flood = mebibytes();
    place.save(
        "flood.yaml",
        &format!(
            "tasks:\n  flood:\n    command: |\n      echo the very first line\n      \
             yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c {flood}M\n      echo\n      echo the very last line\n"
        ),
    );
    place.save("small.yaml", "tasks: {small: {command: [echo, small]}}\n");
    place.wait_synced("flood");
    place.wait_synced("small");
    // What the first run of anything costs, and its projection into the history, is not the flood's.
    assert_eq!(place.run(&["trigger", "small", "--wait"]).code, 0);
    wait_for("the history to have it", || {
        let history = place.path().join(".petit/history.duckdb");
        let projected = history.exists() && !daemon.has_open(&history);
        (projected || !cfg!(feature = "history")).then_some(())
    });
    let before = memory(&daemon, "VmHWM:");
    let run = place.run(&["trigger", "flood", "--wait"]);
    assert_eq!(run.code, 0, "{run:?}");
    let most = memory(&daemon, "VmHWM:");
    assert!(most < before + (12 << 20), "{} MiB more", (most - before) >> 20);
    let id = place.runs("flood")[0]["id"].as_str().expect("an id").to_owned();
    let log = place.path().join(format!(".petit/runs/{id}/flood.1/log"));
    assert!(fs::metadata(&log).expect("a log").len() <= 2 << 20);
    let lines = place.run(&["logs", &id]).stdout;
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.first(), Some(&"the very first line"));
    assert_eq!(lines.last(), Some(&"the very last line"));
    assert_eq!(lines.iter().filter(|line| line.contains("cut here to keep")).count(), 1);
    let attempt = place.json(&["show", &id])["tasks"][0]["attempts"][0].clone();
    assert!(attempt["bytes_out"].as_u64() > Some(flood << 20), "{attempt}");
    assert_eq!(daemon.stop(), 0);
}
