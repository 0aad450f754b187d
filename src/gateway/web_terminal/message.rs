//! The messages of a web terminal's WebSocket. Text frames hold JSON. Binary frames hold data behind the channel's
//! number, one byte.

use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Serialize};

use crate::gateway::session::CloseReason;
use crate::lifecycle::Cause;

/// A channel of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The terminal.
    Shell,
    /// SFTP, for file transfers.
    Files,
}

impl Channel {
    /// Returns the first byte of the channel's binary frames.
    pub const fn number(self) -> u8 {
        match self {
            Self::Shell => 0,
            Self::Files => 1,
        }
    }

    /// Splits a binary frame into its channel and data. Returns `None` for an unknown channel.
    pub fn split(frame: &[u8]) -> Option<(Self, &[u8])> {
        match frame {
            [0, bytes @ ..] => Some((Self::Shell, bytes)),
            [1, bytes @ ..] => Some((Self::Files, bytes)),
            _ => None,
        }
    }
}

/// A message from the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromPage {
    /// Resizes the terminal.
    Resize {
        /// The width in characters.
        cols: u16,
        /// The height in lines.
        rows: u16,
    },
    /// Acknowledges output of a channel.
    Ack {
        /// The channel.
        channel: Channel,
        /// The further bytes of data that the page has processed.
        bytes: u64,
    },
    /// Opens the channel for files.
    OpenFiles,
    /// Closes the channel for files.
    CloseFiles,
    /// Asks for a [`ToPage::Pong`].
    Ping,
}

/// A message to the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToPage<'a> {
    /// The session has started.
    Session {
        /// The session's name.
        name: &'a str,
        /// The session's uid.
        id: &'a str,
        /// The name of the BastionUser.
        user: &'a str,
        /// The name of the target.
        target: &'a str,
        /// The login on the target.
        login: &'a str,
        /// Whether the user may transfer files.
        files: bool,
    },
    /// Acknowledges input of a channel.
    Ack {
        /// The channel.
        channel: Channel,
        /// The further bytes of data that were passed on to the target.
        bytes: u64,
    },
    /// The channel for files is closed, or was refused.
    FilesClosed {
        /// The reason for the user; may be empty.
        message: &'a str,
    },
    /// Answers a [`FromPage::Ping`].
    Pong,
    /// A line of the bastion itself.
    Notice {
        /// The line, which begins with `bastion: `.
        text: &'a str,
    },
    /// The session ended or was refused. This is the last message.
    End {
        /// `closed`, `timeout`, `terminated` or `refused`.
        status: &'a str,
        /// The reason in the BastionSession's status, or `Refused`.
        reason: &'a str,
        /// A sentence for the user.
        message: &'a str,
        /// The exit status of the shell, if it ended the session.
        #[serde(rename = "exitCode", skip_serializing_if = "Option::is_none")]
        exit_code: Option<u32>,
    },
}

impl ToPage<'_> {
    /// Returns the message as the content of a text frame.
    pub fn frame(&self) -> Utf8Bytes {
        // The serialization of strings and numbers cannot fail.
        serde_json::to_string(self).unwrap_or_default().into()
    }
}

/// Returns the content of the last text frame.
pub fn end_frame(reason: &CloseReason) -> Utf8Bytes {
    let message = reason.notice().unwrap_or_default();
    match reason {
        CloseReason::Refused(_) | CloseReason::Left => {
            ToPage::End { status: "refused", reason: "Refused", message: &message, exit_code: None }.frame()
        }
        CloseReason::Ended(cause) => {
            let (end_reason, exit) = (cause.reason(), cause.exit());
            let message = if message.is_empty() { end_notice(cause) } else { message };
            let (status, exit_code) = (end_reason.phase().record_name(), exit.code);
            ToPage::End { status, reason: end_reason.as_str(), message: &message, exit_code }.frame()
        }
    }
}

fn end_notice(cause: &Cause) -> String {
    format!("bastion: session ended: {}", cause.message())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::lifecycle::Exit;

    #[rstest]
    #[case(r#"{"type":"resize","cols":80,"rows":24}"#, Some(FromPage::Resize { cols: 80, rows: 24 }))]
    #[case(r#"{"type":"ack","channel":"shell","bytes":1}"#, Some(FromPage::Ack { channel: Channel::Shell, bytes: 1 }))]
    #[case(r#"{"type":"ack","channel":"files","bytes":9}"#, Some(FromPage::Ack { channel: Channel::Files, bytes: 9 }))]
    #[case(r#"{"type":"open_files"}"#, Some(FromPage::OpenFiles))]
    #[case(r#"{"type":"close_files"}"#, Some(FromPage::CloseFiles))]
    #[case(r#"{"type":"ack","channel":"x11","bytes":1}"#, None)]
    #[case(r#"{"type":"ping"}"#, Some(FromPage::Ping))]
    #[case(r#"{"type":"resize","cols":-1,"rows":24}"#, None)]
    #[case(r#"{"type":"resize","cols":70000,"rows":24}"#, None)]
    #[case(r#"{"type":"shell"}"#, None)]
    #[case("ping", None)]
    fn messages_of_a_page_are_parsed(#[case] text: &str, #[case] expected: Option<FromPage>) {
        assert_eq!(serde_json::from_str(text).ok(), expected);
    }

    #[rstest]
    #[case(Channel::Shell)]
    #[case(Channel::Files)]
    fn a_frame_is_split_by_its_channel(#[case] channel: Channel) {
        assert_eq!(Channel::split(&[channel.number(), 7, 8]), Some((channel, &[7, 8][..])));
        assert_eq!(Channel::split(&[channel.number()]), Some((channel, &[][..])));
    }

    #[test]
    fn a_frame_of_an_unknown_channel_is_rejected() {
        assert_eq!(Channel::split(&[2, 7]), None);
        assert_eq!(Channel::split(&[]), None);
    }

    #[test]
    fn an_end_names_its_status_reason_and_cause() {
        let exit = Cause::UserExit(Exit { code: Some(3), signal: None });
        let frame = end_frame(&CloseReason::Ended(exit));
        assert!(
            frame.contains(r#""status":"closed","reason":"UserExit""#) && frame.contains(r#""exitCode":3"#),
            "{frame}"
        );
        let by = Cause::Terminated { by: "bob".to_owned(), reason: Some("maintenance".to_owned()) };
        let frame = end_frame(&CloseReason::Ended(by));
        assert!(frame.contains(r#""status":"terminated","reason":"AdminTerminated""#), "{frame}");
        assert!(frame.contains("bastion: session terminated by bob: maintenance"), "{frame}");
        assert!(end_frame(&CloseReason::Refused("bastion: no".to_owned())).contains(r#""status":"refused""#));
    }
}
