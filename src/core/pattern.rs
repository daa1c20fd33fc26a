//! Names with wildcards: how people pick several jobs or tasks at once.

use std::fmt;

/// The name of a job or a task, in which `*` stands for any letters and `?` for any one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Checks that `text` could be a name: lower-case letters, digits, `-`, `_` and the wildcards.
    pub fn new(text: &str) -> Option<Self> {
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'*' | b'?');
        (!text.is_empty() && text.bytes().all(letters)).then(|| Self(text.to_owned()))
    }

    /// The pattern as it was written. It has no other wildcards than `*` and `?`, and no brackets, so that it means the
    /// same to `GLOB` in SQL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name fits.
    pub fn fits(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where to go on when a star has to take one letter more; the last star is enough.
        let mut back: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    back = Some((p + 1, n));
                    p += 1;
                }
                Some(&letter) if letter == b'?' || letter == name[n] => (p, n) = (p + 1, n + 1),
                Some(_) | None => {
                    let Some((after_star, taken)) = back else { return false };
                    back = Some((after_star, taken + 1));
                    (p, n) = (after_star, taken + 1);
                }
            }
        }
        pattern[p..].iter().all(|&letter| letter == b'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        for (pattern, fits, differs) in [
            ("etl", "etl", "etl-1"),
            ("etl-*", "etl-", "etl"),
            ("*-load", "a-b-load", "a-load-b"),
            ("a*b*c", "axxbxxbc", "axxbxx"),
            ("?", "a", "ab"),
            ("*", "anything", "\u{0}never"),
        ] {
            let pattern = Pattern::new(pattern).expect("a pattern");
            assert!(pattern.fits(fits), "{pattern:?} {fits}");
            assert!(
                pattern.as_str() == "*" || !pattern.fits(differs),
                "{pattern:?} {differs}"
            );
        }
    }

    #[test]
    fn what_could_be_no_name_is_refused() {
        for text in ["", "Nightly", "a b", "[a]", "a.b"] {
            assert_eq!(Pattern::new(text), None, "{text}");
        }
    }
}
