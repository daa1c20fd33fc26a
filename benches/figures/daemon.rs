//! The daemon as a process of its own: how late it starts what is due, and what it costs while nothing is.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    paired::{Row, Unit, percentile},
    place::{self, Daemon},
};

/// Asks this program to write down when it was started, and to do nothing else.
const STAMP: &str = "--stamp";

/// The reference starts in the middle of the second, so that neither is in the other's way.
const BESIDE: Duration = Duration::from_millis(500);

/// What starting a daemon leaves to be done, before it rests.
const TO_REST: Duration = Duration::from_secs(5);

pub fn is_stamp() -> bool {
    env::args().nth(1).is_some_and(|argument| argument == STAMP)
}

/// Appends the time to the file that is named. It is what both sides start, so that its own start counts for both.
pub fn stamp() -> ExitCode {
    let now = since_epoch();
    let file = env::args_os().nth(2).expect("a file");
    let file = fs::File::options().create(true).append(true).open(file);
    // One write, because a hundred of these append to one file at once.
    let line = format!("{}\n", now.as_nanos());
    file.expect("a writable folder")
        .write_all(line.as_bytes())
        .expect("a writable file");
    ExitCode::SUCCESS
}

pub fn lateness(span: Duration) -> Vec<Row> {
    let folder = place::folder();
    let program = env::current_exe().expect("this program has a path");
    let program = program.to_str().expect("Cargo's paths are UTF-8");
    let (ours, bare) = (folder.path().join("ours"), folder.path().join("bare"));
    stamp_each_second(folder.path(), &ours);
    let daemon = Daemon::start(folder.path(), 1);
    let end = Instant::now() + span;
    while Instant::now() < end {
        let now = since_epoch();
        let next = Duration::from_secs((now - BESIDE).as_secs() + 1) + BESIDE;
        thread::sleep(next - now);
        let mut command = place::command(program, folder.path());
        let started = command.arg(STAMP).arg(&bare).status();
        assert!(started.expect("this program starts").success());
    }
    drop(daemon);
    let (ours, bare) = (lateness_in(&ours, Duration::ZERO), lateness_in(&bare, BESIDE));
    [50, 99]
        .map(|hundredths| {
            let [subject, reference] = [&ours, &bare].map(|sorted| percentile(sorted, hundredths));
            let written = |value| Unit::Seconds.written(value);
            Row {
                name: "lateness",
                what: format!("p{hundredths} of {} starts; of {} bare ones", ours.len(), bare.len()),
                subject: written(subject),
                reference: written(reference),
                ratio: format!("{:+.2} ms", (subject - reference) * 1e3),
                goal: "within 2 ms",
            }
        })
        .into()
}

/// Makes the folder of jobs, with one that appends the time to the file every second.
pub fn stamp_each_second(folder: &Path, file: &Path) {
    let program = env::current_exe().expect("this program has a path");
    fs::create_dir(folder.join("jobs.d")).expect("a new folder");
    let yaml = format!(
        "schedule: '* * * * * *'\ntasks: {{main: {{command: ['{}', {STAMP}, '{}']}}}}\n",
        program.display(),
        file.display()
    );
    fs::write(folder.join("jobs.d/second.yaml"), yaml).expect("a writable folder");
}

/// So many jobs on one second, and how often.
const CROWD: usize = 100;
const EVERY: Duration = Duration::from_secs(10);

