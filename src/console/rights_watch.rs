//! Checks a person's rights periodically while their WebSocket is open.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::failure::Failure;
use crate::http::AuthError;

/// From one look at the person's rights to the next.
const RECHECK: Duration = Duration::from_secs(10);
/// How long rights last that cannot be looked at.
const UNCHECKED: Duration = Duration::from_mins(1);

/// Looks at a person's rights from time to time.
pub struct RightsWatch {
    checked: Instant,
}

impl RightsWatch {
    /// They were looked at just now.
    pub fn new() -> Self {
        Self { checked: Instant::now() }
    }

    /// Waits until it is time to look again.
    pub async fn pause(&self) {
        sleep(RECHECK).await;
    }

    /// What a look has shown: other rights, or the same ones; nothing is to be done about those, nor about a cluster that does
    /// not answer for a while.
    pub fn consider<T>(&mut self, look: Result<Option<T>, Failure>) -> Option<Result<T, Failure>> {
        match look {
            Ok(Some(now)) => Some(Ok(now)),
            Ok(None) => {
                self.checked = Instant::now();
                None
            }
            Err(Failure::Web(AuthError::Cluster(_))) if self.checked.elapsed() < UNCHECKED => None,
            Err(failure) => Some(Err(failure)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rights_that_cannot_be_looked_at_last_for_a_while() {
        let (mut watch, begun) = (RightsWatch::new(), Instant::now());
        let away = || Err::<Option<()>, _>(Failure::Web(AuthError::Cluster("away".to_owned())));
        while watch.consider(away()).is_none() {
            watch.pause().await;
        }
        assert_eq!(begun.elapsed(), UNCHECKED);
        assert!(watch.consider(Ok(None::<()>)).is_none());
        assert!(watch.consider(away()).is_none());
        assert!(matches!(watch.consider(Ok(Some(7))), Some(Ok(7))));
        assert!(matches!(watch.consider(Err::<Option<()>, _>(Failure::TooMany)), Some(Err(_))));
    }
}
