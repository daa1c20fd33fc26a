//! The screens of the real binary on a terminal in memory: keys in, text out, and the terminal given back.
#![cfg(feature = "tui")]

mod support;

use std::{
    io::{Read, Write},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};
use support::{Place, wait_for};

/// Says a line, and then waits for a file, so that the test decides when the run ends.
fn talker(place: &Place) -> String {
    format!(
        "id: talker\ntasks:\n  talk:\n    env: {{LET_GO: '{}'}}\n    command: |\n      echo 'first words'\n      \
         printf 'escape \\033[2J sequence\\n'\n      while [ ! -e \"$LET_GO\" ]; do sleep 0.05; done\n      \
         echo 'last words'\n",
        let_go(place).display()
    )
}

fn let_go(place: &Place) -> std::path::PathBuf {
    place.path().join("let-go")
}

/// The binary on a terminal of its own.
struct Screens {
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    shown: Arc<Mutex<vt100::Parser>>,
    /// Whether everything that was written has been read.
    over: Arc<AtomicBool>,
    before: libc::tcflag_t,
}

impl Screens {
    fn open(place: &Place, args: &[&str], size: (u16, u16)) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_petit"));
        command.args(args);
        Self::start(place, command, size)
    }

    fn start(place: &Place, mut command: CommandBuilder, (columns, rows): (u16, u16)) -> Self {
        let size = PtySize {
            rows,
            cols: columns,
            ..PtySize::default()
        };
        let pty = native_pty_system().openpty(size).expect("a terminal");
        let before = local_flags(pty.master.as_ref());
        command.cwd(place.path());
        command.env_clear();
        let home = place.path().to_str().expect("a plain path");
        let env = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", home),
            ("USER", "tester"),
            ("TERM", "xterm-256color"),
            ("LANG", "C.UTF-8"),
        ];
        for (name, value) in env {
            command.env(name, value);
        }
        for (name, value) in &place.env {
            command.env(name, value);
        }
        let child = pty.slave.spawn_command(command).expect("the binary starts");
        // The terminal ends for the reader when nobody has its other end open.
        drop(pty.slave);
        let shown = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let over = Arc::new(AtomicBool::new(false));
        let mut output = pty.master.try_clone_reader().expect("a terminal that can be read");
        let (parser, done) = (Arc::clone(&shown), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                parser.lock().expect("no reader panics").process(&bytes[..count]);
            }
            done.store(true, Ordering::SeqCst);
        });
        Self {
            keys: pty.master.take_writer().expect("a terminal that can be written to"),
            master: pty.master,
            child,
            shown,
            over,
            before,
        }
    }

    /// The other end of the terminal for this very test binary, which runs the one named test in it.
    fn of_this_test(place: &Place, name: &str) -> Self {
        let binary = std::env::current_exe().expect("a running program");
        let mut command = CommandBuilder::new(binary);
        command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
        Self::start(place, command, (80, 24))
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("a terminal that is open");
    }

    fn text(&self) -> String {
        self.shown.lock().expect("no reader panics").screen().contents()
    }

    fn wait(&self, text: &str) {
        let found = || self.text().contains(text).then_some(());
        wait_for(&format!("`{text}` on the screen"), found);
    }

    /// Leaves what is open, which showed `text`. An Esc that is read together with the next key would be that key with Alt.
    fn leave(&mut self, text: &str) {
        self.press("\x1b");
        let gone = || (!self.text().contains(text)).then_some(());
        wait_for(&format!("`{text}` to leave the screen"), gone);
    }

    /// Waits for the end, and checks that the terminal is as it was.
    fn ended(&mut self) -> ExitStatus {
        let status = wait_for("the screens to end", || self.child.try_wait().expect("a child of ours"));
        wait_for("the last bytes", || self.over.load(Ordering::SeqCst).then_some(()));
        let shown = self.shown.lock().expect("no reader panics");
        assert!(!shown.screen().alternate_screen(), "still on the other screen");
        assert!(!shown.screen().hide_cursor(), "the cursor is still hidden");
        drop(shown);
        assert_eq!(local_flags(self.master.as_ref()), self.before, "still in raw mode");
        status
    }
}

