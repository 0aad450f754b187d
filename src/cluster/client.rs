//! Makes clients of the API server.

use std::time::Duration;

use kube::Client;
use kube::client::ClientBuilder;
use tower::layer::layer_fn;
use tower::timeout::TimeoutLayer;

use super::watch_pace::PacedWatches;

/// The timeout of one request to the API server.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The timeout for opening a connection to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a connection to the API server may be silent before it is closed, whether it is idle or an answer is due. This
/// limit keeps requests off idle connections that are dead.
const READ_TIMEOUT: Duration = Duration::from_secs(12);

/// Returns the configuration of the API server from the environment: a kubeconfig, or the Pod's ServiceAccount.
///
/// # Errors
/// When the environment has no usable configuration.
pub async fn config() -> anyhow::Result<kube::Config> {
    let mut config = kube::Config::infer().await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    Ok(config)
}

/// Returns a client that sends each request once. A request, or the start of a watch, fails if no response header arrives
/// within `header_timeout`. A watch that keeps ending starts once a second.
///
/// kube's own retries are off. They would repeat a request after 429, 503 or 504 for up to 82 s, or for as long as
/// `Retry-After` says, and so delay the detection of a lost gateway. Callers retry with a deadline: [`super::with_retries`].
///
/// # Errors
/// When the configuration is unusable.
pub fn client(mut config: kube::Config, header_timeout: Duration) -> kube::Result<Client> {
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config)?.with_layer(&TimeoutLayer::new(header_timeout));
    Ok(builder.with_layer(&layer_fn(PacedWatches::new)).build())
}
