//! What a watch told of each session, from its first sighting to its last.

use std::collections::BTreeMap;

use bastion_operator::api::BastionSession;
use jiff::Timestamp;

use crate::watch::Sighting;

/// One session's story.
#[derive(Debug)]
pub struct Story<'a> {
    pub name: &'a str,
    /// How it was seen first.
    pub first: &'a Sighting,
    /// How it was seen last.
    pub last: &'a Sighting,
    /// The first sighting of each end: there is one end, unless something is very wrong.
    ends: Vec<&'a Sighting>,
    /// Whether it was seen Active after it had been seen ended.
    revived: bool,
}

impl<'a> Story<'a> {
    /// Where it was first seen ended, if it was; panics where it ended in more than one way.
    pub fn end(&self) -> Option<&'a Sighting> {
        self.only_end().unwrap_or_else(|why| panic!("{why}"))
    }

    /// Where it was first seen ended, if it was, or in which ways.
    pub fn only_end(&self) -> Result<Option<&'a Sighting>, String> {
        let ends: Vec<_> = self.ends.iter().map(|it| what_is_final(it)).collect();
        if ends.len() > 1 {
            return Err(format!("session {} ended in more than one way: {ends:?}", self.name));
        }
        if self.revived {
            return Err(format!("session {} was Active after its end: {ends:?}", self.name));
        }
        Ok(self.ends.first().copied())
    }

    pub fn session(&self) -> &'a BastionSession {
        &self.last.session
    }

    /// What its client says that it is.
    pub fn software(&self) -> &'a str {
        self.session().spec.client.software.as_deref().unwrap_or_default()
    }
}

/// The stories of all sessions, by name.
pub fn stories(seen: &[Sighting]) -> BTreeMap<&str, Story<'_>> {
    let mut stories: BTreeMap<&str, Story<'_>> = BTreeMap::new();
    for sighting in seen {
        let new = Story { name: &sighting.name, first: sighting, last: sighting, ends: Vec::new(), revived: false };
        let story = stories.entry(&sighting.name).or_insert(new);
        story.last = sighting;
        if !sighting.phase.is_final() {
            story.revived |= !story.ends.is_empty();
        } else if !story.ends.iter().any(|known| what_is_final(known) == what_is_final(sighting)) {
            story.ends.push(sighting);
        }
    }
    stories
}

/// Phase, reason, message and endTime.
fn what_is_final(sighting: &Sighting) -> (String, Option<&str>, Option<&str>, Option<Timestamp>) {
    let status = sighting.session.status.as_ref();
    (
        sighting.phase.to_string(),
        sighting.reason.as_deref(),
        status.and_then(|status| status.message.as_deref()),
        end_time(sighting),
    )
}

/// The `endTime` of an ended session.
pub fn end_time(sighting: &Sighting) -> Option<Timestamp> {
    sighting.session.status.as_ref().and_then(|status| status.end_time.as_ref()).map(|time| time.0)
}
