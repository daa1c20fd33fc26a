//! Keys that the format has and this version of Petit does not act on yet.
//!
//! They are all in one table, so that the work which brings a behaviour takes its line away here and nowhere else. A key
//! that a job relies on for its safety is refused, because a job that runs without it would do harm; any other is
//! accepted with a warning that says what does not happen.

use serde_json::Value;

use super::{Violation, pointer_to};

/// Which kind of file a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// A job file.
    Job,
    /// The settings.
    Settings,
}

/// What is done about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The file is invalid with it.
    Refused,
    /// The file is valid, and its author is told.
    Warned,
}

struct Later {
    document: Document,
    /// Keys from the root; `*` stands for any.
    path: &'static [&'static str],
    verdict: Verdict,
    /// What does not happen.
    consequence: &'static str,
}

const TABLE: &[Later] = &[
    Later {
        document: Document::Job,
        path: &["notify"],
        verdict: Verdict::Warned,
        consequence: "nobody is told",
    },
    Later {
        document: Document::Settings,
        path: &["api"],
        verdict: Verdict::Refused,
        consequence: "nothing would listen there",
    },
    Later {
        document: Document::Settings,
        path: &["notify"],
        verdict: Verdict::Warned,
        consequence: "nobody is told",
    },
];

/// The keys of a document that come later, of one verdict. `value` is the document with its defaults left out.
pub fn find(document: Document, verdict: Verdict, value: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    for later in TABLE
        .iter()
        .filter(|later| later.document == document && later.verdict == verdict)
    {
        walk(value, later.path, &mut Vec::new(), &mut |path| {
            found.push(later.violation(path))
        });
    }
    found
}

impl Later {
    fn violation(&self, path: &[&str]) -> Violation {
        let key = self.path.last().copied().unwrap_or_default();
        let name = format!("`{key}`");
        let (code, message, hint) = match self.verdict {
            Verdict::Refused => (
                "comes-later",
                format!("{name} comes with a later version of Petit; today {}", self.consequence),
                "remove it",
            ),
            Verdict::Warned => (
                "no-effect-yet",
                format!("{name} has no effect in this version of Petit: {}", self.consequence),
                "it may stay; a later version acts on it",
            ),
        };
        Violation {
            expected: (self.verdict == Verdict::Refused).then(|| format!("nothing called `{key}` yet")),
            hint: Some(hint.to_owned()),
            at_key: true,
            ..Violation::new(pointer_to(path), code, message)
        }
    }
}

fn walk<'a>(value: &'a Value, rest: &[&str], path: &mut Vec<&'a str>, visit: &mut impl FnMut(&[&'a str])) {
    let Some((first, rest)) = rest.split_first() else {
        return visit(path);
    };
    let Value::Object(map) = value else { return };
    for (key, child) in map.iter().filter(|(key, _)| *first == "*" || key == first) {
        path.push(key);
        walk(child, rest, path, visit);
        path.pop();
    }
}
