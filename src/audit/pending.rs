//! A work queue that keeps the latest value of each session.

use std::collections::{HashMap, VecDeque};

/// A FIFO queue keyed by the session's uid. A newer value replaces an older one, so the queue is never longer than the
/// number of sessions. Values that failed go back to the end, so that they do not block the others.
///
/// Invariant: `queue` contains each key of `latest` exactly once, and no other.
#[derive(Debug)]
pub struct Pending<T> {
    latest: HashMap<String, T>,
    queue: VecDeque<String>,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { latest: HashMap::new(), queue: VecDeque::new() }
    }
}

impl<T> Pending<T> {
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns all values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.latest.values()
    }

    /// Sets the latest value of a session. A session that is already queued keeps its position; any other goes to the end.
    pub fn push(&mut self, uid: String, value: T) {
        if self.latest.insert(uid.clone(), value).is_none() {
            self.queue.push_back(uid);
        }
    }

    /// Removes and returns up to `max` values, the oldest first.
    pub fn take_batch(&mut self, max: usize) -> Vec<(String, T)> {
        let uids = self.queue.drain(..max.min(self.queue.len()));
        uids.filter_map(|uid| self.latest.remove_entry(&uid)).collect()
    }

    /// Enqueues a failed batch again, except for sessions that have a newer value meanwhile.
    pub fn put_back(&mut self, batch: Vec<(String, T)>) {
        for (uid, value) in batch {
            if !self.latest.contains_key(&uid) {
                self.push(uid, value);
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
            pending.push(uid, value);
        }
        pending
    }

    #[test]
    fn a_newer_value_replaces_the_older_at_its_position() {
        let mut pending = pending(&[("a", 1), ("b", 1), ("a", 2)]);
        assert_eq!(pending.len(), 2);
        assert_eq!(pending.take_batch(10), batch(&[("a", 2), ("b", 1)]));
        assert!(pending.is_empty());
    }

    #[test]
    fn a_batch_has_a_maximum_size_and_keeps_the_order() {
        let mut pending = pending(&[("c", 1), ("a", 1), ("b", 1)]);
        assert_eq!(pending.take_batch(2), batch(&[("c", 1), ("a", 1)]));
        assert_eq!(pending.take_batch(2), batch(&[("b", 1)]));
        assert_eq!(pending.take_batch(2), []);
    }

    #[test]
    fn a_failed_value_goes_to_the_end() {
        let mut pending = pending(&[("a", 1), ("b", 1)]);
        let taken = pending.take_batch(1);
        pending.put_back(taken);
        assert_eq!(pending.take_batch(10), batch(&[("b", 1), ("a", 1)]));
    }

    #[test]
    fn a_failed_value_never_replaces_a_newer_one() {
        let mut pending = pending(&[("a", 1), ("b", 1)]);
        let taken = pending.take_batch(10);
        pending.push("a".to_owned(), 2);
        pending.put_back(taken);
        assert_eq!(pending.take_batch(10), batch(&[("a", 2), ("b", 1)]));
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Enqueues a new value of a session.
        Push(u8),
        /// Takes a batch and writes it.
        Write(usize),
        /// Takes a batch, enqueues these values, and puts the batch back.
        Fail(usize, Vec<u8>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let uid = 0..6_u8;
        let step = prop_oneof![
            3 => uid.clone().prop_map(Step::Push),
            1 => (0..5_usize).prop_map(Step::Write),
            2 => (0..5_usize, prop::collection::vec(uid, 0..4)).prop_map(|(max, pushed)| Step::Fail(max, pushed)),
        ];
        prop::collection::vec(step, 0..60)
    }

    /// Numbers the values, so that a higher number is newer.
    #[derive(Default)]
    struct World {
        pending: Pending<u32>,
        clock: u32,
        last: HashMap<String, u32>,
        written: HashMap<String, u32>,
    }

    impl World {
        fn push(&mut self, uid: u8) {
            self.clock += 1;
            self.last.insert(uid.to_string(), self.clock);
            self.pending.push(uid.to_string(), self.clock);
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
                Step::Push(uid) => self.push(uid),
                Step::Write(max) => drop(self.write(max)),
                Step::Fail(max, pushed) => {
                    let batch = self.pending.take_batch(max);
                    for uid in pushed {
                        self.push(uid);
                    }
                    self.pending.put_back(batch);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_latest_value_is_written_and_none_is_lost(steps in steps()) {
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
