//! The questions that the history answers, by name: what the command line takes and the screens offer, also where the
//! history itself is not built in.

use std::{fmt, str::FromStr};

use crate::core::suggest::did_you_mean;

/// A question to the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Question {
    /// How long runs take.
    Duration,
    /// Which change made what slower.
    Slower,
    /// When runs fail.
    Calendar,
    /// What tasks wait for.
    Waits,
    /// Who held pools, and who waited.
    Contention,
    /// What tasks ask for, and what they use.
    Sizing,
    /// How late runs start.
    Lateness,
    /// Which slots did not run.
    Missed,
    /// Which tasks fail and then pass.
    Flaky,
    /// What retries cost and save.
    Retries,
    /// What tasks published.
    Outputs,
    /// What changed the jobs.
    Changes,
}

/// A text that names no question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no view `{name}`: expected one of {}{}", known(), hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default())]
pub struct UnknownQuestion {
    /// What was given.
    pub name: String,
    /// What was probably meant.
    pub hint: Option<String>,
}

impl Question {
    /// All of them, in the order in which they are offered.
    pub const ALL: [Self; 12] = [
        Self::Duration,
        Self::Slower,
        Self::Calendar,
        Self::Waits,
        Self::Contention,
        Self::Sizing,
        Self::Lateness,
        Self::Missed,
        Self::Flaky,
        Self::Retries,
        Self::Outputs,
        Self::Changes,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Slower => "slower",
            Self::Calendar => "calendar",
            Self::Waits => "waits",
            Self::Contention => "contention",
            Self::Sizing => "sizing",
            Self::Lateness => "lateness",
            Self::Missed => "missed",
            Self::Flaky => "flaky",
            Self::Retries => "retries",
            Self::Outputs => "outputs",
            Self::Changes => "changes",
        }
    }

    /// What it asks, in a line.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Duration => "how long runs take, by job; with `task=`, attempts by task",
            Self::Slower => "which change of a job made what slower, the most time lost first",
            Self::Calendar => "when runs fail, by weekday and hour in UTC",
            Self::Waits => "waiting for dependencies, for slots, and running, by job; with `task=`, by task",
            Self::Contention => "each pool of slots: which job held it, and which waited for it",
            Self::Sizing => "memory and processors: what tasks ask for, what they used, and what would do",
            Self::Lateness => "from the scheduled instant to the start, by job",
            Self::Missed => "slots that did not run, by day, job and reason",
            Self::Flaky => "tasks that failed and then passed, on the same spec in the same run",
            Self::Retries => "what retries cost, and how many runs they saved, by task",
            Self::Outputs => "numbers that tasks published, those furthest from their usual value first",
            Self::Changes => "reconciles, newest first: what changed or was refused, by whom, from which commit",
        }
    }

    /// The column by which the rows are ranked, and which a bar shows best; empty where none does.
    pub const fn measure(self) -> &'static str {
        match self {
            Self::Duration | Self::Lateness => "p95_ms",
            Self::Slower => "lost_ms",
            Self::Calendar => "failed",
            Self::Waits => "slots_total_ms",
            Self::Contention => "waited_ms",
            Self::Sizing => "spare_bytes",
            Self::Missed => "slots",
            Self::Flaky => "flaky",
            Self::Retries => "cost_ms",
            // What is far off may be too little as well, and the order of changes is that of time: no bar shows either.
            Self::Outputs | Self::Changes => "",
        }
    }
}

fn known() -> String {
    Question::ALL.map(Question::name).join(", ")
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Question {
    type Err = UnknownQuestion;

    fn from_str(text: &str) -> Result<Self, UnknownQuestion> {
        let named = Self::ALL.into_iter().find(|question| question.name() == text);
        named.ok_or_else(|| UnknownQuestion {
            name: text.to_owned(),
            hint: did_you_mean(text, Self::ALL.map(Self::name)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_slips_are_guessed() {
        for question in Question::ALL {
            assert_eq!(question.name().parse(), Ok(question));
        }
        let error = "durations".parse::<Question>().expect_err("no such question");
        assert!(error.to_string().contains("did you mean `duration`?"), "{error}");
    }
}
