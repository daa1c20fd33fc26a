//! Jobs that always fire on the same second and want more of a pool together than it has: each time one of them waits.
//!
//! That is valid and seldom meant. A warning that is mostly wrong is soon read by nobody, so only what is certain counts:
//! cron expressions that mean the same in the same zone, without jitter, and a pool too small for all of them. `0 * * * *`
//! and `0 0 * * *` meet once a day and are left alone; so are periods, whose anchors no file knows, and jobs that are
//! disabled.

use std::collections::HashMap;

use chrono_tz::Tz;

use super::{
    diagnostic::{Diagnostic, Kind, Severity},
    set::{Member, diagnose},
};
use crate::core::{
    capacity::SystemResources,
    job::{Job, Violation},
    schedule::{CronExpr, Timing},
};

/// Warns each of the jobs that meet, at the expression that it shares.
pub fn check_contention(members: &[Member<'_>], capacity: &SystemResources) -> Vec<Diagnostic> {
    let mut meetings: HashMap<(&str, Tz, CronExpr), Vec<Guest<'_, '_>>> = HashMap::new();
    for member in members {
        for (pool, slots) in wanted(member.job) {
            for (index, expr, zone) in expressions(member.job) {
                let guest = Guest { member, index, slots };
                meetings.entry((pool, zone, expr)).or_default().push(guest);
            }
        }
    }
    let crowded = meetings.iter().filter_map(|((pool, ..), guests)| {
        let whole = *capacity.pools.get(*pool)?;
        let together: u64 = guests.iter().map(|guest| u64::from(guest.slots)).sum();
        (guests.len() > 1 && together > u64::from(whole)).then_some((*pool, whole, guests))
    });
    crowded
        .flat_map(|(pool, whole, guests)| {
            let warn = move |guest: &Guest<'_, '_>| {
                let violation = violation(guest, guests, pool, whole);
                diagnose(guest.member, vec![(Kind::File, violation)], Severity::Warning)
            };
            guests.iter().flat_map(warn)
        })
        .collect()
}

/// A job at one of its expressions.
struct Guest<'m, 'a> {
    member: &'m Member<'a>,
    /// Which of its expressions.
    index: usize,
    /// How many slots of the pool it asks for.
    slots: u32,
}

/// The pools of a job's tasks, with the most that one of them asks for.
pub(crate) fn wanted(job: &Job) -> HashMap<&str, u32> {
    let mut pools = HashMap::new();
    for (pool, slots) in job.spec.tasks.values().flat_map(|task| &task.resources.slots) {
        let most = pools.entry(pool.as_str()).or_insert(0);
        *most = (*most).max(*slots);
    }
    pools
}

fn expressions(job: &Job) -> Vec<(usize, CronExpr, Tz)> {
    let together = job
        .spec
        .schedule
        .as_ref()
        .is_some_and(|spec| spec.jitter.as_millis() == 0);
    let schedule = job.schedule.as_ref().filter(|_| together && job.spec.enabled);
    let Some(schedule) = schedule else { return Vec::new() };
    let numbered = schedule.timings().into_iter().enumerate();
    numbered
        .filter_map(|(index, timing)| match timing {
            Timing::Cron(expr) => Some((index, expr, schedule.zone())),
            Timing::Every(_) => None,
        })
        .collect()
}

fn violation(guest: &Guest<'_, '_>, guests: &[Guest<'_, '_>], pool: &str, whole: u32) -> Violation {
    let mut others = guests.iter().filter(|other| other.member.file != guest.member.file);
    let first = others.next().map_or("itself", |other| other.member.job.id.as_str());
    let more = match others.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let slots = if whole == 1 {
        "1 slot".to_owned()
    } else {
        format!("{whole} slots")
    };
    Violation {
        hint: Some("give one of them another second or minute, or a `jitter`".to_owned()),
        ..Violation::new(
            format!("/schedule/cron/{}", guest.index),
            "same-second",
            format!("it fires on the same second as `{first}`{more}, and the pool `{pool}` has only {slots} for them"),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{check::check_file, settings::Settings};

    /// The warnings for jobs `a`, `b`, … of which each has this schedule and wants a slot of `gpu`.
    fn warnings(schedules: &[&str], slots: u32) -> Vec<(String, String)> {
        let files: Vec<_> = schedules
            .iter()
            .zip('a'..)
            .map(|(schedule, name)| {
                let text = format!("{schedule}\ntasks: {{t: {{command: [x], resources: {{slots: {{gpu: 1}}}}}}}}\n");
                let file = format!("{name}.yaml");
                let checked = check_file(Path::new(&file), text.as_bytes(), &Settings::default());
                (file, checked)
            })
            .collect();
        let members: Vec<Member<'_>> = files
            .iter()
            .map(|(file, checked)| Member {
                file,
                job: checked.job.as_ref().expect("a valid job"),
                yaml: &checked.yaml,
            })
            .collect();
        let capacity = SystemResources {
            pools: [("gpu".to_owned(), slots)].into(),
            tasks: 8,
            cpu_millis: 8_000,
            memory_bytes: 1 << 30,
        };
        let mut found: Vec<_> = check_contention(&members, &capacity)
            .into_iter()
            .map(|it| {
                assert_eq!(it.severity, Severity::Warning);
                (format!("{}:{}:{}", it.file, it.line, it.column), it.message)
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn jobs_that_always_meet_in_a_pool_too_small_are_warned_of() {
        let same = "it fires on the same second as";
        let small = "and the pool `gpu` has only 1 slot for them";
        assert_eq!(
            warnings(
                &["schedule: '@daily'", "schedule: {cron: ['5 * * * *', '0 0 * * *']}"],
                1
            ),
            [
                ("a.yaml:1:11".to_owned(), format!("{same} `b`, {small}")),
                ("b.yaml:1:32".to_owned(), format!("{same} `a`, {small}")),
            ]
        );
        let three = warnings(&["schedule: '@daily'"; 3], 2);
        assert!(three.len() == 3 && three[0].1.contains("`b` and 1 more"), "{three:?}");
    }

    #[test]
    fn what_is_meant_or_unknown_is_left_alone() {
        for (schedules, slots) in [
            (["schedule: '@daily'", "schedule: '@daily'"], 2),
            (["schedule: '@daily'", "schedule: '@hourly'"], 1),
            (["schedule: {every: 5m}", "schedule: {every: 5m}"], 1),
            (["schedule: '@daily'", "schedule: {cron: '@daily', jitter: 1m}"], 1),
            (
                ["schedule: '@daily'", "schedule: {cron: '@daily', timezone: Asia/Tokyo}"],
                1,
            ),
            (["schedule: '@daily'", "enabled: false\nschedule: '@daily'"], 1),
            (["schedule: '@daily'", ""], 1),
        ] {
            assert_eq!(warnings(&schedules, slots), [], "{schedules:?}");
        }
    }
}
