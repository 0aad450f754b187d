//! Starts the console and serves until shutdown.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::middleware::from_fn_with_state;
use futures::FutureExt;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tracing::info;

use super::access::Authorizer;
use super::activity::ActivityReader;
use super::feed::{self, Feed};
use super::history_client::HistoryClient;
use super::observe_client::ObserveClient;
use super::oidc::Oidc;
use super::overview::CountsCache;
use super::state::{Auth, Cluster, Console, Limits, MAX_SOCKETS};
use super::user_index::UserIndex;
use super::{Settings, api};
use crate::cluster::{EventSink, UnreadableReports};
use crate::http::{Authenticator, Cookies, Origins, Plain, Readiness, SecurityHeaders};
use crate::metrics::HttpPort;
use crate::redis::RedisClient;
use crate::tasks::Tasks;
use crate::{http, recording};

/// How long shutdown waits for WebSockets to close, and then for Events to be written.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs a console until `stop` is cancelled.
///
/// # Errors
/// When the console cannot start, or one of its tasks fails.
pub async fn run(client: Client, settings: Settings, stop: CancellationToken) -> Result<()> {
    let (listen, http_listen) = (settings.listen, settings.http_listen);
    let headers = SecurityHeaders::new(settings.public_url.as_ref(), settings.terminal_origin.as_ref());
    let backends = Backends::from_settings(&settings)?;
    // Events of the last requests are written after `stop`.
    let stop_events = CancellationToken::new();
    let tasks = Tasks::default();
    let (events, publish_events) =
        EventSink::new(client.clone(), "bastion-console", &settings.pod_name, stop_events.clone());
    // It ends with its last sender, which is when the program does.
    let publish_events = tasks.spawn_finite("Event publisher", publish_events);
    let console = build(client, settings, backends, events, &tasks, stop.clone());
    let (watches_work, feed_watches_work) = watch::channel(true);
    let heartbeats = feed::watch_heartbeats(console.cluster.api(), watches_work);
    let watching = console.feed.clone().run(console.cluster.api(), console.cluster.reports.clone(), feed_watches_work);
    let sockets = console.limits.sockets.clone();
    let ready = Readiness::new("console");
    let probes = http::serve_probes(http_listen, ready.clone(), stop.clone()).await?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("--listen {listen} cannot be bound"))?;
    info!(address = %listener.local_addr()?, "serving the API");
    tasks.spawn_endless("session feed", watching.map(|never| match never {}));
    tasks.spawn_endless("watch of heartbeats", heartbeats.map(|never| match never {}));
    let probes = tasks.spawn("probe server", &stop, probes);
    let serving = tasks.spawn("API server", &stop, serve(console, listener, headers, stop.clone()));
    ready.set(true);
    tokio::select! {
        (_, _) = async { tokio::join!(probes, serving) } => {}
        failure = tasks.failed() => return Err(failure.into()),
    }
    // The server does not wait for WebSockets, which are closing now.
    let _ = timeout(SHUTDOWN_TIMEOUT, sockets.acquire_many(MAX_SOCKETS)).await;
    stop_events.cancel();
    let _ = timeout(SHUTDOWN_TIMEOUT, publish_events).await;
    tasks.shut_down().await;
    Ok(tasks.check()?)
}

fn serve(
    console: Console,
    listener: TcpListener,
    headers: SecurityHeaders,
    stop: CancellationToken,
) -> impl Future<Output = ()> {
    let routes: Router = api::routes()
        .with_state(console)
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(headers, SecurityHeaders::add));
    http::serve(listener, HttpPort::Console, Plain, routes, stop)
}

/// The backends that the settings name. They are checked before the first request to the API server.
struct Backends {
    oidc: Option<Oidc>,
    redis: Option<RedisClient>,
    recordings: Option<recording::Store>,
}

impl Backends {
    fn from_settings(settings: &Settings) -> Result<Self> {
        let public_url = settings.public_url.as_ref();
        Ok(Self {
            oidc: settings.oidc.clone().zip(public_url).map(|(oidc, url)| Oidc::new(oidc, url)).transpose()?,
            redis: settings.redis.clone().map(RedisClient::new).transpose()?,
            recordings: settings
                .recording_url
                .as_deref()
                .map(recording::Store::open)
                .transpose()
                .context("--recording-url")?,
        })
    }
}

fn build(
    client: Client,
    settings: Settings,
    backends: Backends,
    events: EventSink,
    tasks: &Tasks,
    stop: CancellationToken,
) -> Console {
    let Settings { namespace, cookie_key_file, public_url, .. } = settings;
    let Backends { oidc, redis, recordings } = backends;
    let reports = UnreadableReports::new(events.clone());
    let cookies = cookie_key_file.map(|file| Cookies::new(file, client.clone(), &namespace, tasks));
    let auth = Auth {
        authenticator: Authenticator::new(client.clone(), cookies),
        authorizer: Authorizer::new(client.clone(), &namespace),
        origins: Origins::new(public_url.as_ref()),
        proxies: settings.proxies.into(),
        users: UserIndex::watch(client.clone(), &namespace, &reports, tasks),
        oidc,
    };
    Console {
        auth,
        limits: Limits::new(),
        feed: Feed::new(),
        history: HistoryClient::new(client.clone(), &namespace, &settings.pod_name),
        counts: CountsCache::default(),
        activity: redis.map(ActivityReader::new),
        recordings,
        observe_client: ObserveClient::new(client.clone(), &namespace, &settings.pod_name),
        terminal_origin: settings.terminal_origin,
        cluster: Cluster { client, namespace, events, reports },
        stop,
    }
}
