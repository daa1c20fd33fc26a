//! What only all files together can answer: whether every reference leads somewhere.
//!
//! Asked of the set as it would be, with each invalid file replaced by its last good version or by nothing. A job that
//! needs something missing is *blocked*, not wrong; two files with one id are in *conflict*; jobs that wait for each
//! other, and tasks that ask for more than there is, are errors.

use std::collections::BTreeMap;

use super::{
    check::locate_violations,
    diagnostic::{Diagnostic, Kind, Severity, locate},
    yaml,
};
use crate::core::{
    capacity::{SystemResources, cpu_millis, cpu_text},
    id::JobId,
    job::{Job, Violation, pointer_to},
    suggest::did_you_mean,
    task::TaskRegistry,
    units::ByteSize,
};

/// One file of the set.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Its path.
    pub file: &'a str,
    /// The job that it holds.
    pub job: &'a Job,
    /// Its text, as [`super::check::Checked`] gives it; without one, diagnostics point at the beginning.
    pub yaml: &'a str,
}

/// Checks all files against each other. Diagnostics come in the order of the members.
pub fn check_set(members: &[Member<'_>]) -> Vec<Diagnostic> {
    let mut by_id: BTreeMap<&JobId, Vec<&Member<'_>>> = BTreeMap::new();
    for member in members {
        by_id.entry(&member.job.id).or_default().push(member);
    }
    let cycles = cycles(&by_id);
    let mut found = Vec::new();
    for member in members {
        let job = member.job;
        let mut violations = Vec::new();
        violations.extend(conflict(member, &by_id[&job.id]).map(|violation| (Kind::Conflict, violation)));
        violations.extend(missing(job, &by_id).map(|violation| (Kind::Blocked, violation)));
        violations.extend(cycles.get(&job.id).map(|violation| (Kind::File, violation.clone())));
        found.extend(diagnose(member, violations, Severity::Error));
    }
    found
}

/// Checks that one job's tasks ask for no more than there is, which concerns its file alone.
pub fn check_capacity(member: &Member<'_>, capacity: &SystemResources) -> Vec<Diagnostic> {
    diagnose(
        member,
        too_much(member.job, capacity)
            .map(|violation| (Kind::File, violation))
            .collect(),
        Severity::Error,
    )
}

/// Checks that the Rust tasks which one job uses are registered in this program; plain `petit` has none.
pub fn check_uses(member: &Member<'_>, tasks: &TaskRegistry) -> Vec<Diagnostic> {
    let used = member
        .job
        .spec
        .tasks
        .iter()
        .filter_map(|(id, task)| Some((id, task.uses.as_deref()?)));
    let unknown = used.filter(|(_, uses)| tasks.get(uses).is_none());
    let violations = unknown.map(|(id, uses)| Violation {
        expected: Some(if tasks.is_empty() {
            "`command`, since this program has no Rust tasks".to_owned()
        } else {
            let names: Vec<String> = tasks.names().map(|name| format!("`{name}`")).collect();
            format!("one of {}", names.join(", "))
        }),
        hint: did_you_mean(uses, tasks.names()).or_else(|| {
            Some(
                "`uses` names a task of the program that embeds Petit and registers it; see README.md, \"The library\""
                    .to_owned(),
            )
        }),
        ..Violation::new(
            pointer_to(&["tasks", id.as_str(), "uses"]),
            "unknown-rust-task",
            format!("no Rust task is registered as `{uses}`"),
        )
    });
    let violations = violations.map(|violation| (Kind::File, violation)).collect();
    diagnose(member, violations, Severity::Error)
}

/// The violations with their places in the member's file.
pub(super) fn diagnose(member: &Member<'_>, violations: Vec<(Kind, Violation)>, severity: Severity) -> Vec<Diagnostic> {
    if violations.is_empty() {
        return Vec::new();
    }
    let document = yaml::parse(member.yaml.as_bytes());
    let findings = violations
        .into_iter()
        .flat_map(|(kind, violation)| {
            let findings: Vec<_> = match &document {
                Ok(document) => locate_violations(document, vec![violation], severity).collect(),
                Err(_) => vec![super::diagnostic::Finding {
                    severity,
                    expected: violation.expected,
                    hint: violation.hint,
                    ..super::diagnostic::Finding::error(0..0, violation.code, violation.message)
                }],
            };
            findings
                .into_iter()
                .map(move |finding| super::diagnostic::Finding { kind, ..finding })
        })
        .collect();
    locate(member.file, member.yaml, findings)
}

fn conflict(member: &Member<'_>, same: &[&Member<'_>]) -> Option<Violation> {
    let others: Vec<String> = same
        .iter()
        .filter(|other| other.file != member.file)
        .map(|other| format!("`{}`", other.file))
        .collect();
    (!others.is_empty()).then(|| Violation {
        expected: Some("an id that no other file has".to_owned()),
        hint: Some("give one of them another `id`, or remove it".to_owned()),
        ..Violation::new(
            "/id",
            "duplicate-id",
            format!("the id `{}` is also that of {}", member.job.id, others.join(" and ")),
        )
    })
}

