//! When a content counts.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use proptest::prelude::*;

use crate::reconcile::{
    scan::{Blob, Content, FolderId, Look, Seen, Stamp},
    settle::{Settle, Settled},
    watch::WatchList,
};

const DEBOUNCE: Duration = Duration::from_millis(150);

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A folder whose files are told by their text; a text has a stamp of its own.
struct Folder {
    settle: Settle,
    start: Instant,
    files: BTreeMap<&'static str, String>,
    blind: bool,
    git_busy: bool,
    fresh: bool,
    /// How long each look takes.
    took: Duration,
}

impl Folder {
    fn new(known: &[&str]) -> Self {
        Self {
            settle: Settle::new(DEBOUNCE, known.iter().map(|&file| file.to_owned())),
            start: Instant::now(),
            files: BTreeMap::new(),
            blind: false,
            git_busy: false,
            fresh: true,
            took: Duration::ZERO,
        }
    }

    fn with(files: &[(&'static str, &str)]) -> Self {
        let mut folder = Self::new(&[]);
        folder.files = files.iter().map(|(file, text)| (*file, (*text).to_owned())).collect();
        folder.fresh = false;
        folder.look(0);
        folder.fresh = true;
        folder
    }

    fn write(&mut self, file: &'static str, text: &str) -> &mut Self {
        self.files.insert(file, text.to_owned());
        self
    }

    fn look(&mut self, at: u64) -> Settled {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let changed_at = if self.fresh {
            wall
        } else {
            wall - Duration::from_secs(60)
        };
        let seen = |text: &String| Seen {
            stamp: Stamp::for_test(1, text.len() as u64, (0, 0)),
            changed_at,
            content: Content::Bytes(Arc::new(Blob::new(text.clone().into_bytes()))),
        };
        let folder = tempfile_id();
        let look = Look {
            folder,
            allow_empty: false,
            git_busy: self.git_busy,
            files: Arc::new(
                self.files
                    .iter()
                    .map(|(file, text)| ((*file).into(), seen(text)))
                    .collect(),
            ),
            blind: self
                .blind
                .then(|| ("sub".to_owned(), "cannot be read".to_owned()))
                .into_iter()
                .collect(),
            watch: WatchList::default(),
            took: self.took,
        };
        self.settle.observe(&look, self.start + millis(at), wall)
    }
}

fn tempfile_id() -> FolderId {
    FolderId::for_test(1)
}

fn text<'a>(settled: &'a Settled, file: &str) -> Option<&'a str> {
    let blob = settled.files.get(file)?.content.as_ref()?.bytes()?;
    Some(std::str::from_utf8(&blob.bytes).expect("the test's own text"))
}

#[test]
fn a_new_file_counts_at_the_second_look_150_ms_later() {
    let mut folder = Folder::with(&[]);
    folder.write("a.yaml", "one");
    let first = folder.look(1_000);
    assert_eq!(
        (text(&first, "a.yaml"), first.look_again),
        (None, Some(folder.start + millis(1_150)))
    );
    assert_eq!(text(&folder.look(1_149), "a.yaml"), None);
    let settled = folder.look(1_150);
    assert_eq!(
        (text(&settled, "a.yaml"), settled.changed, settled.is_quiet()),
        (Some("one"), true, true)
    );
    assert_eq!(settled.look_again, None);
    assert!(!folder.look(1_300).changed);
}

#[test]
fn at_the_start_old_files_count_at_once_and_fresh_ones_do_not() {
    let mut old = Folder::new(&[]);
    old.fresh = false;
    assert_eq!(text(&old.write("a.yaml", "one").look(0), "a.yaml"), Some("one"));
    let mut fresh = Folder::new(&[]);
    assert_eq!(text(&fresh.write("a.yaml", "one").look(0), "a.yaml"), None);
}

#[test]
fn a_file_that_keeps_changing_keeps_its_last_good_content() {
    let mut folder = Folder::with(&[("a.yaml", "good")]);
    for i in 1..=120 {
        let at = i * 100;
        folder.write("a.yaml", &"x".repeat(usize::try_from(i).expect("small") + 10));
        let settled = folder.look(at);
        assert_eq!(text(&settled, "a.yaml"), Some("good"), "at {at} ms");
        assert_eq!(settled.changing[0].is_overdue(), at >= 10_100, "at {at} ms");
    }
    assert_eq!(text(&folder.look(12_150), "a.yaml").map(str::len), Some(130));
}

