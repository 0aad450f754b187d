//! How many pages each person has open, so that nobody takes the places of all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How many pages somebody may have open.
const MOST: usize = 250;

/// Who has how many pages open. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct ConnectionQuota(Arc<Mutex<HashMap<String, usize>>>);

impl ConnectionQuota {
    /// Somebody opens one more. Whether they may; then they have to leave it again.
    pub fn enter(&self, who: &str) -> bool {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = open.entry(who.to_owned()).or_default();
        let may = *pages < MOST;
        *pages += usize::from(may);
        may
    }

    /// Somebody closes one.
    pub fn leave(&self, who: &str) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pages) = open.get_mut(who) {
            *pages -= 1;
            if *pages == 0 {
                open.remove(who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_places_of_all() {
        let quota = ConnectionQuota::default();
        for _ in 0..MOST {
            assert!(quota.enter("a"));
        }
        assert!(!quota.enter("a") && quota.enter("b"));
        quota.leave("a");
        assert!(quota.enter("a") && !quota.enter("a"));
        for _ in 0..MOST {
            quota.leave("a");
        }
        quota.leave("b");
        assert!(quota.0.lock().unwrap().is_empty());
    }
}