fn missing<'a>(job: &'a Job, by_id: &'a BTreeMap<&JobId, Vec<&Member<'_>>>) -> impl Iterator<Item = Violation> + 'a {
    let dependencies = job.spec.depends_on.iter().enumerate();
    dependencies
        .filter(|(_, dependency)| !by_id.contains_key(&dependency.job))
        .map(|(i, dependency)| {
            let name = &dependency.job;
            Violation {
                expected: Some("the id of a job whose file is valid".to_owned()),
                hint: did_you_mean(name.as_str(), by_id.keys().map(|id| id.as_str()))
                    .or_else(|| Some(format!("add a file for `{name}`, or remove the dependency"))),
                ..Violation::new(
                    format!("/depends_on/{i}/job"),
                    "missing-job",
                    format!("no valid file holds the job `{name}`"),
                )
            }
        })
}

/// Jobs that wait for each other: for each of them, the path that leads back to it.
fn cycles<'a>(by_id: &BTreeMap<&'a JobId, Vec<&Member<'a>>>) -> BTreeMap<&'a JobId, Violation> {
    let next = |id: &JobId| -> Vec<&'a JobId> {
        let jobs = by_id.get(id).into_iter().flatten();
        jobs.flat_map(|member| member.job.spec.depends_on.iter().map(|dependency| &dependency.job))
            .filter_map(|id| by_id.get_key_value(id).map(|(id, _)| *id))
            .collect()
    };
    let mut found = BTreeMap::new();
    for component in components(by_id.keys().copied(), next) {
        // A job that waits for itself alone is refused with its file.
        if component.len() < 2 {
            continue;
        }
        for id in &component {
            let path = shortest_way_round(id, &component, next);
            let names: Vec<&str> = path.iter().map(|id| id.as_str()).collect();
            let follows = path.get(1).copied();
            let position = by_id[id][0]
                .job
                .spec
                .depends_on
                .iter()
                .position(|dependency| Some(&dependency.job) == follows)
                .unwrap_or(0);
            found.insert(
                *id,
                Violation {
                    expected: Some("jobs that can run one after another".to_owned()),
                    hint: Some("remove one of these dependencies".to_owned()),
                    ..Violation::new(
                        format!("/depends_on/{position}/job"),
                        "job-cycle",
                        format!("jobs wait for each other: {}", names.join(" -> ")),
                    )
                },
            );
        }
    }
    found
}

/// Groups of jobs each of which leads to all others of its group (Tarjan's algorithm, with its stack on the heap: a
/// chain may be a hundred thousand jobs long).
fn components<'a>(
    ids: impl Iterator<Item = &'a JobId>,
    next: impl Fn(&JobId) -> Vec<&'a JobId>,
) -> Vec<Vec<&'a JobId>> {
    struct Visit<'a> {
        id: &'a JobId,
        todo: Vec<&'a JobId>,
    }
    let mut number: BTreeMap<&JobId, (usize, usize, bool)> = BTreeMap::new();
    let (mut stack, mut found): (Vec<&JobId>, Vec<Vec<&JobId>>) = (Vec::new(), Vec::new());
    for start in ids {
        if number.contains_key(start) {
            continue;
        }
        let mut visits = vec![];
        let mut entering = Some(start);
        loop {
            if let Some(id) = entering.take() {
                let n = number.len();
                number.insert(id, (n, n, true));
                stack.push(id);
                visits.push(Visit { id, todo: next(id) });
            }
            let Some(visit) = visits.last_mut() else { break };
            let id = visit.id;
            if let Some(up) = visit.todo.pop() {
                match number.get(up) {
                    None => entering = Some(up),
                    Some(&(n, _, true)) => lower(&mut number, id, n),
                    Some(&(_, _, false)) => {}
                }
                continue;
            }
            visits.pop();
            let (n, low, _) = number[id];
            if let Some(parent) = visits.last() {
                lower(&mut number, parent.id, low);
            }
            if n == low {
                let from = stack.iter().rposition(|member| *member == id).unwrap_or(0);
                let component = stack.split_off(from);
                for member in &component {
                    if let Some(entry) = number.get_mut(member) {
                        entry.2 = false;
                    }
                }
                found.push(component);
            }
        }
    }
    found
}

