//! Bounds the time of requests to the API server on behalf of HTTP clients.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use super::auth_error::AuthError;
use crate::cluster::RequestError;

/// How long the API server may take to answer one request.
const API_TIMEOUT: Duration = Duration::from_secs(5);

/// Awaits a request to the API server for at most 5 s.
///
/// # Errors
/// [`AuthError::ApiServer`] if the request fails or times out.
pub async fn with_api_timeout<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, AuthError> {
    match timeout(API_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(AuthError::api_server),
        Err(_) => Err(AuthError::api_server(RequestError::Timeout(API_TIMEOUT))),
    }
}
