//! An error in one line, for the journal, the socket and the command line.
//!
//! Errors of this crate name what was attempted and leave the cause to their `source`, so whoever shows one to a person
//! has to go down the chain. This is the one place that does.

use std::error::Error;

/// An error with its causes: `could not read x: permission denied`.
pub fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not read x")]
    struct Outer(#[source] std::fmt::Error);

    #[test]
    fn causes_follow_what_was_attempted() {
        let cause = std::fmt::Error;
        assert_eq!(chain(&Outer(cause)), format!("could not read x: {cause}"));
    }
}
