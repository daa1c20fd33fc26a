//! Whether a text is exactly one query, found out before DuckDB sees it: preparing a text of several statements executes
//! all but the last.
//!
//! Reads only as much of SQL as it takes to tell a `;` that separates statements from one within a string, a name or a
//! comment, by the rules of DuckDB's own lexer. It does not judge the query; a connection that can only read does that.

/// A text that is not one query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOneQuery {
    /// There is nothing in it.
    #[error("there is no statement: expected a query such as `SELECT * FROM runs LIMIT 5`")]
    Empty,
    /// There is more than one.
    #[error("there are {0} statements: expected exactly one")]
    Several(usize),
    /// It is a statement of another kind.
    #[error("`{word}` is not a query: expected one that begins with {}", QUERIES.join(", "))]
    Other {
        /// The word that it begins with.
        word: String,
    },
}

/// The words with which a query begins. Whatever else DuckDB understands changes something, or asks what has no place
/// here.
const QUERIES: [&str; 10] = [
    "SELECT",
    "WITH",
    "FROM",
    "VALUES",
    "TABLE",
    "DESCRIBE",
    "SHOW",
    "SUMMARIZE",
    "EXPLAIN",
    "PIVOT",
];

/// The one query in a text, without the `;` that may end it.
pub(super) fn only_query(text: &str) -> Result<&str, NotOneQuery> {
    let statements = statements(text);
    let [statement] = statements.as_slice() else {
        return Err(if statements.is_empty() {
            NotOneQuery::Empty
        } else {
            NotOneQuery::Several(statements.len())
        });
    };
    let word = first_word(statement);
    if word.is_empty() || QUERIES.iter().any(|query| query.eq_ignore_ascii_case(word)) {
        Ok(statement)
    } else {
        Err(NotOneQuery::Other { word: word.to_owned() })
    }
}

/// The parts between separators in which anything stands.
fn statements(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut at, mut substance) = (0, 0, None);
    while at < text.len() {
        let token = token(text, at);
        match token.kind {
            Kind::Blank => {}
            Kind::Separator => {
                found.extend(substance.take().map(|from: usize| &text[from..at]));
                start = token.end;
            }
            Kind::Substance => {
                substance.get_or_insert(at);
            }
        }
        at = token.end;
    }
    found.extend(substance.map(|from| &text[from.max(start)..]));
    found
}

/// The word that the statement begins with; empty if it begins with something else, such as a parenthesis.
fn first_word(statement: &str) -> &str {
    let end = statement
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(statement.len());
    &statement[..end]
}

struct Token {
    kind: Kind,
    end: usize,
}

enum Kind {
    Blank,
    Separator,
    Substance,
}

/// The token that begins at a place. What is not closed reaches to the end of the text.
fn token(text: &str, at: usize) -> Token {
    let rest = &text[at..];
    let bytes = rest.as_bytes();
    let (kind, length) = match bytes {
        [b';', ..] => (Kind::Separator, 1),
        [b'-', b'-', ..] => (Kind::Blank, rest.find(['\n', '\r']).unwrap_or(rest.len())),
        [b'/', b'*', ..] => (Kind::Blank, comment(bytes)),
        [b'e' | b'E', b'\'', ..] => (Kind::Substance, 1 + quoted(&bytes[1..], true)),
        [b'\'' | b'"', ..] => (Kind::Substance, quoted(bytes, false)),
        [b'$', ..] => (Kind::Substance, dollar_quoted(rest)),
        [b'0'..=b'9', ..] => (Kind::Substance, number(bytes)),
        [first, ..] if is_word(*first) => {
            // A `$` within a name begins no string, and an `e` at a name's end no escapes.
            let end = bytes.iter().position(|&byte| !(is_word(byte) || byte == b'$'));
            (Kind::Substance, end.unwrap_or(bytes.len()))
        }
        [first, ..] if first.is_ascii_whitespace() || *first == 0x0b => (Kind::Blank, 1),
        _ => (Kind::Substance, rest.chars().next().map_or(1, char::len_utf8)),
    };
    Token { kind, end: at + length }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The length of a number with the letters that follow it. A string may begin right behind it, `1e'…'` and `1$$…$$`
/// included.
fn number(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|&byte| !is_word(byte)).unwrap_or(bytes.len());
    let escapes = end > 1 && matches!(&bytes[end - 1..], [b'e' | b'E', b'\'', ..]);
    end - usize::from(escapes)
}

/// The length of a string or a quoted name; its quote is doubled to stand for itself.
fn quoted(bytes: &[u8], escapes: bool) -> usize {
    let quote = bytes[0];
    let mut at = 1;
    while at < bytes.len() {
        if escapes && bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] != quote {
            at += 1;
        } else if bytes.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return at + 1;
        }
    }
    bytes.len()
}

/// The length of `$tag$ … $tag$`; of a single `$`, as in a parameter, 1.
fn dollar_quoted(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let tag = bytes[1..]
        .iter()
        .position(|&byte| !is_word(byte))
        .map(|length| length + 1);
    let Some(tag) = tag.filter(|&end| bytes[end] == b'$' && !bytes[1].is_ascii_digit()) else {
        return 1;
    };
    let (quote, inner) = rest.split_at(tag + 1);
    inner
        .find(quote)
        .map_or(rest.len(), |end| quote.len() + end + quote.len())
}

/// The length of a comment, in which others may lie.
fn comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_query_is_found_whatever_it_holds() {
        for (text, query) in [
            ("SELECT 1", "SELECT 1"),
            (" -- about\n select 1 ; ; -- done; really\n", "select 1 "),
            ("SELECT ';' AS a, \";\"", "SELECT ';' AS a, \";\""),
            ("SELECT 'it''s; fine'", "SELECT 'it''s; fine'"),
            ("SELECT E'a\\'; b'", "SELECT E'a\\'; b'"),
            ("SELECT $$;$$, $t$;$$;$t$", "SELECT $$;$$, $t$;$$;$t$"),
            ("FROM /* ; /* ; */ ; */ runs", "FROM /* ; /* ; */ ; */ runs"),
            ("(SELECT 1)", "(SELECT 1)"),
            ("SELECT $1", "SELECT $1"),
            ("SELECT 'é;ü'", "SELECT 'é;ü'"),
        ] {
            assert_eq!(only_query(text), Ok(query), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        use NotOneQuery::{Empty, Several};
        let other = |word: &str| NotOneQuery::Other { word: word.to_owned() };
        for (text, refusal) in [
            ("", Empty),
            (" ; -- SELECT 1", Empty),
            ("SELECT 1; SELECT 2", Several(2)),
            ("SELECT 'a\\'; DROP TABLE runs; --'", Several(2)),
            ("SELECT a$$; DELETE FROM runs; SELECT b$$", Several(3)),
            ("/* */ */; DELETE FROM runs", Several(2)),
            ("SELECT 1 --\r; DELETE FROM runs", Several(2)),
            ("SELECT 1e'\\''; DELETE FROM runs; --'", Several(2)),
            ("SELECT 1$$ ' $$; DELETE FROM runs; SELECT '", Several(3)),
            ("DELETE FROM runs", other("DELETE")),
            ("copy runs to 'x'", other("copy")),
            ("ATTACH 'x'", other("ATTACH")),
            ("INSTALL httpfs", other("INSTALL")),
            ("SET threads = 1", other("SET")),
        ] {
            assert_eq!(only_query(text), Err(refusal), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_cut_without_panic(text in "[-se;'\"$/*\\\\é \\n]{0,24}") {
            let _ = only_query(&text);
        }
    }
}
