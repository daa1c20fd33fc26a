//! One job: what is known of it, its latest runs, its graph, its file's text.

use std::collections::HashMap;

use super::{Cell, Column, Row, Section, Target, jobs::standing, pending};
use crate::{
    core::Timestamp,
    tui::{
        look::{self, Sign, Tone},
        state::State,
        text,
    },
    view::{GraphNode, JobDetail, RunView, TaskGrid, Usual},
};

pub(super) fn sections(state: &State, now: Timestamp) -> Vec<Section> {
    let Some(id) = &state.open_job else {
        return vec![Section::new("job", &[], "no job is open: choose one on 2 Jobs")];
    };
    let Some((detail, runs)) = state.job.as_ref().filter(|(detail, _)| detail.job.id == *id) else {
        return vec![Section::new(id.as_str(), &[], pending(state))];
    };
    let yaml = detail.yaml.as_deref().unwrap_or_default();
    vec![
        about(state, detail),
        Section::lines("graph", graph(state, &detail.graph)),
        grid(state, &detail.grid),
        latest(state, runs, now),
        Section {
            empty: "no version is active".to_owned(),
            is_source: true,
            ..Section::lines("yaml", yaml.lines().map(Cell::from))
        },
    ]
}

fn about(state: &State, detail: &JobDetail) -> Section {
    let job = &detail.job;
    let zone = job
        .timezone
        .as_ref()
        .map(|zone| format!(" in {zone}"))
        .unwrap_or_default();
    let (sign, tone) = look::of_job(job);
    let standing = format!("{} {}", state.look.sign(sign), standing(job));
    let mut lines = vec![
        Cell::Text(vec![(Tone::Muted, format!("{:<10} ", "state")), (tone, standing)]),
        Cell::field("schedule", format!("{}{zone}", job.schedule_text())),
        Cell::field("next", job.next.clone().unwrap_or_else(|| "-".to_owned())),
        Cell::field("file", job.file.clone()),
    ];
    if let (Some(hash), Some(generation)) = (&job.spec_hash, job.generation) {
        let commit = job.last_run.as_ref().and_then(|run| run.revision.as_ref());
        let commit = commit
            .map(|commit| format!(", last run at commit {commit}"))
            .unwrap_or_default();
        lines.push(Cell::field(
            "revision",
            format!("{} (generation {generation}){commit}", hash.short()),
        ));
    }
    if let Some(description) = detail.spec.as_ref().and_then(|spec| spec.description.as_ref()) {
        lines.push(Cell::field("about", description.clone()));
    }
    lines.extend(job.conditions.iter().map(|condition| {
        let at = condition.at.as_ref().map(|at| format!("{at}: ")).unwrap_or_default();
        Cell::toned(Tone::Bad, format!("! {at}{}", condition.message))
    }));
    Section::lines(format!("{} {}", job.id, job.name), lines)
}

/// A row for each task and a sign for each run, the newest at the right, below the sign of the run itself.
fn grid(state: &State, grid: &TaskGrid) -> Section {
    let columns = [
        Column::new("task", 0),
        Column::new("last runs", 0),
        Column::new("p50", 1).right(),
        Column::new("p95", 2).right(),
        Column::new("retried", 3).right(),
    ];
    let signs = |signs: &mut dyn Iterator<Item = (Sign, Tone)>| {
        let mut signs: Vec<(Tone, String)> = signs
            .map(|(sign, tone)| (tone, format!("{} ", state.look.sign(sign))))
            .collect();
        signs.reverse();
        Cell::Text(signs)
    };
    let usual = |usual: &Usual| {
        let lengths = [usual.p50_ms, usual.p95_ms];
        lengths.map(|length| Cell::muted(text::millis_or_dash(length)))
    };
    let runs = Row::new(
        None,
        [
            Cell::muted("the run"),
            signs(&mut grid.runs.iter().map(|run| look::of_run(run.status))),
        ],
    );
    let tasks = grid.tasks.iter().map(|task| {
        let states = task.states.iter().map(|state| match state {
            Some(state) => look::of_task(*state),
            None => (Sign::None, Tone::Muted),
        });
        let [p50, p95] = usual(&task.usual);
        let retried = match task.retried {
            0 => String::new(),
            runs => format!("in {runs}"),
        };
        Row::new(
            Some(Target::Task(task.id.clone())),
            [
                task.id.as_str().into(),
                signs(&mut { states }),
                p50,
                p95,
                Cell::muted(retried),
            ],
        )
    });
    let title = match (grid.runs.last(), grid.runs.first()) {
        (Some(first), Some(last)) if grid.runs.len() > 1 => format!(
            "tasks by run, from {} to {}",
            first.created_at.format("%m-%d %H:%M"),
            last.created_at.format("%m-%d %H:%M")
        ),
        _ => "tasks by run".to_owned(),
    };
    let section = Section::new(title, &columns, "it has not run yet");
    if grid.runs.is_empty() {
        return section;
    }
    section.with(std::iter::once(runs).chain(tasks))
}

fn latest(state: &State, runs: &[RunView], now: Timestamp) -> Section {
    let columns = [
        Column::new("", 0),
        Column::new("run", 0),
        Column::new("trigger", 2),
        Column::new("due", 0),
        Column::new("took", 1).right(),
        Column::grows("reason"),
    ];
    let rows = runs.iter().map(|run| {
        Row::new(
            Some(Target::Run {
                run: run.id,
                job: run.job.clone(),
            }),
            [
                Cell::sign(state, look::of_run(run.status)),
                run.id.to_string().into(),
                Cell::muted(run.trigger.as_str()),
                text::clock(run.due_at(), now).into(),
                run.duration_ms.map_or_else(|| "-".to_owned(), text::millis).into(),
                Cell::muted(run.reason.clone().unwrap_or_default()),
            ],
        )
    });
    let count = runs.len();
    Section::new(
        format!("latest runs {count}"),
        &columns,
        "it has not run yet: `t` runs it now",
    )
    .with(rows)
}

/// Each task below what it waits for, indented by how many tasks come before it.
fn graph(state: &State, nodes: &[GraphNode]) -> Vec<Cell> {
    let mut depths: HashMap<&str, usize> = HashMap::new();
    let mut lines = Vec::new();
    for node in nodes {
        let above = node.depends_on.iter().filter_map(|task| depths.get(task.as_str()));
        let depth = above.max().map_or(0, |depth| depth + 1);
        depths.insert(&node.id, depth);
        let branch = match depth {
            0 => String::new(),
            // A long chain would leave the screen.
            _ => format!("{}{} ", "   ".repeat((depth - 1).min(12)), state.look.sign(Sign::Into)),
        };
        let after = match node.depends_on.as_slice() {
            [] => String::new(),
            tasks => format!("  after {}", tasks.join(", ")),
        };
        lines.push(Cell::Text(vec![
            (Tone::Muted, branch),
            (Tone::Plain, node.id.clone()),
            (Tone::Muted, after),
            (
                Tone::Muted,
                node.limit_text().map(|limit| format!("  {limit}")).unwrap_or_default(),
            ),
        ]));
    }
    lines
}
