//! `bastion console`: what the bastion knows, over HTTP, for those whom the cluster lets see it, and the page that
//! shows it. It keeps no state.

mod access;
mod activity;
mod api;
pub mod csv;
mod events;
mod failure;
mod feed;
mod history;
mod lookup;
mod me;
mod observe;
mod observe_client;
pub mod oidc;
mod overview;
mod page;
mod query;
mod recordings;
mod rights_watch;
mod sign_in;
mod targets;
mod termination;
mod user_index;
mod view;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::HeaderMap;
use axum::middleware::from_fn_with_state;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tracing::info;
use url::Url;

use crate::audit::{AuditSettings, Store};
use crate::cluster::{EventSink, UnreadableReports};
use crate::http::{Authenticator, Caller, CookieCipher, Headers, Origins, Plain, Ready};
use crate::metrics::HttpPort;
use crate::redis::{RedisLink, RedisSettings};
use crate::{http, recording};
use access::Authorizer;
use activity::HotState;
use failure::Failure;
use feed::{ConnectionQuota, Feed};
use observe_client::Dialer;
use oidc::Oidc;
use overview::Counted;
use sign_in::SignIns;
use user_index::UserIndex;

pub use api::openapi;
pub use failure::Problem;
pub use view::{Session, SessionPage};

/// How a console is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// Where the API is served.
    pub listen: SocketAddr,
    /// The audit database, which is only read, where there is one that can be.
    pub audit: Option<AuditSettings>,
    /// The keys of the cookies of those who sign in with a browser, if anybody can.
    pub cookie_key_file: Option<PathBuf>,
    /// The provider with which people sign in, if there is one; there must be a public URL then, too.
    pub oidc: Option<oidc::Settings>,
    /// The URL by which people know the console, if it has one.
    pub public_url: Option<Url>,
    /// Where the page finds the terminal, where that is not on the same host.
    pub terminal_origin: Option<Url>,
    /// The gateways' hot state, where there is one.
    pub redis: Option<RedisSettings>,
    /// Where the gateways put recordings, if they do.
    pub recording_url: Option<String>,
    /// The ServiceAccount token that is shown to gateways, where sessions can be followed.
    pub gateway_token_file: Option<PathBuf>,
    /// The name of the Pod, for Events.
    pub pod_name: String,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http_listen: SocketAddr,
}

/// What every request needs.
#[derive(Clone)]
struct Console {
    client: Client,
    namespace: String,
    store: Option<Store>,
    authenticator: Authenticator,
    origins: Origins,
    authorizer: Authorizer,
    user_index: UserIndex,
    sign_ins: SignIns,
    oidc: Option<Oidc>,
    feed: Feed,
    counted: Counted,
    hot: Option<HotState>,
    recordings: Option<recording::Store>,
    gateways: Option<Dialer>,
    events: EventSink,
    /// Reports the objects that cannot be read.
    reports: UnreadableReports,
    /// How often somebody asks.
    callers: Arc<DefaultKeyedRateLimiter<String>>,
    quota: ConnectionQuota,
    /// For those who read all that was.
    exports: Arc<Semaphore>,
    terminal_origin: Option<Url>,
    /// For pages of the feed, which stay.
    places: Arc<Semaphore>,
    /// Ends the pages.
    stop: CancellationToken,
}

/// How many pages of the feed may be open.
const MOST_PAGES: u32 = 1000;
/// How many requests somebody may send a second, and at once after a rest.
const REQUESTS_A_SECOND: NonZeroU32 = NonZeroU32::new(50).unwrap();
const REQUESTS_AT_ONCE: NonZeroU32 = NonZeroU32::new(200).unwrap();
/// Of so many who have asked, those are forgotten who rest.
const MANY_CALLERS: usize = 1000;
/// How many read all that was at once.
const MOST_EXPORTS: usize = 3;
/// How long pages may take to be told that the console ends.
const PARTING: Duration = Duration::from_secs(5);

/// Runs a console until `stop` is cancelled.
///
/// # Errors
/// When it cannot start, or can serve no longer.
pub async fn run(client: Client, settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let Settings { namespace, listen, audit, cookie_key_file, oidc, public_url, terminal_origin, http_listen, .. } =
        settings;
    let (origins, headers) =
        (Origins::new(public_url.as_ref()), Headers::new(public_url.as_ref(), terminal_origin.as_ref()));
    let store = audit.map(Store::new).transpose()?;
    let oidc = oidc.zip(public_url.as_ref()).map(|(oidc, public)| Oidc::new(oidc, public)).transpose()?;
    let feed = Feed::new();
    let hot = settings.redis.map(RedisLink::new).transpose()?.map(HotState::new);
    let recordings = settings.recording_url.map(|url| recording::Store::open(&url)).transpose();
    let recordings = recordings.context("--recording-url")?;
    let over = CancellationToken::new();
    let (events, publishing) = EventSink::new(client.clone(), "bastion-console", &settings.pod_name, over.clone());
    let publishing = tokio::spawn(publishing);
    let reports = UnreadableReports::new(events.clone());
    let watching = feed.clone().run(Api::namespaced(client.clone(), &namespace), reports.clone());
    let authorizer = Authorizer::new(client.clone(), &namespace);
    let authenticator = Authenticator::new(client.clone(), cookie_key_file.map(CookieCipher::new));
    let places = Arc::new(Semaphore::new(MOST_PAGES as usize));
    let user_index = UserIndex::watch(client.clone(), &namespace, &reports);
    let console = Console {
        store,
        authenticator,
        origins,
        authorizer,
        user_index,
        sign_ins: sign_in::sign_ins(),
        oidc,
        counted: Counted::default(),
        hot,
        recordings,
        gateways: settings.gateway_token_file.map(|file| Dialer::new(client.clone(), &namespace, file)),
        events,
        reports,
        callers: Arc::new(RateLimiter::hashmap(Quota::per_second(REQUESTS_A_SECOND).allow_burst(REQUESTS_AT_ONCE))),
        quota: ConnectionQuota::default(),
        exports: Arc::new(Semaphore::new(MOST_EXPORTS)),
        terminal_origin,
        client,
        namespace,
        feed,
        places: places.clone(),
        stop: stop.clone(),
    };
    let ready = Ready::of("console");
    let probes = http::serve_probes(http_listen, ready.clone(), stop.clone()).await?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("--listen {listen} cannot be bound"))?;
    info!(address = %listener.local_addr()?, "serving the API");
    let routes: Router = api::routes()
        .with_state(console)
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(headers, Headers::add));
    let serving = http::serve(listener, HttpPort::Console, Plain, routes, stop);
    ready.set(true);
    tokio::select! {
        ((), ()) = async { tokio::join!(probes, serving) } => {}
        never = watching => match never {},
    }
    // The server does not wait for pages, which are told to go elsewhere.
    let _ = timeout(PARTING, places.acquire_many(MOST_PAGES)).await;
    over.cancel();
    let _ = timeout(PARTING, publishing).await;
    Ok(())
}

impl Console {
    /// Who sent a request.
    ///
    /// # Errors
    /// When that is nobody who is known, they ask too often, or the API server does not answer.
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        let caller = self.authenticator.caller(headers).await?;
        self.bound(&caller)?;
        Ok(caller)
    }

    /// Counts a request of somebody's.
    ///
    /// # Errors
    /// When they ask too often.
    fn bound(&self, caller: &Caller) -> Result<(), Failure> {
        if self.callers.len() > MANY_CALLERS {
            self.callers.retain_recent();
        }
        self.callers.check_key(&caller.name).map_err(|_| Failure::TooMany)
    }
}
