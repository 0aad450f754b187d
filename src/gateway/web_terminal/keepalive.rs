//! Detects a page that sends nothing any more, where a proxy hides the loss of its connection.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::interval;

use crate::lifecycle::{NetworkWatch, TcpHealth};

/// The interval of the checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The time of the page's last message.
pub struct Keepalive {
    last_received: Mutex<Instant>,
}

impl Keepalive {
    /// Starts as if a message had just arrived.
    pub fn new() -> Self {
        Self { last_received: Mutex::new(Instant::now()) }
    }

    /// Records a message of the page.
    pub fn received(&self) {
        *self.last_received.lock() = Instant::now();
    }

    /// Waits until the page counts as lost. A page that works answers the pings.
    pub async fn lost(&self) {
        let (mut checks, mut watch) = (interval(CHECK_INTERVAL), NetworkWatch::default());
        loop {
            checks.tick().await;
            let now = Instant::now();
            let last_received = *self.last_received.lock();
            let silent = now.saturating_duration_since(last_received);
            let health = TcpHealth { since_data: silent, since_ack: silent, unacknowledged: true, probing: false };
            if watch.is_lost(health, now) {
                return;
            }
        }
    }
}
