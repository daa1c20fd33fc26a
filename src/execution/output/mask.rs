//! Keeps secrets out of what Petit writes down.
//!
//! A [`Mask`] knows values and finds them in texts; a [`Veil`] is its place in a stream of bytes that comes in pieces. A
//! value of several lines is also looked for line by line, because programs indent, join and cut texts at line ends.
//! Matches may overlap: every byte that belongs to any of them is hidden, and each unbroken stretch of such bytes becomes
//! [`MASK`], whose length says nothing. What a program does to a value before it prints it (base64, say) is not seen.
//!
//! Each part that is looked for is followed by the algorithm of Knuth, Morris and Pratt: every byte is looked at once,
//! however a text repeats itself, and how far the parts have come says how much must be held back.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

/// What stands where a secret stood.
pub const MASK: &str = "***";

/// A value, or a line of one, below this is not looked for: its masks would be everywhere, and tell what they hide.
pub const FEWEST_BYTES: usize = 4;

/// What is to be hidden. Its `Debug` form does not show it.
#[derive(Default)]
pub struct Mask {
    hidden: Vec<Part>,
}

struct Part {
    text: Vec<u8>,
    /// For each number of bytes that were found: how many of them, at their end, begin the text anew.
    falls_to: Vec<usize>,
}

impl Mask {
    /// A mask of these values.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let parts: BTreeSet<&str> = values.into_iter().flat_map(parts).collect();
        Self {
            hidden: parts.into_iter().map(Part::new).collect(),
        }
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
        self.hidden.iter().any(|part| {
            let mut found = 0;
            bytes.iter().any(|&byte| part.step(&mut found, byte))
        })
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
        veil.finish(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} hidden)", self.hidden.len())
    }
}

impl Part {
    fn new(text: &str) -> Self {
        let text = text.as_bytes().to_vec();
        let mut falls_to = vec![0; text.len() + 1];
        let mut found = 0;
        for at in 1..text.len() {
            while found > 0 && text[found] != text[at] {
                found = falls_to[found];
            }
            found += usize::from(text[found] == text[at]);
            falls_to[at + 1] = found;
        }
        Self { text, falls_to }
    }

    /// Takes the next byte of a stream, of whose end `found` bytes begin this text. Says whether the text is whole.
    fn step(&self, found: &mut usize, byte: u8) -> bool {
        while *found > 0 && self.text[*found] != byte {
            *found = self.falls_to[*found];
        }
        *found += usize::from(self.text[*found] == byte);
        let is_whole = *found == self.text.len();
        if is_whole {
            *found = self.falls_to[*found];
        }
        is_whole
    }
}

/// The parts of a value that are looked for: the whole of it, and each of its lines.
fn parts(value: &str) -> impl Iterator<Item = &str> {
    let lines = || value.lines().map(str::trim).filter(|line| line.len() >= FEWEST_BYTES);
    // A whole without any line that is long enough would show as soon as its lines are joined in another way.
    let whole = lines().next().map(|_| value.trim_end_matches(['\r', '\n']));
    lines().chain(whole)
}

/// A place in a stream that is being masked, always by the same mask.
#[derive(Debug, Default)]
pub struct Veil {
    /// How much of each part the stream's end may be the beginning of.
    found: Vec<usize>,
    /// The end of what came, held back because a secret may have begun in it.
    held: Vec<u8>,
    /// What of it belongs to secrets: stretches in their order, with a gap between any two.
    covered: Vec<(usize, usize)>,
    /// Whether the last byte that went out was hidden, so that its mask stands there already.
    hiding: bool,
}

impl Veil {
    /// Passes on what may be shown of these bytes. The end is held back as long as a secret may go on in it.
    pub fn pass(&mut self, mask: &Mask, bytes: &[u8], shown: &mut Vec<u8>) {
        let before = self.held.len();
        self.held.extend_from_slice(bytes);
        self.found.resize(mask.hidden.len(), 0);
        let mut ends: Vec<(usize, usize)> = Vec::new();
        for (part, found) in mask.hidden.iter().zip(&mut self.found) {
            let mut at = before;
            while at < self.held.len() {
                if *found == 0 {
                    // Most of a text is nowhere near a secret, and a plain search for one byte is fast.
                    let Some(next) = self.held[at..].iter().position(|&byte| byte == part.text[0]) else {
                        break;
                    };
                    at += next;
                }
                if part.step(found, self.held[at]) {
                    ends.push((at + 1, part.text.len()));
                }
                at += 1;
            }
        }
        ends.sort_unstable();
        ends.into_iter().for_each(|(end, length)| self.cover(end - length, end));
        let undecided = self.found.iter().copied().max().unwrap_or(0);
        self.release(self.held.len() - undecided, shown);
    }

    /// Passes on what was held back: nothing more comes.
    pub fn finish(&mut self, shown: &mut Vec<u8>) {
        self.found.clear();
        self.release(self.held.len(), shown);
    }

    /// How many bytes are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Notes a stretch that ends behind all others, and makes one of those that touch.
    fn cover(&mut self, mut start: usize, end: usize) {
        while let Some(&(from, to)) = self.covered.last()
            && to >= start
        {
            start = start.min(from);
            self.covered.pop();
        }
        self.covered.push((start, end));
    }

    /// Lets go of the first bytes that are held.
    fn release(&mut self, count: usize, shown: &mut Vec<u8>) {
        let mut at = 0;
        for (start, end) in std::mem::take(&mut self.covered) {
            if start < count {
                self.show(at..start, shown);
                if !self.hiding {
                    shown.extend_from_slice(MASK.as_bytes());
                }
                self.hiding = true;
                at = end.min(count);
            }
            if end > count {
                self.covered.push((start.saturating_sub(count), end - count));
            }
        }
        self.show(at..count, shown);
        self.held.drain(..count);
    }

    fn show(&mut self, part: std::ops::Range<usize>, shown: &mut Vec<u8>) {
        if !part.is_empty() {
            shown.extend_from_slice(&self.held[part]);
            self.hiding = false;
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
        veil.finish(&mut shown);
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
        veil.finish(&mut shown);
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
    fn a_text_that_repeats_itself_costs_no_more_than_another() {
        let secret = "a".repeat(60_000);
        let mask = Mask::new([secret.as_str()]);
        let (mut veil, mut shown) = (Veil::default(), Vec::new());
        for _ in 0..100 {
            veil.pass(&mask, &secret.as_bytes()[1..], &mut shown);
        }
        veil.pass(&mask, b"b", &mut shown);
        veil.finish(&mut shown);
        assert_eq!(shown, b"***b");
        assert!(!mask.finds(&secret.as_bytes()[1..]));
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
            pieces in prop::collection::vec((any::<prop::sample::Index>(), 0..8_usize, 0..8_usize, "[c\n]{0,1}"), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mask = Mask::new(secrets.iter().map(String::as_str));
            // Texts that are made of parts of secrets come near to them more often than chance would.
            let text: String = pieces
                .iter()
                .map(|(secret, from, to, between)| {
                    let secret = secret.get(&secrets);
                    format!("{}{between}", secret.get(*from..*to).unwrap_or(secret))
                })
                .collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect();
            let shown = veiled(&mask, &pieces);
            prop_assert!(!mask.finds(shown.as_bytes()), "{shown:?}");
            // An independent reading of the rule: every byte of every match is hidden, and nothing else is.
            let mut hidden = vec![false; text.len()];
            for Part { text: part, .. } in &mask.hidden {
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
