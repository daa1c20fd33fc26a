//! Petit as subreaper. This needs a process of its own, since from then on every child that Petit did not start is
//! taken for an orphan; hence one test in one file.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use petit::execution::process::{AttemptSpec, Command, Processes, Stop, collect_strangers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adopted_orphans_are_collected_and_no_exit_is_lost() {
    collect_strangers().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let processes = Processes::new();
    let spec = |script: &str, number: usize| AttemptSpec {
        command: Command {
            argv: ["/bin/sh", "-c", script].map(Into::into).into(),
            env: [
                ("PATH", "/usr/bin:/bin"),
                ("PETIT_RUN_ID", "strangers"),
                ("PETIT_TASK", "t"),
            ]
            .map(|(name, value)| (name.into(), value.into()))
            .into_iter()
            .chain([("PETIT_ATTEMPT".into(), number.to_string().into())])
            .collect(),
            working_dir: folder.path().to_owned(),
        },
        kill_grace: Duration::from_millis(200),
        timeout: None,
        memory_limit: None,
        log: folder.path().join(format!("{number}.log")),
        log_size: 1 << 20,
        mask: Arc::default(),
    };

    // Short attempts, each of which leaves an orphan that soon exits, or that has to be ended.
    let mut attempts = Vec::new();
    for number in 0..100 {
        let script = match number % 4 {
            0 => "setsid sleep 0.05 >/dev/null 2>&1 & exit 5",
            1 => "setsid sleep 621 >/dev/null 2>&1 & exit 5",
            _ => "exit 5",
        };
        attempts.push(tokio::spawn(processes.start(spec(script, number)).unwrap().wait()));
    }
    for attempt in attempts {
        assert_eq!(attempt.await.unwrap().ending.to_string(), "exit code 5");
    }

    // A long attempt whose tree is ended while its orphans are ours; a held leader must not hide strangers' exits.
    let running = processes
        .start(spec(
            "trap '' TERM; (setsid sleep 622 &); (setsid sleep 0.1 &); sleep 623",
            100,
        ))
        .unwrap();
    let canceller = running.canceller();
    let waiting = tokio::spawn(running.wait());
    eventually("the orphan is adopted", || {
        children().iter().filter(|(_, name)| name == "sleep").count() == 1
    })
    .await;
    canceller.stop(Stop::Cancelled);
    assert_eq!(waiting.await.unwrap().ending.to_string(), "cancelled");

    eventually("no child is left, not even a zombie", || children().is_empty()).await;
}

/// Children of this process, with their names; zombies are among them.
fn children() -> Vec<(u32, String)> {
    let me = std::process::id().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            let (pid, rest) = stat.split_once(" (")?;
            let (name, rest) = rest.rsplit_once(") ")?;
            let parent = rest.split(' ').nth(1)?;
            (parent == me).then(|| (pid.parse().unwrap(), name.to_owned()))
        })
        .collect()
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: {:?}", children());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
