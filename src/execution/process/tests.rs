//! Attempts with real processes. This test process is not a subreaper, so orphans go to init, and what is found must
//! be found by session, descent or mark. The daemon's way, as subreaper, is tested in `tests/strangers.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::procfs::{self, Marks, Process};
use super::*;
use crate::core::ending::Ending;
use crate::execution::output::{LogReader, Stream};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A folder, and a mark that no other test's processes carry.
struct Room {
    folder: tempfile::TempDir,
    run: String,
}

impl Room {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let run = format!("test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Room {
            folder: tempfile::tempdir().unwrap(),
            run,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn log(&self) -> PathBuf {
        self.path().join("attempt.log")
    }

    fn spec(&self, argv: &[&str]) -> AttemptSpec {
        let env = [
            ("PATH", PATH),
            (Mark::INSTANCE, self.run.as_str()),
            (Mark::RUN, &self.run),
            (Mark::TASK, "task"),
            (Mark::ATTEMPT, "1"),
        ];
        AttemptSpec {
            command: Command {
                argv: argv.iter().map(Into::into).collect(),
                env: env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
                working_dir: self.path().to_owned(),
            },
            kill_grace: Duration::from_millis(300),
            timeout: None,
            memory_limit: None,
            log: self.log(),
            log_size: 1 << 20,
            mask: Arc::default(),
        }
    }

    fn shell(&self, script: &str) -> AttemptSpec {
        self.spec(&["/bin/sh", "-c", script])
    }

    async fn run(&self, spec: AttemptSpec) -> Ended {
        let processes = Processes::new();
        let ended = within(processes.start(spec).unwrap().wait()).await;
        processes.settle().await;
        assert_eq!(ended.log_error, None);
        assert_eq!(ended.survivors, []);
        assert_eq!(self.left(), [], "no process is left");
        ended
    }

    /// Living processes that carry this room's mark.
    fn left(&self) -> Vec<Process> {
        let mut table = procfs::table(Marks::All);
        table.retain(|p| p.mark.as_ref().is_some_and(|mark| mark.run == self.run.as_bytes()));
        table
    }

    /// The command lines of [`Room::left`].
    fn commands(&self) -> Vec<String> {
        let words = |process: Process| fs::read(format!("/proc/{}/cmdline", process.id.pid)).unwrap_or_default();
        let spaced = |words: Vec<u8>| String::from_utf8_lossy(&words).replace('\0', " ").trim_end().to_owned();
        self.left().into_iter().map(words).map(spaced).collect()
    }

    fn output(&self, stream: Stream) -> Vec<String> {
        let entries = LogReader::new(self.log())
            .map(Result::unwrap)
            .filter(|entry| entry.stream == stream);
        entries.map(|entry| String::from_utf8(entry.text).unwrap()).collect()
    }
}

/// Far longer than anything takes, so that a busy machine fails nothing.
const DEADLINE: Duration = Duration::from_secs(300);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it ends in time")
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn has_line(path: &Path, line: &str) -> bool {
    fs::read(path).is_ok_and(|text| String::from_utf8_lossy(&text).contains(&format!(" F {line}\n")))
}

#[tokio::test]
async fn exit_codes_and_signals() {
    for (script, ending) in [
        ("exit 0", Ending::Exited(0)),
        ("exit 75", Ending::Exited(75)),
        ("exit 255", Ending::Exited(255)),
        ("kill -9 $$", Ending::Signalled(9)),
        ("kill -TERM $$", Ending::Signalled(15)),
    ] {
        let room = Room::new();
        assert_eq!(room.run(room.shell(script)).await.ending, ending, "{script}");
    }
}

#[tokio::test]
async fn commands_that_never_become_a_process() {
    let room = Room::new();
    for (name, mode, text) in [
        ("plain", 0o644, "#!/bin/sh\n"),
        ("orphan", 0o755, "#!/no/such/interpreter\n"),
        ("data", 0o755, "no program"),
    ] {
        fs::write(room.path().join(name), text).unwrap();
        fs::set_permissions(room.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let failed = |spec| Processes::new().start(spec).map(|running| running.id()).unwrap_err();
    // A file that was written while another test forked is "busy" until that child's `exec`.
    let deadline = Instant::now() + DEADLINE;
    let words = |argv: &[&str]| {
        loop {
            match failed(room.spec(argv)) {
                SpawnError::System { source, .. }
                    if source.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {}
                error => return error,
            }
        }
    };

    let error = words(&["no-such-program", "x"]);
    assert_eq!(
        error.to_string(),
        format!("program `no-such-program` was not found in the task's PATH ({PATH})")
    );
    assert_eq!(error.ending(), Ending::NotFound);
    assert_eq!(words(&["./missing"]).ending(), Ending::NotFound);
    assert_eq!(words(&["./orphan"]).ending(), Ending::NotFound);
    assert_eq!(words(&[]).ending(), Ending::NotFound);
    assert_eq!(words(&["./plain"]).ending(), Ending::NotPermitted);
    assert_eq!(words(&["./data"]).ending(), Ending::NotPermitted);
    assert_eq!(words(&["."]).ending(), Ending::NotFound);
    assert_eq!(words(&["./"]).ending(), Ending::NotPermitted);
    assert_eq!(words(&["/bin/true", "a\0b"]).ending(), Ending::NotPermitted);
    let huge = "x".repeat(4 << 20);
    assert_eq!(words(&["/bin/true", &huge]).ending(), Ending::CouldNotSpawn);

    for folder in ["gone", "plain"] {
        let mut spec = room.spec(&["true"]);
        spec.command.working_dir = room.path().join(folder);
        let error = failed(spec);
        let text = format!(
            "working directory {} cannot be entered",
            room.path().join(folder).display()
        );
        assert_eq!((error.to_string(), error.ending()), (text, Ending::NotFound));
    }
    assert_eq!(room.left(), []);
}

#[tokio::test]
async fn environment_input_folder_and_session_are_exactly_what_was_asked_for() {
    let room = Room::new();
    // The last word is for `exec`: a shell that forks blocks signals for a moment itself. Its descriptors are not listed
    // in a pipeline, whose pipe it would hold itself.
    let script = "env | sort; pwd -P; readlink /proc/self/fd/0; ls -m /proc/$$/fd; \
                  cut -d' ' -f1,5,6 /proc/$$/stat; exec grep -E 'Sig(Blk|Ign)' /proc/$$/status";
    let ended = room.run(room.shell(script)).await;
    assert_eq!(ended.ending, Ending::Exited(0));
    let lines = room.output(Stream::Stdout);
    let (env, rest) = lines.split_at(lines.len() - 6);
    let env: BTreeMap<_, _> = env.iter().map(|line| line.split_once('=').unwrap()).collect();
    let given = ["PATH", "PETIT_ATTEMPT", "PETIT_INSTANCE", "PETIT_RUN_ID", "PETIT_TASK"];
    // Shells set these themselves.
    let names: Vec<_> = env
        .keys()
        .copied()
        .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .collect();
    assert_eq!(names, given);
    assert_eq!(env["PETIT_RUN_ID"], room.run);
    assert_eq!(Path::new(&rest[0]), room.path().canonicalize().unwrap());
    assert_eq!(rest[1], "/dev/null");
    assert_eq!(rest[2].trim(), "0, 1, 2", "no descriptor leaks");
    let ids: Vec<_> = rest[3].split(' ').collect();
    assert!(
        ids[0] == ids[1] && ids[0] == ids[2],
        "leads a group and a session: {ids:?}"
    );
    assert_eq!(rest[4].trim_start_matches("SigBlk:").trim(), "0000000000000000");
    let ignored = u64::from_str_radix(rest[5].trim_start_matches("SigIgn:").trim(), 16).unwrap();
    assert_eq!(
        ignored & 0x7fff_ffff,
        0,
        "but for two that glibc keeps to itself, no signal is ignored"
    );
}

#[tokio::test]
async fn both_streams_keep_their_order() {
    let room = Room::new();
    let script = "i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; printf unfinished";
    let ended = room.run(room.shell(script)).await;
    let mut out: Vec<String> = (0..500).map(|i| format!("out {i}")).collect();
    out.push("unfinished".into());
    assert_eq!(room.output(Stream::Stdout), out);
    assert_eq!(
        room.output(Stream::Stderr),
        (0..500).map(|i| format!("err {i}")).collect::<Vec<_>>()
    );
    assert_eq!(
        ended.bytes_out,
        out.join("\n").len() as u64 + (0..500).map(|i| format!("err {i}\n").len() as u64).sum::<u64>()
    );
}

#[tokio::test]
async fn output_can_be_followed_while_it_runs() {
    let room = Room::new();
    let running = Processes::new()
        .start(room.shell("echo ready; while [ ! -e go ]; do sleep 0.01; done"))
        .unwrap();
    let waiting = tokio::spawn(running.wait());
    until("the line is in the file", || has_line(&room.log(), "ready")).await;
    fs::write(room.path().join("go"), "").unwrap();
    assert!(within(waiting).await.unwrap().ending.is_success());
}

#[tokio::test]
async fn twenty_megabytes_stay_within_the_cap() {
    let room = Room::new();
    let ended = room
        .run(room.shell("yes 0123456789abcdef0123456789abcdef | head -c 20000000; echo; echo the end"))
        .await;
    assert_eq!(ended.ending, Ending::Exited(0));
    assert_eq!(ended.bytes_out, 20_000_009);
    assert!(fs::metadata(room.log()).unwrap().len() <= 1 << 20);
    assert_eq!(room.output(Stream::Stdout).last().unwrap(), "the end");
    let markers = room.output(Stream::Stderr);
    assert!(markers.len() == 1 && markers[0].starts_with("[petit: "), "{markers:?}");
}

#[tokio::test]
async fn floods_side_by_side_can_each_be_ended() {
    let rooms = [Room::new(), Room::new(), Room::new()];
    let processes = Processes::new();
    let floods = rooms.each_ref().map(|room| {
        let spec = room.shell("yes 0123456789abcdef0123456789abcdef & yes out of turn >&2");
        processes.start(spec).unwrap()
    });
    let cancellers = floods.each_ref().map(Running::canceller);
    let floods = floods.map(|flood| tokio::spawn(flood.wait()));
    for (room, canceller) in rooms.iter().zip(&cancellers) {
        let printed = |room: &Room| fs::metadata(room.log()).map_or(0, |log| log.len());
        until("much is printed", || printed(room) > 1 << 19).await;
        canceller.stop(Stop::Cancelled);
    }
    for (flood, room) in floods.into_iter().zip(&rooms) {
        let ended = within(flood).await.unwrap();
        assert_eq!((ended.ending, ended.log_error), (Ending::Cancelled, None));
        assert_eq!(room.left(), []);
    }
}

#[tokio::test]
async fn the_kernel_accounts_for_the_work() {
    let room = Room::new();
    let ended = room
        .run(room.shell("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"))
        .await;
    let usage = ended.usage.unwrap();
    assert!(
        usage.cpu_user + usage.cpu_system > Duration::from_millis(10),
        "{usage:?}"
    );
    assert!(ended.ended_at > ended.started_at);
}

/// For how many seconds an attempt waits to be weighed: soon enough on a machine with time for it, and else long enough.
const HELD: [&str; 3] = ["0.5", "5", "50"];

/// A child of the shell that holds this many MiB for as long as `held` seconds.
fn holds(mebibytes: u32, held: &str) -> String {
    format!("head -c {mebibytes}M /dev/zero | (exec tail -c {mebibytes}M | (sleep {held}; cat >/dev/null))")
}

#[tokio::test]
async fn a_tree_beyond_its_memory_limit_is_ended() {
    let room = Room::new();
    let mut spec = room.shell(&format!(
        "trap '' TERM; echo up; {} & wait; echo survived",
        holds(96, "600")
    ));
    spec.memory_limit = Some(48 << 20);
    spec.kill_grace = Duration::from_secs(600);
    let ended = room.run(spec).await;
    assert_eq!(ended.ending, Ending::OverMemory, "at once, whatever the grace");
    assert!(ended.peak_memory > Some(48 << 20), "{ended:?}");
    assert_eq!(room.output(Stream::Stdout), ["up"]);
}

#[tokio::test]
async fn leaving_session_and_parents_is_no_way_round_a_limit() {
    let room = Room::new();
    let script = format!("(setsid sh -c '{}' >/dev/null 2>&1 &); sleep 600", holds(96, "600"));
    let mut spec = room.shell(&script);
    spec.memory_limit = Some(48 << 20);
    assert_eq!(room.run(spec).await.ending, Ending::OverMemory);
}

#[tokio::test]
async fn a_tree_within_its_limit_is_left_alone_and_its_peak_is_known() {
    let mut peaks = Vec::new();
    for held in HELD {
        let room = Room::new();
        let mut spec = room.shell(&holds(24, held));
        spec.memory_limit = Some(256 << 20);
        let ended = room.run(spec).await;
        assert_eq!(ended.ending, Ending::Exited(0));
        peaks.push(ended.peak_memory);
        if ended.peak_memory > Some(24 << 20) {
            return;
        }
    }
    panic!("{peaks:?}");
}

#[tokio::test]
async fn the_peak_of_a_small_process_is_its_own_and_not_petits() {
    // Petit's own size is more than a sleep has.
    let ballast = vec![1_u8; 32 << 20];
    for held in HELD {
        let room = Room::new();
        let ended = room.run(room.spec(&["sleep", held])).await;
        assert_eq!(
            ended.usage.and_then(|usage| usage.max_rss_bytes),
            None,
            "the kernel knows only Petit's"
        );
        if let Some(peak) = ended.peak_memory {
            assert!(peak > 100_000 && peak < ballast.len() as u64, "{peak}");
            return;
        }
    }
    panic!("it was never weighed");
}

#[tokio::test]
async fn pages_that_processes_share_count_once_against_a_limit() {
    let room = Room::new();
    // Ten shells share what the first one read before it forked; each counted by itself, they hold 90 MB.
    let script = "x=$(head -c 9000000 /dev/zero | tr '\\0' x); \
                  for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.6; exit 0) & done; wait";
    let mut spec = room.shell(script);
    spec.memory_limit = Some(64 << 20);
    assert_eq!(room.run(spec).await.ending, Ending::Exited(0));
}

#[tokio::test]
async fn a_timeout_ends_the_attempt() {
    let room = Room::new();
    let mut spec = room.shell("sleep 600");
    spec.timeout = Some(Duration::from_millis(50));
    assert_eq!(room.run(spec).await.ending, Ending::TimedOut);
}

#[tokio::test]
async fn a_tree_that_ignores_sigterm_is_gone_after_the_grace() {
    let room = Room::new();
    // A shell that ignores SIGTERM, and descendants that do as well: one in the group, some double-forked into a session
    // of their own without the group's output.
    let script =
        "trap '' TERM; sleep 601 & (setsid sh -c 'sleep 602 & sleep 603' >/dev/null 2>&1 &) ; echo up; sleep 604";
    let running = Processes::new().start(room.shell(script)).unwrap();
    let canceller = running.canceller();
    let waiting = tokio::spawn(running.wait());
    let sleeps = ["sleep 601", "sleep 602", "sleep 603", "sleep 604"];
    until("all are up", || {
        let commands = room.commands();
        sleeps
            .iter()
            .all(|sleep| commands.iter().any(|command| command == sleep))
    })
    .await;
    let start = Instant::now();
    canceller.stop(Stop::Cancelled);
    let ended = within(waiting).await.unwrap();
    assert_eq!((ended.ending, ended.survivors), (Ending::Cancelled, vec![]));
    assert!(start.elapsed() >= Duration::from_millis(300), "the grace was given");
    assert_eq!(room.left(), []);
}

#[tokio::test]
async fn what_a_process_says_while_it_ends_is_kept() {
    let room = Room::new();
    let mut spec = room.shell("trap 'echo goodbye; exit 0' TERM; echo up; while :; do sleep 0.01; done");
    spec.kill_grace = DEADLINE;
    let running = Processes::new().start(spec).unwrap();
    let canceller = running.canceller();
    let waiting = tokio::spawn(running.wait());
    until("it is up", || has_line(&room.log(), "up")).await;
    canceller.stop(Stop::TimedOut);
    canceller.stop(Stop::Cancelled);
    let ended = within(waiting).await.unwrap();
    assert_eq!(ended.ending, Ending::TimedOut, "the first reason counts");
    assert_eq!(room.output(Stream::Stdout), ["up", "goodbye"]);
}

#[tokio::test]
async fn a_second_order_cuts_the_grace_short() {
    let room = Room::new();
    let mut spec = room.shell("trap '' TERM; echo up; while :; do sleep 0.01; done");
    spec.kill_grace = Duration::from_secs(600);
    let running = Processes::new().start(spec).unwrap();
    let canceller = running.canceller();
    let waiting = tokio::spawn(running.wait());
    until("it is up", || has_line(&room.log(), "up")).await;
    canceller.stop(Stop::Interrupted);
    canceller.kill(Stop::Interrupted);
    assert_eq!(within(waiting).await.unwrap().ending, Ending::Interrupted);
    assert_eq!(room.left(), []);
}

#[tokio::test]
async fn a_cancel_before_the_first_breath_counts() {
    for _ in 0..20 {
        let room = Room::new();
        let running = Processes::new().start(room.spec(&["sleep", "605"])).unwrap();
        running.canceller().stop(Stop::Cancelled);
        assert_eq!(within(running.wait()).await.ending, Ending::Cancelled);
        assert_eq!(room.left(), []);
    }
}

#[tokio::test]
async fn a_descendant_that_holds_the_output_is_named_and_ended() {
    let room = Room::new();
    assert_eq!(
        room.run(room.shell("setsid sleep 606 & echo done")).await.ending,
        Ending::OutputHeldOpen
    );
    assert_eq!(
        room.run(room.shell("sleep 607 & exit 3")).await.ending,
        Ending::Exited(3)
    );
}

/// What a script leaves behind says so, and the script waits for it without a pause: who is within `exec` when somebody looks
/// shows no mark, and a short attempt has to stay one.
const UNTIL_UP: &str = "until [ -e up ]; do :; done";

#[tokio::test]
async fn what_an_attempt_leaves_behind_is_ended() {
    for script in [
        "sh -c ': > up; sleep 608; :' >/dev/null 2>&1 &",
        "setsid sh -c ': > up; sleep 609; :' >/dev/null 2>&1 &",
        "(setsid sh -c 'sleep 610 & : > up; sleep 611; :' >/dev/null 2>&1 &); sleep 0.2;",
    ] {
        let room = Room::new();
        let script = format!("{script} {UNTIL_UP}");
        assert_eq!(
            room.run(room.shell(&script)).await.ending,
            Ending::Exited(0),
            "{script}"
        );
    }
}

#[tokio::test]
async fn a_child_of_petits_is_nobodys_holder() {
    let room = Room::new();
    let (child, _output) = spawn(&room.spec(&["sleep", "619"]).command).unwrap();
    let stranger = ProcessId {
        pid: 1,
        start_time: StartTime::from_u64(1),
    };
    assert_eq!(children::not_started_here(vec![child.id(), stranger]), [stranger]);
}

#[tokio::test]
async fn strays_are_ended_without_being_asked_for() {
    let room = Room::new();
    let processes = Processes::new();
    let script = format!("setsid sh -c ': > up; sleep 612; :' >/dev/null 2>&1 & {UNTIL_UP}");
    within(processes.start(room.shell(&script)).unwrap().wait()).await;
    until("the stray is gone", || room.left().is_empty()).await;
}

#[tokio::test]
async fn a_fork_bomb_is_ended() {
    let room = Room::new();
    // Each generation starts two more, up to some two hundred, in ever new sessions.
    let script = "echo 'trap \"\" TERM; d=$1; [ $d -gt 5 ] && exec sleep 613; setsid sh bomb $((d+1)) & \
                  setsid sh bomb $((d+1)) & sleep 614' > bomb; echo up; sh bomb 0";
    let mut spec = room.shell(script);
    spec.kill_grace = Duration::from_millis(10);
    let running = Processes::new().start(spec).unwrap();
    let canceller = running.canceller();
    let waiting = tokio::spawn(running.wait());
    until("it is growing", || room.left().len() > 10).await;
    canceller.stop(Stop::Cancelled);
    assert_eq!(within(waiting).await.unwrap().survivors, []);
    assert_eq!(room.left(), []);
}

#[tokio::test]
async fn dropping_a_running_attempt_kills_its_group() {
    let room = Room::new();
    drop(Processes::new().start(room.shell("sleep 615 & sleep 616")).unwrap());
    until("the group is gone", || room.left().is_empty()).await;
}

#[tokio::test]
async fn leftovers_of_an_earlier_petit_are_found_by_record_and_by_mark() {
    let room = Room::new();
    let spawn_it = |argv: &[&str], marked: bool| {
        let mut command = room.spec(argv).command;
        command.env.retain(|(name, _)| marked || name != Mark::RUN);
        spawn(&command).unwrap().0
    };
    let script = "trap '' TERM; : > up; while :; do sleep 0.01; done";
    let mut recorded = spawn_it(&["sh", "-c", script], false);
    until("it passes SIGTERM over", || room.path().join("up").exists()).await;
    let mut marked = spawn_it(&["sleep", "617"], true);
    let mut reused = spawn_it(&["sleep", "618"], false);
    let other = ProcessId {
        start_time: StartTime::from_u64(reused.id().start_time.as_u64() + 1),
        ..reused.id()
    };
    let record = [recorded.id(), other];
    let ending = end_leftovers(&room.run, &record, Duration::from_millis(100));
    let collecting = async { tokio::join!(recorded.exited(), marked.exited()) };
    let (survivors, _) = within(async { tokio::join!(ending, collecting) }).await;
    assert_eq!(survivors, []);
    let alive = tokio::time::timeout(Duration::ZERO, reused.exited()).await;
    assert!(alive.is_err(), "a process that only shares the number is left alone");
    assert_eq!(recorded.collect().unwrap().status, ExitStatus::Signalled(libc::SIGKILL));
    assert_eq!(marked.collect().unwrap().status, ExitStatus::Signalled(libc::SIGTERM));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_beside_children_of_std() {
    let room = Room::new();
    let processes = Processes::new();
    let start = |number: u32| {
        let mut spec = room.spec(&["true"]);
        spec.log = room.path().join(format!("{number}.log"));
        // Attempts with one mark would pass for each other's strays.
        let mark = spec.command.env.iter_mut().find(|(name, _)| name == Mark::ATTEMPT);
        mark.unwrap().1 = number.to_string().into();
        tokio::spawn(processes.start(spec).unwrap().wait())
    };
    // So many at once that all tests together stay below any usual limit of open files.
    for first in (0..200).step_by(50) {
        let attempts: Vec<_> = (first..first + 50).map(start).collect();
        let own = std::process::Command::new("/bin/sh")
            .args(["-c", "exit 7"])
            .status()
            .unwrap();
        assert_eq!(own.code(), Some(7), "nobody takes the exits of std's children");
        for attempt in attempts {
            assert_eq!(within(attempt).await.unwrap().ending, Ending::Exited(0));
        }
    }
    processes.settle().await;
    assert_eq!(room.left(), []);
}
