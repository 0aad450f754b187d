//! How long it takes from the end of a session until its row is gone from a page in a real Chromium that has a thousand rows, beside
//! what a bare watch of the API server needs for the same end; and how long such a page takes to be shown at first.
//!
//! Fails when the median is more than 150 ms above the watch's, one in a hundred takes more than 500 ms, or the first rows take
//! more than a second.
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bastion_e2e::browser::BrowserScenario;
use bastion_e2e::namespace::Account;
use bastion_e2e::objects::{bastion_session, ended_status};
use bastion_e2e::{Console, ControlPlane, Namespace, SessionWatch, default_timeout};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

/// How many ends are measured.
const ROUNDS: usize = 200;
/// How many rows the page has.
const ROWS: u32 = 1000;
/// What the page may take more than a watch, as a rule.
const MORE_THAN_A_WATCH: f64 = 150.0;
/// What one in a hundred may take.
const ONE_IN_A_HUNDRED: f64 = 500.0;
/// What the first rows may take.
const FIRST: f64 = 1000.0;

/// What the browser has measured, in milliseconds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    first_shown: f64,
    /// From each end to where the watch shows it, and to the frame without its row.
    shown: Vec<(f64, f64)>,
}

pub async fn run() -> ExitCode {
    let control_plane = Arc::new(ControlPlane::start().await);
    let figures = measure(Namespace::on(control_plane.clone()).await).await;
    control_plane.stop().await;
    report(figures)
}

async fn measure(namespace: Namespace) -> Figures {
    let console = Console::start(&namespace).await;
    let token = namespace.viewer().await;
    let (gateway, watch) = (namespace.account("bastion-gateway", "gateway-0").await, namespace.watch().await);
    let mut scenario = BrowserScenario::start("latency", &namespace, &console, &token).await;
    loop {
        let asked = scenario.next().await;
        match asked.split_once(' ') {
            Some(("many", _)) => {
                make(&namespace, &gateway).await;
                scenario.answer(&ROUNDS.to_string()).await;
            }
            Some(("end", name)) => {
                let (began, seen) = end(&namespace, &gateway, &watch, name).await;
                scenario.answer(&format!("{began} {seen}")).await;
            }
            Some(("figures", figures)) => return serde_json::from_str(figures).expect("figures"),
            _ => panic!("what is {asked}?"),
        }
    }
}

/// Makes the sessions, as a gateway does.
async fn make(namespace: &Namespace, gateway: &Account) {
    let made = stream::iter(0..ROWS).map(async |number| {
        let session = bastion_session(&format!("many-{number:05}"), "gateway-0");
        namespace.create_as(&gateway.client, session).await.expect("a session");
    });
    made.buffer_unordered(16).collect::<()>().await;
}

/// Writes an end, as a gateway does: when it began to, and when a watch has shown it, in milliseconds since 1970.
async fn end(namespace: &Namespace, gateway: &Account, watch: &SessionWatch, name: &str) -> (f64, f64) {
    let began = now();
    let patch = async {
        let status = json!({"status": ended_status()});
        namespace.patch_status(&gateway.client, name, status).await.expect("an end");
    };
    let is_over = |seen: &[bastion_e2e::Observation]| {
        seen.iter().find(|it| it.name == name && it.phase.is_final()).map(|it| it.at)
    };
    let ((), at) = tokio::join!(patch, watch.until(default_timeout(), "the end is seen", is_over));
    (began, now() - milliseconds(at.elapsed()))
}

#[allow(clippy::cast_precision_loss, reason = "microseconds since 1970 fit")]
fn now() -> f64 {
    Timestamp::now().as_microsecond() as f64 / 1000.0
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn report(figures: Figures) -> ExitCode {
    let Figures { first_shown, shown } = figures;
    let (watch, page): (Vec<f64>, Vec<f64>) = shown.into_iter().unzip();
    let (watch, page) = (sorted(watch), sorted(page));
    let (of, last) = (ROUNDS / 2, ROUNDS * 99 / 100);
    println!("{ROWS} rows on the page, {ROUNDS} ends");
    println!("  from the end to a bare watch:   median {:6.1} ms, one in a hundred {:6.1} ms", watch[of], watch[last]);
    println!("  from the end to the row gone:   median {:6.1} ms, one in a hundred {:6.1} ms", page[of], page[last]);
    println!("  the page above the watch:       median {:6.1} ms (at most {MORE_THAN_A_WATCH})", page[of] - watch[of]);
    println!("  first rows of a cold page:      {first_shown:6.1} ms (at most {FIRST})");
    let good = page[of] - watch[of] <= MORE_THAN_A_WATCH && page[last] <= ONE_IN_A_HUNDRED && first_shown <= FIRST;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn sorted(mut times: Vec<f64>) -> Vec<f64> {
    times.sort_by(f64::total_cmp);
    times
}
