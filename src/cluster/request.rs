//! Requests to the API server: the one way to make a client, and retries with a deadline.

use std::time::Duration;

use backon::BackoffBuilder;
use kube::Client;
use kube::client::ClientBuilder;
use tokio::time::{Instant, sleep, timeout_at};
use tower::timeout::TimeoutLayer;

use super::retry_pace;

/// Returns a client whose requests are sent once, and fail when no response header comes within `answer_within`: that bounds
/// the start of a watch too.
///
/// The library would repeat a request that was answered with 429, 503 or 504, after up to 82 s or as `Retry-After` says. The
/// loss of a gateway would be shown that much later. Instead, each caller has a deadline and repeats at [`retry_pace`].
///
/// # Errors
/// When the configuration is unusable.
pub fn client(mut config: kube::Config, answer_within: Duration) -> kube::Result<Client> {
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?.with_layer(&TimeoutLayer::new(answer_within)).build())
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The API server answered with an error, or the connection to it failed.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// There was no answer by the deadline.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

impl RequestError {
    /// Returns the status code of the API server's answer; `None` where there was none.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Kube(error) => code(error),
            Self::Timeout(_) => None,
        }
    }
}

/// Returns the status code of the API server's answer; `None` where there was none.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Returns whether the API server answered that it cannot answer now: 429 or 5xx.
pub fn is_overloaded(error: &kube::Error) -> bool {
    code(error).is_some_and(|code| code == 429 || code >= 500)
}

/// Sends a request, and repeats it while the API server is overloaded, until another answer comes or `within` has passed.
/// `Retry-After` is ignored: it may be much longer than the overload, and the deadline bounds the load.
///
/// # Errors
/// The last failure.
pub async fn ask<T, F>(within: Duration, request: impl Fn() -> F) -> Result<T, RequestError>
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

    /// Asks an API server that gives these answers and repeats the last one. Returns the outcome, the number of
    /// requests, and whether it took more than half of [`WITHIN`].
    async fn ask_for(answers: &[u16]) -> (Option<u16>, usize, bool) {
        let (begun, asked) = (Instant::now(), Cell::new(0));
        let outcome = ask(WITHIN, || {
            let code = answers[asked.get().min(answers.len() - 1)];
            asked.set(asked.get() + 1);
            std::future::ready(if code == 200 { Ok(()) } else { Err(answer(code)) })
        });
        let code = outcome.await.map_or_else(|error| error.code(), |()| Some(200));
        (code, asked.get(), begun.elapsed() > WITHIN / 2)
    }

    #[rstest]
    #[case::an_answer(&[200], (Some(200), 1, false))]
    #[case::overload_that_passes(&[503, 429, 500, 504, 200], (Some(200), 5, false))]
    #[case::a_refusal_is_an_answer(&[403], (Some(403), 1, false))]
    #[case::a_refusal_after_overload(&[503, 409], (Some(409), 2, false))]
    #[tokio::test(start_paused = true)]
    async fn overload_is_waited_for(#[case] answers: &[u16], #[case] expected: (Option<u16>, usize, bool)) {
        assert_eq!(ask_for(answers).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn overload_that_lasts_is_the_failure_within_the_time() {
        let (code, asked, long) = ask_for(&[503]).await;
        assert!(code == Some(503) && asked >= 5 && long, "{code:?} {asked} {long}");
        let (begun, silent) = (Instant::now(), ask(WITHIN, std::future::pending::<kube::Result<()>>).await);
        assert!(matches!(silent, Err(RequestError::Timeout(_))) && begun.elapsed() == WITHIN, "{silent:?}");
    }
}
