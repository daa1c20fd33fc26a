//! The known name that a person most likely meant by an unknown one.
//!
//! Used wherever Petit says "did you mean"; it knows names and nothing of what they name. Only time zones have a
//! rule of their own, since they are compared by their cities too.

/// Below this likeness a suggestion would be a guess.
const LEAST_LIKENESS: f64 = 0.8;

/// The candidate most like `text`, if one is like it at all.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| {
            let plain = candidate.to_lowercase().replace('-', "_");
            let likeness = if plain == text {
                2.0
            } else {
                // One slip in a short name is a large part of it, and still only one slip.
                let one_slip = text.len() > 2 && plain.len() > 2 && strsim::damerau_levenshtein(&plain, &text) == 1;
                strsim::jaro_winkler(&plain, &text)
                    .max(strsim::normalized_damerau_levenshtein(&plain, &text))
                    .max(if one_slip { LEAST_LIKENESS } else { 0.0 })
            };
            (likeness, candidate)
        })
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

/// The same as a sentence.
pub fn did_you_mean<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(text, candidates).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_name_and_strangers_none() {
        let names = ["depends_on", "description", "timeout", "day", "a"];
        for (text, expected) in [
            ("dependson", Some("depends_on")),
            ("depends-on", Some("depends_on")),
            ("Timeout", Some("timeout")),
            ("tiemout", Some("timeout")),
            ("xyz", None),
            ("dya", Some("day")),
            ("q", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, names), expected, "{text}");
        }
    }
}
