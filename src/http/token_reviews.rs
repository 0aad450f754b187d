//! Reviews bearer tokens at the API server. A cache and a rate limit bound how often it is asked, because strangers may send
//! any number of tokens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use governor::Quota;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::Client;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::api_timeout::with_api_timeout;
use super::auth_error::AuthError;
use super::rate_limits::RateLimits;
use crate::addresses::rate_limit_key;

/// How long an answer about a token is used again, from the beginning of its review.
const REUSE: Duration = Duration::from_secs(10);
/// How many reviews the requests from one address may cause a second.
const REVIEWS_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// How many answers are kept. Further tokens are reviewed at each use.
const MAX_ANSWERS: usize = 4096;

const UNKNOWN: AuthError = AuthError::Unauthenticated("the cluster does not know this token");

/// The SHA-256 digest of a token and its audience.
type TokenHash = [u8; 32];

/// Reviews tokens. Clones share the cache and the rate limit.
#[derive(Clone)]
pub struct TokenReviews {
    api: Api<TokenReview>,
    answers: Arc<Mutex<HashMap<TokenHash, Answer>>>,
    rates: Arc<RateLimits<IpAddr>>,
}

/// A review that is in progress or has succeeded. Failures are removed, but the requests that wait for one share it.
#[derive(Clone)]
struct Answer {
    since: Instant,
    outcome: Arc<OnceCell<Result<UserInfo, ReviewError>>>,
}

/// Why a review names no user.
#[derive(Clone)]
enum ReviewError {
    Unknown,
    TooMany,
    ApiServer(Arc<dyn std::error::Error + Send + Sync>),
}

impl From<ReviewError> for AuthError {
    fn from(error: ReviewError) -> Self {
        match error {
            ReviewError::Unknown => UNKNOWN,
            ReviewError::TooMany => Self::TooManyReviews,
            ReviewError::ApiServer(source) => Self::api_server(source),
        }
    }
}

impl TokenReviews {
    /// Creates an empty cache.
    pub fn new(client: Client) -> Self {
        let rates = RateLimits::new(Quota::per_second(REVIEWS_PER_SECOND));
        Self { api: Api::all(client), answers: Arc::default(), rates: Arc::new(rates) }
    }

