//! Names that consoles and gateways share to observe a session.

/// The WebSocket subprotocol (RFC 6455, section 1.9).
pub const SUBPROTOCOL: &str = "follow.bastion.dev";
/// The longest message that a page may send, in bytes.
pub const MAX_PAGE_MESSAGE: usize = 4 * 1024;
/// The path of a session's terminals, without the session's name at its end.
pub const SESSIONS_PATH: &str = "/follow/v1/sessions/";
