//! What HTTP servers share: the acceptor with its limits, probes and metrics, authentication, cookies and headers.

mod auth_error;
mod authenticator;
mod connections;
mod cookie_cipher;
mod credentials;
mod headers;
mod origin;
mod probes;
mod server;
mod tracked;
pub(crate) mod websocket;

pub use auth_error::AuthError;
pub use authenticator::{Authenticator, Caller, asked, may};
pub use cookie_cipher::{CookieCipher, CookieError, Purpose, SignedIn};
pub use credentials::{COOKIE, Credentials, cookie};
pub use headers::{Headers, with_inline_styles};
pub use origin::Origins;
pub use probes::{Ready, serve_probes};
pub use server::{Plain, Tls, Transport, serve};
