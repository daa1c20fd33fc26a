//! The settings, `petit.yaml`: one file for the whole of Petit, in which every key has a default.
//!
//! Read through the same gates as a job file. [`check`] is pure; [`load`] finds and opens the file, and knows that
//! paths in it are relative to its folder.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    check::{gate, locate_violations},
    diagnostic::{Diagnostic, Finding, Severity, locate},
    explain::Subject,
    schema, yaml,
};
use crate::core::{
    job::{
        Violation,
        later::{self, Document, Verdict},
    },
    keep::Keep,
    schedule::parse_timezone,
    spec::{NotifySpec, given},
    units::{ByteSize, HumanDuration},
};

/// How Petit works on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Petit settings")]
pub struct Settings {
    /// The folder that holds the job files.
    pub jobs_dir: PathBuf,
    /// The folder of the journal, the history, the logs and the socket.
    pub state_dir: PathBuf,
    /// The IANA time zone of jobs that name none.
    pub timezone: String,
    /// How many tasks run at a time, over all jobs; by default twice the number of processors.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_concurrency: Option<u32>,
    /// Variables of Petit's own environment that tasks may see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pass_env: Vec<String>,
    /// What tasks share.
    #[serde(skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// How long things are kept.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// How job files are followed.
    #[serde(skip_serializing_if = "is_default")]
    pub reconcile: Reconcile,
    /// How long running tasks may go on when Petit is told to stop.
    pub shutdown_grace: HumanDuration,
    /// Whom to tell, and when, for all jobs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<NotifySpec>,
    /// The interface over TCP; off unless set.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            jobs_dir: "jobs.d".into(),
            state_dir: ".petit".into(),
            timezone: "UTC".to_owned(),
            max_concurrency: None,
            pass_env: Vec::new(),
            resources: Resources::default(),
            retention: None,
            reconcile: Reconcile::default(),
            shutdown_grace: HumanDuration::from_secs(30),
            notify: Vec::new(),
            api: None,
        }
    }
}

/// What tasks share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Named slots; a task that asks for an unknown pool is invalid.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("additionalProperties" = {"type": "integer", "minimum": 1, "maximum": 1_000_000}))]
    pub pools: BTreeMap<String, u32>,
    /// Processors; by default what the machine, or Petit's cgroup, has.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 10_000))]
    pub cpu: Option<f64>,
    /// Memory; by default what the machine, or Petit's cgroup, has.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
}

/// How long things are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Finished runs, in the journal and in the history.
    pub runs: Keep,
    /// Logs of finished runs; none outlives its run.
    pub logs: Keep,
    /// The log of one attempt.
    pub log_size: ByteSize,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            runs: Keep::days(90),
            logs: Keep::days(30),
            log_size: ByteSize::from_bytes(10 << 20),
        }
    }
}

/// How job files are followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reconcile {
    /// How long it must be quiet before changes are looked at.
    pub debounce: HumanDuration,
    /// How often everything is looked at, whatever the watcher says.
    pub resync: HumanDuration,
    /// What happens to a job whose file is gone.
    pub prune: Prune,
    /// The share of the jobs that may vanish at once without being asked about.
    pub prune_guard: Percent,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self {
            debounce: HumanDuration::from_millis(150),
            resync: HumanDuration::from_secs(30),
            prune: Prune::Auto,
            prune_guard: Percent(50),
        }
    }
}

/// What happens to a job whose file is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Prune {
    /// It is removed, unless too many vanish at once.
    #[default]
    Auto,
    /// Its removal waits to be approved.
    Hold,
    /// It stays active.
    Never,
}

/// The interface over TCP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// The address and port to listen on.
    pub listen: String,
    /// The file that holds the token which clients must show.
    pub token_file: PathBuf,
}

/// A share of a whole, written `50%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percent(u8);

/// The form of a share, as a regular expression.
pub const PERCENT_PATTERN: &str = "^(100|[0-9]{1,2})%$";

impl Percent {
    /// The number before the sign, from 0 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<String> for Percent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = text.strip_suffix('%').filter(|digits| {
            (1..=3).contains(&digits.len())
                && digits.bytes().all(|b| b.is_ascii_digit())
                && (digits.len() < 3 || *digits == "100")
        });
        number
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a share: expected 0% to 100%"))
    }
}

impl From<Percent> for String {
    fn from(share: Percent) -> String {
        format!("{}%", share.0)
    }
}

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": PERCENT_PATTERN, "examples": ["50%"] })
    }
}

