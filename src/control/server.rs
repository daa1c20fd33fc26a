//! The answering end: a router over a [`Backend`], on a Unix socket.
//!
//! A path, its verb and its body are turned into one call of the backend; a [`Refusal`] becomes the status that its kind
//! calls for. The socket is made with mode 0600 inside the state folder, which is 0700, so that the file system says
//! who may command.

use std::{io, path::Path, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path as UrlPath, Query, Request, State, rejection::JsonRejection, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response, Sse, sse::KeepAlive},
    routing::{get, post},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use super::{
    Backend, CancelRequest, GcRequest, NextQuery, PauseRequest, Refusal, RefusalKind, ResumeRequest, RetryRequest,
    RunsQuery, SyncRequest, TriggerRequest, WhyQuery, listener::LastingSocket, live,
};
use crate::core::{
    error_text::chain,
    id::{JobId, RunId},
};

/// Binds `path`, which must belong to no living daemon; the future answers until `stop` resolves.
pub fn serve<B, S>(
    path: &Path,
    backend: Arc<B>,
    stop: S,
) -> io::Result<impl Future<Output = io::Result<()>> + Send + use<B, S>>
where
    B: Backend,
    S: Future<Output = ()> + Send + 'static,
{
    // The caller holds the state folder's lock, so a socket that is still there is a dead daemon's.
    let listener = LastingSocket::bind(path)?;
    let (running, stopping) = watch::channel(());
    let serving = axum::serve(listener, router(backend, stopping)).with_graceful_shutdown(async move {
        stop.await;
        // Streams of events end with their sender; they would hold up the end otherwise.
        drop(running);
    });
    Ok(async move { serving.await })
}

fn router<B: Backend>(backend: Arc<B>, stopping: watch::Receiver<()>) -> Router {
    Router::new()
        .route(
            "/v1/status",
            get(async |State(b): State<Arc<B>>| answer(b.status().await)),
        )
        .route("/v1/jobs", get(async |State(b): State<Arc<B>>| answer(b.jobs().await)))
        .route("/v1/jobs/{id}", get(one_job::<B>))
        .route(
            "/v1/runs",
            get(async |State(b): State<Arc<B>>, query: Asked<RunsQuery>| answer(b.runs(asked(query)?).await)),
        )
        .route("/v1/runs/{id}", get(one_run::<B>))
        .route(
            "/v1/next",
            get(async |State(b): State<Arc<B>>, query: Asked<NextQuery>| answer(b.next(asked(query)?).await)),
        )
        .route(
            "/v1/why",
            get(async |State(b): State<Arc<B>>, query: Asked<WhyQuery>| answer(b.why(asked(query)?).await)),
        )
        .route(
            "/v1/trigger",
            post(async |State(b): State<Arc<B>>, body: Sent<TriggerRequest>| answer(b.trigger(sent(body)?).await)),
        )
        .route(
            "/v1/retry",
            post(async |State(b): State<Arc<B>>, body: Sent<RetryRequest>| answer(b.retry(sent(body)?).await)),
        )
        .route(
            "/v1/cancel",
            post(async |State(b): State<Arc<B>>, body: Sent<CancelRequest>| answer(b.cancel(sent(body)?).await)),
        )
        .route(
            "/v1/pause",
            post(async |State(b): State<Arc<B>>, body: Sent<PauseRequest>| answer(b.pause(sent(body)?).await)),
        )
        .route(
            "/v1/resume",
            post(async |State(b): State<Arc<B>>, body: Sent<ResumeRequest>| answer(b.resume(sent(body)?).await)),
        )
        .route("/v1/plan", get(async |State(b): State<Arc<B>>| answer(b.plan().await)))
        .route(
            "/v1/sync",
            post(async |State(b): State<Arc<B>>, body: Sent<SyncRequest>| answer(b.sync(sent(body)?).await)),
        )
        .route(
            "/v1/gc",
            post(async |State(b): State<Arc<B>>, body: Sent<GcRequest>| answer(b.gc(sent(body)?).await)),
        )
        .route(
            "/v1/events",
            get(async move |State(b): State<Arc<B>>| {
                Sse::new(live::stream(b.listen(), stopping)).keep_alive(KeepAlive::default())
            }),
        )
        .fallback(async |request: Request| {
            let message = format!(
                "{} {} is not part of this interface",
                request.method(),
                request.uri().path()
            );
            Refusal::new(RefusalKind::NotFound, message)
        })
        .with_state(backend)
}

type Sent<T> = Result<Json<T>, JsonRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;
type Answer<T> = Result<Json<T>, Refusal>;

async fn one_job<B: Backend>(State(backend): State<Arc<B>>, UrlPath(id): UrlPath<String>) -> Result<Response, Refusal> {
    let id: JobId = id.parse().map_err(invalid)?;
    answer(backend.job(id).await).map(IntoResponse::into_response)
}

#[derive(Deserialize)]
struct RunOptions {
    #[serde(default)]
    wait: bool,
}

async fn one_run<B: Backend>(
    State(backend): State<Arc<B>>,
    UrlPath(id): UrlPath<String>,
    options: Asked<RunOptions>,
) -> Result<Response, Refusal> {
    let id: RunId = id.parse().map_err(invalid)?;
    answer(backend.run(id, asked(options)?.wait).await).map(IntoResponse::into_response)
}

fn sent<T: DeserializeOwned>(body: Sent<T>) -> Result<T, Refusal> {
    body.map(|Json(body)| body).map_err(invalid)
}

fn asked<T: DeserializeOwned>(query: Asked<T>) -> Result<T, Refusal> {
    query.map(|Query(query)| query).map_err(invalid)
}

fn answer<T: Serialize>(result: Result<T, Refusal>) -> Answer<T> {
    result.map(Json)
}

fn invalid(error: impl std::error::Error) -> Refusal {
    Refusal::new(RefusalKind::Invalid, chain(&error))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.code {
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Invalid => StatusCode::BAD_REQUEST,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            RefusalKind::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(self)).into_response()
    }
}
