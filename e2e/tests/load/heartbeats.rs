//! A small API server that a thousand ends reach at once: heartbeats are not held up behind them.

use std::time::{Duration, Instant};

use bastion_operator::api::Reason;
use futures::future::join_all;
use serde_json::json;

use crate::environment::Environment;
use bastion_e2e::{ApiRequests, Echo, Gateway, default_timeout, eventually, histories, metric, weight};

/// How many requests the API server works on at once: 400 and 200 by default.
const SMALL: &str = "--max-requests-inflight=20 --max-mutating-requests-inflight=10";

const SESSIONS: usize = 1000;

/// For how long a silent gateway is waited for, and more.
const WATCHED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn no_gateway_is_lost_while_a_small_api_server_takes_a_thousand_ends_at_once() {
    let _held = weight::take(2).await;
    let environment = Environment::with_gateways(2).await;
    let echo = Echo::start().await;
    echo.add_to(&environment.namespace, "web-2", json!({})).await;
    let bystanders = environment.open_on("web-2", 1, 20).await;
    let ending = environment.open(0, SESSIONS).await;
    environment.namespace.control_plane.restart_api_with(SMALL).await;
    environment.renewed(2).await;
    let (before, leases) =
        (ApiRequests::count(&environment.namespace.control_plane).await, environment.instances().await);

    let failed_before = join_all(environment.gateways.iter().map(failed_renewals)).await;
    let killed = Instant::now();
    environment.echo.kill();
    environment.ended(default_timeout(), 0, SESSIONS).await;
    println!("{SESSIONS} ends at once on a small API server: all were shown after {:.1?}", killed.elapsed());
    eventually(WATCHED + default_timeout(), "a lost gateway would have been declared lost", async || {
        if killed.elapsed() > WATCHED { Ok(()) } else { Err(format!("{:.1?}", killed.elapsed())) }
    })
    .await;
    let requests = ApiRequests::count(&environment.namespace.control_plane).await.since(&before);
    println!("API writes since the target died:\n{requests}");
    assert_eq!(requests.done("PATCH", "bastionsessions", "status"), SESSIONS as u64, "one write an end:\n{requests}");
    assert_eq!(environment.instances().await, leases, "no gateway was declared lost");
    let failed = join_all(environment.gateways.iter().map(failed_renewals)).await;
    println!("{:?} renewals failed of those of each gateway", differences(&failed, &failed_before));
    assert!(requests_for_leases(&environment).await > 0.0, "the FlowSchema has the Leases");
    environment.go_on(&bystanders).await;
    for history in histories(&environment.watch.seen()).values().filter(|it| it.session().spec.target == "web-1") {
        let end = history.end().expect("it has ended");
        assert_eq!(end.reason.as_deref(), Some(Reason::TargetClosed.as_str()), "of {}", history.name);
    }
    drop(ending);
}

fn differences(now: &[f64], before: &[f64]) -> Vec<f64> {
    now.iter().zip(before).map(|(now, before)| now - before).collect()
}

async fn failed_renewals(gateway: &Gateway) -> f64 {
    metric(gateway.http, "bastion_lease_renewals_failed_total").await.unwrap_or_default()
}

/// How many requests the API server has served by the bastion's FlowSchema.
async fn requests_for_leases(environment: &Environment) -> f64 {
    let namespace = &environment.namespace;
    let request = axum::http::Request::get("/metrics").body(vec![]).expect("a request");
    let page = namespace.admin().request_text(request).await.expect("the API server's metrics");
    let schema = format!("flow_schema=\"{}-leases\"", namespace.name);
    let samples = page
        .lines()
        .filter(|line| line.starts_with("apiserver_flowcontrol_dispatched_requests_total{") && line.contains(&schema));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