/// From the instant that all of a crowd are due to the last one's first instruction, against spawning as many in a row.
pub fn crowd(span: Duration) -> Vec<Row> {
    let folder = place::folder();
    let program = env::current_exe().expect("this program has a path");
    let program = program.to_str().expect("Cargo's paths are UTF-8");
    let (ours, bare) = (folder.path().join("ours"), folder.path().join("bare"));
    fs::write(folder.path().join("petit.yaml"), format!("max_concurrency: {CROWD}\n")).expect("a writable folder");
    let jobs_dir = folder.path().join("jobs.d");
    fs::create_dir(&jobs_dir).expect("a new folder");
    for number in 0..CROWD {
        let yaml = format!(
            "schedule: '*/{} * * * * *'\ntasks: {{main: {{command: ['{program}', {STAMP}, '{}']}}}}\n",
            EVERY.as_secs(),
            ours.display()
        );
        fs::write(jobs_dir.join(format!("job-{number}.yaml")), yaml).expect("a writable folder");
    }
    let daemon = Daemon::start(folder.path(), CROWD);
    let end = Instant::now() + span.max(EVERY * 3);
    while Instant::now() < end {
        let now = since_epoch();
        let half = EVERY / 2;
        let next = half + EVERY * u32::try_from((now + half).as_secs() / EVERY.as_secs()).expect("a time of ours");
        thread::sleep(next.saturating_sub(now));
        let start = |_| {
            let mut command = place::command(program, folder.path());
            command.arg(STAMP).arg(&bare).spawn().expect("this program starts")
        };
        let crowd: Vec<_> = (0..CROWD).map(start).collect();
        for mut child in crowd {
            assert!(child.wait().expect("a child of ours").success());
        }
    }
    drop(daemon);
    let (ours, bare) = (last_of_crowds(&ours, Duration::ZERO), last_of_crowds(&bare, EVERY / 2));
    let [subject, reference] = [&ours, &bare].map(|sorted| percentile(sorted, 50));
    vec![Row {
        name: "crowd",
        what: format!(
            "last of {CROWD} on one second, {} times; of {} times as many bare spawns",
            ours.len(),
            bare.len()
        ),
        subject: Unit::Seconds.written(subject),
        reference: Unit::Seconds.written(reference),
        ratio: format!("{:.2}", subject / reference),
        goal: "1.3",
    }]
}

/// How long after its instant, a multiple of [`EVERY`] and `beside`, the last of each whole crowd was started; sorted.
fn last_of_crowds(file: &Path, beside: Duration) -> Vec<f64> {
    let mut crowds: BTreeMap<u128, Vec<f64>> = BTreeMap::new();
    for stamp in stamps(file) {
        let since = (stamp - beside).as_nanos();
        let late = Duration::from_nanos((since % EVERY.as_nanos()) as u64);
        crowds
            .entry(since / EVERY.as_nanos())
            .or_default()
            .push(late.as_secs_f64());
    }
    let whole = crowds.into_values().filter(|crowd| crowd.len() == CROWD);
    let mut last: Vec<f64> = whole.map(|crowd| crowd.into_iter().fold(0.0, f64::max)).collect();
    last.sort_by(f64::total_cmp);
    last
}

/// How long after its instant, a whole second and `beside`, each stamp was made; sorted.
fn lateness_in(file: &Path, beside: Duration) -> Vec<f64> {
    let late = stamps(file)
        .into_iter()
        .map(|at| f64::from((at - beside).subsec_nanos()) / 1e9);
    let mut late: Vec<f64> = late.collect();
    late.sort_by(f64::total_cmp);
    late
}

/// The times that were appended to a file, each since the epoch.
pub fn stamps(file: &Path) -> Vec<Duration> {
    let text = fs::read_to_string(file).expect("stamps");
    let nanos = text.lines().map(|line| line.parse().expect("a number"));
    nanos.map(Duration::from_nanos).collect()
}

pub fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock that is not in the sixties")
}

/// A daemon of each size, both watched over the same time.
pub fn rest(span: Duration) -> Vec<Row> {
    let goals = [
        (1_000, "under 12 MB", "under 0.05 %"),
        (10_000, "under 40 MB", "under 0.05 %"),
    ];
    let resting: Vec<_> = goals
        .into_iter()
        .map(|(count, memory, processor)| {
            let (folder, _) = place::jobs(count);
            let daemon = Daemon::start(folder.path(), count);
            (count, memory, processor, daemon, folder)
        })
        .collect();
    thread::sleep(TO_REST);
    let before: Vec<f64> = resting
        .iter()
        .map(|(.., daemon, _)| place::processor_time(daemon.pid()))
        .collect();
    thread::sleep(span);
    let mut rows = Vec::new();
    for ((count, memory, processor, daemon, _), before) in resting.iter().zip(before) {
        let resident = Unit::Bytes.written(place::memory(daemon.pid(), "VmRSS"));
        let busy = (place::processor_time(daemon.pid()) - before) / span.as_secs_f64();
        rows.push(Row::alone(
            "rest",
            format!("memory with {count} jobs"),
            resident,
            memory,
        ));
        let what = format!("processor time over {} s with {count} jobs", span.as_secs());
        rows.push(Row::alone("rest", what, Unit::Share.written(busy), processor));
    }
    rows
}
