//! Places and budgets; how mistakes read is shown by the snapshots of the room.

use std::time::{Duration, Instant};

use super::*;

fn code(bytes: &[u8]) -> &'static str {
    match parse(bytes) {
        Ok(_) => "fine",
        Err(unreadable) => unreadable.findings[0].code,
    }
}

fn at<'a>(document: &'a Document, pointer: &str) -> &'a str {
    document.written(pointer)
}

#[test]
fn places_are_those_of_the_text() {
    let text =
        "é: \"ü\"\nlist:\n  - one\n  - {k: 'v v'}   # comment\nblock: |\n  x\n  y\nalias: &a [1]\nuse: *a\na/b: 1\n";
    let document = parse(text.as_bytes()).expect("YAML");
    for (pointer, written) in [
        ("/é", "\"ü\""),
        ("/list", "list"),
        ("/list/0", "one"),
        ("/list/1/k", "'v v'"),
        ("/list/1/missing", "{k: 'v v'}"),
        ("/block", "block"),
        ("/use/0", "1"),
        ("/a~1b", "1"),
        ("/nothing", "é: \"ü\""),
    ] {
        assert_eq!(at(&document, pointer), written, "{pointer}");
    }
    assert_eq!(&document.text[document.place("/list/1/k", true)], "k");
    assert_eq!(document.keys(""), ["é", "list", "block", "alias", "use", "a/b"]);
}

#[test]
fn a_part_of_a_text_is_found_where_it_is_written() {
    let text = "a: bcd\nb: \"bcd\"\nc: \"b\\x63d\"\nd: |\n  x bcd\n";
    let document = parse(text.as_bytes()).expect("YAML");
    let part = |pointer, range| &document.text[document.place_within(pointer, range)];
    assert_eq!(part("/a", 1..2), "c");
    assert_eq!(part("/b", 1..2), "c");
    assert_eq!(part("/c", 1..2), "\"b\\x63d\"");
    assert_eq!(part("/d", 2..5), "bcd");
    assert_eq!(part("/a/x", 1..2), "c");
    assert_eq!(part("/a", 3..3), "");
}

#[test]
fn budgets_hold() {
    let deep = |n: usize| format!("{}{}", "a: ".to_owned() + &"[".repeat(n), "]".repeat(n));
    assert_eq!(code(deep(MOST_DEPTH - 1).as_bytes()), "fine");
    assert_eq!(code(deep(MOST_DEPTH).as_bytes()), "too-deep");
    assert_eq!(code(&vec![b'#'; MOST_BYTES + 1]), "too-large");
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let before = format!("*a{}, ", i - 1).repeat(9);
        laughs.push_str(&format!("a{i}: &a{i} [{before}]\n"));
    }
    assert_eq!(code(laughs.as_bytes()), "too-many-aliases");
    let mut tower = "a0: &a0 [x]\n".to_owned();
    for i in 1..70 {
        tower.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    assert_eq!(code(tower.as_bytes()), "too-deep");
    assert_eq!(code(b"a: &a [*a]"), "alias-in-itself");
}

#[test]
fn hostile_texts_end_soon() {
    let began = Instant::now();
    for pattern in [
        "[", "{", "- ", "a: ", "? ", "\"", "'", "&a ", "*a ", "!", "|", "#", "\t", "a\n", "[a,", "{a: ", "- - ", ": ",
        "\\", "%",
    ] {
        let text = pattern.repeat((200_000) / pattern.len());
        let _ = parse(text.as_bytes());
        let _ = parse(format!("a: {text}").as_bytes());
        let _ = parse(format!("a: \"{text}").as_bytes());
    }
    // Seconds, where a parser that takes the square of a text's length takes hours.
    assert!(began.elapsed() < Duration::from_secs(600), "{:?}", began.elapsed());
}

#[test]
fn what_is_yaml_and_not_wanted_is_named() {
    for (text, expected) in [
        (&b"\xff\xfe"[..], "not-utf8"),
        (b"\xef\xbb\xbfa: 1", "fine"),
        (b"", "empty"),
        (b"---\n", "empty"),
        (b"--- ~\n", "not-a-map"),
        (b"--- {a: 1}\n...\n", "fine"),
        (b"a: 1\n---\nb: 1\n", "several-documents"),
        (b"a: 1\na: 2\n", "duplicate-key"),
        (b"{a: 1, 'a': 2}", "duplicate-key"),
        (b"<<: {a: 1}", "merge-key"),
        (b"'<<': 1", "fine"),
        (b"a: !x 1", "yaml-tag"),
        (b"a: .NaN", "not-a-number"),
        (b"a: '.nan'", "fine"),
        (b"? [a]\n: 1", "yaml-key"),
        (b"a: &x b\n*x : c", "yaml-key"),
        (b"1: a\n", "fine"),
        (b"a: 184467440737095516160000\n", "not-a-number"),
    ] {
        assert_eq!(code(text), expected, "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_duplicate_points_at_both_places() {
    let found = parse(b"a: 1\nb: 2\na: 3\n").expect_err("twice").findings;
    assert_eq!(found[0].span, 10..11);
    assert_eq!(found[0].related[0].1, 0..1);
}

#[test]
fn scalars_mean_what_yaml_1_2_says() {
    let document = parse(b"{a: yes, b: true, c: 007, d: 7, e: 0x10, f: 1e3, g: ~, h: 1_000, i: 12:30}").expect("YAML");
    assert_eq!(
        document.value.to_string(),
        r#"{"a":"yes","b":true,"c":"007","d":7,"e":16,"f":1000.0,"g":null,"h":"1_000","i":"12:30"}"#
    );
}
