//! HTTPS from consoles to other programs of the bastion: live terminals of gateways, and the history of audit programs.
//!
//! Each instance generates a certificate, and publishes its fingerprint and address in its Lease. The console accepts only
//! this certificate, names the user on whose behalf it asks, and authenticates with a token of its ServiceAccount whose audience
//! is this instance and this user. The program checks that user's rights itself.

mod audience;
mod certificate;
mod client;
mod endpoint;
mod impersonation;
mod server;

pub use client::{CallError, InternalClient, InternalStream, ReceivedError};
pub use endpoint::{Endpoint, Service};
pub use impersonation::{ImpersonatedUser, ImpersonationError};
pub use server::{ConsoleError, ConsoleGuard, InternalServer, ServerSettings};
