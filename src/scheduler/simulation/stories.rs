//! The stories that the simulation tells: which jobs there are, and what happens to them, all of it from one number.

use std::fmt::Write as _;

use chrono::TimeDelta;
use chrono_tz::Tz;

use super::calendar::{Cron, Field, Times};
use crate::{core::Timestamp, scheduler::fixtures::at, testing::story::Dice};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Skip,
    Once,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    Skip,
    Queue,
    Replace,
    Allow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    LastSuccess,
    LastComplete,
    WithinWindow,
}

/// Another job that a job needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    pub job: usize,
    pub condition: Condition,
    pub window: TimeDelta,
    pub wait: TimeDelta,
}

/// What a job's file says, as it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub times: Option<Times>,
    pub zone: Tz,
    pub jitter: TimeDelta,
    pub policy: Policy,
    pub limit: usize,
    pub window: TimeDelta,
    pub grace: TimeDelta,
    pub overlap: Overlap,
    pub enabled: bool,
    pub needs: Vec<Need>,
}

impl Spec {
    /// The file.
    pub fn yaml(&self) -> String {
        let lower = |word: &dyn std::fmt::Debug| format!("{word:?}").to_lowercase();
        let mut yaml = format!("overlap: {}\nenabled: {}\n", lower(&self.overlap), self.enabled);
        if let Some(times) = &self.times {
            let when = match times {
                Times::Every(period) => format!("every: {}s", period.num_seconds()),
                Times::Crons(crons) => {
                    let texts: Vec<String> = crons.iter().map(|cron| format!("'{cron}'")).collect();
                    format!("cron: [{}], timezone: {}", texts.join(", "), self.zone)
                }
            };
            let _ = writeln!(
                yaml,
                "schedule: {{{when}, jitter: {}s, misfire: {{policy: {}, limit: {}, window: {}s, grace: {}s}}}}",
                self.jitter.num_seconds(),
                lower(&self.policy),
                self.limit,
                self.window.num_seconds(),
                self.grace.num_seconds()
            );
        }
        if !self.needs.is_empty() {
            yaml += "depends_on:\n";
        }
        for need in &self.needs {
            let condition = match need.condition {
                Condition::LastSuccess => "last_success".to_owned(),
                Condition::LastComplete => "last_complete".to_owned(),
                Condition::WithinWindow => format!("within_window, window: {}s", need.window.num_seconds()),
            };
            let _ = writeln!(
                yaml,
                "  - {{job: job-{}, condition: {condition}, wait: {}s}}",
                need.job,
                need.wait.num_seconds()
            );
        }
        yaml
    }
}

/// Instants at which the clock of a zone jumps, in both directions.
pub const JUMPS: [(Tz, &str); 16] = [
    (Tz::Europe__Berlin, "2026-03-29T01:00:00Z"),
    (Tz::Europe__Berlin, "2026-10-25T01:00:00Z"),
    (Tz::America__New_York, "2026-03-08T07:00:00Z"),
    (Tz::America__New_York, "2026-11-01T06:00:00Z"),
    (Tz::Australia__Lord_Howe, "2026-04-04T15:00:00Z"),
    (Tz::Australia__Lord_Howe, "2026-10-03T15:30:00Z"),
    (Tz::Africa__Casablanca, "2026-02-15T02:00:00Z"),
    (Tz::Africa__Casablanca, "2026-03-22T02:00:00Z"),
    (Tz::Antarctica__Troll, "2026-03-29T01:00:00Z"),
    (Tz::Antarctica__Troll, "2026-10-25T01:00:00Z"),
    (Tz::America__Havana, "2026-03-08T05:00:00Z"),
    (Tz::America__Havana, "2026-11-01T05:00:00Z"),
    (Tz::Pacific__Apia, "2011-12-30T10:00:00Z"),
    (Tz::America__St_Johns, "2011-03-13T03:31:00Z"),
    (Tz::Asia__Kolkata, "2026-06-01T00:00:00Z"),
    (Tz::UTC, "2026-12-31T00:00:00Z"),
];

