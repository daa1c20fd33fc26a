//! What an attempt prints: from its two pipes into its log, without taking the time of others.
//!
//! A program that prints without end writes a few kilobytes at a time, and a reader that follows each write is as busy as
//! the program is: on a small machine the two leave nothing to the tasks beside them. So an attempt that has printed
//! much of late ([`Pace`]) is read when its pipe has had a moment to fill, and all attempts of that kind take turns, one
//! read in a moment. The program waits meanwhile, as it would for a slow disk, and what it prints in the end is the same.
//! Nobody else notices: an attempt that prints a megabyte at once, or a few a second for ever, is read as it writes.

use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::net::unix::pipe;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::children::Output;
use super::{procfs, sys};
use crate::execution::output::{LogWriter, Stream};

/// Where output is captured. Clones share the turns.
#[derive(Debug, Clone)]
pub(super) struct Captures {
    turns: Arc<Semaphore>,
}

/// Reads both streams of one attempt into its log.
#[derive(Debug)]
pub(super) struct Capture {
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    /// `None` only while a blocking thread has it, or after one panicked with it.
    log: Option<LogWriter>,
    buffer: Vec<u8>,
    pace: Pace,
    /// Its pipes hold [`WIDE`], if the kernel allows it.
    is_wide: bool,
    turns: Arc<Semaphore>,
}

/// How much an attempt has printed of late: a bucket that its output fills and time empties.
#[derive(Debug)]
struct Pace {
    /// In bytes.
    level: u64,
    at: Instant,
}

/// What one read takes at most: a pipe's default capacity.
const READ: usize = 64 * 1024;
/// The same of one that prints without end.
const WIDE: usize = 4 * READ;
/// So many reads empty a pipe of any size and find its end. A program may widen its own up to a megabyte.
const LAST_READS: usize = (1 << 20) / READ + 1;
/// How long a wide pipe is left to fill. With it some thirty megabytes a second are read of all floods together.
const MOMENT: Duration = Duration::from_millis(8);

impl Default for Captures {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Captures {
    /// Captures an attempt's output in this log.
    pub fn take(&self, output: Output, log: LogWriter) -> Capture {
        Capture {
            stdout: Some(output.stdout),
            stderr: Some(output.stderr),
            log: Some(log),
            buffer: Vec::new(),
            pace: Pace::new(Instant::now()),
            is_wide: false,
            turns: Arc::clone(&self.turns),
        }
    }
}

impl Capture {
    /// Which stream has something to read, or has ended. Never resolves once both have ended. Cancel safe.
    pub async fn readable(&self) -> Stream {
        if self.pace.is_a_flood() {
            // Nobody closes it; without a turn there would only be no pause.
            let _turn = self.turns.acquire().await;
            sleep(MOMENT).await;
        }
        self.readable_at_once().await
    }

    async fn readable_at_once(&self) -> Stream {
        tokio::select! {
            () = ready(self.stdout.as_ref()) => Stream::Stdout,
            () = ready(self.stderr.as_ref()) => Stream::Stderr,
        }
    }

    /// Reads once. Not cancel safe: the log may be away in a blocking thread.
    pub async fn read(&mut self, stream: Stream) {
        self.read_some(stream).await;
    }

    /// Reads once, and says whether there was something.
    async fn read_some(&mut self, stream: Stream) -> bool {
        let pipe = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let Some(open) = pipe else { return false };
        self.buffer.clear();
        self.buffer.reserve(if self.is_wide { WIDE } else { READ });
        match open.try_read_buf(&mut self.buffer) {
            Ok(0) => {
                *pipe = None;
                false
            }
            Ok(bytes) => {
                self.pace.read(bytes, Instant::now());
                if self.pace.is_a_flood() && !mem::replace(&mut self.is_wide, true) {
                    self.widen();
                }
                self.log(stream).await;
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(_) => {
                *pipe = None;
                false
            }
        }
    }

    /// Fewer and larger reads are less work. Where it is refused, as many small ones are right as well.
    fn widen(&self) {
        for pipe in [self.stdout.as_ref(), self.stderr.as_ref()].into_iter().flatten() {
            let _ = sys::widen_pipe(pipe.as_fd(), WIDE as i32);
        }
    }

    async fn log(&mut self, stream: Stream) {
        let Some(mut log) = self.log.take() else {
            return;
        };
        // Who prints much writes much, and a thread of the runtime has others to serve.
        if !self.pace.is_a_flood() && !log.may_rewrite(self.buffer.len()) {
            log.write(stream, &self.buffer, Utc::now());
            self.log = Some(log);
            return;
        }
        let buffer = mem::take(&mut self.buffer);
        let write = move || {
            log.write(stream, &buffer, Utc::now());
            (log, buffer)
        };
        if let Ok((log, buffer)) = tokio::task::spawn_blocking(write).await {
            (self.log, self.buffer) = (Some(log), buffer);
        }
    }

    /// Reads until both streams have ended, but not for longer than this. Says whether they have. Who printed is gone, and
    /// what it has left in the pipes is not worth a turn: waiting for one could take longer than the patience.
    pub async fn drain(&mut self, patience: Duration) -> bool {
        let mut over = pin!(sleep(patience));
        while self.is_open() {
            tokio::select! {
                biased;
                () = &mut over => {
                    self.read_the_rest().await;
                    break;
                }
                stream = self.readable_at_once() => self.read(stream).await,
            }
        }
        !self.is_open()
    }

    /// Reads what is in the pipes, without waiting. This process may have been held up for the whole patience, and then ends
    /// that came in good time are still to be read. Who goes on writing is not followed.
    async fn read_the_rest(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            for _ in 0..LAST_READS {
                if !self.read_some(stream).await {
                    break;
                }
            }
        }
    }

