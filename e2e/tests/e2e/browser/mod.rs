//! The console's page in a real Chromium. Scenarios in web/browser/ check the page and ask these tests to act outside it.

mod outages;
mod permissions;
mod terminals;
mod terminations;

use bastion_operator::api::{BastionSession, Reason};
use futures::{StreamExt, stream};
use kube::ResourceExt;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::playback::recorded;
use crate::recordings::{folder, into, recording};
use bastion_e2e::browser::BrowserScenario;
use bastion_e2e::control_plane::PERSON;
use bastion_e2e::objects::{bastion_session, ended_status};
use bastion_e2e::sshd::free_port;
use bastion_e2e::{Bastion, Console, Namespace, Open, PROMPT_BOUND, Setting, weight};

/// Creates a ServiceAccount that sees and ends sessions. Returns its token.
async fn administrator(namespace: &Namespace) -> String {
    namespace.service_account_with_roles("administrator", &["bastion-viewer", "bastion-session-terminator"]).await.1
}

/// Starts a console, and the scenario of this name in an administrator's browser.
async fn start_scenario(name: &str, namespace: &Namespace) -> (Console, BrowserScenario) {
    let console = Console::start(namespace).await;
    let token = administrator(namespace).await;
    let scenario = BrowserScenario::start(name, namespace, &console, &token).await;
    (console, scenario)
}

/// The one of these that has this name.
fn named<'a>(open: &'a mut [Open], name: &str) -> &'a mut Open {
    open.iter_mut().find(|it| it.session.name_any() == name).expect("it was opened")
}

/// Does to real sessions what a scenario asks for, until it asks for something else.
async fn act(scenario: &mut BrowserScenario, bastion: &Bastion, open: &mut Vec<Open>) -> String {
    loop {
        let asked = scenario.next().await;
        match asked.split_once(' ') {
            Some(("open", count)) => {
                for _ in 0..count.parse().expect("a number") {
                    open.push(bastion.open("alice").await);
                }
                scenario.answer(&open.iter().map(|it| it.session.name_any()).collect::<Vec<_>>().join(" ")).await;
            }
            Some(("exit", name)) => {
                named(open, name).ssh.say("exit 0").await;
                scenario.answer("").await;
            }
            Some(("kill", name)) => {
                named(open, name).ssh.signal(Signal::SIGKILL);
                scenario.answer("").await;
            }
            Some(("ended", ended)) => {
                let (name, reason) = ended.split_once(' ').expect("a name and a reason");
                let session = bastion.namespace.api::<BastionSession>().get(name).await.expect("the session");
                let reason = Reason::ALL.into_iter().find(|it| it.as_str() == reason).expect("a reason");
                bastion.watch.ended_within(PROMPT_BOUND, &session, reason).await;
                scenario.answer("").await;
            }
            Some(("answers", name)) => {
                named(open, name).still_answers().await;
                scenario.answer("").await;
            }
            _ => return asked,
        }
    }
}

#[tokio::test]
async fn a_row_goes_as_its_session_ends_on_every_page() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let (_console, mut scenario) = start_scenario("sessions", &bastion.namespace).await;
    assert_eq!(act(&mut scenario, &bastion, &mut vec![]).await, "done");
    scenario.exited().await;
}

#[tokio::test]
async fn who_may_not_list_sessions_sees_and_ends_their_own() {
    let _held = weight::take(1).await;
    let bastion = Bastion::with(async |namespace, _| {
        namespace.person().await;
    })
    .await;
    let console = Console::start(&bastion.namespace).await;
    let token = bastion.namespace.control_plane.person_token();
    let mut scenario = BrowserScenario::start("own", &bastion.namespace, &console, &token).await;
    let mut open = vec![];
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "open");
    open.push(bastion.open("alice").await);
    open.push(bastion.open("person").await);
    scenario.answer(&open.iter().map(|it| it.session.name_any()).collect::<Vec<_>>().join(" ")).await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
}

#[tokio::test]
async fn a_recording_is_played_in_the_page() {
    let _held = weight::take(1).await;
    let folder = folder().await;
    let setting = Setting { env: into(&folder), ..Setting::default() };
    let bastion = recording(&setting).await;
    let console = Console::start_in(&bastion.namespace, "console-0", &setting).await;
    let roles = ["bastion-viewer", "bastion-observer"];
    let (_, token) = bastion.namespace.service_account_with_roles("auditor", &roles).await;
    let mut scenario = BrowserScenario::start("playback", &bastion.namespace, &console, &token).await;
    assert_eq!(scenario.next().await, "recorded");
    scenario.answer(&recorded(&bastion).await.name_any()).await;
    scenario.finish().await;
}

