//! Whose leftover a process is that shows no sign of anybody: told by exclusion.
//!
//! What cleared its environment, began a session of its own and lost its parents looks like a stranger. Where Petit is the
//! subreaper it becomes a child of Petit's, though, and nobody becomes that but a descendant of what Petit started. So a
//! child that nobody here started, a *stray*, was forked within an attempt that began no later than itself. Once all such
//! attempts are over or being ended, the stray is left over; until then it is left alone, since it may belong to one that
//! goes on.
//!
//! [`Census::fates`] is pure: the table of processes and what is known of this process's children go in, a [`Fate`] for
//! each stray comes out. It sends no signals and reads nothing; [`children`](super::children) keeps the census, and
//! [`tree`](super::tree) acts on the fates.
//!
//! Three kinds of children are never judged. Those in Petit's own session: each attempt begins a new one, and no process
//! can enter a session that exists. Those that are older than the first attempt: a shell may have started them before it
//! became Petit. And those that may stem from a program to which the terminal was lent, such as an editor's server. Where
//! Petit is the first process of a container nobody is judged, because there it adopts what others started as well.

use std::collections::{BTreeMap, HashSet};

use tokio::time::Instant;

use super::procfs::{Process, ProcessId, StartTime};

/// What this process knows of its children.
#[derive(Debug, Clone)]
pub(super) struct Census {
    /// Whom it started and has not collected yet, by number.
    pub known: BTreeMap<u32, Kin>,
    /// Whether all orphans among its descendants become its children, and no others do.
    pub adopts: bool,
    /// When its first attempt began.
    pub first: Option<StartTime>,
    /// Since when the terminal is lent; more than one at a time only in tests.
    pub lent: Vec<StartTime>,
    /// Who is not ended by exclusion any more: it may stem from a program that had the terminal, or survived SIGKILL.
    pub spared: Vec<ProcessId>,
}

/// A child that was started here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kin {
    /// The leader of an attempt.
    Attempt {
        /// When it began; unknown at first, and then anybody may be its descendant.
        since: StartTime,
        /// By when its tree has to be gone, once it is being ended.
        ends_by: Option<Instant>,
    },
    /// What Petit runs for itself. It leaves nothing behind.
    Helper,
}

/// What is to become of a stray.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It may belong to somebody who goes on.
    Open,
    /// Every attempt that it may belong to is being ended, and of those the one with this leader takes the longest.
    EndsWith(u32),
    /// Every attempt that it may belong to is over.
    LeftOver,
}

impl Census {
    /// Of a process that has started nobody.
    pub(super) const fn new() -> Self {
        Self {
            known: BTreeMap::new(),
            adopts: false,
            first: None,
            lent: Vec::new(),
            spared: Vec::new(),
        }
    }

    /// Notes when a child began that is known by its number.
    pub(super) fn began(&mut self, id: ProcessId) {
        if let Some(Kin::Attempt { since, .. }) = self.known.get_mut(&id.pid)
            && id.start_time != StartTime::UNKNOWN
        {
            *since = id.start_time;
            self.first.get_or_insert(id.start_time);
        }
    }

    /// What is to become of each stray in the table; `me` is this process.
    pub(super) fn fates(&self, table: &[Process], me: u32) -> Vec<(ProcessId, Fate)> {
        let Some(first) = self.first.filter(|_| self.adopts) else {
            return Vec::new();
        };
        let own = table.iter().find(|process| process.id.pid == me);
        let spared = table.iter().filter(|process| self.spared.contains(&process.id));
        let sessions: HashSet<u32> = own.into_iter().chain(spared).map(|process| process.session).collect();
        let judged = table.iter().filter(|process| {
            process.parent == me
                && !process.zombie
                && !self.known.contains_key(&process.id.pid)
                && process.id.start_time.is_since(first)
                && !sessions.contains(&process.session)
                && !self.spared.contains(&process.id)
        });
        judged
            .map(|process| (process.id, self.fate(process.id.start_time)))
            .collect()
    }

    fn fate(&self, began: StartTime) -> Fate {
        if self.lent.iter().any(|lent| may_stem_from(began, *lent)) {
            return Fate::Open;
        }
        let mut last = None;
        for (leader, kin) in &self.known {
            match *kin {
                Kin::Helper => {}
                Kin::Attempt { since, .. } if !may_stem_from(began, since) => {}
                Kin::Attempt { ends_by: None, .. } => return Fate::Open,
                Kin::Attempt {
                    ends_by: Some(ends_by), ..
                } => last = last.max(Some((ends_by, *leader))),
            }
        }
        last.map_or(Fate::LeftOver, |(_, leader)| Fate::EndsWith(leader))
    }
}

