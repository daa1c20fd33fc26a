//! The writer and the reader together, on real files.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::cri::MAX_TEXT;
use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_323_045 + seconds, 0).unwrap()
}

fn log(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("run/task.1.log")
}

fn texts(path: PathBuf) -> Vec<(Stream, bool, String)> {
    let entries = LogReader::new(path).map(Result::unwrap);
    entries
        .map(|e| (e.stream, e.partial, String::from_utf8(e.text).unwrap()))
        .collect()
}

#[test]
fn writes_the_format_that_log_shippers_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::new(log(&folder), 1 << 20);
    writer.write(Stream::Stdout, b"one\ntw", at(0));
    writer.write(Stream::Stderr, b"bad \xff\n", at(1));
    writer.write(Stream::Stdout, b"o\n\nend", at(1));
    writer.finish(at(2));
    writer.finish(at(3));
    let expected: [&[u8]; 5] = [
        b"2026-01-02T03:04:05.000000000Z stdout F one\n",
        b"2026-01-02T03:04:06.000000000Z stderr F bad \xff\n",
        b"2026-01-02T03:04:06.000000001Z stdout F two\n",
        b"2026-01-02T03:04:06.000000002Z stdout F \n",
        b"2026-01-02T03:04:07.000000000Z stdout P end\n",
    ];
    assert_eq!(fs::read(log(&folder)).unwrap(), expected.concat());
    assert_eq!(writer.bytes_in(), 18);
    assert_eq!(writer.error(), None);
}

#[test]
fn secrets_are_hidden_also_between_two_writes_and_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let mask = Arc::new(Mask::new(["swordfish", "first line\nsecond line"]));
    let mut writer = LogWriter::new(log(&folder), 1 << 20).masked(mask);
    writer.write(Stream::Stdout, b"token=sword", at(0));
    writer.write(Stream::Stderr, b"second line\n", at(0));
    writer.write(Stream::Stdout, b"fish\nfirst line\n", at(1));
    writer.write(Stream::Stdout, b"second line\nswor", at(1));
    writer.finish(at(2));
    let expected = [
        (Stream::Stderr, false, "***"),
        (Stream::Stdout, false, "token=***"),
        (Stream::Stdout, false, "***"),
        (Stream::Stdout, true, "swor"),
    ]
    .map(|(stream, partial, text)| (stream, partial, text.to_owned()));
    assert_eq!(texts(log(&folder)), expected);
    assert_eq!(writer.bytes_in(), 55, "as the task wrote them");
}

#[test]
fn a_silent_attempt_has_no_file_and_reads_as_empty() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::new(log(&folder), 1 << 20);
    writer.finish(at(0));
    assert!(!log(&folder).exists());
    assert_eq!(LogReader::new(log(&folder)).next_batch().unwrap(), []);
}

#[test]
fn long_lines_come_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::new(log(&folder), 1 << 20);
    let line = [
        vec![b'x'; MAX_TEXT],
        b"\n".to_vec(),
        vec![b'y'; 2 * MAX_TEXT + 1],
        b"\n".to_vec(),
    ]
    .concat();
    for piece in line.chunks(5000) {
        writer.write(Stream::Stdout, piece, at(0));
    }
    let lengths: Vec<_> = texts(log(&folder))
        .into_iter()
        .map(|(_, partial, text)| (partial, text.len()))
        .collect();
    assert_eq!(
        lengths,
        [(false, MAX_TEXT), (true, MAX_TEXT), (true, MAX_TEXT), (false, 1)]
    );
}

#[test]
fn instants_grow_even_when_the_clock_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::new(log(&folder), 1 << 20);
    writer.write(Stream::Stdout, b"a\n", at(10));
    writer.write(Stream::Stdout, b"b\n", at(5));
    let instants: Vec<_> = LogReader::new(log(&folder)).map(|e| e.unwrap().at).collect();
    assert_eq!(instants, [at(10), at(10) + TimeDelta::nanoseconds(1)]);
}

