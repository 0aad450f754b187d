//! Authenticates users (RFC 4252). Clients get the same answer to every failure; the log has the reason.

mod authentication;
mod certificate;
mod failure_counters;
mod key_line;
mod key_restrictions;
mod login_name;
mod presence;
mod progress;
mod proof;
mod second_factor;
mod throttle;
mod web_terminal_access;

pub use authentication::{AuthDeps, LastRefusal, SignIn, SignedIn};
pub use certificate::UserCertificateError;
pub use failure_counters::LockoutLimits;
#[cfg(fuzzing)]
pub use key_line::KeyLine;
pub use key_restrictions::{ForwardDenied, KeyRestrictions};
pub use login_name::{SignInName, SignInNameError};
pub use presence::PresenceError;
pub use proof::{Proof, accepts_certificates};
pub use second_factor::{SecondFactors, hash_password};
pub use throttle::Throttle;
pub use web_terminal_access::WebTerminalBlocker;
