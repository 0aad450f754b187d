//! A Kubernetes API server for unit tests: it answers requests by a script, and records them.
#![allow(clippy::missing_panics_doc, reason = "only tests use it")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// An answer of the API server.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200 with this object.
    Object(Value),
    /// A failure with this status code.
    Status(u16),
    /// 409 with the reason `AlreadyExists`.
    AlreadyExists,
    /// No answer.
    Silence,
}

/// A request that the API server received.
#[derive(Clone, Debug)]
pub struct Received {
    /// The HTTP method.
    pub method: String,
    /// The path, without its query.
    pub path: String,
    /// The query; empty where there is none.
    pub query: String,
    /// The body as JSON; `null` where there is none.
    pub body: Value,
}

impl Received {
    /// Returns the method and the last part of the path, such as `PATCH status`.
    pub fn summary(&self) -> String {
        format!("{} {}", self.method, self.path.rsplit('/').next().unwrap_or_default())
    }
}

/// The API server. Clones share one script.
#[derive(Clone)]
pub struct ScriptedApi {
    script: Arc<dyn Fn(&Received) -> Answer + Send + Sync>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl ScriptedApi {
    /// Answers each request with the next of `answers`, and repeats the last one.
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
        Self::by(move |_| {
            let mut answers = answers.lock().unwrap();
            let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            next.expect("the script has an answer")
        })
    }

    /// Answers each request as `script` says.
    pub fn by(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), received: Arc::default() }
    }

    /// Returns a client of this API server.
    pub fn client(&self) -> Client {
        let api = self.clone();
        Client::new(tower::service_fn(move |request| api.clone().answer(request)), "bastion")
    }

    /// Returns the requests received so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Returns the summaries of the requests received so far.
    pub fn summaries(&self) -> Vec<String> {
        self.received().iter().map(Received::summary).collect()
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let (head, body) = request.into_parts();
        let body = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or_default();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let received = Received { method: head.method.to_string(), path: head.uri.path().to_owned(), query, body };
        self.received.lock().unwrap().push(received.clone());
        let (code, object) = match (self.script)(&received) {
            Answer::Object(object) => (200, object),
            Answer::Status(code) => (code, failure(code, reason_of(code))),
            Answer::AlreadyExists => (409, failure(409, "AlreadyExists")),
            Answer::Silence => return std::future::pending().await,
        };
        Ok(Response::builder().status(code).body(Body::from(serde_json::to_vec(&object).unwrap())).unwrap())
    }
}

const fn reason_of(code: u16) -> &'static str {
    match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "",
    }
}

fn failure(code: u16, reason: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": format!("answered with {code}"),
    })
}
