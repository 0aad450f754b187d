//! Passes the events of a watch on, with the faults that they meet.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures::{StreamExt, stream};
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::fault::{Fault, Outcome, Target};
use super::{Shared, status_object};

/// How many events may be on their way at once, when they are delayed.
const MAX_DELAYED: usize = 1024;

/// Returns the body of a watch. The API server flushes each event, so a chunk of the body is a line, or a part of a long one.
pub fn pass(body: Incoming, shared: Arc<Shared>, watch: Target) -> Body {
    let chunks = Body::new(body).into_data_stream().map(move |chunk| {
        let Outcome { latency, fault } = shared.count(shared.rules.lock().event(&watch));
        let due = Instant::now() + latency;
        async move {
            sleep_until(due).await;
            (chunk.map_err(io::Error::other), fault)
        }
    });
    let chunks = Box::pin(chunks.buffered(MAX_DELAYED));
    // The state is `None` after a fault, which ends the watch.
    let passed = stream::unfold(Some(chunks), async |chunks| {
        let mut chunks = chunks?;
        match chunks.next().await? {
            (Ok(chunk), Some(Fault::CutWatch)) => Some((Ok(chunk.slice(..chunk.len() / 2)), None)),
            // A line may have begun.
            (Ok(_), Some(Fault::ExpiredWatch)) => Some((Ok(Bytes::from(format!("\n{}", expired()))), None)),
            (chunk, _) => Some((chunk, Some(chunks))),
        }
    });
    Body::from_stream(passed)
}

/// The event of a watch whose resource version is too old.
pub fn expired() -> String {
    let status = status_object(StatusCode::GONE, "Expired");
    format!("{}\n", json!({"type": "ERROR", "object": status}))
}