#[test]
fn a_cap_keeps_head_and_tail_and_accounts_for_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let cap = 64 * 1024;
    let mut writer = LogWriter::new(log(&folder), cap);
    let lines = 20_000;
    let mut bytes = 0;
    for number in 0..lines {
        let line = format!("line {number}\n");
        bytes += line.len();
        writer.write(Stream::Stdout, line.as_bytes(), at(0));
        assert!(fs::metadata(log(&folder)).unwrap().len() <= cap);
    }
    let kept = texts(log(&folder));
    let marker = kept.iter().position(|(stream, ..)| *stream == Stream::Stderr).unwrap();
    let numbers: Vec<usize> = kept
        .iter()
        .filter_map(|(_, _, text)| text.strip_prefix("line ")?.parse().ok())
        .collect();
    assert_eq!(numbers.len() + 1, kept.len(), "one marker");
    let expected: Vec<usize> = (0..marker).chain(lines - (numbers.len() - marker)..lines).collect();
    assert_eq!(numbers, expected, "an unbroken head and an unbroken tail");
    assert!(marker > 250 && numbers.len() - marker > 250, "both worth their name");
    let kept_bytes: usize = numbers.iter().map(|n| format!("line {n}\n").len()).sum();
    let said = format!(
        "[petit: {} lines ({} bytes) cut here to keep this log within {cap} bytes]",
        lines - numbers.len(),
        bytes - kept_bytes
    );
    assert_eq!(kept[marker].2, said);
    assert_eq!(
        fs::read_dir(folder.path().join("run")).unwrap().count(),
        1,
        "nothing is left beside the log"
    );
}

#[test]
fn a_tiny_cap_with_long_lines_still_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::new(log(&folder), 1000);
    for _ in 0..10 {
        writer.write(Stream::Stdout, &[b'z'; 3 * MAX_TEXT], at(0));
    }
    writer.write(Stream::Stdout, b"\nlast\n", at(1));
    let kept = texts(log(&folder));
    assert_eq!(kept.last().unwrap().2, "last");
    assert!(fs::metadata(log(&folder)).unwrap().len() < 1000 + 2 * MAX_TEXT as u64);
}

#[test]
fn a_follower_sees_each_entry_once_over_growth_and_rewrites() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::new(log(&folder), 32 * 1024);
    let mut reader = LogReader::new(log(&folder));
    let mut seen = Vec::new();
    for number in 0..5_000 {
        writer.write(Stream::Stdout, format!("{number}\nhalf").as_bytes(), at(0));
        if number % 50 == 0 {
            seen.extend(std::iter::from_fn(|| Some(reader.next_batch().unwrap()).filter(|b| !b.is_empty())).flatten());
        }
    }
    seen.extend(reader.by_ref().map(Result::unwrap));
    let numbers: Vec<String> = seen
        .iter()
        .filter(|e| e.stream == Stream::Stdout)
        .map(|e| String::from_utf8_lossy(&e.text).replace("half", ""))
        .collect();
    let expected: Vec<String> = (0..5_000).map(|n: i32| n.to_string()).collect();
    assert_eq!(numbers, expected, "it kept up, so nothing is missing for it");
    assert!(
        seen.iter().all(|e| e.stream == Stream::Stdout),
        "nor is it told of a cut that it did not suffer"
    );

    let middle = seen[4_990].at;
    let rest: Vec<_> = LogReader::after(log(&folder), middle).map(Result::unwrap).collect();
    assert_eq!(rest, seen[4_991..]);
}

#[test]
fn what_cannot_be_written_is_counted_and_told_when_it_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let blocker = folder.path().join("run");
    fs::write(&blocker, "a file where the folder should be").unwrap();
    let mut writer = LogWriter::new(log(&folder), 1 << 20);
    writer.write(Stream::Stdout, b"lost\n", at(0));
    writer.write(Stream::Stdout, b"lost too\n", at(1));
    assert!(
        writer
            .error()
            .unwrap()
            .starts_with("14 bytes of output could not be written to ")
    );
    fs::remove_file(&blocker).unwrap();
    writer.write(Stream::Stdout, b"kept\n", at(2));
    let kept = texts(log(&folder));
    assert!(
        kept[0]
            .2
            .starts_with("[petit: 14 bytes of output could not be written here: "),
        "{}",
        kept[0].2
    );
    assert_eq!(kept[1].2, "kept");
    assert_eq!(writer.error(), None);
}