impl Settings {
    /// The zone of jobs that name none. Settings that were not read from a file may name one that does not exist; they
    /// mean UTC.
    pub fn zone(&self) -> Tz {
        parse_timezone(&self.timezone).unwrap_or(Tz::UTC)
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        if let Err(error) = parse_timezone(&self.timezone) {
            found.push(Violation {
                expected: Some(error.expected().to_owned()),
                hint: error.hint(),
                ..Violation::new("/timezone", "unknown-timezone", error.to_string())
            });
        }
        for (key, period) in [
            ("/reconcile/debounce", self.reconcile.debounce),
            ("/reconcile/resync", self.reconcile.resync),
        ] {
            if period.as_millis() == 0 {
                found.push(Violation {
                    expected: Some("a duration longer than nothing".to_owned()),
                    ..Violation::new(key, "zero-period", "Petit would never stop looking")
                });
            }
        }
        for (key, path) in [("/jobs_dir", &self.jobs_dir), ("/state_dir", &self.state_dir)] {
            if path.as_os_str().is_empty() {
                found.push(Violation::new(key, "empty", "nothing is written here"));
            }
        }
        found
    }
}

/// The settings of a text, and what is to be said about it. No settings when anything is wrong.
pub fn check(file: &str, text: &[u8]) -> (Option<Settings>, Vec<Diagnostic>, String) {
    let subject = Subject {
        schema: schema::settings_schema(),
        what: "the settings",
    };
    // Settings that say nothing are the defaults, which is what a file of comments alone means.
    let bare = std::str::from_utf8(text).is_ok_and(|text| {
        text.lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    });
    if bare {
        return (
            Some(Settings::default()),
            Vec::new(),
            String::from_utf8_lossy(text).into_owned(),
        );
    }
    let document = match yaml::parse(text) {
        Ok(document) => document,
        Err(unreadable) => {
            let found = locate(file, &unreadable.text, unreadable.findings);
            return (None, found, unreadable.text);
        }
    };
    let settings: Settings = match gate(&document, &subject) {
        Ok(settings) => settings,
        Err(findings) => return (None, locate(file, &document.text, findings), document.text),
    };
    let mut findings: Vec<Finding> = Vec::new();
    let mut errors = settings.violations();
    errors.extend(later::find(Document::Settings, Verdict::Refused, &document.value));
    findings.extend(locate_violations(&document, errors, Severity::Error));
    let valid = findings.is_empty();
    let warnings = later::find(Document::Settings, Verdict::Warned, &document.value);
    findings.extend(locate_violations(&document, warnings, Severity::Warning));
    let diagnostics = locate(file, &document.text, findings);
    (valid.then_some(settings), diagnostics, document.text)
}

/// Settings with the folder that their paths are relative to.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedSettings {
    /// What the file says, or the defaults.
    pub settings: Settings,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// What is worth telling about it.
    pub warnings: Vec<Diagnostic>,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not valid.
    #[error("the settings `{}` are not valid", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong.
        diagnostics: Vec<Diagnostic>,
        /// The file's text, for showing them.
        text: String,
    },
}

/// The file that is read when none is named and it exists.
pub const DEFAULT_FILE: &str = "petit.yaml";

/// Reads the settings from a file: the one that is named, else [`DEFAULT_FILE`] in the current folder, else none.
pub fn load(path: Option<&Path>) -> Result<LoadedSettings, SettingsError> {
    let named = path.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match std::fs::read(named) {
        Ok(text) => text,
        Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return Ok(LoadedSettings {
                settings: Settings::default(),
                file: None,
                warnings: Vec::new(),
            });
        }
        Err(source) => {
            return Err(SettingsError::Read {
                path: named.to_owned(),
                source,
            });
        }
    };
    match check(&named.display().to_string(), &text) {
        (Some(settings), warnings, _) => Ok(LoadedSettings {
            settings,
            file: Some(named.to_owned()),
            warnings,
        }),
        (None, diagnostics, text) => Err(SettingsError::Invalid {
            path: named.to_owned(),
            diagnostics,
            text,
        }),
    }
}

impl LoadedSettings {
    /// The folder of the job files, relative to the current folder or absolute.
    pub fn jobs_dir(&self) -> PathBuf {
        self.resolve(&self.settings.jobs_dir)
    }

    /// The folder of the state, relative to the current folder or absolute.
    pub fn state_dir(&self) -> PathBuf {
        self.resolve(&self.settings.state_dir)
    }

    /// A path of the settings as seen from the current folder.
    fn resolve(&self, path: &Path) -> PathBuf {
        match self.file.as_deref().and_then(Path::parent) {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
