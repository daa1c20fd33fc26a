//! Work on many items, shared among the processors.
//!
//! Files are checked one by one and know nothing of each other, so that the order in which threads take them changes
//! nothing: the results come in the order of the items. What the work is, nothing here knows.

use std::{
    num::NonZero,
    panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// Below so many items the threads would cost more than they bring.
const WORTH_SHARING: usize = 64;
/// How many items a thread takes at a time: few enough that none waits long for the last.
const PORTION: usize = 32;

/// What `one` makes of each item, in their order. A panic of `one` is the caller's.
pub fn each<T: Sync, R: Send>(items: &[T], one: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    if items.len() < WORTH_SHARING || workers == 1 {
        return items.iter().map(one).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let start = next.fetch_add(PORTION, Ordering::Relaxed);
            if start >= items.len() {
                return done;
            }
            let portion = &items[start..items.len().min(start + PORTION)];
            done.push((start, portion.iter().map(&one).collect::<Vec<R>>()));
        }
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            match other.join() {
                Ok(portions) => done.extend(portions),
                Err(panic) => panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(start, _)| *start);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [0, 1, WORTH_SHARING - 1, WORTH_SHARING, 1_000, 1_001] {
            let items: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = items.iter().map(|n| n * 2).collect();
            assert_eq!(each(&items, |n| n * 2), doubled);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let items: Vec<usize> = (0..1_000).collect();
        let panicked = panic::catch_unwind(|| each(&items, |n| assert!(*n != 777, "made for this test")));
        assert!(panicked.is_err());
    }
}