/// What happens.
#[derive(Debug, Clone)]
pub enum Act {
    /// Time passes.
    Pass {
        millis: i64,
    },
    /// The machine sleeps, and Petit with it; or somebody moves the hands of the clock forwards, which looks alike.
    Leap {
        seconds: i64,
        unnoticed: i64,
    },
    /// Somebody puts the clock back.
    PutBack {
        seconds: i64,
        unnoticed: i64,
    },
    /// Petit dies at its next decision, is away, and comes back; meanwhile the clock may be put back.
    Die {
        at: Death,
        seconds: i64,
    },
    Pause {
        job: Option<usize>,
    },
    Resume {
        job: Option<usize>,
    },
    /// The file of a job appears or changes; the scheduler hears of it late.
    Write {
        job: usize,
        spec: Box<Spec>,
        lag: i64,
    },
    Remove {
        job: usize,
    },
    /// Somebody asks for a run.
    Trigger {
        job: usize,
        ignore_overlap: bool,
    },
    /// Somebody ends a run of a job, if it has one that is not ended.
    Cancel {
        job: usize,
    },
    /// Nothing can be recorded for a while.
    DiskFull {
        seconds: i64,
    },
    /// From now on runs start after so many milliseconds and take so many, so many of a hundred fail, and ending one that
    /// is cancelled takes a while.
    Pace {
        start_after: i64,
        take: i64,
        failures: u64,
        cancel_takes: i64,
    },
}

/// Where in the protocol Petit dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Between two decisions: claims ahead and orders on their way are left.
    Idle,
    /// It has decided and not committed.
    Decided,
    /// It has committed, and ordered nothing.
    Committed,
}

/// What makes one story differ from another.
pub struct Story {
    pub begins: Timestamp,
    pub zone: Tz,
    /// Whether the clock is put back in it; without that, every slot of every schedule must be in the ledger.
    pub puts_back: bool,
    /// A job that fires every second makes a story long; others live longer.
    pub dense: bool,
    pub jobs: usize,
}

impl Story {
    pub fn new(dice: &mut Dice) -> Self {
        let (zone, jump) = *dice.pick(&JUMPS);
        let begins = at(jump) - TimeDelta::milliseconds(dice.between(0, 30 * 3_600_000));
        Self {
            begins,
            zone,
            puts_back: dice.chance(60),
            dense: dice.chance(60),
            jobs: dice.index(4) + 2,
        }
    }

    pub fn spec(&self, job: usize, dice: &mut Dice) -> Spec {
        let needs = if job > 0 && dice.chance(25) {
            let mut needs = vec![need(dice.index(job), dice)];
            let other = dice.index(job);
            if other != needs[0].job && dice.chance(40) {
                needs.push(need(other, dice));
            }
            needs
        } else {
            Vec::new()
        };
        let times = if !needs.is_empty() && dice.chance(40) {
            None
        } else if self.dense && job == 0 {
            Some(dense(dice))
        } else {
            Some(sparse(dice))
        };
        let zone = if dice.chance(70) {
            self.zone
        } else {
            dice.pick(&JUMPS).0
        };
        let seconds = TimeDelta::seconds;
        Spec {
            times,
            zone,
            jitter: seconds(if dice.chance(20) {
                *dice.pick(&[2, 30, 240, 3_000])
            } else {
                0
            }),
            policy: *dice.pick(&[Policy::Skip, Policy::Once, Policy::All]),
            limit: *dice.pick(&[1, 2, 3, 10, 100]),
            window: seconds(*dice.pick(&[30, 600, 3_600, 86_400, 86_400])),
            grace: seconds(*dice.pick(&[0, 1, 5, 60, 60, 60, 7_200])),
            overlap: *dice.pick(&[Overlap::Skip, Overlap::Queue, Overlap::Replace, Overlap::Allow]),
            enabled: dice.chance(85),
            needs,
        }
    }

