//! Connects to a target, verifies its host key, and signs in.

mod address;
mod algorithms;
mod certificate;
mod credential;
mod dial;
mod dial_error;
#[cfg(test)]
pub mod fixtures;
mod handler;
#[cfg(test)]
mod host_signature;
mod host_trust;
#[cfg(any(test, fuzzing))]
mod in_memory;
mod login;
mod request;

pub use dial::{ConnectionEnd, Dialer, OpenError, TargetConnection};
pub use dial_error::DialError;
pub use request::DialRequest;
