//! Decides when a gateway whose credentials the API server refuses must end its own sessions.

use std::time::Instant;

use super::timeouts::CREDENTIALS_REVOKED_AFTER;

/// Watches whether the API server accepts the credentials of one gateway instance.
///
/// An API server that is down does not answer, or answers 5xx. An answer of 401 shows that the API server works and no longer
/// accepts this gateway, because the gateway's Pod or its ServiceAccount was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialWatch {
    refused_since: Option<Instant>,
}

impl CredentialWatch {
    /// Records the status code of an answer at `now`; `None` if there was no answer. Returns whether the credentials are
    /// revoked: they have been refused for [`CREDENTIALS_REVOKED_AFTER`] and were not accepted in between.
    pub fn observe(&mut self, code: Option<u16>, now: Instant) -> bool {
        match code {
            Some(401) => {
                let since = *self.refused_since.get_or_insert(now);
                now.saturating_duration_since(since) >= CREDENTIALS_REVOKED_AFTER
            }
            None | Some(500..) => false,
            Some(_) => {
                self.refused_since = None;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;

    /// Gives one answer a second. Returns the second of the first answer after which the credentials count as revoked.
    fn revoked(answer: impl Fn(u64) -> Option<u16>) -> Option<u64> {
        let (start, mut watch) = (Instant::now(), CredentialWatch::default());
        (0..100).find(|second| watch.observe(answer(*second), start + Duration::from_secs(*second)))
    }

    #[rstest]
    #[case::refused_from_the_start(|_| Some(401), Some(15))]
    #[case::accepted(|_| Some(200), None)]
    #[case::an_outage(|_| None, None)]
    #[case::errors(|_| Some(503), None)]
    #[case::forbidden(|_| Some(403), None)]
    #[case::accepted_in_between(|second| Some(if second % 10 == 5 { 409 } else { 401 }), None)]
    #[case::unanswered_in_between(|second| (second % 4 == 3).then_some(401), Some(19))]
    #[case::refused_once(|second| (second == 0).then_some(401), None)]
    fn credentials_count_as_revoked(#[case] answer: fn(u64) -> Option<u16>, #[case] expected: Option<u64>) {
        assert_eq!(revoked(answer), expected);
    }
}
