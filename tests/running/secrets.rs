//! A secret is nowhere but where it belongs: every byte that Petit kept and every answer that it gave is searched.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use crate::support::{Place, wait_for};

const SPLIT: &str = "correct-horse-battery";
const LINES: [&str; 3] = ["-----BEGIN KEY-----", "c2VjcmV0LWtleS1ib2R5", "-----END KEY-----"];

const JOB: &str = r#"
secrets:
  TOKEN: {env: OUTER_TOKEN}
  KEY: {file: key.pem}
tasks:
  split:
    command: |
      printf 'token=correct-hor'; sleep 0.2; printf 'se-battery\n'
      echo "$TOKEN$TOKEN" >&2
  lines:
    command: |
      echo "$KEY"
      echo "$KEY" | while read -r line; do echo "+ $line" >&2; sleep 0.05; done
      printf '%s' "$KEY" | tr '\n' ' '
  says-it-and-fails: {command: 'echo "$TOKEN"; exit 7', retry: {retries: 1}}
  publishes: {command: 'echo "t=$TOKEN" >> "$PETIT_OUTPUT"'}
  publishes-a-line: {command: 'printf "k<<END\n%s\nEND\n" "$KEY" >> "$PETIT_OUTPUT"'}
  misuses: {command: 'echo "$TOKEN" >> "$PETIT_OUTPUT"'}
"#;

#[test]
fn a_secret_is_in_no_log_journal_history_or_answer() {
    let mut place = Place::new();
    place.env.push(("OUTER_TOKEN".to_owned(), SPLIT.to_owned()));
    fs::write(place.path().join("key.pem"), LINES.join("\n") + "\n").expect("a writable folder");
    let daemon = place.daemon();
    let events = Events::listen(&place.path().join(".petit/petit.sock"));
    place.save("secretive.yaml", JOB);
    place.wait_synced("secretive");
    let triggered = place.run(&["trigger", "secretive", "--follow"]);
    assert_eq!(triggered.code, 1, "three of its tasks fail: {triggered:?}");
    assert!(triggered.stdout.contains("token=***"), "{triggered:?}");
    let run = place.runs("secretive")[0]["id"].as_str().expect("an id").to_owned();
    let mut said = vec![triggered.stdout, triggered.stderr];
    let commands: [&[&str]; 7] = [
        &["show", &run],
        &["show", &run, "--format", "json"],
        &["show", "secretive", "--format", "json"],
        &["logs", &run],
        &["logs", &run, "--format", "json"],
        &["runs", "secretive", "--format", "json"],
        &["status", "--format", "json"],
    ];
    for command in commands {
        let done = place.run(command);
        assert_eq!(done.code, 0, "{done:?}");
        said.extend([done.stdout, done.stderr]);
    }
    if cfg!(feature = "history") {
        let rows = wait_for("the history to have every attempt", || {
            let done = place.run(&["sql", "SELECT * FROM attempts", "--format", "json"]);
            (done.stdout.matches("\"publishes\"").count() > 0).then_some(done.stdout)
        });
        said.push(rows);
    }
    let view = place.json(&["show", &run]);
    let of = |task: &str| {
        let tasks = view["tasks"].as_array().expect("a list");
        let found = tasks.iter().find(|found| found["id"] == task).expect("it is there");
        found["attempts"][0].clone()
    };
    for task in ["publishes", "publishes-a-line", "misuses"] {
        assert_eq!(of(task)["ending"], "bad_output", "{}", of(task));
    }
    assert_eq!(of("split")["exit_code"], 0);
    said.push(events.heard_until(&run));
    assert_eq!(daemon.stop(), 0);
    said.push(place.daemon_log());
    for secret in LINES.into_iter().chain([SPLIT]) {
        for text in &said {
            assert!(!text.contains(secret), "{secret} was said:\n{text}");
        }
        for file in files(&place.path().join(".petit")) {
            let bytes = fs::read(&file).expect("a readable file");
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} stands in {}", file.display());
        }
    }
    let kept = files(&place.path().join(".petit"));
    assert!(kept.iter().any(|file| file.ends_with("journal.db")), "{kept:?}");
    assert!(
        kept.iter().filter(|file| file.ends_with("log")).count() >= 3,
        "{kept:?}"
    );
}

