//! What is live, as server-sent events: `GET /v1/events` tells each [`Event`] that the bus carries from then on.
//!
//! Both ends stand here, so that the form is stated once: an event's data is its JSON in one line, and its name is
//! `event`; `lagged` says how many events a listener lost because it was too slow. A listener that hears `lagged`, or
//! connects again, must read the views anew: the stream is a hint of what changed and never the record of it.

use std::convert::Infallible;

use axum::response::sse;
use futures_util::stream::{self, Stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast::error::RecvError, watch};

use crate::events::{Event, Listener};

/// Something that a listener hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Live {
    /// This happened.
    Event(Event),
    /// So many events were lost, because the listener was too slow.
    Lagged(u64),
}

const EVENT: &str = "event";
const LAGGED: &str = "lagged";

#[derive(Debug, Serialize, Deserialize)]
struct Lagged {
    missed: u64,
}

/// The answering end: everything that `listener` hears, until the bus closes or `stopping` loses its sender.
pub(super) fn stream(
    listener: Listener,
    stopping: watch::Receiver<()>,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    stream::unfold((listener, stopping), async |(mut listener, mut stopping)| {
        let heard = tokio::select! {
            heard = listener.recv() => heard,
            // A stream that never ends would hold up the daemon's own end.
            _ = stopping.changed() => return None,
        };
        let live = match heard {
            Ok(event) => Live::Event(event),
            Err(RecvError::Lagged(missed)) => Live::Lagged(missed),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(live.to_frame()), (listener, stopping)))
    })
}

impl Live {
    fn to_frame(&self) -> sse::Event {
        let (name, json) = match self {
            Self::Event(event) => (EVENT, serde_json::to_string(event)),
            Self::Lagged(missed) => (LAGGED, serde_json::to_string(&Lagged { missed: *missed })),
        };
        sse::Event::default()
            .event(name)
            .data(json.expect("events are plain structures"))
    }
}

/// The asking end: a connection on which events arrive. Dropping it ends the connection.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    frames: Frames,
    _connection: Connection,
}

/// The task that moves bytes between the socket and the body; it ends with its [`Events`].
#[derive(Debug)]
pub(super) struct Connection(pub tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why the stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The connection broke.
    #[error("the daemon hung up in the middle of an event")]
    Broken(#[source] hyper::Error),
    /// An event is not what this version of Petit understands.
    #[error("the daemon told of something that this version does not understand")]
    Foreign(#[source] serde_json::Error),
}

impl Events {
    pub(super) fn new(body: Incoming, connection: Connection) -> Self {
        Self {
            body,
            frames: Frames::default(),
            _connection: connection,
        }
    }

    /// The next thing that happens; `None` when the daemon ends. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Live>, EventsError> {
        loop {
            if let Some(live) = self.frames.next()? {
                return Ok(Some(live));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Some(bytes) = frame.map_err(EventsError::Broken)?.data_ref() {
                        self.frames.unread.extend_from_slice(bytes);
                    }
                }
            }
        }
    }
}

/// Takes frames out of bytes as they arrive.
#[derive(Debug, Default)]
struct Frames {
    unread: Vec<u8>,
}

impl Frames {
    /// The next whole frame. Frames of a name that is not known, and comments, which keep the connection alive, are passed over.
    fn next(&mut self) -> Result<Option<Live>, EventsError> {
        while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
            let frame: Vec<u8> = self.unread.drain(..end + 2).collect();
            let frame = String::from_utf8_lossy(&frame);
            let field = |name| frame.lines().find_map(|line| line.strip_prefix(name));
            let data = field("data: ").unwrap_or_default();
            let live = match field("event: ") {
                Some(EVENT) => Live::Event(serde_json::from_str(data).map_err(EventsError::Foreign)?),
                Some(LAGGED) => {
                    let lagged: Lagged = serde_json::from_str(data).map_err(EventsError::Foreign)?;
                    Live::Lagged(lagged.missed)
                }
                Some(_) | None => continue,
            };
            return Ok(Some(live));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::Arc, time::Duration};

    use axum::{Router, response::Sse, routing::get};
    use futures_util::StreamExt;

    use super::*;
    use crate::{
        control::Client,
        core::{id::RunId, state::RunStatus},
        events::EventBus,
    };

    fn event(random: u128) -> Event {
        let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        Event::Run {
            at,
            run: RunId::from_parts(at, random),
            job: "a".parse().unwrap(),
            status: RunStatus::Running,
        }
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_what_it_lost_and_goes_on() {
        let bus = EventBus::default();
        let listener = bus.listen();
        for n in 0..5_000 {
            bus.publish(event(n));
        }
        let (_running, stopping) = watch::channel(());
        let mut stream = pin!(stream(listener, stopping));
        let mut frames = Frames::default();
        for _ in 0..2 {
            let Ok(frame) = stream.next().await.unwrap();
            frames.unread.extend(written(frame).await);
        }
        assert_eq!(frames.next().unwrap(), Some(Live::Lagged(5_000 - 4_096)));
        assert_eq!(frames.next().unwrap(), Some(Live::Event(event(5_000 - 4_096))));
        assert_eq!(frames.next().unwrap(), None);
    }

    /// The bytes of one frame, as axum writes them.
    async fn written(frame: sse::Event) -> Vec<u8> {
        use axum::response::IntoResponse;
        let frames = stream::iter([Ok::<_, Infallible>(frame)]);
        let body = Sse::new(frames).into_response().into_body();
        body.collect().await.unwrap().to_bytes().to_vec()
    }

    #[test]
    fn frames_come_whole_however_the_bytes_are_cut() {
        let json = serde_json::to_string(&event(7)).unwrap();
        let text = format!(": still here\n\nevent: later\ndata: {{}}\n\nevent: event\ndata: {json}\n\nevent: lagged\n");
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for byte in text.bytes() {
            frames.unread.push(byte);
            found.extend(frames.next().unwrap());
        }
        assert_eq!(found, [Live::Event(event(7))]);
    }

    #[tokio::test]
    async fn a_client_hears_events_and_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let bus = Arc::new(EventBus::default());
        let (running, stopping) = watch::channel(());
        let heard = Arc::clone(&bus);
        let router = Router::new().route(
            "/v1/events",
            get(async move || Sse::new(stream(heard.listen(), stopping))),
        );
        let listener = tokio::net::UnixListener::bind(crate::control::socket_path(folder.path())).unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, router).await });

        let mut events = Client::new(folder.path()).events().await.unwrap();
        bus.publish(event(1));
        bus.publish(event(2));
        let deadline = Duration::from_secs(300);
        for n in [1, 2] {
            let live = tokio::time::timeout(deadline, events.next()).await.unwrap().unwrap();
            assert_eq!(live, Some(Live::Event(event(n))));
        }
        drop(running);
        let end = tokio::time::timeout(deadline, events.next()).await.unwrap().unwrap();
        assert_eq!(end, None);
        server.abort();
    }
}
