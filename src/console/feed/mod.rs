//! The live feed of open sessions: one watch of the cluster serves all pages.

mod backlog;
mod canary;
mod connection_quota;
mod hub;
mod message;
pub mod page;
mod state;

pub use canary::watch_heartbeats;
pub use connection_quota::ConnectionQuota;
pub use hub::Feed;
use hub::FeedEvent;