    fn is_open(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }

    /// What is still open, as the kernel names it.
    pub fn names(&self) -> Vec<PathBuf> {
        let open = [self.stdout.as_ref(), self.stderr.as_ref()].into_iter().flatten();
        open.filter_map(procfs::name_of).collect()
    }

    /// How much was printed, in bytes, and why the log lacks some of it, if it does.
    pub fn finish(self, now: DateTime<Utc>) -> (u64, Option<String>) {
        let Some(mut log) = self.log else {
            return (0, Some("the log's writer failed".into()));
        };
        log.finish(now);
        (log.bytes_in(), log.error())
    }
}

async fn ready(pipe: Option<&pipe::Receiver>) {
    match pipe {
        // An error shows itself again in the read that follows.
        Some(pipe) => drop(pipe.readable().await),
        None => std::future::pending().await,
    }
}

impl Pace {
    /// More than this at a time is a flood.
    const BRIM: u64 = 1 << 20;
    /// What runs off in a second.
    const DRAIN: u64 = 8 << 20;
    /// Nobody pays longer than a moment for what it has printed: two brims are empty within a quarter of a second.
    const MOST: u64 = 2 * Self::BRIM;

    fn new(now: Instant) -> Self {
        Self { level: 0, at: now }
    }

    fn read(&mut self, bytes: usize, now: Instant) {
        let millis = u64::try_from((now - self.at).as_millis()).unwrap_or(u64::MAX);
        if millis > 0 {
            self.level = self.level.saturating_sub(millis.saturating_mul(Self::DRAIN / 1_000));
            self.at += Duration::from_millis(millis);
        }
        self.level = Self::MOST.min(self.level + bytes as u64);
    }

    fn is_a_flood(&self) -> bool {
        self.level > Self::BRIM
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Write};

    use super::*;
    use crate::execution::output::LogReader;

    /// A capture into this log, and what writes to its two pipes.
    fn captured(log: PathBuf) -> (Capture, [PipeWriter; 2]) {
        let receiver = |pipe: PipeReader| pipe::Receiver::from_owned_fd(pipe.into()).expect("a pipe");
        let [(stdout, to_stdout), (stderr, to_stderr)] = [(); 2].map(|()| io::pipe().expect("descriptors"));
        let output = Output {
            stdout: receiver(stdout),
            stderr: receiver(stderr),
        };
        let capture = Captures::default().take(output, LogWriter::new(log, 1 << 20));
        (capture, [to_stdout, to_stderr])
    }

    #[tokio::test(start_paused = true)]
    async fn ends_that_came_while_this_process_was_held_up_count() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("log");
        let (mut capture, [mut stdout, mut stderr]) = captured(log.clone());
        let begun = Instant::now();
        let patience = Duration::from_secs(2);
        let stall = async {
            stdout.write_all(&[b'o'; 4000]).expect("a pipe holds more");
            stderr.write_all(b"e\n").expect("an open pipe");
            drop((stdout, stderr));
            tokio::time::advance(patience).await;
        };
        let (closed, ()) = tokio::join!(capture.drain(patience), stall);
        assert!(closed && begun.elapsed() >= patience, "{:?}", begun.elapsed());
        assert_eq!(capture.finish(DateTime::UNIX_EPOCH), (4002, None));
        assert_eq!(LogReader::new(log).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_the_output_open_is_not_waited_for_beyond_the_patience() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mut capture, [mut stdout, stderr]) = captured(folder.path().join("log"));
        drop(stderr);
        stdout.write_all(b"a line\n").expect("an open pipe");
        assert!(!capture.drain(Duration::from_secs(2)).await);
        assert_eq!(capture.names().len(), 1, "the other one has ended");
        assert_eq!(capture.finish(DateTime::UNIX_EPOCH), (7, None));
    }

    /// Reads so much every so often, for a minute. Says after how many bytes it was a flood, if it ever was.
    fn flood_after(bytes: usize, every: Duration) -> Option<usize> {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        let mut so_far = 0;
        let mut now = begun;
        while now - begun < Duration::from_secs(60) {
            pace.read(bytes, now);
            so_far += bytes;
            if pace.is_a_flood() {
                return Some(so_far);
            }
            now += every;
        }
        None
    }

    #[test]
    fn only_who_prints_much_without_a_pause_is_a_flood() {
        let (kib, mib) = (1 << 10, 1 << 20);
        let (micros, millis) = (Duration::from_micros, Duration::from_millis);
        for (bytes, every, expected) in [
            // A megabyte at once, and again a second later.
            (mib, millis(1_000), None),
            // A few megabytes a second, line by line and in pieces.
            (100, micros(20), None),
            (64 * kib, millis(10), None),
            // As fast as a pipe takes it.
            (4 * kib, micros(15), Some(mib..=2 * mib)),
            (64 * kib, micros(200), Some(mib..=2 * mib)),
            // Twice what runs off.
            (16 * kib, millis(1), Some(2 * mib..=3 * mib)),
        ] {
            let found = flood_after(bytes, every);
            let is_expected = match (&expected, &found) {
                (Some(range), Some(found)) => range.contains(found),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            assert!(
                is_expected,
                "{bytes} bytes every {every:?}: {found:?} instead of {expected:?}"
            );
        }
    }

    #[test]
    fn a_flood_is_over_soon_after_its_end() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        for _ in 0..1_000 {
            pace.read(READ, begun);
        }
        assert!(pace.is_a_flood());
        pace.read(1, begun + Duration::from_millis(100));
        assert!(pace.is_a_flood());
        pace.read(1, begun + Duration::from_millis(150));
        assert!(!pace.is_a_flood());
    }
}
