//! What consoles and gateways agree on.

/// The audience of the tokens that consoles show to gateways.
pub const AUDIENCE: &str = "bastion-gateway";
/// The WebSocket subprotocol (RFC 6455, section 1.9).
pub const PROTOCOL: &str = "follow.bastion.dev";
/// The longest message that a page may send, in bytes.
pub const FROM_PAGE: usize = 4 * 1024;
/// The path of a session's terminals; the session's name follows it.
pub const PATH: &str = "/follow/v1/sessions/";
/// The DNS name in the certificates. Consoles check the fingerprint in place of it.
pub const NAME: &str = "gateway.bastion.dev";
