//! Sign-ins with an OpenID Connect provider whose answers are forged or meant for somebody else.

use axum::http::header;
use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use bastion_e2e::false_oidc::{FalseProvider, unsigned};
use bastion_e2e::oidc::{Browser, SECRET};
use bastion_e2e::sshd::free_port;
use bastion_e2e::{ConsoleApi, Namespace, metric};

use crate::oidc::console;

/// Makes a token of the nonce of a sign-in.
type TokenOf<'a> = Box<dyn Fn(&str) -> String + 'a>;

/// Returns a parameter of the URL to which the console has sent the browser.
fn parameter(authorize: &str, name: &str) -> String {
    let url = Url::parse(authorize).expect("a URL");
    let found = url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    found.unwrap_or_else(|| panic!("no {name} in {authorize}"))
}

/// Returns the claims of a token that the console accepts.
fn claims(provider: &FalseProvider, nonce: &str) -> Value {
    let now = Timestamp::now().as_second();
    json!({"iss": provider.issuer, "aud": "web", "sub": "carol", "iat": now, "exp": now + 300, "nonce": nonce})
}

/// Begins a sign-in, has the provider send `token_of` the sign-in's nonce, and comes back. Returns where that leads, and whether
/// the browser is signed in.
async fn signs_in(url: &str, provider: &FalseProvider, token_of: impl Fn(&str) -> String) -> (String, bool) {
    let mut browser = Browser::new(url);
    let authorize = browser.open("/auth/oidc").await;
    provider.sends(token_of(&parameter(&authorize, "nonce")));
    let state = parameter(&authorize, "state");
    let path = browser.open(&format!("/auth/oidc/callback?code=code&state={state}")).await;
    (path, browser.cookies.iter().any(|cookie| cookie.starts_with("__Host-bastion=")))
}

#[tokio::test]
async fn no_token_but_the_providers_own_for_this_sign_in_signs_in() {
    let (namespace, provider, another) = tokio::join!(Namespace::new(), FalseProvider::start(), FalseProvider::start());
    let listen = format!("127.0.0.1:{}", free_port().await);
    let (url, console) = (format!("http://{listen}"), console(&namespace, &listen, &provider.issuer, "").await);
    let with = |key: &'static str, value: Value| {
        let provider = &provider;
        move |nonce: &str| {
            let mut claims = claims(provider, nonce);
            claims[key] = value.clone();
            provider.signed(&claims)
        }
    };
    let good = (String::from("/"), true);
    assert_eq!(signs_in(&url, &provider, |nonce| provider.signed(&claims(&provider, nonce))).await, good);

    let past = Timestamp::now().as_second() - 3600;
    for (key, value) in [
        ("nonce", json!("another")),
        ("nonce", json!(null)),
        ("aud", json!("another")),
        ("aud", json!(["web", "another"])),
        ("aud", json!([])),
        ("iss", json!("http://evil.example")),
        ("iss", json!(format!("{}/", provider.issuer))),
        ("exp", json!(past)),
    ] {
        let answer = signs_in(&url, &provider, with(key, value.clone())).await;
        assert_eq!(answer, ("/?sign_in=provider".to_owned(), false), "{key}: {value}");
    }
    let es256 = json!({"alg": "ES256", "kid": "1"});
    let forged: [(&str, TokenOf<'_>); 4] = [
        ("another key", Box::new(|nonce| another.signed(&claims(&provider, nonce)))),
        ("no signature", Box::new(|nonce| format!("{}.", unsigned(&es256, &claims(&provider, nonce))))),
        ("none", Box::new(|nonce| format!("{}.", unsigned(&json!({"alg": "none"}), &claims(&provider, nonce))))),
        ("the client's secret", Box::new(|nonce| with_secret(&claims(&provider, nonce)))),
    ];
    for (what, token) in forged {
        let answer = signs_in(&url, &provider, token).await;
        assert_eq!(answer, ("/?sign_in=provider".to_owned(), false), "{what}");
    }
    let counted = metric(console.http, r#"bastion_console_sign_ins_total{outcome="provider"}"#).await;
    assert_eq!(counted, Some(12.0));

    provider.calls_itself("http://evil.example");
    assert_eq!(Browser::new(&url).open("/auth/oidc").await, "/?sign_in=provider", "it is not who it was");
}

/// Returns the claims signed by HMAC with the client's secret, as `alg` HS256.
fn with_secret(claims: &Value) -> String {
    use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
    let text = unsigned(&json!({"alg": "HS256"}), claims);
    let tag = sign(&Key::new(HMAC_SHA256, SECRET.as_bytes()), text.as_bytes());
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

#[tokio::test]
async fn a_browser_comes_back_with_the_state_of_its_own_sign_in_alone() {
    let (namespace, provider) = tokio::join!(Namespace::new(), FalseProvider::start());
    let listen = format!("127.0.0.1:{}", free_port().await);
    let (url, console) = (format!("http://{listen}"), console(&namespace, &listen, &provider.issuer, "").await);
    let mut attacker = Browser::new(&url);
    let of_attacker = parameter(&attacker.open("/auth/oidc").await, "state");
    // The attacker would have the victim use the attacker's account, by a link with the attacker's code.
    for state in [of_attacker, String::new(), "x".repeat(64)] {
        let mut victim = Browser::new(&url);
        let nonce = parameter(&victim.open("/auth/oidc").await, "nonce");
        provider.sends(provider.signed(&claims(&provider, &nonce)));
        let path = victim.open(&format!("/auth/oidc/callback?code=code&state={state}")).await;
        assert_eq!(path, "/?sign_in=late", "{state:?}");
        assert!(victim.cookies.is_empty(), "{:?}", victim.cookies);
    }
    // A state that is sealed for a sign-in is no sign-in.
    let sealed = attacker.cookies[0].split_once('=').expect("a pair").1.to_owned();
    let pretended = ConsoleApi::new(&console, None).await.sending((header::COOKIE, format!("__Host-bastion={sealed}")));
    assert_eq!(pretended.get("/api/v1/me").await.status, 401);
}