#[test]
fn other_files_wait_two_seconds_for_one_that_keeps_changing_and_no_longer() {
    let mut folder = Folder::with(&[("a.yaml", "good"), ("b.yaml", "one")]);
    let mut applied = None;
    for i in 1..=40_usize {
        let at = i as u64 * 100;
        folder.write("a.yaml", &"x".repeat(i + 10));
        if i == 5 {
            folder.write("b.yaml", "second");
        }
        if text(&folder.look(at), "b.yaml") == Some("second") {
            applied.get_or_insert(at);
        }
    }
    assert_eq!(applied, Some(2_500));
}

#[test]
fn files_saved_together_count_together() {
    let mut folder = Folder::with(&[("a.yaml", "one"), ("b.yaml", "one")]);
    folder.write("a.yaml", "second").look(100);
    folder.write("b.yaml", "third").look(200);
    assert!(!folder.look(250).changed, "a is ready and waits for b");
    let settled = folder.look(350);
    assert_eq!(
        (text(&settled, "a.yaml"), text(&settled, "b.yaml")),
        (Some("second"), Some("third"))
    );
}

#[test]
fn an_empty_file_is_the_middle_of_a_save_for_two_seconds() {
    let mut folder = Folder::with(&[("a.yaml", "good"), ("b.yaml", "one")]);
    folder.write("a.yaml", "").look(100);
    folder.write("b.yaml", "second").look(200);
    assert_eq!(
        text(&folder.look(350), "b.yaml"),
        Some("second"),
        "nobody waits for an empty file"
    );
    assert_eq!(text(&folder.look(2_099), "a.yaml"), Some("good"));
    let settled = folder.look(2_100);
    assert_eq!(text(&settled, "a.yaml"), Some(""));
    assert!(!settled.files["a.yaml"].missing, "an empty file is no deletion");
}

#[test]
fn a_removal_counts_after_two_seconds_of_looks() {
    let mut folder = Folder::with(&[("a.yaml", "good")]);
    folder.files.clear();
    let missing = folder.look(1_000);
    assert!(missing.files["a.yaml"].missing && missing.changed);
    assert_eq!(text(&folder.look(2_999), "a.yaml"), Some("good"));
    let gone = folder.look(3_000);
    assert!(gone.files.is_empty() && gone.changed && gone.is_quiet());
}

#[test]
fn two_slow_looks_that_miss_a_file_in_the_same_moment_do_not_remove_it() {
    let mut folder = Folder::with(&[("a.yaml", "good")]);
    folder.took = millis(2_500);
    folder.files.clear();
    // The first may have missed it at its end, at 3.5 s, and the second at its beginning.
    folder.look(1_000);
    assert_eq!(text(&folder.look(3_600), "a.yaml"), Some("good"));
    assert!(folder.look(6_100).files.is_empty());
}

#[test]
fn a_file_that_comes_back_was_never_gone() {
    let mut folder = Folder::with(&[("a.yaml", "good")]);
    folder.files.clear();
    folder.look(1_000);
    let back = folder.write("a.yaml", "good").look(2_000);
    assert!(!back.files["a.yaml"].missing && back.is_quiet());
    folder.files.clear();
    folder.look(3_500);
    assert_eq!(
        text(&folder.look(5_000), "a.yaml"),
        Some("good"),
        "the two seconds begin anew"
    );
}

#[test]
fn what_cannot_be_seen_is_not_gone() {
    let mut folder = Folder::with(&[("sub/a.yaml", "good"), ("b.yaml", "good")]);
    folder.files.clear();
    folder.blind = true;
    folder.look(1_000);
    let settled = folder.look(9_000);
    assert_eq!(
        settled.files.keys().map(|path| &**path).collect::<Vec<_>>(),
        ["sub/a.yaml"]
    );
    assert!(!settled.files["sub/a.yaml"].missing);

    let mut folder = Folder::with(&[("a.yaml", "good")]);
    folder.files.clear();
    folder.look(1_000);
    folder.settle.lose_sight();
    assert!(
        folder.look(9_000).files["a.yaml"].missing,
        "time without sight does not count"
    );
}

