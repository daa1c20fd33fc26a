//! How much may be in use at a time: what all tasks together share.
//!
//! Files are checked against it before they go live, and tasks wait for it before they start; both mean the same numbers.
//! How large it is here is for `execution` to find out.

use std::collections::BTreeMap;

/// How much there is in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemResources {
    /// Tasks at a time, over all jobs.
    pub tasks: u32,
    /// Processors, in thousandths.
    pub cpu_millis: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// The slots of each named pool.
    pub pools: BTreeMap<String, u32>,
}

/// Fractions of processors in thousandths, rounded up so that nothing that is asked for counts as nothing.
pub fn cpu_millis(cpu: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the schema bounds it to 0.001..=10000; outside of that the cast saturates"
    )]
    let millis = (cpu * 1_000.0).ceil() as u64;
    millis
}

/// Thousandths of processors as people write them: 500 is `0.5`.
pub fn cpu_text(millis: u64) -> String {
    let text = format!("{}.{:03}", millis / 1_000, millis % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_in_thousandths() {
        for (cpu, millis, text) in [
            (0.0004, 1, "0.001"),
            (0.5, 500, "0.5"),
            (4.0, 4_000, "4"),
            (10.0, 10_000, "10"),
        ] {
            assert_eq!((cpu_millis(cpu), cpu_text(millis)), (millis, text.to_owned()), "{cpu}");
        }
    }
}
