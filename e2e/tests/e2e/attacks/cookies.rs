//! Cookies that a stranger has altered, or that are replayed where they do not count.

use std::net::SocketAddr;

use axum::http::{StatusCode, header};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};

use bastion_e2e::terminal_page::TerminalPage;
use bastion_e2e::{Bastion, Console, ConsoleApi, Setting};

use crate::console_sign_in::browser;

const NAME: &str = "__Host-bastion";

/// Returns the status with which the console answers a request with this `Cookie` header.
async fn at_the_console(console: &Console, cookie: &str) -> StatusCode {
    let api = ConsoleApi::new(console, None).await.sending((header::COOKIE, cookie.to_owned()));
    api.get("/api/v1/me").await.status
}

/// Returns the status with which the gateway refuses a web terminal with this `Cookie` header; 101 if it does not.
async fn at_the_gateway(web: SocketAddr, cookie: &str) -> StatusCode {
    let headers = [("cookie", cookie.to_owned()), ("origin", format!("http://{web}"))];
    match TerminalPage::try_open(web, "target=web-1&cols=80&rows=24", &headers).await {
        Ok(_) => StatusCode::SWITCHING_PROTOCOLS,
        Err((status, _)) => status,
    }
}

/// Returns variants of a cookie's value: a changed bit in each part, parts missing or added, and what is no such value at all.
fn altered(value: &str) -> Vec<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(value).expect("a sealed value");
    let last = bytes.len() - 1;
    // The nonce has 12 bytes, the tag 16 at the end.
    let mut altered: Vec<_> = [0, 11, 12, bytes.len() / 2, last - 16, last - 15, last]
        .map(|at| {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            changed
        })
        .to_vec();
    altered.extend([bytes[..last].to_vec(), bytes[1..].to_vec(), [&bytes[..], b"A"].concat(), bytes[..12].to_vec()]);
    let mut altered: Vec<_> = altered.iter().map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes)).collect();
    altered.extend([BASE64_STANDARD.encode(&bytes) + "=", value.to_uppercase(), value.replace('A', "B")]);
    altered.extend(["", "null", "{\"name\":\"person@example.com\",\"expires\":9999999999}"].map(str::to_owned));
    altered.retain(|it| it != value);
    altered
}

#[tokio::test]
async fn an_altered_cookie_opens_neither_console_nor_web_terminal() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    namespace.person().await;
    let console = Console::start(namespace).await;
    let cookie = browser(&console, &namespace.control_plane.person_token()).await.sent(&header::COOKIE);
    let value = cookie.strip_prefix(&format!("{NAME}=")).expect("the cookie");
    assert_eq!(at_the_console(&console, &cookie).await, StatusCode::OK);
    assert_eq!(at_the_gateway(bastion.gateway.web, &cookie).await, StatusCode::SWITCHING_PROTOCOLS);

    let renamed = ["bastion", "__Host-bastion-oidc", "__host-bastion", "__Secure-bastion"];
    let mut forged: Vec<_> = altered(value).iter().map(|value| format!("{NAME}={value}")).collect();
    forged.extend(renamed.map(|name| format!("{name}={value}")));
    // A browser that another site of the domain has given a second cookie.
    forged.push(format!("{NAME}=forged; {cookie}"));
    for cookie in forged {
        assert_eq!(at_the_console(&console, &cookie).await, StatusCode::UNAUTHORIZED, "{cookie}");
        assert_eq!(at_the_gateway(bastion.gateway.web, &cookie).await, StatusCode::UNAUTHORIZED, "{cookie}");
    }
}

#[tokio::test]
async fn a_cookie_counts_where_its_key_is_alone() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    namespace.person().await;
    let keys = namespace.dir.join("other.keys");
    std::fs::write(&keys, format!("{}\n", BASE64_STANDARD.encode([7; 32]))).expect("a file");
    let setting = Setting { env: vec![("BASTION_COOKIE_KEY_FILE", keys.into())], ..Setting::default() };
    let other = Console::start_in(namespace, "console-1", &setting).await;
    let console = Console::start(namespace).await;
    let foreign = browser(&other, &namespace.control_plane.person_token()).await.sent(&header::COOKIE);
    assert_eq!(at_the_console(&other, &foreign).await, StatusCode::OK);
    assert_eq!(at_the_console(&console, &foreign).await, StatusCode::UNAUTHORIZED);
    assert_eq!(at_the_gateway(bastion.gateway.web, &foreign).await, StatusCode::UNAUTHORIZED);
}
