//! What the console and the gateway's web terminal share: who sends a request, whether a page of theirs has it sent, and
//! what each answer tells browsers.

mod credentials;
mod headers;
mod origin;
mod refusal;
mod seal;
pub(crate) mod socket;
mod visitors;

pub use credentials::{COOKIE, Credentials, cookie};
pub use headers::{Headers, with_inline_styles};
pub use origin::Origins;
pub use refusal::Refusal;
pub use seal::{Purpose, Seal, SealError, SignedIn};
pub use visitors::{Caller, Visitors, asked, may};
