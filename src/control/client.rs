//! The asking end: one request, one connection, one answer.

use std::{io, path::PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::{
    CancelRequest, Cancelled, Events, GcReply, GcRequest, NextQuery, PauseRequest, PlanReply, Refusal, ResumeRequest,
    RetryReply, RetryRequest, RunsQuery, SyncReply, SyncRequest, TriggerReply, TriggerRequest, WhyQuery,
    live::Connection, socket_path,
};
use crate::{
    core::id::{JobId, RunId},
    view::{JobDetail, JobView, NextView, RunView, StatusView, Why},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon runs on {}", socket.display())]
    NoDaemon {
        /// Where one would listen.
        socket: PathBuf,
    },
    /// The daemon said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The socket may not be used, or cannot be.
    #[error("could not connect to {}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection broke; whether the request took effect is not known.
    #[error("the daemon on {} hung up before it answered", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        #[source]
        source: hyper::Error,
    },
    /// The answer is not what this version of Petit understands.
    #[error("the daemon on {} answered something that this version does not understand", socket.display())]
    Foreign {
        /// The socket.
        socket: PathBuf,
        /// What does not fit.
        #[source]
        source: serde_json::Error,
    },
}

/// Speaks to the daemon of one state folder.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the daemon that owns `state_dir`; it need not run.
    pub fn new(state_dir: &std::path::Path) -> Self {
        Self {
            socket: socket_path(state_dir),
        }
    }

    /// Whether a daemon listens.
    pub async fn ping(&self) -> Result<(), ClientError> {
        self.connect().await.map(drop)
    }

    /// The daemon at a glance.
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        self.get("/v1/status").await
    }

    /// All jobs.
    pub async fn jobs(&self) -> Result<Vec<JobView>, ClientError> {
        self.get("/v1/jobs").await
    }

    /// One job, whole.
    pub async fn job(&self, id: &JobId) -> Result<JobDetail, ClientError> {
        self.get(&format!("/v1/jobs/{id}")).await
    }

    /// The runs that match.
    pub async fn runs(&self, query: &RunsQuery) -> Result<Vec<RunView>, ClientError> {
        self.get(&with_query("/v1/runs", query)).await
    }

    /// One run, whole; with `wait`, once it has ended.
    pub async fn run(&self, id: RunId, wait: bool) -> Result<RunView, ClientError> {
        self.get(&format!("/v1/runs/{id}?wait={wait}")).await
    }

    /// Fires to come.
    pub async fn next(&self, query: &NextQuery) -> Result<NextView, ClientError> {
        self.get(&with_query("/v1/next", query)).await
    }

    /// What became of a slot.
    pub async fn why(&self, query: &WhyQuery) -> Result<Why, ClientError> {
        self.get(&with_query("/v1/why", query)).await
    }

    /// Makes a run by hand.
    pub async fn trigger(&self, request: &TriggerRequest) -> Result<TriggerReply, ClientError> {
        self.post("/v1/trigger", request).await
    }

    /// Makes a run that repeats one that has ended, or says what that would do.
    pub async fn retry(&self, request: &RetryRequest) -> Result<RetryReply, ClientError> {
        self.post("/v1/retry", request).await
    }

    /// Cancels a run, or all runs of a job.
    pub async fn cancel(&self, request: &CancelRequest) -> Result<Cancelled, ClientError> {
        self.post("/v1/cancel", request).await
    }

    /// Pauses a job, or everything.
    pub async fn pause(&self, request: &PauseRequest) -> Result<(), ClientError> {
        self.post("/v1/pause", request).await
    }

    /// Ends a pause.
    pub async fn resume(&self, request: &ResumeRequest) -> Result<(), ClientError> {
        self.post("/v1/resume", request).await
    }

    /// What an edit would do.
    pub async fn plan(&self) -> Result<PlanReply, ClientError> {
        self.get("/v1/plan").await
    }

    /// Looks at the files now.
    pub async fn sync(&self, request: &SyncRequest) -> Result<SyncReply, ClientError> {
        self.post("/v1/sync", request).await
    }

    /// Lets go now of what is too old or not needed any more, or says what that would be.
    pub async fn gc(&self, request: &GcRequest) -> Result<GcReply, ClientError> {
        self.post("/v1/gc", request).await
    }

    /// Hears everything that happens from now on. What happened before is in the views, so that a listener first
    /// connects and then reads them.
    pub async fn events(&self) -> Result<Events, ClientError> {
        let (response, connection) = self.send(Method::GET, "/v1/events", Bytes::new()).await?;
        if response.status() == StatusCode::OK {
            Ok(Events::new(response.into_body(), connection))
        } else {
            let body = self.whole(response).await?;
            Err(self.refusal(&body))
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|source| self.foreign(source))?;
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, ClientError> {
        let (response, _connection) = self.send(method, path, body).await?;
        let status = response.status();
        let body = self.whole(response).await?;
        if status == StatusCode::OK {
            serde_json::from_slice(&body).map_err(|source| self.foreign(source))
        } else {
            Err(self.refusal(&body))
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(Response<Incoming>, Connection), ClientError> {
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| self.broken(source))?;
        let connection = Connection(tokio::spawn(connection));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "petit")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .expect("a method, a path of ours and two fixed headers make a request");
        let response = sender
            .send_request(request)
            .await
            .map_err(|source| self.broken(source))?;
        Ok((response, connection))
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = response.into_body().collect().await;
        Ok(body.map_err(|source| self.broken(source))?.to_bytes())
    }

    fn refusal(&self, body: &[u8]) -> ClientError {
        match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) => refusal.into(),
            Err(source) => self.foreign(source),
        }
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket)
            .await
            .map_err(|source| self.unreachable(source))
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            // A socket that refuses is what a killed daemon leaves behind; one that resets belonged to a daemon that died
            // before it took the connection.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                ClientError::NoDaemon { socket }
            }
            _ => ClientError::Connect { socket, source },
        }
    }

    fn broken(&self, source: hyper::Error) -> ClientError {
        ClientError::Broken {
            socket: self.socket.clone(),
            source,
        }
    }

    fn foreign(&self, source: serde_json::Error) -> ClientError {
        ClientError::Foreign {
            socket: self.socket.clone(),
            source,
        }
    }
}

/// Appends the fields of `query` that are set.
fn with_query(path: &str, query: &impl Serialize) -> String {
    let value = serde_json::to_value(query).expect("queries are plain structures");
    let pairs: Vec<String> = value
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{key}={}", escaped(&text))
        })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

/// A value as it may stand in a query: `tomorrow 03:00` and `+2h` are times that people ask about.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
