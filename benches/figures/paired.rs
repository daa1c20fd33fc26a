//! Measuring one thing against another: in turn, several times, and told as medians with the least and the most.
//!
//! A machine that does something else for a while slows both sides of a round, so that their ratio stands where absolute
//! figures do not. `criterion` measures one thing after the other and compares it with a former run, which is why this
//! small harness is here instead. It knows nothing of what is measured.

use std::fmt;

/// What a number is, which decides how it is written.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    Seconds,
    PerSecond,
    Bytes,
    /// A part of one.
    Share,
}

/// The median of some numbers, the least and the most.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

/// What rounds of two sides have given.
#[derive(Debug)]
pub struct Pair {
    pub subject: Spread,
    pub reference: Spread,
    /// The subject by the reference, of each round by itself.
    pub ratio: Spread,
}

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub what: String,
    pub subject: String,
    pub reference: String,
    pub ratio: String,
    /// What `figures.md` wants to be able to say.
    pub goal: &'static str,
}

/// Measures both sides in turn. A first round that does not count fills the caches.
pub fn in_turn(rounds: usize, mut subject: impl FnMut() -> f64, mut reference: impl FnMut() -> f64) -> Pair {
    subject();
    reference();
    let rounds: Vec<(f64, f64)> = (0..rounds).map(|_| (subject(), reference())).collect();
    Pair {
        subject: Spread::of(rounds.iter().map(|round| round.0)),
        reference: Spread::of(rounds.iter().map(|round| round.1)),
        ratio: Spread::of(rounds.iter().map(|(subject, reference)| subject / reference)),
    }
}

impl Pair {
    pub fn row(&self, name: &'static str, what: impl Into<String>, unit: Unit, goal: &'static str) -> Row {
        Row {
            name,
            what: what.into(),
            subject: self.subject.written(|value| unit.written(value)),
            reference: unit.written(self.reference.median),
            ratio: self.ratio.written(|value| format!("{value:.2}")),
            goal,
        }
    }
}

impl Row {
    /// A figure that has no reference but its goal.
    pub fn alone(name: &'static str, what: impl Into<String>, subject: String, goal: &'static str) -> Self {
        let (reference, ratio) = ("–".to_owned(), "–".to_owned());
        Self {
            name,
            what: what.into(),
            subject,
            reference,
            ratio,
            goal,
        }
    }
}

impl Spread {
    /// Of at least one number.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self {
            median: percentile(&values, 50),
            least: values[0],
            most: values[values.len() - 1],
        }
    }

    pub fn written(&self, write: impl Fn(f64) -> String) -> String {
        format!("{} ({}–{})", write(self.median), write(self.least), write(self.most))
    }
}

/// The value that so many in a hundred do not exceed.
pub fn percentile(sorted: &[f64], hundredths: usize) -> f64 {
    sorted[(sorted.len() * hundredths).div_ceil(100).saturating_sub(1)]
}

impl Unit {
    pub fn written(self, value: f64) -> String {
        match self {
            Self::Seconds if value >= 1.0 => format!("{value:.2} s"),
            Self::Seconds if value >= 1e-3 => format!("{:.2} ms", value * 1e3),
            Self::Seconds if value >= 1e-6 => format!("{:.2} µs", value * 1e6),
            Self::Seconds => format!("{:.0} ns", value * 1e9),
            Self::PerSecond => format!("{value:.0}/s"),
            Self::Bytes => format!("{:.1} MB", value / 1e6),
            Self::Share => format!("{:.3} %", value * 100.0),
        }
    }
}

/// The rows as a table, each column as wide as it must be.
pub struct Table<'a>(pub &'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["name", "what", "Petit", "reference", "ratio", "goal"].map(str::to_owned);
        let cells = |row: &Row| {
            let Row {
                name,
                what,
                subject,
                reference,
                ratio,
                goal,
            } = row;
            [*name, what, subject, reference, ratio, goal].map(str::to_owned)
        };
        let lines: Vec<[String; 6]> = [head].into_iter().chain(self.0.iter().map(cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        for line in &lines {
            let padded: Vec<String> = line
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            writeln!(f, "{}", padded.join("  ").trim_end())?;
        }
        Ok(())
    }
}
