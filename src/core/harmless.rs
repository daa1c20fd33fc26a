//! Text of strangers, made safe to show: a task's output or a job file may hold escape sequences that move the cursor,
//! rename the window or answer a terminal's questions, and characters that reorder what a reader sees.
//!
//! Bytes go in, a string goes out in which everything that is not plain text stands as a visible escape.

use std::fmt::Write;

/// One line of text. Control characters become `^[` and the like, bytes that are not UTF-8 `\xff`, and characters that
/// hide or reorder others `\u{202e}`. Tabs stay.
pub fn harmless(text: &[u8]) -> String {
    let mut shown = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(&mut shown, c));
        for byte in chunk.invalid() {
            write!(shown, "\\x{byte:02x}").expect("writing to memory cannot fail");
        }
    }
    shown
}

/// The same for a text whose line breaks are its own.
pub fn harmless_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push(c),
            _ => push(&mut shown, c),
        }
    }
    shown
}

fn push(shown: &mut String, c: char) {
    match c {
        '\t' => shown.push(c),
        '\0'..='\x1f' => shown.extend(['^', char::from(c as u8 + b'@')]),
        '\x7f' => shown.push_str("^?"),
        _ if acts(c) => shown.extend(c.escape_unicode()),
        _ => shown.push(c),
    }
}

/// Whether a character does something to the terminal, or to how the characters around it are read.
pub fn acts(c: char) -> bool {
    // Beside the controls of ASCII: C1 controls (0x9b is another escape sequence's start), line and paragraph
    // separators, marks and overrides of direction, invisible characters.
    matches!(c, '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_would_act() {
        let cases: [(&[u8], &str); 7] = [
            (b"plain\ttext", "plain\ttext"),
            ("Grüße 日本 🦀".as_bytes(), "Grüße 日本 🦀"),
            (b"\x1b[2J\x07\r", "^[[2J^G^M"),
            (b"a\x7fb\0", "a^?b^@"),
            (b"bad \xff\xc3(", "bad \\xff\\xc3("),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            ("abc\u{202e}fed".as_bytes(), "abc\\u{202e}fed"),
        ];
        for (text, shown) in cases {
            assert_eq!(harmless(text), shown);
        }
    }
}
