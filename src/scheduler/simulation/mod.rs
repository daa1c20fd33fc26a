//! The desk under a simulated clock, against a slower statement of the same rules.
//!
//! A story is told from a seed: random sets of jobs in several zones, begun shortly before the clock of one of them jumps, live
//! through downtime, sleep, clocks that are moved both ways, crashes at every point of the protocol, full disks, pauses,
//! edits, and runs that somebody asks for or ends; an executor that is slow, fails, or never comes to start a run takes
//! the orders. At every step what was ordered must be what the [`oracle`] says, and in the end each slot must have the
//! one outcome, with the reason, that it says; none may have been started twice.
//!
//! `PETIT_SEEDS` and `PETIT_SLOTS` say how many stories are told at least and how many slots there must be in them, and
//! `PETIT_FIRST_SEED` where the seeds begin. A failure prints the seed; with `PETIT_SEED` that story alone is told again, aloud.
//!
//! Reading order: [`calendar`] says which instants a schedule names, [`oracle`] what must become of them; [`stories`] is
//! what happens, [`world`] the machine on which it does. The moves of the clock that rule 11 names are told one by one in
//! [`moves`].

mod calendar;
mod moves;
mod oracle;
mod stories;
mod world;

use std::time::Instant;

use stories::Story;
use world::{Tale, World};

use crate::testing::story::{Dice, number};

/// Says which seed it was when a story fails.
struct Telling(u64);

impl Drop for Telling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("PETIT_SEED={} tells this story again", self.0);
        }
    }
}

fn tell(seed: u64, aloud: bool) -> Tale {
    let _telling = Telling(seed);
    let mut dice = Dice::new(seed);
    let story = Story::new(&mut dice);
    let mut world = World::new(story.begins, story.jobs, Dice::new(!seed));
    for job in 0..story.jobs {
        let spec = story.spec(job, &mut dice);
        if aloud {
            eprintln!("{} job-{job}\n{}", world.now, spec.yaml());
        }
        world.write(job, Some(spec), 0);
    }
    for _ in 0..dice.between(10, 50) {
        let act = story.act(&mut dice);
        if aloud {
            eprintln!("{} {act:?}", world.now);
        }
        world.live(act);
    }
    if aloud {
        eprintln!("{} settling", world.now);
    }
    world.settle();
    world.audit(story.puts_back)
}

#[test]
fn every_slot_has_the_outcome_that_the_rules_say() {
    if let Some(seed) = number("PETIT_SEED") {
        println!("seed {seed}: {:?}", tell(seed, true));
        return;
    }
    let (seeds, slots) = (number("PETIT_SEEDS").unwrap_or(15), number("PETIT_SLOTS").unwrap_or(0));
    let first = number("PETIT_FIRST_SEED").unwrap_or(0);
    let began = Instant::now();
    let (mut told, mut so_far, mut started) = (0, 0, 0);
    while told < seeds || so_far < slots {
        let story = tell(first + told, false);
        told += 1;
        so_far += story.slots;
        started += story.started;
        if told % 500 == 0 {
            println!(
                "seeds {told}, slots {so_far}, started {started}, {:.0} s",
                began.elapsed().as_secs_f64()
            );
        }
    }
    // One by itself may have none: its jobs are all disabled, or have no schedule.
    assert!(so_far > 0 || told < 10, "stories have slots");
    println!("seeds {told} (from {first}), slots {so_far}, of which {started} were started, each with its one outcome");
}
