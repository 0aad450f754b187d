//! Signing in to the console with an OpenID Connect provider.

use axum::http::{StatusCode, header};
use serde_json::json;

use bastion_e2e::oidc::{Browser, OidcProvider, SECRET};
use bastion_e2e::sshd::free_port;
use bastion_e2e::{Console, ConsoleApi, Namespace, Setting};

pub struct Environment {
    pub namespace: Namespace,
    pub provider: OidcProvider,
    pub console: Console,
    pub url: String,
}

/// A console whose people sign in with a provider that knows these, by the `sub` that it calls them. `prefix` is the console's
/// --oidc-username-prefix; empty for the default.
pub async fn environment(people: &[&str], prefix: &str) -> Environment {
    let namespace = Namespace::new().await;
    let listen = format!("127.0.0.1:{}", free_port().await);
    let url = format!("http://{listen}");
    let provider = OidcProvider::start(&url, people).await;
    let console = console(&namespace, &listen, &provider.issuer, prefix).await;
    Environment { namespace, provider, console, url }
}

/// A console at this address whose people sign in with the provider of this name.
pub async fn console(namespace: &Namespace, listen: &str, issuer: &str, prefix: &str) -> Console {
    let secret = namespace.dir.join("oidc.secret");
    std::fs::write(&secret, format!("{SECRET}\n")).expect("a file");
    let env = vec![
        ("BASTION_PUBLIC_URL", format!("http://{listen}").into()),
        ("BASTION_OIDC_ISSUER_URL", issuer.into()),
        ("BASTION_OIDC_CLIENT_ID", "web".into()),
        ("BASTION_OIDC_CLIENT_SECRET_FILE", secret.into()),
        ("BASTION_OIDC_NAME", "Example ID".into()),
        ("BASTION_OIDC_USERNAME_PREFIX", prefix.into()),
    ];
    Console::start_at(namespace, "console-0", listen, &Setting { env, ..Setting::default() }).await
}

#[tokio::test]
async fn people_sign_in_with_a_provider_and_are_who_it_says_they_are() {
    let Environment { namespace, provider, console, url } = environment(&["carol"], "").await;
    let name = format!("{}#carol", provider.issuer);
    let api = ConsoleApi::new(&console, None).await;
    assert_eq!(api.get("/auth/ways").await.body, json!({"token": true, "oidc": {"name": "Example ID"}}));
    let mut browser = Browser::new(&url);
    let authorize = browser.open("/auth/oidc?return=/history?user=carol").await;
    assert!(authorize.starts_with(&provider.issuer) && authorize.contains("code_challenge_method=S256"), "{authorize}");
    let begun = browser.cookies.clone();
    let back = browser.signs_in(&provider, &authorize, "carol").await;
    assert_eq!(browser.open(&back).await, "/history?user=carol");
    let [cookie] = browser.cookies.as_slice() else { panic!("one cookie: {:?}", browser.cookies) };
    assert!(cookie.starts_with("__Host-bastion="), "{cookie}");

    let carol = ConsoleApi::new(&console, None).await.sending((header::COOKIE, cookie.clone()));
    let me = carol.get("/api/v1/me").await.body;
    assert_eq!((&me["user"], &me["groups"]), (&json!(name), &json!(["system:authenticated"])));
    assert_eq!(me["rights"]["list_sessions"]["allowed"], false, "nobody has given her a right yet");
    namespace.bind(&name, "bastion-viewer").await;
    assert_eq!(carol.get("/api/v1/sessions").await.status, StatusCode::OK);

    // The parameters of one sign-in fit no other, and only the last cookie authenticates.
    let mut again = Browser::new(&url).with(&begun);
    assert_eq!(again.open(&back).await, "/?sign_in=provider");
    let pretended = begun[0].replacen("__Host-bastion-oidc=", "__Host-bastion=", 1);
    let nobody = ConsoleApi::new(&console, None).await.sending((header::COOKIE, pretended));
    assert_eq!(nobody.get("/api/v1/me").await.status, StatusCode::UNAUTHORIZED);
    let log = console.process.stderr();
    assert!(!log.contains(SECRET) && !log.contains("code="), "no secret is logged");
}

#[tokio::test]
async fn who_does_not_come_from_the_provider_is_nobody() {
    let Environment { mut provider, url, namespace: _namespace, console: _console } = environment(&["carol"], "").await;
    let mut browser = Browser::new(&url);
    let authorize = browser.open("/auth/oidc?return=//evil.example").await;
    let back = browser.signs_in(&provider, &authorize, "carol").await;
    let mut stranger = Browser::new(&url);
    assert_eq!(stranger.open(&back).await, "/?sign_in=late", "another browser has begun");
    let mut other = Browser::new(&url);
    other.open("/auth/oidc").await;
    assert_eq!(other.open(&back).await, "/?sign_in=late", "it has begun with another state");
    assert_eq!(other.open("/auth/oidc/callback").await, "/?sign_in=late");
    assert!(other.cookies.is_empty(), "{:?}", other.cookies);
    let state = back.split("state=").nth(1).expect("a state").split('&').next().expect("one").to_owned();
    let mut refused = Browser::new(&url).with(&browser.cookies);
    let error = format!("/auth/oidc/callback?error=access_denied&state={state}");
    assert_eq!(refused.open(&error).await, "/?sign_in=denied");
    assert_eq!(browser.open(&back).await, "/", "it has come back to no other site");

    provider.process.kill().await;
    assert_eq!(Browser::new(&url).open("/auth/oidc").await, "/?sign_in=provider");
}
