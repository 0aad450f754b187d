//! The witnesses of a gateway's life: the Lease, which it renews and the controllers watch, and a key in Redis where one
//! is configured; and the orders to gateways that only Redis can reach.

mod lease;

pub use lease::{InstanceLease, LeaseError, declare_lost, forget, new_instance, random_name, seen, vouch};
