//! A person at the OpenID Connect provider chooses a name that is another's in Kubernetes.

use axum::http::header;
use serde_json::json;

use bastion_e2e::ConsoleApi;
use bastion_e2e::oidc::Browser;

use crate::oidc::{Environment, environment};

/// The default subject of a BastionUser, and a name that Kubernetes reserves.
const CHOSEN: [&str; 2] = ["bastion:alice", "system:admin"];

/// Signs in as this person. Returns the path that the console sends the browser to, and its cookies.
async fn sign_in(environment: &Environment, person: &str) -> (String, Vec<String>) {
    let mut browser = Browser::new(&environment.url);
    let authorize = browser.open("/auth/oidc").await;
    let back = browser.signs_in(&environment.provider, &authorize, person).await;
    let path = browser.open(&back).await;
    (path, browser.cookies)
}

#[tokio::test]
async fn a_chosen_sub_is_nobodys_default_subject() {
    let environment = environment(&CHOSEN, "").await;
    environment.namespace.user("alice").await;
    for person in CHOSEN {
        let (path, cookies) = sign_in(&environment, person).await;
        assert_eq!(path, "/", "{person}");
        let api = ConsoleApi::new(&environment.console, None).await.sending((header::COOKIE, cookies[0].clone()));
        let me = api.get("/api/v1/me").await.body;
        assert_eq!(me["user"], json!(format!("{}#{person}", environment.provider.issuer)));
        assert_eq!(me["bastion_user"], json!(null), "{person} is no BastionUser: {me}");
    }
}

#[tokio::test]
async fn without_a_prefix_a_chosen_sub_with_a_reserved_beginning_is_refused() {
    let environment = environment(&CHOSEN, "-").await;
    for person in CHOSEN {
        let (path, cookies) = sign_in(&environment, person).await;
        assert_eq!(path, "/?sign_in=claims", "{person}");
        assert!(cookies.is_empty(), "{person}: {cookies:?}");
    }
}
