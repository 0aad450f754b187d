//! Checks a user's rights periodically while a WebSocket is open.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::api_error::ApiError;
use crate::http::AuthError;

const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How long rights stay valid while the API server cannot be asked.
const MAX_UNCHECKED: Duration = Duration::from_mins(1);

/// Decides when to check a user's rights, and what the result of a check means.
pub struct RightsWatch {
    last_success: Instant,
}

impl RightsWatch {
    /// Starts with rights that were checked just now.
    pub fn new() -> Self {
        Self { last_success: Instant::now() }
    }

    /// Waits until the next check is due.
    pub async fn wait(&self) {
        sleep(CHECK_INTERVAL).await;
    }

    /// Evaluates a check: `Ok(Some)` has changed rights, `Ok(None)` unchanged ones. Returns `None` if nothing follows
    /// from it. An API server that does not answer is tolerated for 1 min.
    pub fn evaluate<T>(&mut self, check: Result<Option<T>, ApiError>) -> Option<Result<T, ApiError>> {
        match check {
            Ok(Some(changed)) => Some(Ok(changed)),
            Ok(None) => {
                self.last_success = Instant::now();
                None
            }
            Err(ApiError::Auth(AuthError::ApiServer(_))) if self.last_success.elapsed() < MAX_UNCHECKED => None,
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn unchecked_rights_expire_after_a_while() {
        let (mut watch, start) = (RightsWatch::new(), Instant::now());
        let unavailable = || Err::<Option<()>, _>(ApiError::Auth(AuthError::api_server("unavailable".to_owned())));
        while watch.evaluate(unavailable()).is_none() {
            watch.wait().await;
        }
        assert_eq!(start.elapsed(), MAX_UNCHECKED);
        assert!(watch.evaluate(Ok(None::<()>)).is_none());
        assert!(watch.evaluate(unavailable()).is_none());
        assert!(matches!(watch.evaluate(Ok(Some(7))), Some(Ok(7))));
        assert!(matches!(watch.evaluate(Err::<Option<()>, _>(ApiError::TooMany)), Some(Err(_))));
    }
}
