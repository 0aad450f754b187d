//! A gateway that is taken over replays the token with which a console came to it.

use axum::http::StatusCode;
use kube::ResourceExt;
use serde_json::{Value, json};

use bastion_e2e::console_token::{FalseInstance, TERMINALS};
use bastion_e2e::http::get_as_a_console;
use bastion_e2e::{Audit, Bastion, Console, ConsoleApi, Gateway, ObserverClient, default_timeout, eventually};

use crate::observe::at_a_terminal;

/// Sends a WebSocket's request as a console does, without the upgrade. Returns the status and body.
async fn replay(gateway: &Gateway, session: &str, token: &str, person: &Value) -> (StatusCode, String) {
    get_as_a_console(gateway.follow, &format!("/follow/v1/sessions/{session}"), token, Some(person.clone())).await
}

#[tokio::test]
async fn a_consoles_token_is_of_no_use_elsewhere_or_for_others() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let console = Console::start(&bastion.namespace).await;
    let taken_over = Gateway::start(&bastion.namespace, "gateway-1").await;
    let (ssh, session) = at_a_terminal(&bastion).await;
    let theirs = bastion.open_on(&taken_over, "bob", "web-1").await;
    let (observer, token) = bastion.namespace.service_account_with_roles("observer", &["bastion-observer"]).await;

    let captured = FalseInstance::start().await;
    captured.publish(&bastion.namespace, TERMINALS, &theirs.session.spec.gateway.instance).await;
    let name = theirs.session.name_any();
    let observing = ObserverClient::try_open(&console, &name, &token);
    let (headers, _) = tokio::join!(captured.headers(), observing);
    let token = headers["authorization"].strip_prefix("Bearer ").expect("a token");

    let session = session.name_any();
    let masters = json!({"username": "mallory@evil", "groups": ["system:masters"]});
    let (status, body) = replay(&bastion.gateway, &session, token, &masters).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "at another gateway, in the name of another: {body}");
    let same = get_with(&bastion.gateway, &session, token, &headers["bastion-person"]).await;
    assert_eq!(same, StatusCode::UNAUTHORIZED, "at another gateway, in the same name");
    let (status, body) = replay(&taken_over, &name, token, &masters).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "in the name of another: {body}");
    for words in ["mallory", &observer] {
        assert!(!ssh.stderr().contains(words), "the user reads of no observer: {}", ssh.stderr());
    }
}

/// Sends such a request with this header as it is. Returns the status.
async fn get_with(gateway: &Gateway, session: &str, token: &str, person: &str) -> StatusCode {
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().expect("a client");
    let url = format!("https://{}/follow/v1/sessions/{session}", gateway.follow);
    let request = client.get(url).bearer_auth(token).header("bastion-person", person);
    request.send().await.expect("an answer").status()
}

#[tokio::test]
async fn a_console_asks_on_behalf_of_no_name_of_kubernetes() {
    let bastion = Bastion::up().await;
    let (_ssh, session) = at_a_terminal(&bastion).await;
    let session = session.name_any();
    for person in [
        json!({"username": "mallory@evil", "groups": ["system:masters"]}),
        json!({"username": "mallory@evil", "groups": ["people", "system:serviceaccounts:kube-system"]}),
        json!({"username": "system:kube-controller-manager"}),
    ] {
        // A console that is taken over gets such a token.
        let token = bastion.namespace.console_token("bastion-console", TERMINALS, "gateway-0", &person).await;
        let (status, body) = replay(&bastion.gateway, &session, &token, &person).await;
        assert!(status == StatusCode::FORBIDDEN && body.contains("Kubernetes' own names"), "{person}: {status} {body}");
    }
}

/// Consoles leave such groups out. A person in one has only the rights that RBAC grants to the name and to other groups.
#[tokio::test]
async fn a_person_in_a_group_of_kubernetes_has_the_rights_of_their_name() {
    let bastion = Bastion::up().await;
    let console = Console::start(&bastion.namespace).await;
    let _audit = Audit::start(&bastion.namespace, "audit-0", "10m").await;
    let (_ssh, session) = at_a_terminal(&bastion).await;
    let (session, id) = (session.name_any(), session.uid().expect("a uid"));
    let token = bastion.namespace.control_plane.admin_token();
    let admin = ConsoleApi::new(&console, Some(&token)).await;
    let groups = admin.get("/api/v1/me").await.body["groups"].clone();
    assert!(groups.as_array().is_some_and(|groups| groups.contains(&json!("system:masters"))), "{groups}");

    let refused = ObserverClient::try_open(&console, &session, &token).await.err();
    let (status, body) = refused.expect("system:masters does not count here");
    assert!(status == StatusCode::BAD_GATEWAY && body.contains("admin may not"), "{status}: {body}");
    let of_another = format!("/api/v1/history/{id}");
    assert_eq!(admin.get(&of_another).await.status, StatusCode::FORBIDDEN);
    assert_eq!(admin.get("/api/v1/history").await.status, StatusCode::OK, "one's own history takes no right");

    for role in ["bastion-viewer", "bastion-observer"] {
        bastion.namespace.bind("admin", role).await;
    }
    let mut observer = ObserverClient::open(&console, &session, &token).await;
    observer.sees("before").await;
    eventually(default_timeout(), "the record is there", async || match admin.get(&of_another).await.status {
        StatusCode::OK => Ok(()),
        status => Err(format!("{status}")),
    })
    .await;
}
