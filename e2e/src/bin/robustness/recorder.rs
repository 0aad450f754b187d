//! Records what happens in a run, as it happens.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Instant;

use bastion_e2e::Observation;
use bastion_e2e::robustness::history::{
    Action, ActionRecord, Answer, Counts, FeedChange, FeedEvent, History, Line, Shown,
};
use bastion_e2e::robustness::{Fault, FaultRecord};
use bastion_operator::audit::SessionRecord;
use jiff::Timestamp;

/// Everything but what the watch shows, which records for itself.
pub struct Recorder {
    began: (Instant, Timestamp),
    recorded: Mutex<Recorded>,
}

#[derive(Clone, Default)]
struct Recorded {
    actions: Vec<ActionRecord>,
    lines: Vec<Line>,
    faults: Vec<FaultRecord>,
    feed: Vec<FeedEvent>,
    counts: Vec<Counts>,
}

impl Recorder {
    pub fn begin() -> Self {
        Self { began: (Instant::now(), Timestamp::now()), recorded: Mutex::default() }
    }

    fn record(&self, record: impl FnOnce(&mut Recorded)) {
        record(&mut self.recorded.lock().expect("no panic"));
    }

    pub fn action(&self, client: &str, action: Action, at: Timestamp, certain: bool) {
        let record = ActionRecord { at, client: client.to_owned(), action, certain };
        self.record(|it| it.actions.push(record));
    }

    /// What has become of a line that was typed at `sent`.
    pub fn line(&self, client: &str, sent: Timestamp, answer: Answer) {
        let line = Line { client: client.to_owned(), sent, at: Timestamp::now(), answer };
        self.record(|it| it.lines.push(line));
    }

    /// A fault that began at `from` and was just repaired.
    pub fn fault(&self, fault: Fault, from: Timestamp) {
        let record = FaultRecord { fault, from, to: Timestamp::now() };
        println!("{} {fault}, for {:.1} s", self.age(), record.span().length().as_secs_f64());
        self.record(|it| it.faults.push(record));
    }

    pub fn page(&self, change: FeedChange) {
        self.record(|it| it.feed.push(FeedEvent { at: Timestamp::now(), change }));
    }

    /// How many sessions the page shows now.
    pub fn on_page(&self) -> usize {
        let recorded = self.recorded.lock().expect("no panic");
        let shown = recorded.feed.iter().rev().find_map(|event| match &event.change {
            FeedChange::Shows(names) => Some(names),
            FeedChange::Live(_) => None,
        });
        shown.map_or(0, BTreeSet::len)
    }

    pub fn counts(&self, counts: Counts) {
        self.record(|it| it.counts.push(counts));
    }

    pub fn history(&self, seen: &[Observation], rows: Vec<SessionRecord>, controllers: usize) -> History {
        let (instant, began) = self.began;
        let time = |at: Instant| began + at.saturating_duration_since(instant);
        let shown = |it: &Observation| Shown { at: time(it.at), session: SessionRecord::of(&it.session) };
        let Recorded { actions, lines, mut faults, feed, counts } = self.recorded.lock().expect("no panic").clone();
        faults.sort_by_key(|it| it.from);
        let (shown, ended) = (seen.iter().map(shown).collect(), Timestamp::now());
        History { began, ended, controllers, shown, actions, lines, faults, feed, counts, rows }
    }

    /// How long the run has gone on, for the log.
    pub fn age(&self) -> String {
        format!("[{:7.1} s]", self.began.0.elapsed().as_secs_f64())
    }
}
