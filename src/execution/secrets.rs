//! Where the values of secrets come from.
//!
//! A job names sources; the [`Vault`] reads them anew for each attempt, so that a value that was exchanged is used from the
//! next attempt on. Values live in this process's memory and in the environment of the tasks that ask for them, and
//! nowhere else. What any task of the job may ask for is hidden from the first attempt on, because a task can come by a
//! value without asking; and what a source has said since Petit started stays hidden, because a task may still print
//! yesterday's value. How a value is kept out of texts is known in [`output::mask`](super::output::mask).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::output::{Mask, mask::FEWEST_BYTES};

/// Where a secret is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// The content of this file, without the line ends behind it.
    File(PathBuf),
    /// This variable of Petit's own environment.
    Env(String),
}

/// The secrets of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// What it is given, by the names of its variables.
    pub given: BTreeMap<String, Source>,
    /// Whose values are hidden in whatever it says: those of the whole job, since tasks pass things on.
    pub hidden: Vec<Source>,
}

/// Why an attempt cannot be given a secret. None of them tells anything of the value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is missing, or may not be read.
    #[error("could not read the secret `{name}` from {}", path.display())]
    Read {
        /// The variable.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, a device, or a pipe, which might never end.
    #[error("could not read the secret `{name}`: {} is not a regular file", path.display())]
    NotAFile {
        /// The variable.
        name: String,
        /// What is no file.
        path: PathBuf,
    },
    /// The variable is not set.
    #[error(
        "could not read the secret `{name}`: Petit's own environment has no `{variable}`; set it where Petit is started"
    )]
    NotSet {
        /// The variable of the task.
        name: String,
        /// The variable of Petit.
        variable: String,
    },
    /// Hiding it would hide half of everything, and so tell what it is.
    #[error(
        "the secret `{name}` has no line of at least {FEWEST_BYTES} bytes, so that it could not be masked in the log: use a \
         longer one"
    )]
    TooShort {
        /// The variable.
        name: String,
    },
    /// More than a variable can hold.
    #[error("the secret `{name}` is longer than {MOST_BYTES} bytes: pass the path of its file in `env` instead")]
    TooLong {
        /// The variable.
        name: String,
    },
    /// Not what a variable of text can hold.
    #[error("the secret `{name}` is not UTF-8 text without NUL: encode it, for example as base64")]
    NotText {
        /// The variable.
        name: String,
    },
}

/// The most that a secret may have: half of what Linux takes for one variable.
pub const MOST_BYTES: usize = 64 * 1024;
/// How many values of one source stay hidden. One that is exchanged every minute reaches it after most of a day.
const MOST_REMEMBERED: usize = 1_000;

/// Reads secrets, and remembers what must stay hidden. Clones share that.
#[derive(Clone, Default)]
pub struct Vault {
    env: Arc<BTreeMap<String, String>>,
    seen: Arc<Mutex<HashMap<Source, Vec<String>>>>,
}

impl Vault {
    /// One that finds variables in this environment, which is Petit's own.
    pub fn new(env: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            env: Arc::new(env.into_iter().collect()),
            seen: Arc::default(),
        }
    }

    /// The values of an attempt's secrets, as they are now; whatever else it has to hide is looked at as well. Reads files.
    pub fn read(&self, secrets: &Secrets) -> Result<Vec<(String, String)>, SecretError> {
        // First, so that what is said of one that cannot be read is masked too.
        self.look_at(
            secrets
                .hidden
                .iter()
                .filter(|source| !secrets.given.values().any(|given| given == *source)),
        );
        let value = |(name, source): (&String, &Source)| Ok((name.clone(), self.value(name, source)?));
        secrets.given.iter().map(value).collect()
    }

    /// Remembers what every source says now whose values the attempt has to hide. Reads files.
    pub fn look(&self, secrets: &Secrets) {
        self.look_at(secrets.hidden.iter());
    }

    /// One that cannot be read is for the task to mind that is given it.
    fn look_at<'a>(&self, sources: impl Iterator<Item = &'a Source>) {
        let sources: HashSet<&Source> = sources.collect();
        for source in sources {
            let _ = self.value("", source);
        }
    }

    /// What a source says now.
    fn value(&self, name: &str, source: &Source) -> Result<String, SecretError> {
        let value = match source {
            Source::File(path) => read_file(name, path)?,
            Source::Env(variable) => self.env.get(variable).cloned().ok_or_else(|| SecretError::NotSet {
                name: name.to_owned(),
                variable: variable.clone(),
            })?,
        };
        let value = value.trim_end_matches(['\r', '\n']).to_owned();
        check(name, &value)?;
        self.remember(source, &value);
        Ok(value)
    }

    /// What hides every value that the attempt's sources have said until now.
    pub fn mask(&self, secrets: &Secrets) -> Mask {
        if secrets.hidden.is_empty() {
            return Mask::default();
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let values = secrets.hidden.iter().filter_map(|source| seen.get(source)).flatten();
        Mask::new(values.map(String::as_str))
    }

    fn remember(&self, source: &Source, value: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let values = seen.entry(source.clone()).or_default();
        if values.iter().any(|known| known == value) {
            return;
        }
        if values.len() == MOST_REMEMBERED {
            values.remove(0);
        }
        values.push(value.to_owned());
    }
}

