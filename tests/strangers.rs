//! Petit as subreaper. This needs a process of its own, since from then on every child that Petit did not start is
//! taken for an orphan; hence a file of its own, whose tests run one after the other.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use petit::core::ending::Ending;
use petit::execution::process::{AttemptSpec, Command, Ended, Processes, Stop, collect_strangers, lend};
use tokio::sync::Mutex;

/// Held by the test that runs: the attempts of one would be possible owners of another's strays.
static TURN: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adopted_orphans_are_collected_and_no_exit_is_lost() {
    let _turn = TURN.lock().await;
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

/// A place to start attempts whose processes keep nothing that Petit gave them.
struct Place {
    processes: Processes,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        collect_strangers().unwrap();
        Place {
            processes: Processes::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn spec(&self, name: &str, argv: &[&str]) -> AttemptSpec {
        // One of the scripts needs Python, which is not everywhere in the same folder.
        let path = std::env::var("PATH").unwrap();
        let env = [
            ("PATH", path.as_str()),
            ("PETIT_RUN_ID", "strays"),
            ("PETIT_TASK", name),
            ("PETIT_ATTEMPT", "1"),
        ];
        AttemptSpec {
            command: Command {
                argv: argv.iter().map(Into::into).collect(),
                env: env.map(|(name, value)| (name.into(), value.into())).into(),
                working_dir: self.folder.path().to_owned(),
            },
            kill_grace: Duration::from_millis(300),
            timeout: None,
            memory_limit: None,
            log: self.folder.path().join(format!("{name}.log")),
            log_size: 1 << 20,
            mask: Arc::default(),
        }
    }

    fn shell(&self, name: &str, script: &str) -> AttemptSpec {
        self.spec(name, &["/bin/sh", "-c", script])
    }

    /// Runs an attempt, and makes sure that a process with these words lived meanwhile; the file `seen` then says so to the
    /// attempt.
    async fn run_with(&self, spec: AttemptSpec, stray: &str) -> Ended {
        let seen = self.folder.path().join("seen");
        let running = tokio::spawn(self.processes.start(spec).unwrap().wait());
        eventually("the stray is there", || lives(stray)).await;
        fs::write(&seen, "").unwrap();
        let ended = running.await.unwrap();
        fs::remove_file(seen).unwrap();
        assert_eq!(ended.survivors, []);
        ended
    }

    async fn run(&self, spec: AttemptSpec) -> Ended {
        let ended = self.processes.start(spec).unwrap().wait().await;
        assert_eq!(ended.survivors, []);
        ended
    }
}

/// A sleep that no other process on this machine sleeps.
fn sleep(seconds: u32) -> String {
    format!("sleep {seconds}.{}", std::process::id())
}

fn words(process: &Path) -> String {
    let command = fs::read(process.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&command)
        .replace('\0', " ")
        .trim_end()
        .to_owned()
}

/// Whether a process with these words lives.
fn lives(wanted: &str) -> bool {
    let mut entries = fs::read_dir("/proc").unwrap().flatten();
    entries.any(|entry| words(&entry.path()) == wanted)
}

/// The child of this process with these words, once it is one.
fn adopted(wanted: &str) -> Option<u32> {
    let of = |pid: u32| words(&Path::new("/proc").join(pid.to_string()));
    let mut numbers = children().into_iter().map(|(pid, _)| pid);
    numbers.find(|pid| of(*pid) == wanted)
}

/// Waits for the file of [`Place::run_with`].
const UNTIL_SEEN: &str = "until [ -e seen ]; do sleep 0.02; done";

/// A script that leaves this behind without environment, session, output and parents.
fn stray(words: &str) -> String {
    format!("(env -i setsid {words} >/dev/null 2>&1 &)")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shows_no_sign_of_its_attempt_ends_with_it() {
    let _turn = TURN.lock().await;
    let place = Place::new();

    let one = sleep(792);
    let timed = place.shell("timed", &format!("{}; sleep 600", stray(&one)));
    let timed = place.processes.start(timed).unwrap();
    let canceller = timed.canceller();
    let timed = tokio::spawn(timed.wait());
    eventually("the stray is there", || lives(&one)).await;
    // As when a timeout passes, but not before the stray is there.
    canceller.stop(Stop::TimedOut);
    assert_eq!(timed.await.unwrap().ending, Ending::TimedOut);
    assert!(!lives(&one), "on timeout");

    let two = sleep(793);
    let script = format!("{}; {UNTIL_SEEN}; sleep 0.7", stray(&two));
    assert_eq!(
        place.run_with(place.shell("ends", &script), &two).await.ending,
        Ending::Exited(0)
    );
    eventually("after an attempt that can afford a look of its own", || !lives(&two)).await;

    let three = sleep(794);
    assert_eq!(
        place.run(place.shell("short", &stray(&three))).await.ending,
        Ending::Exited(0)
    );
    eventually("what a short attempt left is gone", || !lives(&three)).await;

    // As daemons do it, with a descendant that keeps them company and nothing of the environment.
    let four = sleep(795);
    let python = "import os, sys, time\n\
                  if os.fork():\n\
                  \x20   while not os.path.exists('seen'): time.sleep(0.02)\n\
                  \x20   sys.exit(0)\n\
                  os.setsid()\n\
                  if os.fork(): sys.exit(0)\n\
                  for fd in range(3): os.close(fd)\n\
                  os.execve('/bin/sh', ['sh', '-c', 'trap \"\" TERM; %s & wait' % sys.argv[1]], {})";
    let daemon = place.spec("python", &["python3", "-c", python, &four]);
    assert_eq!(place.run_with(daemon, &four).await.ending, Ending::Exited(0));
    eventually("a daemon is gone", || !lives(&four)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_belong_to_an_attempt_that_goes_on_is_left_alone_until_that_ends() {
    let _turn = TURN.lock().await;
    let place = Place::new();
    let older = sleep(801);
    let script = format!("{}; while [ ! -e go ]; do sleep 0.02; done", stray(&older));
    let going = tokio::spawn(place.processes.start(place.shell("going", &script)).unwrap().wait());
    eventually("the older one's stray is adopted", || adopted(&older).is_some()).await;

    let younger = sleep(802);
    let script = format!("{}; {UNTIL_SEEN}; sleep 0.7", stray(&younger));
    let ended = place.run_with(place.shell("ends", &script), &younger).await;
    assert_eq!(ended.ending, Ending::Exited(0));
    place.processes.settle().await;
    assert!(lives(&older), "its attempt runs");
    assert!(lives(&younger), "nobody can tell that it is not the older one's");

    // One that holds the output is its attempt's beyond doubt.
    let holder = sleep(803);
    let script = format!("(env -i setsid {holder} &)");
    let ended = place.run(place.shell("holds", &script)).await;
    assert_eq!(ended.ending, Ending::OutputHeldOpen);
    assert!(!lives(&holder) && lives(&older));

    fs::write(place.folder.path().join("go"), "").unwrap();
    assert_eq!(going.await.unwrap().ending, Ending::Exited(0));
    eventually("all strays are gone", || !lives(&older) && !lives(&younger)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_editor_leaves_behind_is_left_alone() {
    let _turn = TURN.lock().await;
    let place = Place::new();
    let server = sleep(811);
    let going = place.shell("going", "while [ ! -e go ]; do sleep 0.02; done");
    let going = tokio::spawn(place.processes.start(going).unwrap().wait());
    let (mut editor, lent) = lend(|| {
        let script = format!("{}; exit 3", stray(&server));
        std::process::Command::new("/bin/sh").args(["-c", &script]).spawn()
    })
    .unwrap();
    assert_eq!(editor.wait().unwrap().code(), Some(3), "its exit is not taken away");
    eventually("the server is adopted", || adopted(&server).is_some()).await;
    drop(lent);
    fs::write(place.folder.path().join("go"), "").unwrap();
    assert_eq!(going.await.unwrap().ending, Ending::Exited(0));
    place.processes.settle().await;
    assert!(lives(&server));
    // Started so that the exit of `kill` is nobody else's.
    let server_pid = adopted(&server).unwrap().to_string();
    let (mut kill, _lent) = lend(|| std::process::Command::new("/bin/kill").arg(server_pid).spawn()).unwrap();
    assert!(kill.wait().unwrap().success());
    eventually("the server is gone", || !lives(&server)).await;
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
    let deadline = Instant::now() + Duration::from_secs(300);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: {:?}", children());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
