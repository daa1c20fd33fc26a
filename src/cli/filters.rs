//! The filter language as arguments of a command.

use super::{CliError, Globals};
use crate::{
    config::diagnostic::{Finding, locate},
    view::{Filter, filter},
};

/// What the words on the command line pick; a mistake is shown with an arrow at it.
pub fn read(globals: &Globals, words: &[String]) -> Result<Filter, CliError> {
    let text = words.join(" ");
    text.parse().map_err(|error: filter::FilterError| {
        let finding = Finding {
            hint: error.hint.clone(),
            ..Finding::error(error.span, "invalid_filter", error.message.clone())
        };
        let invalid = CliError {
            shown: Some(globals.diagnosed(&locate("filters", &text, vec![finding]), &text)),
            ..CliError::usage(error.message)
        };
        error.hint.into_iter().fold(invalid, CliError::hint)
    })
}

/// What may be picked, for the end of a command's help.
pub fn examples() -> String {
    let keys = filter::KEYS.map(|(_, example)| format!("\n  {example}"));
    format!(
        "Filters, by example; several must all hold, and values after a comma are alternatives:{}",
        keys.concat()
    )
}
