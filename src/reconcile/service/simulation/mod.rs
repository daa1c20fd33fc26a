//! The loop on a simulated machine, on which everything goes wrong at a chosen moment.
//!
//! A story is told from a seed: files are written in pieces, replaced, removed, renamed and flipped; events are lost,
//! doubled and late; looks are slow, read what is half written and pass files over; the folder and its parts go away and
//! come back; the kernel has no watches left; the clock on the wall is moved; the journal's disk is full; and the process
//! ends before a commit, after it and after the swap. After every step the [`audit`] asks what must always hold. Then all
//! is mended, no event tells of it, and one resync later what is active must be what the files ask for.
//!
//! `PETIT_SEEDS` says how many stories are told; `PROPTEST_RNG_SEED` where the seeds begin. A failure prints the seed, and
//! with `PETIT_SEED` that story alone is told again, aloud.
//!
//! Reading order: [`script`] is what can happen, [`disk`] what is true, [`tale`] the machine on which it is told.

mod audit;
mod disk;
mod script;
mod tale;

use std::{collections::HashSet, time::Instant};

use tale::{Tale, Tally};

use crate::testing::story::number;

/// Says which seed it was when a story fails.
struct Telling(u64);

impl Drop for Telling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "PETIT_SEED={} cargo test --no-default-features --lib reconcile::service::simulation tells this story again",
                self.0
            );
        }
    }
}

fn tell(seed: u64, aloud: bool, tally: &mut Tally) {
    let _telling = Telling(seed);
    Tale::new(seed, aloud).tell(tally);
}

#[test]
fn whatever_goes_wrong_the_files_are_followed_in_the_end_and_nothing_is_lost_on_the_way() {
    let mut tally = Tally::default();
    if let Some(seed) = number("PETIT_SEED") {
        tell(seed, true, &mut tally);
        println!("{tally}");
        return;
    }
    let seeds = number("PETIT_SEEDS").unwrap_or(150);
    let first = number("PROPTEST_RNG_SEED").unwrap_or(0);
    let began = Instant::now();
    for told in 1..=seeds {
        tell(first.wrapping_add(told), false, &mut tally);
        if told % 1_000 == 0 {
            println!("seeds {told}, {tally}, {:.0} s", began.elapsed().as_secs_f64());
        }
    }
    assert!(
        tally.commits > seeds && tally.crashes > 0,
        "stories in which nothing happens: {tally}"
    );
    println!("seeds {seeds} (after {first}), {tally}");
}

/// The states that stories went through: each a set of files, as far as they count, with what was active before.
type States = HashSet<String>;
