//! Slots that users hold, with a limit for all users together and a limit for each user.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// A number of slots for all users. Clones share the same slots.
#[derive(Clone, Debug)]
pub struct Slots {
    total: usize,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_user: HashMap<Arc<str>, usize>,
}

/// A slot of a user. Dropping it frees the slot.
#[derive(Debug)]
pub struct Slot {
    user: Arc<str>,
    held: Arc<Mutex<Held>>,
}

/// Why a user gets no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotsError {
    /// All slots are held.
    #[error("all are in use")]
    Total,
    /// The user holds as many slots as one user may hold.
    #[error("this user has as many as one user may have")]
    User,
}

impl Slots {
    /// Creates this many slots.
    pub fn new(total: usize) -> Self {
        Self { total, held: Arc::default() }
    }

    /// Takes a slot for a user, who may hold at most `per_user`.
    ///
    /// # Errors
    /// When the user already holds `per_user` slots, or all slots are held.
    pub fn take(&self, user: &str, per_user: usize) -> Result<Slot, SlotsError> {
        let mut held = self.held.lock();
        if held.by_user.get(user).is_some_and(|count| *count >= per_user) {
            return Err(SlotsError::User);
        }
        if held.total >= self.total {
            return Err(SlotsError::Total);
        }
        let user: Arc<str> = user.into();
        held.total += 1;
        *held.by_user.entry(user.clone()).or_default() += 1;
        Ok(Slot { user, held: self.held.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        held.total -= 1;
        if let Some(count) = held.by_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                held.by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_take_all_slots() {
        let slots = Slots::new(3);
        let mut alice: Vec<_> = (0..2).map(|_| slots.take("alice", 2).unwrap()).collect();
        assert_eq!(slots.take("alice", 2).err(), Some(SlotsError::User));
        let _bob = slots.take("bob", 2).unwrap();
        assert_eq!(slots.take("carol", 2).err(), Some(SlotsError::Total));
        alice.pop();
        slots.take("alice", 2).unwrap();
        drop(alice);
        assert_eq!(slots.held.lock().by_user.len(), 1, "users without slots are forgotten");
    }
}
