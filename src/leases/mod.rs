//! The Leases of gateway, controller and audit instances. Each instance renews its Lease, and controllers declare silent
//! gateways lost.

mod controller;
mod instance_lease;
mod names;
mod object;
#[cfg(test)]
mod samples;

pub use controller::{confirm_alive, declare_lost, delete_lost};
pub use instance_lease::InstanceLease;
pub use names::{new_instance_name, pod_of, random_name};
pub use object::{LeaseError, observe_lease, with_timeout};
