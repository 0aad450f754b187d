//! What is still to be done, one thing a session at most: the latest.

use std::collections::{HashMap, VecDeque};

/// Values that wait to be dealt with, keyed by the session's uid. A newer value takes the place of an older one, so
/// there are never more of them than sessions. First come, first served: what is given back goes to the end,
/// so that whatever cannot be done does not hold up the rest.
///
/// Invariant: `turns` holds each key of `latest` exactly once, and no other.
#[derive(Debug)]
pub struct Pending<T> {
    latest: HashMap<String, T>,
    turns: VecDeque<String>,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { latest: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<T> Pending<T> {
    /// How many sessions wait.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// All that waits, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.latest.values()
    }

    /// The latest about a session. Whatever waited for it is out of date; its turn stays.
    pub fn apply(&mut self, uid: String, value: T) {
        if self.latest.insert(uid.clone(), value).is_none() {
            self.turns.push_back(uid);
        }
    }

    /// Takes out up to `max` values, those that have waited longest first.
    pub fn take_batch(&mut self, max: usize) -> Vec<(String, T)> {
        let turns = self.turns.drain(..max.min(self.turns.len()));
        turns.filter_map(|uid| self.latest.remove_entry(&uid)).collect()
    }

    /// Puts back what was taken and could not be dealt with, except where something newer has come meanwhile.
    pub fn give_back(&mut self, batch: Vec<(String, T)>) {
        for (uid, value) in batch {
            if !self.latest.contains_key(&uid) {
                self.apply(uid, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn batch(values: &[(&str, u32)]) -> Vec<(String, u32)> {
        values.iter().map(|&(uid, value)| (uid.to_owned(), value)).collect()
    }

    fn pending(values: &[(&str, u32)]) -> Pending<u32> {
        let mut pending = Pending::default();
        for (uid, value) in batch(values) {
            pending.apply(uid, value);
        }
        pending
    }

    #[test]
    fn the_latest_takes_the_place_and_the_turn_of_the_older() {
        let mut pending = pending(&[("a", 1), ("b", 1), ("a", 2)]);
        assert_eq!(pending.len(), 2);
        assert_eq!(pending.take_batch(10), batch(&[("a", 2), ("b", 1)]));
        assert!(pending.is_empty());
    }

    #[test]
    fn a_batch_is_no_larger_than_asked_and_the_rest_keeps_its_turn() {
        let mut pending = pending(&[("c", 1), ("a", 1), ("b", 1)]);
        assert_eq!(pending.take_batch(2), batch(&[("c", 1), ("a", 1)]));
        assert_eq!(pending.take_batch(2), batch(&[("b", 1)]));
        assert_eq!(pending.take_batch(2), []);
    }

    #[test]
    fn what_is_given_back_waits_behind_the_rest() {
        let mut pending = pending(&[("a", 1), ("b", 1)]);
        let taken = pending.take_batch(1);
        pending.give_back(taken);
        assert_eq!(pending.take_batch(10), batch(&[("b", 1), ("a", 1)]));
    }

    #[test]
    fn what_is_given_back_never_takes_the_place_of_something_newer() {
        let mut pending = pending(&[("a", 1), ("b", 1)]);
        let taken = pending.take_batch(10);
        pending.apply("a".to_owned(), 2);
        pending.give_back(taken);
        assert_eq!(pending.take_batch(10), batch(&[("a", 2), ("b", 1)]));
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Something new about a session.
        Apply(u8),
        /// A batch is taken and written.
        Write(usize),
        /// A batch is taken and, after this much news, given back.
        Fail(usize, Vec<u8>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let uid = 0..6_u8;
        let step = prop_oneof![
            3 => uid.clone().prop_map(Step::Apply),
            1 => (0..5_usize).prop_map(Step::Write),
            2 => (0..5_usize, prop::collection::vec(uid, 0..4)).prop_map(|(max, news)| Step::Fail(max, news)),
        ];
        prop::collection::vec(step, 0..60)
    }

    /// Numbers what it applies, so that a higher number is newer.
    #[derive(Default)]
    struct World {
        pending: Pending<u32>,
        clock: u32,
        last: HashMap<String, u32>,
        written: HashMap<String, u32>,
    }

    impl World {
        fn apply(&mut self, uid: u8) {
            self.clock += 1;
            self.last.insert(uid.to_string(), self.clock);
            self.pending.apply(uid.to_string(), self.clock);
        }

        fn write(&mut self, max: usize) -> usize {
            let batch = self.pending.take_batch(max);
            assert!(batch.len() <= max);
            for (uid, value) in &batch {
                let older = self.written.insert(uid.clone(), *value);
                assert!(older < Some(*value), "{uid}: {value} was written after {older:?}");
            }
            batch.len()
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Apply(uid) => self.apply(uid),
                Step::Write(max) => drop(self.write(max)),
                Step::Fail(max, news) => {
                    let batch = self.pending.take_batch(max);
                    for uid in news {
                        self.apply(uid);
                    }
                    self.pending.give_back(batch);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_last_row_wins_and_nothing_is_lost(steps in steps()) {
            let mut world = World::default();
            for step in steps {
                world.step(step);
                prop_assert!(world.pending.len() <= world.last.len());
                prop_assert_eq!(world.pending.len(), world.pending.latest.len());
            }
            while world.write(3) > 0 {}
            prop_assert_eq!(world.written, world.last);
        }
    }
}
