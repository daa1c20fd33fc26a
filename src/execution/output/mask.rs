//! Keeps secrets out of what Petit writes down.
//!
//! A [`Mask`] knows values and finds them in texts; a [`Veil`] is its place in a stream of bytes that comes in pieces. A
//! value of several lines is also looked for line by line, because programs indent, join and cut texts at line ends.
//! Matches may overlap: every byte that belongs to any of them is hidden, and each unbroken stretch of such bytes becomes
//! [`MASK`], whose length says nothing. What a program does to a value before it prints it (base64, say) is not seen.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

/// What stands where a secret stood.
pub const MASK: &str = "***";

/// A value, or a line of one, below this is not looked for: its masks would be everywhere, and tell what they hide.
pub const FEWEST_BYTES: usize = 4;

/// What is to be hidden. Its `Debug` form does not show it.
#[derive(Default, PartialEq, Eq)]
pub struct Mask {
    /// Longest first, so that the first match at a place is the longest.
    hidden: Vec<Vec<u8>>,
}

impl Mask {
    /// A mask of these values.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let parts: BTreeSet<&str> = values.into_iter().flat_map(parts).collect();
        let mut hidden: Vec<Vec<u8>> = parts.into_iter().map(|part| part.as_bytes().to_vec()).collect();
        hidden.sort_by_key(|part| std::cmp::Reverse(part.len()));
        Self { hidden }
    }

    /// Whether there is something in a value that can be looked for; one without cannot be kept secret.
    pub fn can_hide(value: &str) -> bool {
        parts(value).next().is_some()
    }

    /// Whether nothing is hidden.
    pub fn is_empty(&self) -> bool {
        self.hidden.is_empty()
    }

    /// Whether a secret stands in these bytes.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        (0..bytes.len()).any(|at| self.longest_at(&bytes[at..]).is_some())
    }

    /// Whether a secret stands in a text of this value, at any depth.
    pub fn finds_in(&self, value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => self.finds(number.to_string().as_bytes()),
            Value::String(text) => self.finds(text.as_bytes()),
            Value::Array(items) => items.iter().any(|item| self.finds_in(item)),
            Value::Object(map) => map
                .iter()
                .any(|(key, value)| self.finds(key.as_bytes()) || self.finds_in(value)),
        }
    }

    /// The text with every secret hidden.
    pub fn hide(&self, text: &str) -> String {
        let mut veil = Veil::default();
        let mut shown = Vec::new();
        veil.pass(self, text.as_bytes(), &mut shown);
        veil.finish(self, &mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    }

    fn longest_at(&self, bytes: &[u8]) -> Option<usize> {
        let found = self.hidden.iter().find(|part| bytes.starts_with(part));
        found.map(Vec::len)
    }

    /// Whether these bytes are the beginning of a secret whose rest may still come.
    fn may_begin(&self, bytes: &[u8]) -> bool {
        let longer = self.hidden.iter().take_while(|part| part.len() > bytes.len());
        longer.into_iter().any(|part| part.starts_with(bytes))
    }

    fn longest(&self) -> usize {
        self.hidden.first().map_or(0, Vec::len)
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} hidden)", self.hidden.len())
    }
}

/// The parts of a value that are looked for: the whole of it, and each of its lines.
fn parts(value: &str) -> impl Iterator<Item = &str> {
    let whole = value.trim_end_matches(['\r', '\n']);
    let lines = value.lines().map(str::trim);
    // A whole without any line that is long enough would show as soon as its lines are joined in another way.
    let is_whole = value
        .lines()
        .any(|line| line.trim().len() >= FEWEST_BYTES)
        .then_some(whole);
    lines.filter(|line| line.len() >= FEWEST_BYTES).chain(is_whole)
}

/// A place in a stream that is being masked.
#[derive(Debug, Default)]
pub struct Veil {
    /// The end of what came, held back because a secret may have begun in it.
    held: Vec<u8>,
    /// How many of the bytes that come next belong to a secret that was found.
    covered: usize,
    /// Whether the last byte that went out was hidden, so that its mask stands there already.
    hiding: bool,
}

impl Veil {
    /// Passes on what may be shown of these bytes. The end is held back as long as a secret may go on in it.
    pub fn pass(&mut self, mask: &Mask, bytes: &[u8], shown: &mut Vec<u8>) {
        if mask.is_empty() {
            shown.extend_from_slice(bytes);
            return;
        }
        self.held.extend_from_slice(bytes);
        self.advance(mask, false, shown);
    }

    /// Passes on what was held back: nothing more comes.
    pub fn finish(&mut self, mask: &Mask, shown: &mut Vec<u8>) {
        self.advance(mask, true, shown);
    }

