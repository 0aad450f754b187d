//! Histories written by hand: one session `s` of the client `c` on gateway-0, with times in seconds.

use bastion_operator::api::{BastionSession, Reason};
use bastion_operator::audit::SessionRecord;
use jiff::{SignedDuration, Timestamp};

use super::faults::{Fault, FaultRecord};
use super::history::{Action, ActionRecord, Answer, FeedChange, FeedEvent, History, Line, Shown};
use crate::objects::bastion_session;

/// The moment this many seconds after the beginning.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + seconds)
}

/// How long sample histories last, in seconds.
pub const END: i64 = 300;

/// A session that was accepted on gateway-0 at 20 s.
pub fn record() -> SessionRecord {
    let session: BastionSession = serde_json::from_value(bastion_session("s", "gateway-0")).expect("a session");
    SessionRecord {
        session_id: "uid".into(),
        namespace: "n".into(),
        client_software: Some("c".into()),
        gateway_instance: "gateway-0-a".into(),
        start_time: at(20).as_microsecond(),
        updated_at: 0,
        ..SessionRecord::of(&session)
    }
}

/// The same session, ended for this reason.
pub fn ended(reason: Reason) -> SessionRecord {
    SessionRecord {
        status: reason.phase().record_name().into(),
        reason: Some(reason.as_str().into()),
        message: Some("it ended".into()),
        end_time: Some(at(21).as_microsecond()),
        is_final: true,
        ..record()
    }
}

impl History {
    /// Two gateways, two controllers and a live page, and no session yet.
    pub fn calm() -> Self {
        let live = FeedEvent { at: at(0), change: FeedChange::Live(true) };
        Self {
            began: at(0),
            ended: at(END),
            controllers: 2,
            shown: vec![],
            actions: vec![],
            lines: vec![],
            faults: vec![],
            feed: vec![live],
            counts: vec![],
            rows: vec![],
        }
    }

    /// The session begins at 20 s, and its shell answers at 22 s.
    pub fn session() -> Self {
        Self::calm().shows(20, record()).types(21, 22, Answer::Echoed)
    }

    /// The watch shows the session so, the page follows, and the database has it.
    pub fn shows(mut self, second: i64, session: SessionRecord) -> Self {
        let names = if session.is_final { vec![] } else { vec![session.name.clone()] };
        self.rows.retain(|row| row.name != session.name);
        self.rows.push(session.clone());
        self.shown.push(Shown { at: at(second), session });
        self.page(second, FeedChange::Shows(names.into_iter().collect()))
    }

    /// The watch shows that the session ended for this reason.
    pub fn ends(self, second: i64, reason: Reason) -> Self {
        self.shows(second, ended(reason))
    }

    pub fn page(mut self, second: i64, change: FeedChange) -> Self {
        self.feed.push(FeedEvent { at: at(second), change });
        self
    }

    pub fn does(mut self, second: i64, action: Action) -> Self {
        self.actions.push(ActionRecord { at: at(second), client: "c".into(), action, certain: true });
        self
    }

    pub fn types(mut self, sent: i64, answered: i64, answer: Answer) -> Self {
        self.lines.push(Line { client: "c".into(), sent: at(sent), at: at(answered), answer });
        self
    }

    pub fn breaks(mut self, from: i64, to: i64, fault: Fault) -> Self {
        self.faults.push(FaultRecord { fault, from: at(from), to: at(to) });
        self
    }
}