    /// Returns the user of a token. It must be for `audience`; `None` is the API server itself. `address` is the client's, if
    /// this request counts against its limit.
    ///
    /// # Errors
    /// Fails when the token is unknown or for another audience, when the address has caused 20 reviews within the second, and
    /// when the API server does not answer.
    pub async fn user(
        &self,
        token: &str,
        audience: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<UserInfo, AuthError> {
        // The API server answers a review of an empty token with an error.
        if token.is_empty() {
            return Err(UNKNOWN);
        }
        let hash = hash(token, audience);
        let answer = self.answer(hash, Instant::now());
        let outcome = answer.outcome.get_or_init(|| self.review(token, audience, address)).await;
        if outcome.is_err() {
            self.forget(&hash, &answer);
        }
        outcome.clone().map_err(AuthError::from)
    }

    /// Returns the answer about a token, which may be in progress. Requests with the same token share one review.
    fn answer(&self, hash: TokenHash, now: Instant) -> Answer {
        let mut answers = self.answers.lock();
        let is_fresh = |answer: &Answer| now.duration_since(answer.since) < REUSE;
        if let Some(answer) = answers.get(&hash).filter(|answer| is_fresh(answer)) {
            return answer.clone();
        }
        if answers.len() >= MAX_ANSWERS {
            answers.retain(|_, answer| is_fresh(answer));
        }
        let answer = Answer { since: now, outcome: Arc::default() };
        if answers.len() < MAX_ANSWERS {
            answers.insert(hash, answer.clone());
        }
        answer
    }

    /// Removes a failed answer. Another request may have begun a new review of the token meanwhile.
    fn forget(&self, hash: &TokenHash, failed: &Answer) {
        let mut answers = self.answers.lock();
        if answers.get(hash).is_some_and(|answer| Arc::ptr_eq(&answer.outcome, &failed.outcome)) {
            answers.remove(hash);
        }
    }

    async fn review(
        &self,
        token: &str,
        audience: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<UserInfo, ReviewError> {
        if address.is_some_and(|address| !self.rates.is_within(&rate_limit_key(address))) {
            return Err(ReviewError::TooMany);
        }
        let audiences = audience.map(|audience| vec![audience.to_owned()]);
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences };
        let review = TokenReview { spec, ..TokenReview::default() };
        let created = with_api_timeout(self.api.create(&PostParams::default(), &review)).await;
        let created = created.map_err(|error| match error {
            AuthError::ApiServer(source) => ReviewError::ApiServer(source.into()),
            error => ReviewError::ApiServer(Arc::new(error)),
        })?;
        let status = created.status.unwrap_or_default();
        // An authenticator that does not support audiences returns none: its tokens are for the API server alone.
        let for_audience =
            audience.is_none_or(|audience| status.audiences.is_some_and(|all| all.iter().any(|it| it == audience)));
        let user = status.user.filter(|_| for_audience && status.authenticated == Some(true));
        let is_named = |user: &UserInfo| user.username.as_ref().is_some_and(|name| !name.is_empty());
        user.filter(is_named).ok_or(ReviewError::Unknown)
    }
}

fn hash(token: &str, audience: Option<&str>) -> TokenHash {
    let mut context = Context::new(&SHA256);
    // No token contains a line break, so that no other pair of texts has this digest.
    for part in [token, "\n", audience.unwrap_or_default()] {
        context.update(part.as_bytes());
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use serde_json::json;
    use tokio::time::advance;

    use super::*;
    use crate::cluster::scripted_api::{Answer as Scripted, Received, ScriptedApi};

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    /// An API server that knows the token `good`, for the audience `here` too.
    fn api() -> ScriptedApi {
        ScriptedApi::by(|request: &Received| {
            let spec = &request.body["spec"];
            let status =
                json!({"authenticated": spec["token"] == "good", "user": {"username": "alice"}, "audiences": ["here"]});
            Scripted::Object(json!({"metadata": {}, "spec": spec, "status": status}))
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_used_for_ten_seconds() {
        let api = api();
        let reviews = TokenReviews::new(api.client());
        let users = join_all((0..100).map(|_| reviews.user("good", None, HERE))).await;
        assert!(users.iter().all(Result::is_ok), "requests with the same token share a review");
        assert_eq!(api.received().len(), 1);
        advance(Duration::from_millis(9_999)).await;
        assert!(reviews.user("good", None, HERE).await.is_ok());
        assert_eq!(api.received().len(), 1);
        advance(Duration::from_millis(1)).await;
        assert!(reviews.user("good", None, HERE).await.is_ok());
        assert_eq!(api.received().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_for_one_review_share_its_failure() {
        for (answer, waited) in [(Scripted::Silence, Duration::from_secs(5)), (Scripted::Status(500), Duration::ZERO)] {
            let api = ScriptedApi::new([answer]);
            let reviews = TokenReviews::new(api.client());
            let began = Instant::now();
            let users = join_all((0..100).map(|_| reviews.user("good", None, HERE))).await;
            assert!(users.iter().all(|user| matches!(user, Err(AuthError::ApiServer(_)))), "{users:?}");
            assert!(began.elapsed() <= waited + Duration::from_millis(100), "{:?}", began.elapsed());
            assert_eq!(api.received().len(), 1);
            assert!(reviews.answers.lock().is_empty(), "a failure is not kept");
            assert!(reviews.user("good", None, HERE).await.is_err());
            assert_eq!(api.received().len(), 2, "the next request asks again");
        }
    }

    #[tokio::test]
    async fn an_answer_holds_for_its_audience_alone() {
        let reviews = TokenReviews::new(api().client());
        assert!(reviews.user("good", Some("here"), HERE).await.is_ok());
        assert!(matches!(reviews.user("good", Some("there"), HERE).await, Err(AuthError::Unauthenticated(_))));
    }

    #[tokio::test]
    async fn an_address_causes_twenty_reviews_a_second() {
        let api = api();
        let reviews = TokenReviews::new(api.client());
        assert!(reviews.user("good", None, HERE).await.is_ok());
        let mut limited = 0;
        for number in 0..100 {
            match reviews.user(&format!("bad-{number}"), None, HERE).await {
                Err(AuthError::TooManyReviews) => limited += 1,
                other => assert!(matches!(other, Err(AuthError::Unauthenticated(_))), "{other:?}"),
            }
        }
        // More than 20 only if this took longer than a twentieth of a second.
        assert!(limited > 40 && api.received().len() == 101 - limited, "{limited}");
        assert!(reviews.user("good", None, HERE).await.is_ok(), "an answer in the cache costs no review");
        let another = Some("192.0.2.1".parse().unwrap());
        assert!(matches!(reviews.user("bad", None, another).await, Err(AuthError::Unauthenticated(_))));
        assert!(reviews.answers.lock().len() <= 1, "refusals are not kept");
    }
}
