//! Limits the pages that each user has open, so that no user takes the WebSockets of all.

use parking_lot::Mutex;

use std::collections::HashMap;
use std::sync::Arc;

const MAX_PAGES_PER_USER: usize = 250;

/// The number of open pages of each user. Clones share the numbers.
#[derive(Clone, Debug, Default)]
pub struct ConnectionQuota(Arc<Mutex<HashMap<String, usize>>>);

impl ConnectionQuota {
    /// Counts one more page of a user. Returns `false` if the user has 250 already; otherwise call [`Self::release`] later.
    pub fn try_acquire(&self, user: &str) -> bool {
        let mut open = self.0.lock();
        let pages = open.entry(user.to_owned()).or_default();
        let acquired = *pages < MAX_PAGES_PER_USER;
        *pages += usize::from(acquired);
        acquired
    }

    /// Counts one page less of a user.
    pub fn release(&self, user: &str) {
        let mut open = self.0.lock();
        if let Some(pages) = open.get_mut(user) {
            *pages -= 1;
            if *pages == 0 {
                open.remove(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_limit_of_open_pages() {
        let quota = ConnectionQuota::default();
        for _ in 0..MAX_PAGES_PER_USER {
            assert!(quota.try_acquire("a"));
        }
        assert!(!quota.try_acquire("a") && quota.try_acquire("b"));
        quota.release("a");
        assert!(quota.try_acquire("a") && !quota.try_acquire("a"));
        for _ in 0..MAX_PAGES_PER_USER {
            quota.release("a");
        }
        quota.release("b");
        assert!(quota.0.lock().is_empty());
    }
}