impl Drop for Screens {
    fn drop(&mut self) {
        // What the test saw, before the end of the screens takes it away.
        if std::thread::panicking() {
            eprintln!("the screen:\n{}", self.text());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn local_flags(master: &dyn MasterPty) -> libc::tcflag_t {
    master.get_termios().expect("a terminal's settings").local_flags.bits()
}

#[test]
fn a_run_that_is_triggered_appears_and_its_log_follows() {
    let place = Place::new();
    place.save("talker.yaml", &talker(&place));
    let daemon = place.daemon();
    place.wait_synced("talker");
    let mut screens = Screens::open(&place, &["tui"], (80, 24));
    screens.wait("nothing runs");
    screens.press("2");
    screens.wait("talker  synced");
    screens.press("t");
    screens.wait("of talker");
    screens.press("1");
    screens.wait("running 1");
    // From the running run to its attempt, to its log.
    screens.press("\r");
    screens.wait("queued ─ waits █ runs");
    screens.wait("▶  ◆  talk");
    screens.press("\r");
    screens.wait("first words");
    screens.wait("escape ^[[2J sequence");
    std::fs::write(let_go(&place), "").expect("a writable folder");
    screens.wait("last words");
    screens.press("\x1b");
    screens.wait("✓  ◆  talk");

    for (key, text) in [
        ("5", "every file is followed"),
        ("6", "[duration]"),
        ("?", "all commands: type to find one"),
    ] {
        screens.press(key);
        screens.wait(text);
    }
    screens.leave("all commands: type to find one");
    for columns in 10..100 {
        let size = PtySize {
            rows: columns / 3,
            cols: columns,
            ..PtySize::default()
        };
        screens
            .shown
            .lock()
            .expect("no reader panics")
            .screen_mut()
            .set_size(size.rows, size.cols);
        screens.master.resize(size).expect("a terminal of any size");
    }
    screens.press("2");
    screens.wait("jobs 1");

    drop(daemon);
    screens.wait("no daemon");
    let _daemon = place.daemon();
    screens.wait("in sync");
    screens.press("q");
    assert!(screens.ended().success());
}

#[test]
fn without_a_daemon_or_anything_else_each_screen_says_what_is_missing_and_a_signal_gives_the_terminal_back() {
    let place = Place::new();
    let mut screens = Screens::open(&place, &["tui"], (100, 30));
    screens.wait("no daemon runs on");
    let cases = [
        ("1", "there are no jobs: put a YAML file into"),
        ("2", "there are no jobs: put a YAML file into"),
        ("3", "no job has run yet"),
        ("4", "no job has run yet"),
        ("5", "there are no files in"),
        ("2t", "cannot trigger: no daemon runs"),
    ];
    for (keys, text) in cases {
        screens.press(keys);
        screens.wait(text);
    }
    let pid = screens.child.process_id().expect("a running child").to_string();
    let killed = Command::new("/bin/kill").args(["-s", "TERM", &pid]).status();
    assert!(killed.expect("kill is everywhere").success());
    assert_eq!(screens.ended().exit_code(), 130);
}

#[test]
fn the_daemon_before_its_own_screens_ends_with_them() {
    let place = Place::new();
    place.save("talker.yaml", &talker(&place));
    let mut screens = Screens::open(&place, &["run", "--tui"], (80, 24));
    screens.wait("1 jobs active, all files in sync");
    assert_eq!(place.run(&["status"]).code, 0);
    screens.press("q");
    assert!(screens.ended().success());
    assert_eq!(place.run(&["status"]).code, 3);
    let log = std::fs::read_to_string(place.path().join(".petit/petit.log")).expect("a log");
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn ctrl_c_in_a_pager_is_the_pagers_and_ends_neither_screens_nor_daemon() {
    let mut place = Place::new();
    place.save("talker.yaml", &talker(&place));
    let pager = place.path().join("pager");
    let text = "#!/bin/sh\ntrap 'echo the pager is interrupted' INT\ncat > /dev/null\necho the pager is here\n\
                while ! read -r typed < /dev/tty; do :; done\n";
    std::fs::write(&pager, text).expect("a writable folder");
    let pager = format!("exec /bin/sh {} #", pager.display());
    place.env.push(("PAGER".to_owned(), pager));
    std::fs::write(let_go(&place), "").expect("a writable folder");
    let mut screens = Screens::open(&place, &["run", "--tui"], (80, 24));
    screens.wait("1 jobs active, all files in sync");
    screens.press("2");
    screens.wait("talker  synced");
    screens.press("t");
    place.wait_run("talker", "is over", |run| run["status"] == "succeeded");
    screens.press("4");
    screens.wait("last words");
    screens.press("o");
    screens.wait("the pager is here");
    // The terminal makes a SIGINT of it, for all who are in its foreground.
    screens.press("\x03");
    screens.wait("the pager is interrupted");
    screens.press("enough\r");
    screens.wait("last words");
    assert_eq!(place.run(&["status"]).code, 0);
    let log = || std::fs::read_to_string(place.path().join(".petit/petit.log")).expect("a log");
    assert!(!log().contains("stopping"), "{}", log());
    // One that was meant for Petit ends both.
    let pid = screens.child.process_id().expect("it runs").to_string();
    let sent = Command::new("/bin/kill").args(["-s", "INT", &pid]).status();
    assert!(sent.expect("kill is everywhere").success());
    screens.ended();
    assert!(log().contains("stopped"), "{}", log());
}

#[test]
fn without_a_terminal_nothing_is_started() {
    let place = Place::new();
    for args in [&["tui"][..], &["run", "--tui"]] {
        let done = place.run(args);
        assert_eq!(done.code, 64, "{done:?}");
        assert!(done.stderr.contains("need a terminal"), "{done:?}");
    }
    assert!(!place.path().join(".petit").exists());
}

/// Says many lines, then a long one.
const COUNTER: &str = "id: counter\ntasks:\n  count:\n    command: |\n      seq -f 'number %.0f' 1 40000\n      \
                       printf 'long %0200d tail\\n' 7\n";

#[test]
fn a_long_log_opens_at_its_end_and_is_searched_and_wrapped() {
    let place = Place::new();
    place.save("counter.yaml", COUNTER);
    let _daemon = place.daemon();
    place.wait_synced("counter");
    let mut screens = Screens::open(&place, &["tui"], (80, 24));
    screens.wait("in sync");
    screens.press("2");
    screens.wait("counter  synced");
    screens.press("t");
    place.wait_run("counter", "is over", |run| run["status"] == "succeeded");
    screens.press("4");
    screens.wait("number 39999");
    screens.wait("following");
    assert!(!screens.text().contains("tail"), "{}", screens.text());
    screens.press("w");
    screens.wait("7 tail");
    screens.press("w");
    screens.press("g");
    screens.wait("paused: G follows, 0 %");
    screens.press("/NUMBER 31337\r");
    screens.wait("number 31340");
    screens.press("G");
    screens.wait("number 40000");
    screens.press("!");
    screens.wait("no line looks like an error");
    screens.press("q");
    assert!(screens.ended().success());
}

/// A program that shows a word, and keeps what it is given and a line that is typed at it.
fn program(place: &Place, name: &str, reads: &str) -> String {
    let path = place.path().join(name);
    let kept = place.path().join(format!("{name}.kept"));
    let text = format!(
        "#!/bin/sh\n{reads} > {kept}\necho the {name} is here\nread -r typed < /dev/tty\necho \"$typed\" >> {kept}\n",
        kept = kept.display()
    );
    std::fs::write(&path, text).expect("a writable folder");
    format!("/bin/sh {}", path.display())
}

#[test]
fn the_pager_and_the_editor_have_the_terminal_and_give_it_back() {
    let mut place = Place::new();
    place.save("talker.yaml", &talker(&place));
    let env = [
        ("PAGER", program(&place, "pager", "cat")),
        ("EDITOR", program(&place, "editor", "echo \"$@\"")),
    ];
    place.env.extend(env.map(|(name, value)| (name.to_owned(), value)));
    let kept = |name: &str| std::fs::read_to_string(place.path().join(format!("{name}.kept"))).unwrap_or_default();
    std::fs::write(let_go(&place), "").expect("a writable folder");
    let _daemon = place.daemon();
    place.wait_synced("talker");
    let mut screens = Screens::open(&place, &["tui"], (80, 24));
    screens.wait("in sync");
    screens.press("2");
    screens.wait("talker  synced");
    screens.press("t");
    place.wait_run("talker", "is over", |run| run["status"] == "succeeded");
    screens.press("4");
    screens.wait("last words");
    screens.press("o");
    screens.wait("the pager is here");
    // While it has the terminal, keys are for it alone: `q` would leave the screens.
    screens.press("q to the pager\r");
    screens.wait("last words");
    assert_eq!(
        kept("pager"),
        "first words\nescape ^[[2J sequence\nlast words\nq to the pager\n"
    );

    screens.press("2");
    screens.wait("talker  synced");
    screens.press("e");
    screens.wait("the editor is here");
    let size = PtySize {
        rows: 30,
        cols: 100,
        ..PtySize::default()
    };
    screens
        .shown
        .lock()
        .expect("no reader panics")
        .screen_mut()
        .set_size(30, 100);
    screens.master.resize(size).expect("a terminal of any size");
    screens.press("q to the editor\r");
    screens.wait("talker  synced");
    let expected = format!("+1 {}\nq to the editor\n", place.job_file("talker.yaml").display());
    assert_eq!(kept("editor"), expected);
    screens.press("q");
    assert!(screens.ended().success());
}

#[cfg(feature = "history")]
#[test]
fn the_past_is_asked_in_sql_and_exported_and_leads_to_its_runs() {
    let place = Place::new();
    place.save("talker.yaml", &talker(&place));
    std::fs::write(let_go(&place), "").expect("a writable folder");
    let _daemon = place.daemon();
    place.wait_synced("talker");
    assert_eq!(place.run(&["trigger", "talker", "--wait"]).code, 0);
    let mut screens = Screens::open(&place, &["tui"], (80, 24));
    screens.wait("in sync");
    screens.press("6");
    screens.wait("ranked 1");
    screens.press("\r");
    screens.wait("runs 1 <job=talker>");
    screens.press("\r");
    screens.wait("queued ─ waits █ runs");
    screens.leave("queued ─ waits █ runs");
    screens.leave("runs 1 <job=talker>");
    screens.wait("ranked 1");
    screens.press(";");
    screens.press("SELECT 'so many: ' || count(*) AS said FROM runs\r");
    screens.wait("so many: 1");
    screens.press("E\r");
    screens.wait("1 rows are in petit-rows.csv");
    let written = std::fs::read_to_string(place.path().join("petit-rows.csv")).expect("a file");
    assert_eq!(written, "said\nso many: 1\n");
    screens.press("E\r");
    screens.wait("is there already");
    screens.press("; ; DELETE FROM runs\r");
    screens.wait("2 statements");
    screens.leave("2 statements");
    screens.press("mmine\r");
    screens.wait("kept as mine");
    screens.press("M");
    screens.wait("views that were kept");
    screens.leave("views that were kept");
    screens.press("q");
    assert!(screens.ended().success());
}

/// Stores that fall over when they are asked.
struct Broken;

impl petit::tui::Stores for Broken {
    fn status(&self) -> Result<petit::view::StatusView, String> {
        panic!("the stores fell over")
    }

    fn jobs(&self) -> Result<Vec<petit::view::JobView>, String> {
        Ok(Vec::new())
    }

    fn job(&self, _: &petit::core::id::JobId) -> Result<petit::view::JobDetail, String> {
        Err("there is none".to_owned())
    }

    fn runs(&self, _: &petit::control::RunsQuery) -> Result<Vec<petit::view::RunView>, String> {
        Ok(Vec::new())
    }

    fn run(&self, _: petit::core::id::RunId) -> Result<petit::view::RunView, String> {
        Err("there is none".to_owned())
    }
}

/// Runs twice: once as the test, and once more in the terminal that the test opens, as the program that panics.
#[test]
fn a_panic_gives_the_terminal_back_before_its_message() {
    const INNER: &str = "PETIT_TEST_IS_INNER";
    if std::env::var_os(INNER).is_some() {
        let (feed, messages) =
            petit::tui::Feed::new(std::path::Path::new("."), "tester".to_owned(), Arc::new(Broken), None);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let look = petit::tui::Look::new(false, None);
        let left = runtime.block_on(petit::tui::run(look, false, feed, messages, std::future::pending()));
        assert!(matches!(left, Err(petit::tui::TuiError::Panicked)), "{left:?}");
        println!("left in order");
        return;
    }
    let mut place = Place::new();
    place.env.push((INNER.to_owned(), "1".to_owned()));
    let mut screens = Screens::of_this_test(&place, "a_panic_gives_the_terminal_back_before_its_message");
    assert!(screens.ended().success(), "{}", screens.text());
    let text = screens.text();
    assert!(
        text.contains("the stores fell over") && text.contains("left in order"),
        "{text}"
    );
}

#[test]
fn a_failed_run_is_retried_with_a_y_and_not_with_enter() {
    let place = Place::new();
    let job = |load: &str| {
        format!("tasks: {{first: {{command: [echo, one]}}, then: {{command: [{load}], depends_on: [first]}}}}\n")
    };
    place.save("chain.yaml", &job("'false'"));
    let _daemon = place.daemon();
    place.wait_synced("chain");
    assert_eq!(place.run(&["trigger", "chain", "--wait"]).code, 1);
    let before = place.job("chain").expect("it is known")["spec_hash"].clone();
    place.save("chain.yaml", &job("'true'"));
    wait_for("the mended file to be active", || {
        place.job("chain").filter(|job| job["spec_hash"] != before)
    });
    let mut screens = Screens::open(&place, &["tui"], (80, 24));
    screens.press("2");
    screens.wait("chain  synced");
    screens.press("r");
    screens.wait("then: ended failed");
    screens.wait("reused");
    screens.press("\r");
    screens.wait("nothing was done");
    assert_eq!(place.runs("chain").len(), 1);
    screens.press("r");
    screens.wait("then: ended failed");
    screens.press("y");
    screens.wait("is retried as");
    let run = place.wait_run("chain", "succeeded", |run| run["status"] == "succeeded");
    assert_eq!(run["trigger"], "retry");
    screens.press("q");
    assert!(screens.ended().success());
}
