//! The daemon as a service: what it tells a manager that listens as systemd does.

use std::{
    fs, io,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use crate::support::{DEADLINE, Place};

/// The manager's end.
struct Manager(UnixDatagram);

impl Manager {
    /// Receives until there comes a message with this line, and returns that; watchdog messages in between are passed over.
    fn hears(&self, line: &str) -> String {
        let begun = Instant::now();
        loop {
            let mut message = [0; 512];
            let length = match self.0.recv(&mut message) {
                Ok(length) => length,
                // A signal of a child that another test started.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => panic!("no {line}: {error}"),
            };
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            if message.lines().any(|told| told == line) {
                return message;
            }
            assert_eq!(message, "WATCHDOG=1\n", "before {line}");
            assert!(begun.elapsed() < DEADLINE, "waited in vain for {line}");
        }
    }

    /// Takes the beats that wait to be received.
    fn catches_up(&self) {
        self.0.set_nonblocking(true).expect("a socket");
        loop {
            let mut message = [0; 512];
            match self.0.recv(&mut message) {
                Ok(length) => assert_eq!(message[..length], *b"WATCHDOG=1\n"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{error}"),
            }
        }
        self.0.set_nonblocking(false).expect("a socket");
    }
}

fn monotonic(message: &str) -> u64 {
    let number = message.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    number.expect("the instant of the reload").parse().expect("a number")
}

#[test]
fn the_manager_is_told_of_start_reload_life_and_stop() {
    let mut place = Place::new();
    let socket = place.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&socket).expect("a socket"));
    manager.0.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let state = place.path().join("state-of-the-unit");
    let variables = [
        ("NOTIFY_SOCKET", socket.to_str()),
        ("WATCHDOG_USEC", Some("400000")),
        ("STATE_DIRECTORY", state.to_str()),
    ];
    for (name, value) in variables {
        place.env.push((name.to_owned(), value.expect("UTF-8").to_owned()));
    }
    let daemon = place.daemon();
    manager.hears("READY=1");
    assert!(state.join("journal.db").exists(), "the unit's own state folder");
    assert!(!place.path().join(".petit").exists());

    // Saved under its final name and with nothing to settle, so that one look suffices.
    place.save(
        "late.yaml",
        "tasks: {a: {command: 'test -z \"${NOTIFY_SOCKET:-}\" && touch ran'}}\n",
    );
    daemon.signal("HUP");
    let first = monotonic(&manager.hears("RELOADING=1"));
    manager.hears("READY=1");
    // Usually it is by now, but the manager is not kept waiting for a slow look.
    place.wait_synced("late");
    daemon.signal("HUP");
    assert!(monotonic(&manager.hears("RELOADING=1")) > first);
    manager.hears("READY=1");
    assert_eq!(place.run(&["trigger", "late", "--wait"]).code, 0);
    assert!(fs::exists(place.path().join("ran")).expect("a readable folder"));

    let begun = Instant::now();
    manager.catches_up();
    for _ in 0..4 {
        manager.hears("WATCHDOG=1");
    }
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    daemon.signal("TERM");
    manager.hears("STOPPING=1");
    assert_eq!(daemon.ended(), 0);
}