#[test]
fn what_only_one_look_saw_does_not_count() {
    for hidden in [false, true] {
        let mut folder = Folder::with(&[("sub/a.yaml", "good"), ("b.yaml", "good")]);
        folder.write("sub/a.yaml", "go");
        folder.look(1_000);
        folder.files.remove("sub/a.yaml");
        folder.blind = hidden;
        assert_eq!(text(&folder.look(1_150), "sub/a.yaml"), Some("good"));
        folder.blind = false;
        folder.write("sub/a.yaml", "go");
        assert_eq!(text(&folder.look(1_300), "sub/a.yaml"), Some("good"));
        assert_eq!(text(&folder.look(1_450), "sub/a.yaml"), Some("go"));
    }
}

#[test]
fn files_that_went_together_are_gone_together() {
    let mut folder = Folder::with(&[("a.yaml", "one"), ("b.yaml", "one"), ("c.yaml", "one")]);
    for (file, at) in [("a.yaml", 1_000), ("b.yaml", 1_400), ("c.yaml", 2_000)] {
        folder.files.remove(file);
        folder.look(at);
    }
    let left = |settled: &Settled| settled.files.len();
    let waiting = folder.look(3_000);
    assert_eq!((left(&waiting), waiting.changed), (3, false));
    assert!(waiting.look_again.is_some_and(|at| at <= folder.start + millis(3_400)));
    assert_eq!(left(&folder.look(3_400)), 1, "the third went later");
    assert_eq!(left(&folder.look(4_000)), 0);
}

#[test]
fn at_the_start_the_files_of_active_jobs_must_be_missed_like_any_other() {
    let mut folder = Folder::new(&["a.yaml"]);
    let first = folder.look(0);
    assert!(first.files["a.yaml"].missing && first.files["a.yaml"].content.is_none());
    assert!(folder.look(2_000).files.is_empty());
}

#[test]
fn git_is_waited_for_and_not_for_ever() {
    let mut folder = Folder::with(&[("a.yaml", "one"), ("b.yaml", "one")]);
    folder.git_busy = true;
    folder.write("a.yaml", "second");
    folder.files.remove("b.yaml");
    folder.look(1_000);
    let busy = folder.look(9_000);
    assert!(busy.git_busy && busy.look_again.is_some());
    assert_eq!(
        (text(&busy, "a.yaml"), text(&busy, "b.yaml")),
        (Some("one"), Some("one"))
    );
    let stuck = folder.look(11_000);
    assert_eq!((text(&stuck, "a.yaml"), stuck.files.len()), (Some("second"), 1));
}

#[test]
fn what_git_wrote_first_settles_with_what_it_wrote_last() {
    let mut folder = Folder::with(&[("a.yaml", "one"), ("b.yaml", "one")]);
    folder.git_busy = true;
    folder.write("a.yaml", "second");
    folder.look(1_000);
    folder.write("b.yaml", "second");
    folder.look(4_000);
    folder.git_busy = false;
    // The first has stood for longer than others wait for a file that changes, but it was git that it waited for.
    let done = folder.look(4_100);
    assert_eq!(
        (text(&done, "a.yaml"), text(&done, "b.yaml")),
        (Some("one"), Some("one"))
    );
    let settled = folder.look(4_400);
    assert_eq!(
        (text(&settled, "a.yaml"), text(&settled, "b.yaml")),
        (Some("second"), Some("second"))
    );
}

proptest! {
    /// Whatever is written when: what counts was once whole for the debounce, and in the end what is there counts.
    #[test]
    fn only_what_stood_still_counts(writes in prop::collection::vec((0usize..3, 1usize..6, 10u64..400), 1..60)) {
        let names = ["a.yaml", "b.yaml", "c.yaml"];
        let mut folder = Folder::with(&[]);
        let mut since: BTreeMap<&str, u64> = BTreeMap::new();
        let mut stood: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut now = 1_000;
        for (file, length, pause) in writes {
            let (name, new) = (names[file], "x".repeat(length));
            if folder.files.get(name) != Some(&new) {
                folder.write(name, &new);
                since.insert(name, now);
            }
            let settled = folder.look(now);
            for (name, text) in folder.files.clone() {
                if now - since[name] >= 150 {
                    stood.entry(name).or_default().push(text);
                }
            }
            for name in names {
                if let Some(text) = text(&settled, name) {
                    prop_assert!(stood[name].iter().any(|whole| whole == text), "{name} at {now} ms");
                }
            }
            now += pause;
        }
        folder.look(now);
        let settled = folder.look(now + 150);
        prop_assert!(settled.is_quiet());
        for (name, whole) in folder.files.clone() {
            prop_assert_eq!(text(&settled, name), Some(whole.as_str()));
        }
    }
}
