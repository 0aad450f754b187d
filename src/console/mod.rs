//! `bastion console`: what the bastion knows, over HTTP, for those whom the cluster lets see it, and the page that
//! shows it. It keeps no state.

mod access;
mod api;
pub mod csv;
mod events;
mod failure;
mod feed;
mod history;
mod me;
pub mod oidc;
mod overview;
mod page;
mod people;
mod sign_in;
mod targets;
mod termination;
mod view;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::middleware::from_fn_with_state;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tracing::info;
use url::Url;

use crate::audit::{AuditSettings, Store};
use crate::http::{self, Ready};
use crate::web::{Headers, Origins, Seal, Visitors};
use access::Gate;
use feed::Feed;
use oidc::Oidc;
use overview::Counted;
use people::People;
use sign_in::SignIns;

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
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http_listen: SocketAddr,
}

/// What every request needs.
#[derive(Clone)]
struct Console {
    client: Client,
    namespace: String,
    store: Option<Store>,
    visitors: Visitors,
    origins: Origins,
    gate: Gate,
    people: People,
    sign_ins: SignIns,
    oidc: Option<Oidc>,
    feed: Feed,
    counted: Counted,
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
/// How many read all that was at once.
const MOST_EXPORTS: usize = 3;
/// How long pages may take to be told that the console ends.
const PARTING: Duration = Duration::from_secs(5);

/// Runs a console until `stop` is cancelled.
///
/// # Errors
/// When it cannot start, or can serve no longer.
pub async fn run(client: Client, settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let Settings { namespace, listen, audit, cookie_key_file, oidc, public_url, terminal_origin, http_listen } =
        settings;
    let (origins, headers) =
        (Origins::new(public_url.as_ref()), Headers::new(public_url.as_ref(), terminal_origin.as_ref()));
    let store = audit.map(Store::new).transpose()?;
    let oidc = oidc.zip(public_url.as_ref()).map(|(oidc, public)| Oidc::new(oidc, public)).transpose()?;
    let feed = Feed::new();
    let watching = feed.clone().run(Api::namespaced(client.clone(), &namespace));
    let gate = Gate::new(client.clone(), &namespace);
    let visitors = Visitors::new(client.clone(), cookie_key_file.map(Seal::new));
    let places = Arc::new(Semaphore::new(MOST_PAGES as usize));
    let people = People::watch(client.clone(), &namespace);
    let console = Console {
        store,
        visitors,
        origins,
        gate,
        people,
        sign_ins: sign_in::sign_ins(),
        oidc,
        counted: Counted::default(),
        exports: Arc::new(Semaphore::new(MOST_EXPORTS)),
        terminal_origin,
        client,
        namespace,
        feed,
        places: places.clone(),
        stop: stop.clone(),
    };
    let ready = Ready::of("console");
    let probes = http::serve(http_listen, ready.clone(), stop.clone()).await?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("--listen {listen} cannot be bound"))?;
    info!(address = %listener.local_addr()?, "serving the API");
    let routes: Router = api::routes()
        .with_state(console)
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(headers, Headers::add));
    let serving = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
    ready.set(true);
    tokio::select! {
        served = async { tokio::try_join!(probes, serving.into_future()) } => served.map(|_| ())?,
        never = watching => match never {},
    }
    // The server does not wait for pages, which are told to go elsewhere.
    let _ = timeout(PARTING, places.acquire_many(MOST_PAGES)).await;
    Ok(())
}
