//! Shared parts of the HTTP servers: the acceptor with its limits, probes and metrics, authentication, cookies and headers.

mod api_timeout;
mod auth_error;
mod authenticator;
mod cookie_cipher;
mod credentials;
pub mod forwarded;
pub mod internal;
mod origin;
mod probes;
mod rate_limits;
mod security_headers;
mod server;
mod sign_outs;
mod token_reviews;
pub(crate) mod websocket;

pub use api_timeout::with_api_timeout;
pub use auth_error::AuthError;
pub use authenticator::{Authenticator, Caller, Cookies, is_allowed};
pub use cookie_cipher::{CookieCipher, MAX_SIGN_IN, Purpose, SignedInUser};
pub use credentials::{Credentials, SIGN_IN_COOKIE, cookie};
pub use origin::Origins;
pub use probes::{Readiness, serve_probes};
pub use rate_limits::RateLimits;
pub use security_headers::{SecurityHeaders, allow_inline_styles};
pub use server::{Plain, Tls, Transport, serve};
