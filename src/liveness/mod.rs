//! The witnesses of a gateway's life. Now there is one, the Lease: the gateway renews it, the controllers watch it.

mod lease;

pub use lease::{InstanceLease, LeaseError, declare_lost, forget, new_instance, random_name, seen};
