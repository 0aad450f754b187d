//! The way to Redis, where one is configured: a connection that is made anew after any failure, requests that never
//! wait long, and nothing that rests on an answer.

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

/// How long one request may take, with the making of a connection.
pub const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// Where Redis is, as the command line says it.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// `redis://[user@]host[:port][/db]`, or `rediss://` for TLS.
    pub url: String,
    /// A file that holds the password; it is read at each connection, so that it can be changed.
    pub password_file: Option<PathBuf>,
}

/// One program's way to Redis.
#[derive(Debug)]
pub struct RedisLink {
    address: ConnectionInfo,
    password_file: Option<PathBuf>,
    connection: Mutex<Option<MultiplexedConnection>>,
    down: AtomicBool,
}

/// Why Redis did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RedisFailure {
    /// No answer within [`REDIS_TIMEOUT`].
    #[error("Redis did not answer within {}s", REDIS_TIMEOUT.as_secs())]
    Timeout,
    /// Redis answered with an error, or the connection to it failed.
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    /// The password file could not be read.
    #[error("--redis-password-file {file}: {error}", file = file.display())]
    PasswordFile { file: PathBuf, error: std::io::Error },
}

impl RedisLink {
    /// A way that is not tried yet.
    ///
    /// # Errors
    /// When the URL is not one, or holds a password, which the process list would show.
    pub fn new(settings: RedisSettings) -> anyhow::Result<Self> {
        let address = settings
            .url
            .as_str()
            .into_connection_info()
            .context("--redis-url: write redis://[user@]host[:port][/db], or rediss:// for TLS")?;
        let open = address.redis_settings().password().is_none();
        anyhow::ensure!(
            open,
            "--redis-url holds a password; put it into a file and name that in --redis-password-file"
        );
        Ok(Self {
            address,
            password_file: settings.password_file,
            connection: Mutex::default(),
            down: AtomicBool::default(),
        })
    }

    /// Sends a pipeline and awaits its answer. `operation` is what it is for, in the metrics.
    ///
    /// # Errors
    /// When Redis refused it or did not answer in time. The next request then makes a connection of its own.
    pub async fn ask<T: FromRedisValue>(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, RedisFailure> {
        let asked = async {
            let mut connection = self.connected().await?;
            Ok(pipeline.query_async(&mut connection).await?)
        };
        let answer = timeout(REDIS_TIMEOUT, asked).await.unwrap_or(Err(RedisFailure::Timeout));
        match &answer {
            Ok(_) => self.works(),
            Err(failure) => {
                self.fails(operation, failure);
                if let Ok(mut connection) = self.connection.try_lock() {
                    *connection = None;
                }
            }
        }
        answer
    }

    /// Subscribes to a channel, over a connection of its own. The sink is for pings, without which a dead connection
    /// would not be noticed.
    ///
    /// # Errors
    /// When Redis refused it or did not answer in time.
    pub async fn subscribe(
        &self,
        channel: &str,
    ) -> Result<(PubSubSink, impl Stream<Item = Msg> + use<>), RedisFailure> {
        let subscribed = async {
            let mut subscription = self.client()?.get_async_pubsub().await?;
            subscription.subscribe(channel).await?;
            Ok(subscription.split())
        };
        let subscribed = timeout(REDIS_TIMEOUT, subscribed).await.unwrap_or(Err(RedisFailure::Timeout));
        subscribed.inspect_err(|failure| self.fails("subscribe", failure))
    }

    async fn connected(&self) -> Result<MultiplexedConnection, RedisFailure> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let made = self.client()?.get_multiplexed_async_connection_with_config(&unhurried()).await?;
        Ok(connection.insert(made).clone())
    }

    fn client(&self) -> Result<Client, RedisFailure> {
        let mut address = self.address.clone();
        if let Some(file) = &self.password_file {
            let password = std::fs::read_to_string(file)
                .map_err(|error| RedisFailure::PasswordFile { file: file.clone(), error })?;
            let settings = address.redis_settings().clone().set_password(password.trim());
            address = address.set_redis_settings(settings);
        }
        Ok(Client::open(address)?)
    }

    fn works(&self) {
        if self.down.swap(false, Ordering::Relaxed) {
            info!("Redis answers again");
        }
    }

    fn fails(&self, operation: &'static str, failure: &RedisFailure) {
        METRICS.redis_failures.get_or_create(&RedisLabels { operation }).inc();
        if !self.down.swap(true, Ordering::Relaxed) {
            warn!(operation, error = %failure, "Redis does not do its part; everything goes on without it");
        }
    }
}

/// Without limits of the library's own, which are shorter than [`REDIS_TIMEOUT`].
fn unhurried() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(url: &str) -> Result<RedisLink, String> {
        RedisLink::new(RedisSettings { url: url.into(), password_file: None }).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_is_checked_before_anything_starts() {
        assert!(link("redis://127.0.0.1:6379/2").is_ok());
        assert!(link("rediss://bastion@redis.example").is_ok());
        assert!(link("127.0.0.1").unwrap_err().contains("--redis-url: write redis://"));
        let refused = link("redis://bastion:secret@127.0.0.1").unwrap_err();
        assert!(refused.contains("--redis-password-file") && !refused.contains("secret"), "{refused}");
    }
}