    /// How many bytes are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn advance(&mut self, mask: &Mask, is_end: bool, shown: &mut Vec<u8>) {
        let mut begins = [false; 256];
        mask.hidden.iter().for_each(|part| begins[usize::from(part[0])] = true);
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        while at < held.len() {
            let rest = &held[at..];
            if self.covered == 0 {
                let plain = rest.iter().position(|&b| begins[usize::from(b)]).unwrap_or(rest.len());
                if plain > 0 {
                    shown.extend_from_slice(&rest[..plain]);
                    self.hiding = false;
                    at += plain;
                    continue;
                }
            }
            if !is_end && rest.len() < mask.longest() && mask.may_begin(rest) {
                self.held = rest.to_vec();
                return;
            }
            self.covered = self.covered.max(mask.longest_at(rest).unwrap_or(0));
            if self.covered == 0 {
                shown.push(rest[0]);
                self.hiding = false;
            } else {
                if !self.hiding {
                    shown.extend_from_slice(MASK.as_bytes());
                }
                self.hiding = true;
                self.covered -= 1;
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// What comes out of a stream in these pieces.
    fn veiled(mask: &Mask, pieces: &[&str]) -> String {
        let (mut veil, mut shown) = (Veil::default(), Vec::new());
        for piece in pieces {
            veil.pass(mask, piece.as_bytes(), &mut shown);
        }
        veil.finish(mask, &mut shown);
        String::from_utf8(shown).expect("whole characters are hidden")
    }

    #[test]
    fn a_secret_is_hidden_wherever_it_is_cut() {
        let mask = Mask::new(["swordfish"]);
        let text = "pass=swordfish, swordfis, swordfishswordfish.";
        for at in 0..text.len() {
            let (before, after) = text.split_at(at);
            assert_eq!(
                veiled(&mask, &[before, after]),
                "pass=***, swordfis, ***.",
                "cut at {at}"
            );
        }
    }

    #[test]
    fn only_what_may_become_a_secret_is_held_back() {
        let mask = Mask::new(["swordfish"]);
        let (mut veil, mut shown) = (Veil::default(), Vec::new());
        veil.pass(&mask, b"a long sword", &mut shown);
        assert_eq!(shown, b"a long ");
        veil.pass(&mask, b" and a swo", &mut shown);
        assert_eq!(shown, b"a long sword and a ");
        veil.finish(&mask, &mut shown);
        assert_eq!(shown, b"a long sword and a swo");
    }

    #[test]
    fn overlapping_secrets_hide_all_of_their_bytes() {
        let mask = Mask::new(["abcdef", "efghij", "abcd"]);
        assert_eq!(veiled(&mask, &["<abc", "defghij>"]), "<***>");
        assert_eq!(veiled(&mask, &["<abcd>", "<abcde>"]), "<***><***e>");
    }

    #[test]
    fn lines_of_a_secret_are_hidden_one_by_one() {
        let mask = Mask::new(["first line\n  second line\r\n}\nlast line\n"]);
        assert_eq!(mask.hide("log: second line!"), "log: ***!");
        assert_eq!(mask.hide("last line first line }"), "*** *** }");
        assert_eq!(mask.hide("first line\n  second line\r\n}\nlast line\n"), "***\n");
    }

    #[test]
    fn what_is_too_short_cannot_be_hidden() {
        for value in ["", "abc", "  a  ", "ab\ncd\nef", "abc\n"] {
            assert!(!Mask::can_hide(value), "{value:?}");
            assert!(Mask::new([value]).is_empty(), "{value:?}");
        }
        assert!(Mask::can_hide("abcd") && Mask::can_hide("{\n\"key\": 1\n}"));
    }

    #[test]
    fn values_are_searched_at_any_depth() {
        let mask = Mask::new(["swordfish", "12345678"]);
        assert!(mask.finds_in(&json!({"a": [{"b": "a swordfish!"}]})));
        assert!(mask.finds_in(&json!({"swordfish": 1})) && mask.finds_in(&json!([123_456_789])));
        assert!(!mask.finds_in(&json!({"a": ["sword", "fish", 1234, null, true]})));
        assert!(!format!("{mask:?}").contains("swordfish"));
    }

    proptest! {
        #[test]
        fn no_way_of_cutting_shows_a_secret(
            secrets in prop::collection::vec("[ab\n]{4,7}", 1..4),
            text in "[abc\n]{0,60}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mask = Mask::new(secrets.iter().map(String::as_str));
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect();
            let shown = veiled(&mask, &pieces);
            prop_assert!(!mask.finds(shown.as_bytes()), "{shown:?}");
            // An independent reading of the rule: every byte of every match is hidden, and nothing else is.
            let mut hidden = vec![false; text.len()];
            for part in &mask.hidden {
                for at in 0..text.len() {
                    if text.as_bytes()[at..].starts_with(part) {
                        hidden[at..at + part.len()].fill(true);
                    }
                }
            }
            let mut expected = String::new();
            for (at, letter) in text.chars().enumerate() {
                if !hidden[at] {
                    expected.push(letter);
                } else if at == 0 || !hidden[at - 1] {
                    expected.push_str(MASK);
                }
            }
            prop_assert_eq!(shown, expected);
        }
    }
}
