//! Rights and sign-ins that are taken back while a page is open.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bastion_operator::http::{CookieCipher, Purpose, SignedInUser};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::DeleteParams;
use nix::sys::signal::Signal;

use bastion_e2e::browser::BrowserScenario;
use bastion_e2e::control_plane::service_account_user;
use bastion_e2e::{Bastion, Console, Namespace, Setting, default_timeout, weight};

use super::{act, administrator, start_scenario};

/// A scenario in a viewer's browser, and the viewer's grant.
struct ViewerScenario {
    scenario: BrowserScenario,
    _console: Console,
    user: String,
    grant: String,
}

impl ViewerScenario {
    async fn start(name: &str, namespace: &Namespace) -> Self {
        let console = Console::start(namespace).await;
        let (user, token) = namespace.service_account("viewer").await;
        let grant = namespace.bind(&user, "bastion-viewer").await;
        let scenario = BrowserScenario::start(name, namespace, &console, &token).await;
        Self { scenario, _console: console, user, grant }
    }
}

#[tokio::test]
async fn a_page_whose_viewers_binding_is_removed_shows_nobody_elses_sessions_until_it_is_there_again() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let ViewerScenario { _console, mut scenario, user, grant } = ViewerScenario::start("withdrawn", namespace).await;
    let mut open = vec![];
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "withdraw");
    namespace.withdraw(&grant).await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "grant");
    namespace.bind(&user, "bastion-viewer").await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
    scenario.exited().await;
}

#[tokio::test]
async fn a_revoked_token_ends_no_sign_in_and_a_withdrawn_right_ends_the_view_of_others() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let ViewerScenario { _console, mut scenario, grant, .. } = ViewerScenario::start("revoked", namespace).await;
    let mut open = vec![];
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "revoke");
    namespace.api::<ServiceAccount>().delete("viewer", &DeleteParams::default()).await.expect("it was there");
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "withdraw");
    namespace.withdraw(&grant).await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
    scenario.exited().await;
}

/// A file with a key for cookies that no other console has.
fn another_key(namespace: &Namespace, key: &str) -> PathBuf {
    let file = namespace.dir.join("another.keys");
    fs::write(&file, key).expect("a file");
    file
}

const ONE_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";
const ANOTHER_KEY: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n";

fn with_key(file: PathBuf) -> Setting<'static> {
    Setting { env: vec![("BASTION_COOKIE_KEY_FILE", file.into())], ..Setting::default() }
}

#[tokio::test]
async fn a_page_is_signed_out_when_the_key_of_its_cookie_is_replaced() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let setting = with_key(another_key(namespace, ONE_KEY));
    let console = Console::start_in(namespace, "console-0", &setting).await;
    let mut scenario = BrowserScenario::start("rekeyed", namespace, &console, &administrator(namespace).await).await;
    let mut open = vec![];
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "another key");
    another_key(namespace, ANOTHER_KEY);
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
    scenario.exited().await;
}

#[tokio::test]
async fn a_page_is_signed_out_when_its_console_comes_back_with_another_key() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let (mut console, mut scenario) = start_scenario("rekeyed", namespace).await;
    let mut open = vec![];
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "another key");
    console.process.signal(Signal::SIGTERM);
    console.process.finish(default_timeout()).await;
    let (listen, setting) = (console.address.to_string(), with_key(another_key(namespace, ANOTHER_KEY)));
    let _successor = Console::start_at(namespace, "console-1", &listen, &setting).await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
    scenario.exited().await;
}

/// Long enough for the page to be seen before.
const SIGNED_IN: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_page_is_signed_out_when_its_cookie_expires() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let key = another_key(namespace, ONE_KEY);
    let console = Console::start_in(namespace, "console-0", &with_key(key.clone())).await;
    let mut scenario = BrowserScenario::start("expires", namespace, &console, &administrator(namespace).await).await;
    let mut open = vec![];
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "cookie");
    let name = service_account_user(&namespace.name, "administrator");
    let now = Timestamp::now();
    let who = SignedInUser::new(name, UserInfo::default(), now.as_microsecond(), now + SIGNED_IN);
    scenario.answer(&CookieCipher::new(key).seal(Purpose::SignedIn, &who).expect("a cookie")).await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
    scenario.exited().await;
}
