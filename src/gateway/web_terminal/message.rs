//! What a page and its gateway say to one another: text frames with JSON, and binary frames, whose first byte is the channel
//! that the others are of.

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
    /// SFTP, as an SSH client speaks it: the bytes are the protocol's.
    Files,
}

impl Channel {
    /// As the first byte of a binary frame.
    pub const fn number(self) -> u8 {
        match self {
            Self::Shell => 0,
            Self::Files => 1,
        }
    }

    /// The channel of a binary frame, and its bytes.
    pub fn of(frame: &[u8]) -> Option<(Self, &[u8])> {
        match frame {
            [0, bytes @ ..] => Some((Self::Shell, bytes)),
            [1, bytes @ ..] => Some((Self::Files, bytes)),
            _ => None,
        }
    }
}

/// What a page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromPage {
    /// The terminal has another size.
    Resize {
        /// In characters.
        cols: u16,
        /// In lines.
        rows: u16,
    },
    /// So many bytes more of a channel were taken, so that as many more may be sent.
    Ack {
        /// Which.
        channel: Channel,
        /// Without the first of each frame.
        bytes: u64,
    },
    /// The person wants the target's files, besides the shell.
    OpenFiles,
    /// And wants them no more.
    CloseFiles,
    /// A sign of life, which is answered.
    Ping,
}

/// What a page is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToPage<'a> {
    /// There is a session.
    Session {
        /// Its name.
        name: &'a str,
        /// Its uid.
        id: &'a str,
        /// Whom it belongs to: a BastionUser.
        user: &'a str,
        /// The target.
        target: &'a str,
        /// The login on the target.
        login: &'a str,
        /// Whether the person may have the target's files.
        files: bool,
    },
    /// So many bytes more of a channel were passed on to the target, so that as many more may be sent.
    Ack {
        /// Which.
        channel: Channel,
        /// Without the first of each frame.
        bytes: u64,
    },
    /// The target's files are to be had no more, or were not.
    FilesClosed {
        /// What the person may read, if there is anything to say.
        message: &'a str,
    },
    /// The answer to a ping.
    Pong,
    /// A line of the bastion's own.
    Notice {
        /// It begins with `bastion: `.
        text: &'a str,
    },
    /// There is no session, or no more.
    End {
        /// `closed`, `timeout`, `terminated`, or `refused` where there was none.
        status: &'a str,
        /// As in the BastionSession's status.
        reason: &'a str,
        /// What the person may read.
        message: &'a str,
        /// The exit status of the shell, where that has ended the session.
        #[serde(rename = "exitCode", skip_serializing_if = "Option::is_none")]
        exit_code: Option<u32>,
    },
}

impl ToPage<'_> {
    /// As a frame.
    pub fn frame(&self) -> Utf8Bytes {
        // Strings and numbers can always be written.
        serde_json::to_string(self).unwrap_or_default().into()
    }
}

/// The frame that says why it is over.
pub fn end(parting: &CloseReason) -> Utf8Bytes {
    let message = parting.words().unwrap_or_default();
    match parting {
        CloseReason::Refused(_) | CloseReason::Left => {
            ToPage::End { status: "refused", reason: "Refused", message: &message, exit_code: None }.frame()
        }
        CloseReason::Ended(cause) => {
            let (reason, exit) = (cause.reason(), cause.exit());
            let message = if message.is_empty() { told(cause) } else { message };
            let (status, exit_code) = (reason.phase().record_name(), exit.code);
            ToPage::End { status, reason: reason.as_str(), message: &message, exit_code }.frame()
        }
    }
}

fn told(cause: &Cause) -> String {
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
    fn a_page_is_understood(#[case] text: &str, #[case] expected: Option<FromPage>) {
        assert_eq!(serde_json::from_str(text).ok(), expected);
    }

    #[rstest]
    #[case(Channel::Shell)]
    #[case(Channel::Files)]
    fn a_frame_is_of_its_channel(#[case] channel: Channel) {
        assert_eq!(Channel::of(&[channel.number(), 7, 8]), Some((channel, &[7, 8][..])));
        assert_eq!(Channel::of(&[channel.number()]), Some((channel, &[][..])));
    }

    #[test]
    fn a_frame_of_no_channel_is_none() {
        assert_eq!(Channel::of(&[2, 7]), None);
        assert_eq!(Channel::of(&[]), None);
    }

    #[test]
    fn an_end_says_who_and_why() {
        let exit = Cause::UserExit(Exit { code: Some(3), signal: None });
        let frame = end(&CloseReason::Ended(exit));
        assert!(
            frame.contains(r#""status":"closed","reason":"UserExit""#) && frame.contains(r#""exitCode":3"#),
            "{frame}"
        );
        let by = Cause::Terminated { by: "bob".to_owned(), reason: Some("maintenance".to_owned()) };
        let frame = end(&CloseReason::Ended(by));
        assert!(frame.contains(r#""status":"terminated","reason":"AdminTerminated""#), "{frame}");
        assert!(frame.contains("bastion: session terminated by bob: maintenance"), "{frame}");
        assert!(end(&CloseReason::Refused("bastion: no".to_owned())).contains(r#""status":"refused""#));
    }
}