/// Whether a process that began then may descend from one that began at `since`.
fn may_stem_from(began: StartTime, since: StartTime) -> bool {
    since == StartTime::UNKNOWN || began.is_since(since)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const ME: u32 = 10;
    const MY_SESSION: u32 = 5;

    fn at(ticks: u64) -> StartTime {
        StartTime::new(1, ticks)
    }

    fn process(pid: u32, parent: u32, session: u32, ticks: u64) -> Process {
        Process {
            id: ProcessId {
                pid,
                start_time: at(ticks),
            },
            parent,
            group: session,
            session,
            zombie: false,
            between_images: false,
            mark: None,
        }
    }

    fn going(ticks: u64) -> Kin {
        Kin::Attempt {
            since: at(ticks),
            ends_by: None,
        }
    }

    fn ending(ticks: u64, by: Instant) -> Kin {
        Kin::Attempt {
            since: at(ticks),
            ends_by: Some(by),
        }
    }

    /// Of a subreaper whose first attempt began at tick 50.
    fn census(known: &[(u32, Kin)]) -> Census {
        Census {
            known: known.iter().copied().collect(),
            adopts: true,
            first: Some(at(50)),
            ..Census::new()
        }
    }

    fn fates(census: &Census, children: &[Process]) -> Vec<(u32, Fate)> {
        let mut table = vec![process(1, 0, 1, 0), process(ME, 1, MY_SESSION, 20)];
        table.extend_from_slice(children);
        let fates = census.fates(&table, ME);
        fates.into_iter().map(|(id, fate)| (id.pid, fate)).collect()
    }

    #[test]
    fn a_stray_is_left_over_once_all_who_may_have_forked_it_are_over() {
        let (soon, late) = (Instant::now(), Instant::now() + Duration::from_secs(9));
        let stray = [process(300, ME, 300, 60)];
        for (known, fate) in [
            (vec![], Fate::LeftOver),
            (vec![(100, Kin::Helper)], Fate::LeftOver),
            (vec![(100, going(61))], Fate::LeftOver),
            (vec![(100, going(60))], Fate::Open),
            (vec![(100, going(50)), (101, going(61))], Fate::Open),
            (vec![(100, ending(50, soon))], Fate::EndsWith(100)),
            (vec![(100, ending(50, soon)), (101, going(61))], Fate::EndsWith(100)),
            (vec![(100, ending(50, soon)), (101, going(60))], Fate::Open),
            (
                vec![(100, ending(50, late)), (101, ending(55, soon))],
                Fate::EndsWith(100),
            ),
            (
                vec![(100, ending(50, soon)), (101, ending(55, soon))],
                Fate::EndsWith(101),
            ),
        ] {
            assert_eq!(fates(&census(&known), &stray), [(300, fate)], "{known:?}");
        }
        let unknown = Kin::Attempt {
            since: StartTime::UNKNOWN,
            ends_by: None,
        };
        assert_eq!(
            fates(&census(&[(100, unknown)]), &stray),
            [(300, Fate::Open)],
            "nobody knows how old it is"
        );
    }

    #[test]
    fn only_strays_are_judged() {
        let mut zombie = process(304, ME, 304, 60);
        zombie.zombie = true;
        let children = [
            process(300, ME, 300, 60),
            process(301, 300, 300, 60),       // a stray's own child shares its fate
            process(302, ME, MY_SESSION, 60), // no attempt's descendant can be in this session
            process(303, ME, 303, 49),        // older than every attempt
            zombie,
            process(305, 1, 305, 60),  // another's child
            process(100, ME, 100, 60), // started here
        ];
        let mut census = census(&[(100, Kin::Helper)]);
        assert_eq!(fates(&census, &children), [(300, Fate::LeftOver)]);
        census.adopts = false;
        assert_eq!(fates(&census, &children), []);
        (census.adopts, census.first) = (true, None);
        assert_eq!(fates(&census, &children), []);
    }

    #[test]
    fn what_may_stem_from_an_editor_is_left_alone() {
        let (before, server, later) = (
            process(300, ME, 300, 60),
            process(301, ME, 301, 70),
            process(302, ME, 301, 90),
        );
        let mut census = census(&[]);
        census.lent.push(at(70));
        let judged = fates(&census, &[before.clone(), server.clone()]);
        assert_eq!(judged, [(300, Fate::LeftOver), (301, Fate::Open)]);
        census.lent.clear();
        census.spared.push(server.id);
        assert_eq!(
            fates(&census, &[before, server, later]),
            [(300, Fate::LeftOver)],
            "nor is the server's session"
        );
    }

    proptest! {
        /// Attempts begin, are ended and are over at random ticks; each forks strays while it lasts, and each stray forks
        /// others whenever it likes.
        #[test]
        fn nobody_is_ended_before_its_owner_and_everybody_with_the_last(
            spans in prop::collection::vec((50..100_u64, 0..30_u64, 0..30_u64), 1..8),
            born in prop::collection::vec((any::<prop::sample::Index>(), 0..40_u64), 1..12),
            now in 50..170_u64,
        ) {
            let start = Instant::now();
            let attempts: Vec<(u32, u64, u64, u64)> = spans
                .iter()
                .zip(100..)
                .map(|((from, lasts, ends), pid)| (pid, *from, from + lasts, from + lasts + ends))
                .collect();
            let known: Vec<(u32, Kin)> = attempts
                .iter()
                .filter(|(_, from, _, over)| (*from..*over).contains(&now))
                .map(|&(pid, from, stopped, over)| match now < stopped {
                    true => (pid, going(from)),
                    false => (pid, ending(from, start + Duration::from_millis(over))),
                })
                .collect();
            let mut census = census(&known);
            census.first = attempts.iter().map(|(_, from, ..)| at(*from)).min();
            for (owner, after) in born {
                let (leader, from, stopped, over) = *owner.get(&attempts);
                let began = from + after;
                if began > now {
                    continue;
                }
                let judged = fates(&census, &[process(300, ME, 300, began)]);
                let [(300, fate)] = judged[..] else {
                    panic!("it is a stray: {judged:?}");
                };
                if (from..stopped).contains(&now) {
                    prop_assert_eq!(fate, Fate::Open, "its own attempt goes on");
                }
                if (stopped..over).contains(&now) {
                    prop_assert_ne!(fate, Fate::LeftOver, "its own attempt is being ended");
                }
                if let Fate::EndsWith(last) = fate {
                    let by = |pid: u32| attempts[pid as usize - 100].3;
                    prop_assert!(now >= over || by(last) >= by(leader), "the longest grace counts");
                }
                if known.is_empty() {
                    prop_assert_eq!(fate, Fate::LeftOver);
                }
            }
        }
    }
}
