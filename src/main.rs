//! The binary `petit`.

fn main() {}