fn read_file(name: &str, path: &Path) -> Result<String, SecretError> {
    let unreadable = |source| SecretError::Read {
        name: name.to_owned(),
        path: path.to_owned(),
        source,
    };
    // Opening a pipe in the usual way waits for whoever writes into it.
    let file = fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(SecretError::NotAFile {
            name: name.to_owned(),
            path: path.to_owned(),
        });
    }
    let mut bytes = Vec::new();
    // A byte more than is allowed, and a line end, are enough to know that it is too much.
    let most = MOST_BYTES as u64 + 3;
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| SecretError::NotText { name: name.to_owned() })
}

fn check(name: &str, value: &str) -> Result<(), SecretError> {
    let name = || name.to_owned();
    if value.len() > MOST_BYTES {
        Err(SecretError::TooLong { name: name() })
    } else if value.contains('\0') {
        Err(SecretError::NotText { name: name() })
    } else if !Mask::can_hide(value) {
        Err(SecretError::TooShort { name: name() })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(sources: &[(&str, Source)]) -> Secrets {
        Secrets {
            given: sources
                .iter()
                .map(|(name, source)| ((*name).to_owned(), source.clone()))
                .collect(),
            hidden: sources.iter().map(|(_, source)| source.clone()).collect(),
        }
    }

    #[test]
    fn values_are_read_anew_and_every_one_stays_hidden() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("token");
        let vault = Vault::new([("OWN".to_owned(), "from-outside".to_owned())]);
        let secrets = given(&[("A", Source::File(path.clone())), ("B", Source::Env("OWN".to_owned()))]);
        for value in ["first", "second"] {
            fs::write(&path, format!("{value}\r\n")).expect("a writable folder");
            let read = vault.read(&secrets).expect("readable");
            assert_eq!(
                read,
                [("A", value), ("B", "from-outside")].map(|(name, value)| (name.into(), value.into()))
            );
        }
        let mask = vault.mask(&secrets);
        assert_eq!(mask.hide("first second from-outside third"), "*** *** *** third");
        assert!(vault.mask(&given(&[("C", Source::Env("ELSE".to_owned()))])).is_empty());
    }

    #[test]
    fn what_another_task_is_given_is_hidden_before_that_task_runs() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("token");
        let short = folder.path().join("short");
        fs::write(&path, "of-the-other\n").expect("a writable folder");
        fs::write(&short, "abc\n").expect("a writable folder");
        let vault = Vault::default();
        let mut secrets = Secrets {
            hidden: vec![
                Source::File(folder.path().join("gone")),
                Source::File(short),
                Source::File(path.clone()),
            ],
            ..Secrets::default()
        };
        assert_eq!(vault.read(&secrets).expect("it is given none"), []);
        assert_eq!(vault.mask(&secrets).hide("of-the-other abc"), "*** abc");
        fs::write(&path, "exchanged\n").expect("a writable folder");
        secrets.given.insert("A".to_owned(), Source::Env("NO".to_owned()));
        vault.read(&secrets).expect_err("its own cannot be read");
        assert_eq!(vault.mask(&secrets).hide("of-the-other exchanged"), "*** ***");
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_without_telling_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, content).expect("a writable folder");
            Source::File(path)
        };
        let refused = |source: Source| {
            let error = Vault::default()
                .read(&given(&[("TOKEN", source)]))
                .expect_err("refused");
            let words = crate::core::error_text::chain(&error);
            assert!(words.contains("`TOKEN`"), "{words}");
            error
        };
        let short = refused(file("short", b"x7z\n"));
        assert!(
            matches!(short, SecretError::TooShort { .. }) && !short.to_string().contains("x7z"),
            "{short}"
        );
        assert!(matches!(
            refused(file("long", &[b'a'; MOST_BYTES + 9])),
            SecretError::TooLong { .. }
        ));
        assert!(matches!(refused(file("nul", b"abc\0def")), SecretError::NotText { .. }));
        assert!(matches!(
            refused(file("bytes", b"abc\xff\xfe")),
            SecretError::NotText { .. }
        ));
        assert!(matches!(
            refused(Source::File(folder.path().into())),
            SecretError::NotAFile { .. }
        ));
        assert!(matches!(
            refused(Source::File(folder.path().join("gone"))),
            SecretError::Read { .. }
        ));
        assert!(matches!(
            refused(Source::Env("NOWHERE".to_owned())),
            SecretError::NotSet { .. }
        ));
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .expect("mkfifo");
        assert!(made.success());
        assert!(matches!(refused(Source::File(pipe)), SecretError::NotAFile { .. }));
    }
}
