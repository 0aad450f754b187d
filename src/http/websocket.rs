//! The timeouts of WebSockets, and their close frame.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message};

/// The interval of pings.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long a peer may send nothing before it counts as lost. A peer answers every ping (RFC 6455, section 5.5.2).
pub const PEER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long sending one message to a peer may take.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// Returns a close frame, with the reason cut to the 123 bytes that fit (RFC 6455, section 5.5).
pub fn close_frame(code: u16, mut reason: String) -> Message {
    let length = (0..=123).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    reason.truncate(length);
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}

#[cfg(test)]
mod tests {
    use axum::extract::ws::close_code;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("so", "so".to_owned())]
    #[case(&"\u{fc}".repeat(100), "\u{fc}".repeat(61))]
    fn a_reason_is_cut_to_fit(#[case] reason: &str, #[case] fits: String) {
        let expected = CloseFrame { code: close_code::AWAY, reason: fits.into() };
        assert_eq!(close_frame(close_code::AWAY, reason.to_owned()), Message::Close(Some(expected)));
    }
}
