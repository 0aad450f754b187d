//! Redis, the second witness: a key for each gateway, with the moment at which it showed itself, by Redis's own clock.

use crate::rules::Rules;
use crate::world::OLDEST;

/// The present by Redis's clock, in milliseconds, always: when time passes, the stamps move into the past instead.
pub const REDIS_NOW: u64 = 1_000_000;
/// How long a key stays.
const KEPT: u64 = 30_000;
/// Older than the stamp of any key.
pub const FORGOTTEN: u64 = REDIS_NOW - KEPT - 1000;
/// By how much its clock is set back.
const SET_BACK: u64 = 20_000;

/// The server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Redis {
    /// Whether it runs: frozen, it answers no request, and keeps what it was sent.
    pub up: bool,
    /// By gateway.
    pub keys: Vec<Option<Key>>,
    /// By gateway: whether there is a report that its session has ended.
    pub reports: Vec<bool>,
    /// Sent to it before it was frozen, and not applied yet.
    on_the_way: Vec<Option<Key>>,
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// By Redis's clock.
    pub stamp: u64,
    /// For how many seconds it is true.
    pub age: u8,
}

impl Key {
    const NEW: Self = Self { stamp: REDIS_NOW, age: 0 };
}

impl Redis {
    pub fn new(gateways: usize) -> Self {
        Self { up: true, keys: vec![None; gateways], reports: vec![false; gateways], on_the_way: vec![None; gateways] }
    }

    /// A second passes.
    pub fn pass(&mut self) {
        for key in self.keys.iter_mut().chain(&mut self.on_the_way) {
            if let Some(Key { stamp, age }) = key {
                *stamp -= 1000;
                *age = (*age + 1).min(OLDEST);
            }
            *key = key.filter(|key| key.stamp + KEPT > REDIS_NOW);
        }
    }

    /// Takes the sign of life that gateway `g` gives now.
    pub fn set_now(&mut self, g: usize) {
        self.keys[g] = Some(Key::NEW);
    }

    /// It is frozen, perhaps after it told a gateway the time, and before it is told that the gateway lives.
    pub fn freeze(&mut self, with_set_of: Option<usize>) {
        self.up = false;
        if let Some(g) = with_set_of {
            self.on_the_way[g] = Some(Key::NEW);
        }
    }

    pub fn thaw(&mut self, rules: &Rules) {
        self.up = true;
        for (key, on_the_way) in self.keys.iter_mut().zip(&mut self.on_the_way) {
            if let Some(arrived) = on_the_way.take() {
                let stamp = if rules.stamps_tell_when_they_were_asked_for { arrived.stamp } else { REDIS_NOW };
                *key = Some(Key { stamp, ..arrived });
            }
        }
    }

    /// It is flushed, or restarts empty.
    pub fn empty(&mut self) {
        self.keys.fill(None);
        self.reports.fill(false);
        self.on_the_way.fill(None);
    }

    pub fn set_clock_back(&mut self) {
        for key in self.keys.iter_mut().chain(&mut self.on_the_way).flatten() {
            key.stamp = set_back(key.stamp);
        }
    }
}

/// What a stamp is to a clock that was set back.
pub const fn set_back(stamp: u64) -> u64 {
    stamp + SET_BACK
}

/// What a stamp is a second later.
pub fn a_second_older(stamp: u64) -> u64 {
    (stamp - 1000).max(FORGOTTEN)
}
