//! HTTPS from consoles to other programs of the bastion: live terminals of gateways, and the history of audit programs.
//!
//! Each instance generates a certificate, and publishes its fingerprint and address in its Lease. The console accepts only
//! this certificate, authenticates with a ServiceAccount token whose audience is the program, and names the user on whose
//! behalf it asks. The program checks that user's rights itself.

mod certificate;
mod client;
mod endpoint;
mod impersonation;
mod server;

pub use client::{CallError, InternalClient, InternalStream, ReceivedError};
pub use endpoint::{Endpoint, Service};
pub use impersonation::ImpersonatedUser;
pub use server::{ConsoleError, ConsoleGuard, InternalServer, ServerSettings};
