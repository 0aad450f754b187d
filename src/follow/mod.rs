//! Following a live session: the console, for somebody with the right to it, connects to the session's own gateway. Each
//! gateway instance has a certificate of its own, whose fingerprint stands in its Lease beside its address; the console shows a
//! ServiceAccount token that is good for gateways alone.

mod certificate;
mod dial;
mod door;
mod message;
mod place;
mod watching;

pub use certificate::Fingerprint;
pub use dial::{Dialler, NoGateway, ToGateway};
pub(crate) use door::Door;
pub use door::Settings;
pub use place::Place;

/// The audience of the tokens that consoles show to gateways.
pub const AUDIENCE: &str = "bastion-gateway";
/// What both sides say that they speak.
pub const PROTOCOL: &str = "follow.bastion.dev";
/// No message of a page is longer.
pub const FROM_PAGE: usize = 4 * 1024;
/// Where a session's terminals are, behind which its name follows.
const PATH: &str = "/follow/v1/sessions/";
/// The name in the certificates, which are known by their fingerprints and not by it.
const NAME: &str = "gateway.bastion.dev";
