//! Serves the web page, which is built from web/ and embedded in the program.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::Embed;

use super::api_error::ApiError;

#[derive(Embed)]
#[folder = "web/dist/"]
#[allow_missing = true]
struct Files;

const INDEX: &str = "index.html";
const NOT_BUILT: &str =
    "This console was built without its page: run `make web` before cargo. Its API is at /api/v1/openapi.json.\n";

/// Serves a file of the page. Other paths get index.html, because the page's router handles them.
pub async fn page(method: Method, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if ["api/", "auth/"].iter().any(|prefix| path.starts_with(prefix)) {
        return ApiError::NoRoute.into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        return ApiError::NoMethod.into_response();
    }
    if let Some(file) = Files::get(path) {
        return file_response(path, file);
    }
    // The page of an older console may request assets that no longer exist.
    if path.starts_with("assets/") {
        return ApiError::NoRoute.into_response();
    }
    match Files::get(INDEX) {
        Some(file) => file_response(INDEX, file),
        None => (StatusCode::NOT_IMPLEMENTED, NOT_BUILT).into_response(),
    }
}

/// Assets are cached for a year, because their names contain a hash of their content. Other files are revalidated.
fn file_response(name: &str, file: rust_embed::EmbeddedFile) -> Response {
    let cache = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let content_type = HeaderValue::from_str(file.metadata.mimetype());
    let content_type = content_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, HeaderValue::from_static(cache))];
    (headers, file.data).into_response()
}