    pub fn act(&self, dice: &mut Dice) -> Act {
        let job = dice.index(self.jobs);
        let some = if dice.chance(80) { Some(job) } else { None };
        let away = |dice: &mut Dice| match dice.index(6) {
            0 | 1 => dice.between(0, 90),
            2..=4 => dice.between(60, 2_000),
            _ => dice.between(2_000, if self.dense { 20_000 } else { 150_000 }),
        };
        let steps = [3_600, 4 * 3_600, 86_400];
        let unnoticed = if dice.chance(30) { dice.between(0, 30_000) } else { 0 };
        match dice.index(100) {
            0..=39 => Act::Pass {
                millis: match dice.index(7) {
                    0..=2 => dice.between(0, 90_000),
                    3..=5 => dice.between(60_000, 1_000_000),
                    _ => dice.between(1_000_000, if self.dense { 4_000_000 } else { 40_000_000 }),
                },
            },
            40..=45 => Act::Leap {
                seconds: if dice.chance(50) {
                    *dice.pick(&steps)
                } else {
                    away(dice) + 1
                },
                unnoticed,
            },
            46..=51 if self.puts_back => Act::PutBack {
                seconds: if dice.chance(60) {
                    *dice.pick(&steps)
                } else {
                    dice.between(1, 20_000)
                },
                unnoticed,
            },
            46..=64 => {
                let back = self.puts_back && dice.chance(20);
                Act::Die {
                    at: *dice.pick(&[Death::Idle, Death::Idle, Death::Decided, Death::Committed]),
                    seconds: if back { -*dice.pick(&steps) } else { away(dice) },
                }
            }
            65..=67 => Act::Pause { job: some },
            68..=72 => Act::Resume { job: some },
            73..=80 => Act::Write {
                job,
                spec: Box::new(self.spec(job, dice)),
                lag: if dice.chance(50) { 0 } else { dice.between(0, 600_000) },
            },
            81 => Act::Remove { job },
            82..=86 => Act::Trigger {
                job,
                ignore_overlap: dice.chance(30),
            },
            87..=88 => Act::Cancel { job },
            89..=91 => Act::DiskFull {
                seconds: dice.between(1, 400),
            },
            _ => Act::Pace {
                start_after: if dice.chance(50) {
                    dice.between(0, 5)
                } else {
                    dice.between(0, 200_000)
                },
                take: match dice.index(3) {
                    0 => dice.between(0, 900),
                    1 => dice.between(0, 30_000),
                    _ => dice.between(0, 2_000_000),
                },
                failures: *dice.pick(&[0, 0, 20, 60]),
                cancel_takes: if dice.chance(50) { 0 } else { dice.between(0, 20_000) },
            },
        }
    }
}

fn need(job: usize, dice: &mut Dice) -> Need {
    Need {
        job,
        condition: *dice.pick(&[Condition::LastSuccess, Condition::LastComplete, Condition::WithinWindow]),
        window: TimeDelta::seconds(dice.between(60, 20_000)),
        wait: TimeDelta::seconds(*dice.pick(&[0, 5, 300, 7_200])),
    }
}

fn only(value: u32) -> Field {
    Field::Only(vec![value])
}

fn dense(dice: &mut Dice) -> Times {
    let (minute, hour) = (Field::Any, Field::Any);
    let second = match dice.index(5) {
        0..=2 => Field::Any,
        3 => Field::Step(2),
        _ => return Times::Every(TimeDelta::seconds(dice.between(1, 4))),
    };
    Times::Crons(vec![Cron {
        second,
        minute,
        hour,
        day: Field::Any,
        weekday: Field::Any,
    }])
}

fn sparse(dice: &mut Dice) -> Times {
    if dice.chance(20) {
        return Times::Every(TimeDelta::seconds(*dice.pick(&[7, 90, 420, 3_600, 14_400])));
    }
    let many = if dice.chance(25) { 2 } else { 1 };
    Times::Crons((0..many).map(|_| cron(dice)).collect())
}

fn cron(dice: &mut Dice) -> Cron {
    let value = |dice: &mut Dice, most: i64| u32::try_from(dice.between(0, most)).expect("a small number");
    let mut cron = Cron {
        second: only(0),
        minute: Field::Any,
        hour: Field::Any,
        day: Field::Any,
        weekday: Field::Any,
    };
    match dice.index(8) {
        0 => cron.minute = Field::Step(5),
        1 => cron.minute = only(value(dice, 60)),
        2 => (cron.minute, cron.hour) = (only(value(dice, 60)), Field::Step(2)),
        // The hours of the night, in which clocks are changed.
        3 => (cron.minute, cron.hour) = (only(value(dice, 60)), only(value(dice, 5))),
        4 => (cron.minute, cron.hour) = (Field::Only(vec![0, 30]), Field::Span(0, 4)),
        5 => (cron.minute, cron.hour) = (Field::Step(15), Field::Span(1, 3)),
        6 => cron.second = Field::Step(20),
        _ => {
            cron.second = only(value(dice, 60));
            (cron.minute, cron.hour) = (only(value(dice, 60)), Field::Only(vec![1, 2, 13]));
            if dice.chance(50) {
                cron.day = Field::Span(1, 28);
                cron.weekday = Field::Only(vec![0, 6]);
            }
        }
    }
    cron
}
