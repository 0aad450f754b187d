//! What the console's WebSockets share: how they are closed, and for how long their people may have them.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message};
use tokio::time::{Instant, sleep};

use super::failure::Failure;
use crate::web::Refusal;

/// From one sign of life to the next.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a page may be silent, which answers every ping.
pub const SILENCE: Duration = Duration::from_secs(30);
/// How long a page may take nothing.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// From one look at the person's rights to the next.
const RECHECK: Duration = Duration::from_secs(10);
/// How long rights last that cannot be looked at.
const UNCHECKED: Duration = Duration::from_mins(1);

/// The last frame, with as much of the reason as fits into it.
pub fn close(code: u16, mut reason: String) -> Message {
    let most = (0..=123).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    reason.truncate(most);
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}

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
            Err(Failure::Web(Refusal::Cluster(_))) if self.checked.elapsed() < UNCHECKED => None,
            Err(failure) => Some(Err(failure)),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::ws::close_code;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("so", "so".to_owned())]
    #[case(&"\u{fc}".repeat(100), "\u{fc}".repeat(61))]
    fn a_reason_fits_into_a_close_frame(#[case] reason: &str, #[case] fits: String) {
        let expected = CloseFrame { code: close_code::AWAY, reason: fits.into() };
        assert_eq!(close(close_code::AWAY, reason.to_owned()), Message::Close(Some(expected)));
    }

    #[tokio::test(start_paused = true)]
    async fn rights_that_cannot_be_looked_at_last_for_a_while() {
        let (mut watch, begun) = (RightsWatch::new(), Instant::now());
        let away = || Err::<Option<()>, _>(Failure::Web(Refusal::Cluster("away".to_owned())));
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
