//! Connects to a target, checks its host key, and signs in.

mod address;
mod algorithms;
mod certificate;
mod credential;
mod dial;
#[cfg(fuzzing)]
mod fuzzing;
mod handler;
#[cfg(test)]
mod host_signature;
mod host_trust;
mod login;
mod request;
#[cfg(test)]
mod samples;
mod unreachable;

pub use dial::{ConnectionEnd, Dialer, TargetConnection};
pub use request::DialRequest;
pub use unreachable::Unreachable;
