//! The timeouts of WebSockets, and their close frame.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message};

/// The interval of the pings.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a peer may send nothing. A peer that works answers every ping.
pub const SILENCE: Duration = Duration::from_secs(30);
/// How long sending to a peer may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Returns a close frame. Its reason is cut to the 123 bytes that fit (RFC 6455, section 5.5).
pub fn close(code: u16, mut reason: String) -> Message {
    let most = (0..=123).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    reason.truncate(most);
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
    fn a_reason_fits_into_a_close_frame(#[case] reason: &str, #[case] fits: String) {
        let expected = CloseFrame { code: close_code::AWAY, reason: fits.into() };
        assert_eq!(close(close_code::AWAY, reason.to_owned()), Message::Close(Some(expected)));
    }
}
