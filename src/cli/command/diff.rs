//! `petit diff`

use crate::{
    cli::{CliError, Exit, Globals},
    core::id::JobId,
};

/// Show what changed between two versions of a job
///
/// Without versions, what the latest change was. With one, what it changed against the version before it. `petit history
/// slower` names the versions that are worth a look.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job
    job: JobId,
    /// The older version, by its hash or the beginning of it
    old: Option<String>,
    /// The newer version
    new: Option<String>,
}

/// Prints the difference.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    difference::print(globals, args)
}

#[cfg(not(feature = "history"))]
mod difference {
    use super::{Args, CliError, Exit, Globals};

    pub fn print(_: &Globals, _: &Args) -> Result<Exit, CliError> {
        Err(super::super::sql::not_built_in())
    }
}

#[cfg(feature = "history")]
mod difference {
    use chrono::SecondsFormat;
    use serde_json::json;
    use similar::TextDiff;

    use super::{Args, CliError, Exit, Globals};
    use crate::{
        cli::{
            output::{BAD, GOOD, MUTED, Output},
            past,
        },
        core::{harmless::harmless, suggest::did_you_mean},
        history::Version,
    };

    pub fn print(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
        let output = globals.output();
        let versions = past::open(globals)?.versions(&args.job)?;
        let (old, new) = pair(&versions, args)?;
        let diff = unified(old, new);
        let value = json!({ "job": args.job, "old": old, "new": new, "diff": diff });
        globals.print(&value, || text(&diff, &output))?;
        Ok(Exit::Done)
    }

    fn pair<'a>(versions: &'a [Version], args: &Args) -> Result<(&'a Version, &'a Version), CliError> {
        let negative = |code, message: String| CliError::new(Exit::Negative, code, message);
        let Some(latest) = versions.len().checked_sub(1) else {
            return Err(
                negative("no_versions", format!("the history knows no version of `{}`", args.job))
                    .hint("`petit list` lists the jobs that are active now"),
            );
        };
        let find = |hash: &str| -> Result<usize, CliError> {
            let fits = |&at: &usize| versions[at].hash.starts_with(hash);
            let mut found = (0..versions.len()).filter(fits);
            match (found.next(), found.next()) {
                (Some(at), None) => Ok(at),
                (Some(_), Some(_)) => {
                    let message = format!("several versions of `{}` begin with `{hash}`", args.job);
                    Err(CliError::usage(message).hint("give more of the hash"))
                }
                (None, _) => {
                    let message = format!("`{}` has no version `{hash}`", args.job);
                    let hint = did_you_mean(hash, versions.iter().map(|version| short(&version.hash)));
                    Err(hint
                        .into_iter()
                        .fold(negative("no_such_version", message), CliError::hint))
                }
            }
        };
        let only = || {
            negative(
                "one_version",
                format!("the history knows one version of `{}`", args.job),
            )
        };
        let (old, new) = match (&args.old, &args.new) {
            (None, _) => (latest.checked_sub(1).ok_or_else(only)?, latest),
            (Some(new), None) => {
                let new = find(new)?;
                let first = || {
                    negative(
                        "first_version",
                        format!("`{}` is the first version", short(&versions[new].hash)),
                    )
                };
                (new.checked_sub(1).ok_or_else(first)?, new)
            }
            (Some(old), Some(new)) => (find(old)?, find(new)?),
        };
        Ok((&versions[old], &versions[new]))
    }

    fn unified(old: &Version, new: &Version) -> String {
        let named = |version: &Version| {
            let seen = version.first_seen.to_rfc3339_opts(SecondsFormat::Secs, true);
            format!("{} first applied {seen}", short(&version.hash))
        };
        let diff = TextDiff::from_lines(&old.yaml, &new.yaml);
        let unified = diff.unified_diff().header(&named(old), &named(new)).to_string();
        if unified.is_empty() {
            // A version is known by what it means: an alias or a default of Petit's can change that, not the text.
            "the texts are the same\n".to_owned()
        } else {
            unified
        }
    }

    fn text(diff: &str, output: &Output) -> String {
        let line = |line: &str| {
            let plain = harmless(line.as_bytes());
            match line.as_bytes().first() {
                Some(b'-') => output.paint(BAD, &plain),
                Some(b'+') => output.paint(GOOD, &plain),
                Some(b'@') => output.paint(MUTED, &plain),
                _ => plain,
            }
        };
        diff.lines().map(|text| line(text) + "\n").collect()
    }

    fn short(hash: &str) -> &str {
        hash.get(..12).unwrap_or(hash)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn versions() -> Vec<Version> {
            let version = |(n, hash): (u32, &str)| Version {
                hash: hash.to_owned(),
                first_seen: format!("2026-01-0{}T00:00:00Z", n + 1).parse().expect("an instant"),
                yaml: format!("id: a\nversion: {n}\n"),
            };
            (0..).zip(["aa11", "ab22", "cc33"]).map(version).collect()
        }

        fn found(old: Option<&str>, new: Option<&str>) -> Result<(String, String), String> {
            let args = Args {
                job: "a".parse().expect("a name"),
                old: old.map(str::to_owned),
                new: new.map(str::to_owned),
            };
            let versions = versions();
            let pair = pair(&versions, &args).map_err(|error| error.message)?;
            Ok((pair.0.hash.clone(), pair.1.hash.clone()))
        }

        #[test]
        fn versions_are_named_by_beginnings_or_left_out() {
            let pair = |old: &str, new: &str| Ok((old.to_owned(), new.to_owned()));
            assert_eq!(found(None, None), pair("ab22", "cc33"));
            assert_eq!(found(Some("ab"), None), pair("aa11", "ab22"));
            assert_eq!(found(Some("aa"), Some("c")), pair("aa11", "cc33"));
            for (old, new, says) in [
                (Some("a"), None, "several versions"),
                (Some("aa"), None, "first version"),
                (Some("dd"), Some("cc"), "no version `dd`"),
            ] {
                let error = found(old, new).expect_err(says);
                assert!(error.contains(says), "{error}");
            }
        }

        #[test]
        fn a_difference_names_both_versions() {
            let versions = versions();
            insta::assert_snapshot!(unified(&versions[0], &versions[1]));
        }
    }
}
