//! Retries of requests to an overloaded API server.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::{Instant, sleep, timeout_at};

use crate::failpoints::InjectedError;

/// How long a starting program retries requests to an overloaded API server. If it exited instead, Kubernetes would restart
/// it after ever longer delays.
pub const START_TIMEOUT: Duration = Duration::from_mins(5);

/// Returns the delays between retries: 100 ms at first, doubling up to 1 s. The jitter at most doubles each delay. The delays
/// are short because the list of online sessions is out of date until a retry succeeds.
pub fn retry_pace() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(1))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
}

/// A failed request to the API server.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The API server answered with an error, or the connection to it failed.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// The API server did not answer by the deadline.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

impl RequestError {
    /// Returns the HTTP status code of the API server's answer; `None` if there was no answer.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Kube(error) => code(error),
            Self::Timeout(_) => None,
        }
    }
}

/// Returns the HTTP status code of the API server's answer; `None` if there was no answer.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Returns the error of a failpoint as a failure of the connection to the API server.
pub fn injected(error: InjectedError) -> kube::Error {
    kube::Error::Service(error.into())
}

/// Returns whether the API server is overloaded or failing: it answered 429 or 5xx.
pub fn is_overloaded(error: &kube::Error) -> bool {
    code(error).is_some_and(|code| code == 429 || code >= 500)
}

/// Sends a request, and repeats it while the API server is overloaded, for at most `within`. `Retry-After` is ignored: it
/// may be much longer than the overload, and the deadline bounds the load.
///
/// # Errors
/// Returns the last failure.
pub async fn with_retries<T, F>(within: Duration, request: impl Fn() -> F) -> Result<T, RequestError>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let deadline = Instant::now() + within;
    let mut pace = retry_pace().build();
    loop {
        let error = match timeout_at(deadline, request()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => return Err(RequestError::Timeout(within)),
        };
        let pause = pace.next().unwrap_or(within);
        if !is_overloaded(&error) || Instant::now() + pause >= deadline {
            return Err(error.into());
        }
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use kube::core::Status;
    use rstest::rstest;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    fn answer(code: u16) -> kube::Error {
        kube::Error::Api(Status::failure("", "").with_code(code).boxed())
    }

    /// Sends a request to an API server that gives these answers and repeats the last one. Returns the status code, the number
    /// of requests, and whether they took more than half of [`WITHIN`].
    async fn send_to(answers: &[u16]) -> (Option<u16>, usize, bool) {
        let (begun, sent) = (Instant::now(), Cell::new(0));
        let outcome = with_retries(WITHIN, || {
            let code = answers[sent.get().min(answers.len() - 1)];
            sent.set(sent.get() + 1);
            std::future::ready(if code == 200 { Ok(()) } else { Err(answer(code)) })
        });
        let code = outcome.await.map_or_else(|error| error.code(), |()| Some(200));
        (code, sent.get(), begun.elapsed() > WITHIN / 2)
    }

    #[rstest]
    #[case::an_answer(&[200], (Some(200), 1, false))]
    #[case::a_short_overload(&[503, 429, 500, 504, 200], (Some(200), 5, false))]
    #[case::a_refusal_is_an_answer(&[403], (Some(403), 1, false))]
    #[case::a_refusal_after_overload(&[503, 409], (Some(409), 2, false))]
    #[tokio::test(start_paused = true)]
    async fn retries_until_the_overload_ends(#[case] answers: &[u16], #[case] expected: (Option<u16>, usize, bool)) {
        assert_eq!(send_to(answers).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_overload_fails_by_the_deadline() {
        let (code, sent, long) = send_to(&[503]).await;
        assert!(code == Some(503) && sent >= 5 && long, "{code:?} {sent} {long}");
        let (begun, silent) = (Instant::now(), with_retries(WITHIN, std::future::pending::<kube::Result<()>>).await);
        assert!(matches!(silent, Err(RequestError::Timeout(_))) && begun.elapsed() == WITHIN, "{silent:?}");
    }
}
