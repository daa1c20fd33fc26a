//! Somebody else's DuckDB on the history, while a daemon goes on: Python's, of the version that Petit links.
//!
//! It opens the file read-only, counts what `petit sql` counts, and holds the file while runs end. Nothing may be lost by
//! that: once it lets go, every run that the journal saw end is in the history.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    programs, tools,
    workshop::{Failure, Outcome, Workshop, ask},
};

/// A run a second, so that some end while the file is held.
const JOB: &str = "id: tick\nschedule: '@every 1s'\ntasks:\n  work: {command: 'true'}\n";

/// Prints the count of each table named on a line of its input, all of them on one connection; ends with the input.
const PYTHON: &str = "
import sys, duckdb
history = duckdb.connect(sys.argv[1], read_only=True)
print('open', flush=True)
for table in sys.stdin:
    print(history.execute(f'SELECT count(*) FROM {table.strip()}').fetchone()[0], flush=True)
";

const TABLES: [&str; 4] = ["runs", "attempts", "slots", "reconciles"];

/// How long the file is held; `PETIT_HOLD` gives other seconds.
const HOLD: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn python(workshop: &Workshop) -> Outcome {
    let python = tools::install(workshop)?.join("python");
    let petit = Petit {
        program: programs::build(workshop, "build")?,
        folder: tempfile::tempdir().map_err(Failure::at("create a folder in", &env::temp_dir()))?,
    };
    let jobs = petit.folder.path().join("jobs.d");
    fs::create_dir(&jobs).map_err(Failure::at("create", &jobs))?;
    let file = jobs.join("tick.yaml");
    fs::write(&file, JOB).map_err(Failure::at("write", &file))?;
    let daemon = petit.daemon()?;

    until("three runs in the history", || Ok(petit.count("runs")? >= 3))?;
    let mut reader = Reader::open(&python, &petit.folder.path().join(".petit/history.duckdb"))?;
    let held = Instant::now();
    let mut counts = Vec::new();
    for table in TABLES {
        let (theirs, ours) = (reader.count(table)?, petit.count(table)?);
        if theirs != ours {
            let text = format!("Python counts {theirs} rows in {table}, and `petit sql` {ours}");
            return Err(Failure::new(text));
        }
        counts.push(format!("{table} {theirs}"));
    }
    println!("both count {}", counts.join(", "));
    let before = reader.count("runs")?;
    let hold = env::var("PETIT_HOLD").ok().and_then(|seconds| seconds.parse().ok());
    sleep(hold.map_or(HOLD, Duration::from_secs).saturating_sub(held.elapsed()));
    if reader.count("runs")? != before {
        return Err(Failure::new("the history changed below its reader"));
    }
    let seconds = held.elapsed().as_secs();
    reader.close()?;
    daemon.stop()?;

    let runs = petit.count("runs WHERE status = 'succeeded'")?;
    let different = petit.ask_one("SELECT count(DISTINCT run_id) AS n FROM runs WHERE status = 'succeeded'")?;
    let succeeded = petit.succeeded()?;
    println!("held for {seconds} s; then {runs} runs, {before} before");
    if (runs, different) != (succeeded, succeeded) || runs <= before {
        let text = format!("{succeeded} runs succeeded; the history has {runs} rows of {different}, and had {before}");
        return Err(Failure::new(text));
    }
    Ok(())
}

/// Asks until it is so.
fn until(what: &str, mut so: impl FnMut() -> Outcome<bool>) -> Outcome {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        if so()? {
            return Ok(());
        }
        sleep(Duration::from_millis(300));
    }
    Err(Failure::new(format!("no {what} after {} s", DEADLINE.as_secs())))
}

/// The binary, in a folder of its own.
struct Petit {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Petit {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(self.folder.path());
        command
    }

    fn daemon(&self) -> Outcome<Daemon> {
        let spawned = self.command(&["run", "--quiet"]).stdin(Stdio::null()).spawn();
        spawned
            .map(Daemon)
            .map_err(|error| Failure::new(format!("cannot start `petit run`: {error}")))
    }

    fn count(&self, table: &str) -> Outcome<u64> {
        self.ask_one(&format!("SELECT count(*) AS n FROM {table}"))
    }

    /// The number that a question is answered with.
    fn ask_one(&self, sql: &str) -> Outcome<u64> {
        let said = ask(&mut self.command(&["sql", sql, "--format", "csv"]))?;
        let number = said.text.lines().nth(1).and_then(|line| line.trim().parse().ok());
        number
            .filter(|_| said.success)
            .ok_or(Failure::new("`petit sql` gave no number"))
    }

    /// How many runs the journal saw succeed: a line each.
    fn succeeded(&self) -> Outcome<u64> {
        let said = ask(&mut self.command(&["runs", "status=succeeded", "--number", "100000"]))?;
        if !said.success {
            return Err(Failure::new("`petit runs` failed"));
        }
        let lines = said.text.lines().filter(|line| line.contains("succeeded"));
        u64::try_from(lines.count()).map_err(|_| Failure::new("more runs than can be counted"))
    }
}

/// A daemon, ended with the value.
struct Daemon(Child);

impl Daemon {
    /// Asks it to end, and waits until it has.
    fn stop(mut self) -> Outcome {
        let pid = self.0.id().to_string();
        ask(Command::new("kill").args(["-TERM", &pid]))?;
        let ended = self
            .0
            .wait()
            .map_err(|error| Failure::new(format!("cannot wait for the daemon: {error}")))?;
        if ended.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("the daemon ended with {ended}")))
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After `stop` there is nothing to end, and that is no failure.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Python with the file open.
struct Reader {
    python: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Reader {
    fn open(python: &Path, history: &Path) -> Outcome<Reader> {
        let mut child = Command::new(python)
            .args(["-c", PYTHON])
            .arg(history)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Failure::at("start", python))?;
        let (Some(asks), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("Python has no pipes"));
        };
        let mut reader = Reader {
            python: child,
            asks,
            answers: BufReader::new(answers),
        };
        match reader.line()?.as_str() {
            "open" => Ok(reader),
            _ => Err(Failure::new("Python cannot open the history")),
        }
    }

    fn count(&mut self, table: &str) -> Outcome<u64> {
        writeln!(self.asks, "{table}").map_err(|error| Failure::new(format!("Python does not listen: {error}")))?;
        let line = self.line()?;
        line.parse()
            .map_err(|_| Failure::new(format!("Python counts `{line}` in {table}")))
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .map_err(|error| Failure::new(format!("Python says nothing: {error}")))?;
        Ok(line.trim().to_owned())
    }

    fn close(mut self) -> Outcome {
        drop(self.asks);
        let ended = self
            .python
            .wait()
            .map_err(|error| Failure::new(format!("cannot wait for Python: {error}")))?;
        if ended.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("Python ended with {ended}")))
        }
    }
}
