//! The terminal lent to another program: `$VISUAL` or `$EDITOR` on a job's file, `$PAGER` with what a screen shows.
//!
//! The caller gives the terminal back before and takes it again behind; here the program is started, fed and waited for.
//! It runs in the foreground with the terminal's own keys, so a Ctrl-C is its own business, while a signal that asks Petit
//! to end ends it too. What a pager reads has been made harmless, as on the screens.

use std::{
    env,
    future::Future,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::time::sleep;

use super::{log_feed::Logs, message::LogId, run::Leaving};
use crate::{
    core::harmless::{harmless, harmless_lines},
    execution::{output::LogReader, process},
};

/// What another program is to do in the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// Edit a file.
    Edit {
        /// Which.
        path: PathBuf,
        /// The line to begin at, from 1.
        line: usize,
    },
    /// Page through a log.
    PageLog(LogId),
    /// Page through a text.
    Page(String),
}

/// The programs that people chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    editor: String,
    pager: String,
}

/// How an errand ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Returned {
    /// The program ended as it should.
    Done,
    /// It could not be started, or says that it failed.
    Failed(String),
    /// Petit was asked to end meanwhile, in this way, and so was the program.
    Asked(Leaving),
}

/// How often the program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(30);

impl Programs {
    /// Those of the environment.
    pub fn from_env() -> Self {
        let first = |names: &[&str], other: &str| {
            let mut chosen = names.iter().filter_map(|name| env::var(name).ok());
            chosen
                .find(|value| !value.trim().is_empty())
                .unwrap_or_else(|| other.to_owned())
        };
        Self {
            editor: first(&["VISUAL", "EDITOR"], "vi"),
            pager: first(&["PAGER"], "less"),
        }
    }

    /// Carries an errand out. `asked` resolves when Petit is asked to end.
    pub async fn carry_out(&self, errand: Errand, logs: &Logs, asked: impl Future<Output = Leaving>) -> Returned {
        let program = match &errand {
            Errand::Edit { .. } => &self.editor,
            Errand::PageLog(_) | Errand::Page(_) => &self.pager,
        };
        let (mut child, _lent) = match process::lend(|| self.start(errand, logs)) {
            Ok(lent) => lent,
            Err(error) => return Returned::Failed(format!("could not start {program}: {error}")),
        };
        tokio::select! {
            ended = ended(&mut child) => match ended {
                Ok(status) if status.success() => Returned::Done,
                Ok(status) => Returned::Failed(format!("{program} ended with {status}")),
                Err(error) => Returned::Failed(format!("could not wait for {program}: {error}")),
            },
            leaving = asked => {
                // It may have ended by the same signal already.
                let _ = child.kill();
                let _ = child.wait();
                Returned::Asked(leaving)
            }
        }
    }

    fn start(&self, errand: Errand, logs: &Logs) -> io::Result<Child> {
        match errand {
            Errand::Edit { path, line } => shell(&self.editor, &at_line(&self.editor, &path, line)).spawn(),
            Errand::PageLog(of) => {
                let path = logs.path(&of);
                feed(shell(&self.pager, &[]), move |pipe| write_log(&path, pipe))
            }
            Errand::Page(text) => feed(shell(&self.pager, &[]), move |pipe| {
                pipe.write_all(harmless_lines(&text).as_bytes())
            }),
        }
    }
}

/// People put arguments into these variables, and expect a shell to take them apart.
fn shell(program: &str, args: &[String]) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(format!("{program} \"$@\""))
        .arg("petit")
        .args(args);
    command
}

/// The arguments that make an editor begin at a line: `+12 FILE` for most, others by name.
fn at_line(editor: &str, path: &Path, line: usize) -> Vec<String> {
    let program = editor.split_whitespace().next().unwrap_or_default();
    let name = Path::new(program)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let file = path.display().to_string();
    match name {
        "code" | "code-insiders" | "codium" | "cursor" => {
            vec!["--wait".to_owned(), "--goto".to_owned(), format!("{file}:{line}")]
        }
        "hx" | "helix" | "subl" | "zed" => vec![format!("{file}:{line}")],
        _ => vec![format!("+{line}"), file],
    }
}

/// Starts a program that reads what `write` writes. It need not read to the end: who has seen enough leaves.
fn feed(
    mut command: Command,
    write: impl FnOnce(&mut BufWriter<std::process::ChildStdin>) -> io::Result<()> + Send + 'static,
) -> io::Result<Child> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    if let Some(pipe) = child.stdin.take() {
        std::thread::spawn(move || {
            let mut pipe = BufWriter::new(pipe);
            let _ = write(&mut pipe).and_then(|()| pipe.flush());
        });
    }
    Ok(child)
}

/// A log as it was said, without what the format adds.
fn write_log(path: &Path, pipe: &mut impl Write) -> io::Result<()> {
    for entry in LogReader::new(path.to_owned()) {
        let entry = entry?;
        pipe.write_all(harmless(&entry.text).as_bytes())?;
        if !entry.partial {
            pipe.write_all(b"\n")?;
        }
    }
    Ok(())
}

async fn ended(child: &mut Child) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editors_are_told_the_line_in_their_own_way() {
        let path = Path::new("/srv/jobs.d/a b.yaml");
        for (editor, expected) in [
            ("vi", vec!["+7", "/srv/jobs.d/a b.yaml"]),
            ("/usr/bin/nano -w", vec!["+7", "/srv/jobs.d/a b.yaml"]),
            ("code -n", vec!["--wait", "--goto", "/srv/jobs.d/a b.yaml:7"]),
            ("/opt/hx", vec!["/srv/jobs.d/a b.yaml:7"]),
        ] {
            assert_eq!(at_line(editor, path, 7), expected, "{editor}");
        }
    }

    fn carry_out(editor: &str, errand: Errand, asked: impl Future<Output = Leaving>) -> Returned {
        let programs = Programs {
            editor: editor.to_owned(),
            pager: editor.to_owned(),
        };
        let logs = Logs::new(Path::new("/nowhere"), tokio::sync::mpsc::channel(1).0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime
            .expect("a runtime")
            .block_on(programs.carry_out(errand, &logs, asked))
    }

    #[test]
    fn a_program_gets_its_arguments_and_its_ending_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a file");
        let edit = |editor: &str| {
            let errand = Errand::Edit {
                path: path.clone(),
                line: 3,
            };
            carry_out(editor, errand, std::future::pending())
        };
        assert_eq!(edit("w() { echo \"$1\" > \"$2\"; }; w"), Returned::Done);
        assert_eq!(std::fs::read_to_string(&path).expect("written"), "+3\n");
        let Returned::Failed(why) = edit("false") else {
            panic!("it failed")
        };
        assert!(why.contains("false ended with exit status: 1"), "{why}");
        let out = folder.path().join("paged");
        let pager = format!("cat > {}", out.display());
        let errand = Errand::Page("one\ntwo \x1b[2J\n".to_owned());
        assert_eq!(carry_out(&pager, errand, std::future::pending()), Returned::Done);
        assert_eq!(std::fs::read_to_string(out).expect("written"), "one\ntwo ^[[2J\n");
    }

    #[test]
    fn a_program_ends_with_petit() {
        let errand = Errand::Page("long\n".repeat(100_000));
        let asked = carry_out("exec sleep 600 #", errand, std::future::ready(Leaving::Terminated));
        assert_eq!(asked, Returned::Asked(Leaving::Terminated));
    }
}