#[tokio::test]
async fn a_shell_in_the_page_is_a_session_as_any_other() {
    let _held = weight::take(1).await;
    let (bastion, mut console) = with_terminals().await;
    let (namespace, listen) = (&bastion.namespace, console.address.to_string());
    let mut scenario =
        BrowserScenario::start("terminal", namespace, &console, &namespace.control_plane.person_token()).await;
    let mut open = vec![];
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "stop console");
    console.process.kill().await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "start console");
    let _successor = Console::start_at(namespace, "console-1", &listen, &terminals_at(&bastion)).await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
}

/// A bastion whose console's page has terminals, for a person who may see and end sessions too.
async fn with_terminals() -> (Bastion, Console) {
    let listen = format!("127.0.0.1:{}", free_port().await);
    let own_site =
        Setting { env: vec![("BASTION_PUBLIC_URL", format!("http://{listen}").into())], ..Setting::default() };
    let bastion = Bastion::in_setting(&own_site, async |namespace, _| {
        namespace.person().await;
    })
    .await;
    for role in ["bastion-viewer", "bastion-session-terminator"] {
        bastion.namespace.bind(PERSON, role).await;
    }
    let console = Console::start_at(&bastion.namespace, "console-0", &listen, &terminals_at(&bastion)).await;
    (bastion, console)
}

/// The setting of a console whose page finds the gateway's terminals.
fn terminals_at(bastion: &Bastion) -> Setting<'static> {
    let terminal = format!("http://{}", bastion.gateway.web);
    Setting { env: vec![("BASTION_TERMINAL_ORIGIN", terminal.into())], ..Setting::default() }
}

#[tokio::test]
async fn a_console_that_goes_is_said_to_be_gone() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let (mut console, mut scenario) = start_scenario("lost", namespace).await;
    let mut open = vec![];
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "stop console");
    console.process.kill().await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "start console");
    let listen = console.address.to_string();
    let _successor = Console::start_at(namespace, "console-1", &listen, &Setting::default()).await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
}

/// A session object that began so many seconds after the first.
fn session_at(number: u32) -> Value {
    let mut session = bastion_session(&format!("many-{number:05}"), "gateway-0");
    let began: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let at = began + jiff::SignedDuration::from_secs(number.into());
    session["spec"]["startTime"] = json!(format!("{at:.6}"));
    session
}

/// Makes session objects, as a gateway does.
async fn make(namespace: &Namespace, numbers: std::ops::Range<u32>) {
    let gateway = namespace.account("bastion-gateway", "gateway-0").await.client;
    let made = stream::iter(numbers).map(async |number| {
        namespace.create_as(&gateway, session_at(number)).await.expect("a session");
    });
    made.buffer_unordered(16).collect::<()>().await;
}

async fn end(namespace: &Namespace, numbers: std::ops::Range<u32>) {
    let gateway = namespace.account("bastion-gateway", "gateway-0").await.client;
    for number in numbers {
        let status = json!({"status": ended_status()});
        namespace.patch_status(&gateway, &format!("many-{number:05}"), status).await.expect("an end");
    }
}

#[tokio::test]
async fn a_page_keeps_its_place_while_others_come_and_go() {
    let _held = weight::take(1).await;
    let namespace = Namespace::new().await;
    let (_console, mut scenario) = start_scenario("churn", &namespace).await;
    assert_eq!(scenario.next().await, "many 300");
    make(&namespace, 0..300).await;
    scenario.answer("").await;
    assert_eq!(scenario.next().await, "churn");
    // The newest come first: these are on the pages before it and behind it.
    end(&namespace, 250..275).await;
    end(&namespace, 0..25).await;
    make(&namespace, 400..450).await;
    scenario.answer("").await;
    scenario.finish().await;
}

#[tokio::test]
async fn ten_thousand_sessions_are_on_one_page() {
    let _held = weight::take(2).await;
    let namespace = Namespace::new().await;
    let (_console, mut scenario) = start_scenario("crowd", &namespace).await;
    assert_eq!(scenario.next().await, "many 10000");
    make(&namespace, 0..10_000).await;
    scenario.answer("").await;
    scenario.finish().await;
}

#[tokio::test]
async fn names_are_text_and_everybody_can_read_the_page() {
    let _held = weight::take(1).await;
    let namespace = Namespace::new().await;
    let (_console, mut scenario) = start_scenario("words", &namespace).await;
    assert_eq!(scenario.next().await, "strange");
    let gateway = namespace.account("bastion-gateway", "gateway-0").await.client;
    let mut session = session_at(0);
    session["spec"]["client"]["software"] = json!("SSH-2.0-<img src=x onerror=globalThis.pwned=1>");
    session["spec"]["user"]["subject"] = json!("\"><script>globalThis.pwned=1</script>");
    namespace.create_as(&gateway, session).await.expect("a session");
    scenario.answer("").await;
    scenario.finish().await;
}