fn lower(number: &mut BTreeMap<&JobId, (usize, usize, bool)>, id: &JobId, to: usize) {
    if let Some(entry) = number.get_mut(id) {
        entry.1 = entry.1.min(to);
    }
}

/// From a job through others of its component back to it, by the fewest steps.
fn shortest_way_round<'a>(
    start: &'a JobId,
    component: &[&'a JobId],
    next: impl Fn(&JobId) -> Vec<&'a JobId>,
) -> Vec<&'a JobId> {
    let inside: std::collections::BTreeSet<&JobId> = component.iter().copied().collect();
    let mut came_from: BTreeMap<&JobId, &JobId> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(id) = queue.pop_front() {
        for up in next(id) {
            if up == start {
                let mut path = vec![start, id];
                let mut at = id;
                while let Some(&before) = came_from.get(at) {
                    path.push(before);
                    at = before;
                }
                if path[path.len() - 1] != start {
                    path.push(start);
                }
                path.reverse();
                return path;
            }
            if inside.contains(up) && !came_from.contains_key(up) {
                came_from.insert(up, id);
                queue.push_back(up);
            }
        }
    }
    vec![start]
}

/// Requests that could wait for ever.
fn too_much<'a>(job: &'a Job, capacity: &'a SystemResources) -> impl Iterator<Item = Violation> + 'a {
    job.spec.tasks.iter().flat_map(move |(id, task)| {
        let asked = &task.resources;
        let at = move |keys: &[&str]| pointer_to(&[&["tasks", id.as_str(), "resources"], keys].concat());
        let mut found = Vec::new();
        for (pool, slots) in &asked.slots {
            match capacity.pools.get(pool) {
                None => found.push(Violation {
                    expected: Some("a pool of the settings' `resources.pools`".to_owned()),
                    hint: did_you_mean(pool, capacity.pools.keys().map(String::as_str)).or_else(|| {
                        Some(format!(
                            "add it to petit.yaml: `resources: {{pools: {{{pool}: {slots}}}}}`"
                        ))
                    }),
                    at_key: true,
                    ..Violation::new(
                        at(&["slots", pool]),
                        "unknown-pool",
                        format!("there is no pool `{pool}`"),
                    )
                }),
                Some(whole) if slots > whole => found.push(beyond(
                    at(&["slots", pool]),
                    &format!("{slots} slots of `{pool}`"),
                    &format!("{whole}"),
                )),
                Some(_) => {}
            }
        }
        if let Some(cpu) = asked.cpu.filter(|cpu| cpu_millis(*cpu) > capacity.cpu_millis) {
            found.push(beyond(
                at(&["cpu"]),
                &format!("{cpu} processors"),
                &cpu_text(capacity.cpu_millis),
            ));
        }
        if let Some(memory) = asked.memory.filter(|memory| memory.as_bytes() > capacity.memory_bytes) {
            found.push(beyond(
                at(&["memory"]),
                &format!("{memory} of memory"),
                &ByteSize::from_bytes(capacity.memory_bytes).to_string(),
            ));
        }
        found
    })
}

fn beyond(pointer: String, asked: &str, whole: &str) -> Violation {
    Violation {
        expected: Some(format!("at most {whole}")),
        hint: Some("ask for less, or raise the settings' `resources`".to_owned()),
        ..Violation::new(
            pointer,
            "beyond-capacity",
            format!("the task asks for {asked}, more than there is at all"),
        )
    }
}
