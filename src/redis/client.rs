//! The client of Redis. Every request has a timeout, and the client reconnects after any failure. Callers continue without an
//! answer.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::Stream;
use redis::aio::{MultiplexedConnection, PubSubSink};
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, FromRedisValue, IntoConnectionInfo, Msg, Pipeline};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::metrics::{METRICS, RedisLabels};

/// How long one request may take, including the time to connect if the client is not connected.
pub const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// The settings of the client.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// `redis://[user@]host[:port][/db]`, or `rediss://` for TLS.
    pub url: String,
    /// The file with the password. It is read for each connection, so that the password can rotate.
    pub password_file: Option<PathBuf>,
}

/// A client with one connection, which all callers share.
#[derive(Debug)]
pub struct RedisClient {
    address: ConnectionInfo,
    password_file: Option<PathBuf>,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Whether the last request failed.
    down: AtomicBool,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// There was no answer within [`REDIS_TIMEOUT`].
    #[error("Redis did not answer within {} s", REDIS_TIMEOUT.as_secs())]
    Timeout,
    /// Redis answered with an error, or the connection failed.
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    /// The password file cannot be read.
    #[error("--redis-password-file {} cannot be read: {source}", file.display())]
    PasswordFile {
        /// The path of the file.
        file: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
}

impl RedisClient {
    /// Returns a client that is not connected yet.
    ///
    /// # Errors
    /// The URL is malformed, or contains a password, which the process list would show.
    pub fn new(settings: RedisSettings) -> anyhow::Result<Self> {
        let address = settings
            .url
            .as_str()
            .into_connection_info()
            .context("--redis-url: write redis://[user@]host[:port][/db], or rediss:// for TLS")?;
        anyhow::ensure!(
            address.redis_settings().password().is_none(),
            "--redis-url contains a password; put it into a file and name that in --redis-password-file"
        );
        Ok(Self {
            address,
            password_file: settings.password_file,
            connection: Mutex::default(),
            down: AtomicBool::default(),
        })
    }

    /// Sends a pipeline and returns its answer. `operation` is the label of the failure metric.
    ///
    /// # Errors
    /// Redis failed or did not answer in time. The next request reconnects.
    pub async fn query<T: FromRedisValue>(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, RedisError> {
        let request = async {
            let mut connection = self.connection().await?;
            Ok(pipeline.query_async(&mut connection).await?)
        };
        let answer = timeout(REDIS_TIMEOUT, request).await.unwrap_or(Err(RedisError::Timeout));
        match &answer {
            Ok(_) => self.record_success(),
            Err(error) => {
                self.record_failure(operation, error);
                if let Ok(mut connection) = self.connection.try_lock() {
                    *connection = None;
                }
            }
        }
        answer
    }

    /// Subscribes to a channel over a connection of its own. Returns the messages, and a sink for pings, which detect a
    /// dead connection.
    ///
    /// # Errors
    /// Redis failed or did not answer in time.
    pub async fn subscribe(&self, channel: &str) -> Result<(PubSubSink, impl Stream<Item = Msg> + use<>), RedisError> {
        let request = async {
            let mut subscription = self.client()?.get_async_pubsub().await?;
            subscription.subscribe(channel).await?;
            Ok(subscription.split())
        };
        let subscribed = timeout(REDIS_TIMEOUT, request).await.unwrap_or(Err(RedisError::Timeout));
        subscribed.inspect_err(|error| self.record_failure("subscribe", error))
    }

    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let opened = self.client()?.get_multiplexed_async_connection_with_config(&without_timeouts()).await?;
        Ok(connection.insert(opened).clone())
    }

    fn client(&self) -> Result<Client, RedisError> {
        let mut address = self.address.clone();
        if let Some(file) = &self.password_file {
            let password = std::fs::read_to_string(file)
                .map_err(|source| RedisError::PasswordFile { file: file.clone(), source })?;
            let settings = address.redis_settings().clone().set_password(password.trim());
            address = address.set_redis_settings(settings);
        }
        Ok(Client::open(address)?)
    }

    fn record_success(&self) {
        if self.down.swap(false, Ordering::Relaxed) {
            info!("Redis is available again");
        }
    }

    fn record_failure(&self, operation: &'static str, error: &RedisError) {
        METRICS.redis_failures.get_or_create(&RedisLabels { operation }).inc();
        if !self.down.swap(true, Ordering::Relaxed) {
            warn!(operation, %error, "Redis unavailable; continuing without it");
        }
    }
}

/// Returns a configuration without the library's own timeouts, which are shorter than [`REDIS_TIMEOUT`].
fn without_timeouts() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Result<RedisClient, String> {
        RedisClient::new(RedisSettings { url: url.into(), password_file: None }).map_err(|error| error.to_string())
    }

    #[test]
    fn a_malformed_url_or_one_with_a_password_is_refused() {
        assert!(client("redis://127.0.0.1:6379/2").is_ok());
        assert!(client("rediss://bastion@redis.example").is_ok());
        assert!(client("127.0.0.1").unwrap_err().contains("--redis-url: write redis://"));
        let refused = client("redis://bastion:secret@127.0.0.1").unwrap_err();
        assert!(refused.contains("--redis-password-file") && !refused.contains("secret"), "{refused}");
    }
}