#[test]
fn a_value_that_was_exchanged_is_used_and_the_old_one_stays_masked() {
    let place = Place::new();
    let key = place.path().join("key");
    fs::write(&key, "yesterdays-value\n").expect("a writable folder");
    let daemon = place.daemon();
    place.save(
        "rotates.yaml",
        "secrets: {KEY: {file: key}}\ntasks: {a: {command: 'echo \"$KEY\" >> seen; cat seen'}}\n",
    );
    place.wait_synced("rotates");
    assert_eq!(place.run(&["trigger", "rotates", "--wait"]).code, 0);
    fs::write(&key, "the-value-of-today\n").expect("a writable folder");
    let second = place.run(&["trigger", "rotates", "--follow"]);
    assert_eq!(
        second.stdout.lines().take(2).collect::<Vec<_>>(),
        ["***", "***"],
        "{second:?}"
    );
    let seen = fs::read_to_string(place.path().join("seen")).expect("written by the task");
    assert_eq!(seen, "yesterdays-value\nthe-value-of-today\n");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_secret_of_a_later_task_is_hidden_from_the_first_on_and_is_no_parameter() {
    let place = Place::new();
    fs::write(place.path().join("token"), "named-by-the-last\n").expect("a writable folder");
    let daemon = place.daemon();
    place.save(
        "late.yaml",
        "params: {note: {default: none, pattern: '[a-z -]*'}}\n\
         tasks:\n  \
         a: {command: 'cat token; echo k=$(cat token) >> $PETIT_OUTPUT'}\n  \
         b: {command: [x], secrets: {TOKEN: {file: token}}, depends_on: [a]}\n",
    );
    place.wait_synced("late");
    let refused = place.run(&["trigger", "late", "--param", "note=is NAMED? named-by-the-last!"]);
    let wrong = place.run(&["trigger", "late", "--param", "none=1"]);
    assert_eq!(refused.code, wrong.code, "{refused:?}");
    assert!(
        refused.stderr.contains("`note` contains a secret of the job"),
        "{refused:?}"
    );
    let followed = place.run(&["trigger", "late", "--follow"]);
    assert_eq!(followed.code, 1, "what it published is refused: {followed:?}");
    let local = {
        assert_eq!(daemon.stop(), 0);
        place.run(&["trigger", "late", "--local", "--param", "note=named-by-the-last"])
    };
    assert_eq!(local.code, wrong.code, "{local:?}");
    for said in [refused, followed, local] {
        let said = said.stdout + &said.stderr;
        assert!(!said.contains("named-by-the-last"), "{said}");
    }
    for file in files(&place.path().join(".petit")) {
        let bytes = fs::read(&file).expect("a readable file");
        let found = String::from_utf8_lossy(&bytes).contains("named-by-the-last");
        assert!(!found, "it stands in {}", file.display());
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            Ok(_) | Err(_) => Vec::new(),
        })
        .collect()
}

/// What the socket says by itself, as it comes.
struct Events(Arc<Mutex<String>>);

impl Events {
    fn listen(socket: &Path) -> Self {
        let mut stream = UnixStream::connect(socket).expect("a daemon that listens");
        stream
            .write_all(b"GET /v1/events HTTP/1.1\r\nHost: petit\r\n\r\n")
            .expect("it takes a request");
        let heard = Arc::new(Mutex::new(String::new()));
        let mut stream = BufReader::new(stream);
        let mut status = String::new();
        stream.read_line(&mut status).expect("it answers");
        assert!(status.contains("200"), "{status}");
        let out = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count) = stream.read(&mut piece)
                && count > 0
            {
                let text = String::from_utf8_lossy(&piece[..count]);
                out.lock().expect("nobody panicked with it").push_str(&text);
            }
        });
        Self(heard)
    }

    /// Everything that was said, once it tells of the end of a run.
    fn heard_until(&self, run: &str) -> String {
        wait_for("the event of the run's end", || {
            let heard = self.0.lock().expect("nobody panicked with it").clone();
            let told = heard
                .lines()
                .any(|line| line.contains(run) && line.contains("\"failed\""));
            told.then_some(heard)
        })
    }
}
