//! An API server that keeps nothing: lists are empty, what is created is as it was sent, and watches say nothing.

use std::convert::Infallible;

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::json;

/// A client of it.
pub fn client() -> Client {
    Client::new(tower::service_fn(answer), "fuzz")
}

async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
        return std::future::pending().await;
    }
    let body = if request.method() == Method::GET {
        let kind = if request.uri().path().ends_with("bastionusers") { "BastionUserList" } else { "BastionTargetList" };
        let list = json!({"apiVersion": "bastion.dev/v1alpha1", "kind": kind, "items": [],
            "metadata": {"resourceVersion": "1"}});
        Body::from(list.to_string().into_bytes())
    } else {
        request.into_body()
    };
    Ok(Response::new(body))
}
