//! What is said about a session that is followed: who follows it, in a header of the request, then text frames with JSON. The
//! output of its terminals comes in binary frames, which begin with the terminal's number in four bytes, the highest first.

use axum::extract::ws::{Message, Utf8Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use k8s_openapi::api::authentication::v1::UserInfo;
use serde::{Deserialize, Serialize};

use super::broadcast::TerminalEvent;
use crate::lifecycle::Cause;

/// Says who follows: a Kubernetes user, as JSON in base64.
const PERSON: HeaderName = HeaderName::from_static("bastion-person");

/// Who follows, as a console says it.
pub struct ImpersonatedUser {
    /// The Kubernetes user.
    pub user: UserInfo,
}

impl ImpersonatedUser {
    /// Puts them among the headers of a request.
    ///
    /// # Errors
    /// When they are not to be written.
    pub fn write(&self, headers: &mut HeaderMap) -> anyhow::Result<()> {
        let text = STANDARD.encode(serde_json::to_vec(&self.user)?);
        headers.insert(PERSON, HeaderValue::try_from(text)?);
        Ok(())
    }

    /// As a request's headers say it, if they do.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = STANDARD.decode(headers.get(PERSON)?).ok()?;
        Some(Self { user: serde_json::from_slice(&text).ok()? })
    }
}

/// What a page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromPage {
    /// A sign of life, which is answered.
    Ping,
}

/// What a page is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToPage<'a> {
    /// What is followed.
    Following {
        /// The session's name.
        session: &'a str,
        /// Whose it is: a BastionUser.
        user: &'a str,
        /// The target.
        target: &'a str,
        /// The login on the target.
        login: &'a str,
    },
    /// A terminal is there, or has another size now.
    Terminal {
        /// Counted from 1 in its session.
        number: u32,
        /// In characters.
        cols: u32,
        /// In lines.
        rows: u32,
    },
    /// It is closed.
    TerminalEnd {
        /// Which.
        number: u32,
    },
    /// Some of its output came faster than it could be passed on, and is left out.
    Skipped {
        /// Which.
        number: u32,
    },
    /// The answer to a ping.
    Pong,
    /// The session is over.
    End {
        /// `closed`, `timeout` or `terminated`.
        status: &'a str,
        /// As in the BastionSession's status.
        reason: &'a str,
        /// How it ended, in words.
        message: &'a str,
    },
}

impl ToPage<'_> {
    /// As a frame.
    pub fn frame(&self) -> Message {
        // Strings and numbers can always be written.
        Message::Text(Utf8Bytes::from(serde_json::to_string(self).unwrap_or_default()))
    }
}

/// What is shown, as a frame.
pub fn shown(what: &TerminalEvent) -> Message {
    match what {
        TerminalEvent::Terminal { number, columns, rows } => {
            ToPage::Terminal { number: *number, cols: *columns, rows: *rows }.frame()
        }
        TerminalEvent::Output { number, bytes } => {
            let mut frame = BytesMut::with_capacity(4 + bytes.len());
            frame.put_u32(*number);
            frame.put_slice(bytes);
            Message::Binary(frame.freeze())
        }
        TerminalEvent::Closed { number } => ToPage::TerminalEnd { number: *number }.frame(),
        TerminalEvent::Over(cause) => end(cause),
    }
}

fn end(cause: &Cause) -> Message {
    let reason = cause.reason();
    ToPage::End { status: reason.phase().record_name(), reason: reason.as_str(), message: &cause.message() }.frame()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::lifecycle::Exit;

    #[rstest]
    #[case(TerminalEvent::Terminal { number: 3, columns: 80, rows: 24 }, json!({"type": "terminal", "number": 3, "cols": 80, "rows": 24}))]
    #[case(TerminalEvent::Closed { number: 3 }, json!({"type": "terminal_end", "number": 3}))]
    #[case(
        TerminalEvent::Over(Cause::UserExit(Exit { code: Some(3), signal: None })),
        json!({"type": "end", "status": "closed", "reason": "UserExit", "message": "exit status 3"})
    )]
    fn a_page_is_told(#[case] what: TerminalEvent, #[case] expected: Value) {
        let Message::Text(text) = shown(&what) else { panic!("{what:?} is text") };
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["type"], expected["type"]);
        for (key, value) in expected.as_object().unwrap().iter().filter(|(key, _)| *key != "message") {
            assert_eq!(told[key], *value, "{told}");
        }
    }

    #[test]
    fn a_person_is_read_as_written() {
        let (username, groups) = (Some("oidc:j\u{fc}rgen".to_owned()), Some(vec!["a, b".to_owned()]));
        let user = UserInfo { username, groups, ..UserInfo::default() };
        let mut headers = HeaderMap::new();
        assert!(ImpersonatedUser::of(&headers).is_none());
        ImpersonatedUser { user: user.clone() }.write(&mut headers).unwrap();
        assert_eq!(ImpersonatedUser::of(&headers).map(|person| person.user), Some(user));
    }

    #[test]
    fn output_begins_with_its_terminal() {
        let what = TerminalEvent::Output { number: 258, bytes: Bytes::from_static(b"out") };
        assert_eq!(shown(&what), Message::Binary(Bytes::from_static(b"\0\0\x01\x02out")));
    }

    #[test]
    fn a_page_says_little() {
        let said = |text: &str| serde_json::from_str::<FromPage>(text).ok();
        assert_eq!(said(r#"{"type":"ping"}"#), Some(FromPage::Ping));
        assert_eq!(said(r#"{"type":"resize","cols":80,"rows":24}"#), None);
        assert_eq!(said("ls\r"), None);
    }
}
