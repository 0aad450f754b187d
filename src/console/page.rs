//! The page itself, which is built from web/ and is a part of the program.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::Embed;

use super::failure::Failure;

#[derive(Embed)]
#[folder = "web/dist/"]
#[allow_missing = true]
struct Files;

const BEGINNING: &str = "index.html";
const NOT_BUILT: &str =
    "This console was built without its page: run `make web` before cargo. Its API is at /api/v1/openapi.json.\n";

/// A file of the page, and where there is none of that name the page's beginning: its parts have addresses of their own.
pub async fn page(method: Method, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if ["api/", "auth/"].iter().any(|of| path.starts_with(of)) {
        return Failure::NoRoute.into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        return Failure::NoMethod.into_response();
    }
    if let Some(file) = Files::get(path) {
        return answer(path, file);
    }
    // A page of an older console may ask for what is no longer there.
    if path.starts_with("assets/") {
        return Failure::NoRoute.into_response();
    }
    match Files::get(BEGINNING) {
        Some(file) => answer(BEGINNING, file),
        None => (StatusCode::NOT_IMPLEMENTED, NOT_BUILT).into_response(),
    }
}

/// What a name stands for never changes where the name has the content's hash in it; the beginning is asked for each time.
fn answer(name: &str, file: rust_embed::EmbeddedFile) -> Response {
    let kept = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let kind = HeaderValue::from_str(file.metadata.mimetype());
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, HeaderValue::from_static(kept))];
    (headers, file.data).into_response()
}
