//! Signing in: one connection's way from a name that anybody may type to a user who has shown who they are. Whatever is
//! refused is refused in one way; why is for the log.

mod authentication;
mod certificate;
mod key_line;
mod key_restrictions;
mod login_name;
mod presence;
mod progress;
mod proof;
mod second_factor;
mod throttle;

pub use authentication::{AuthDeps, LastRefusal, SignIn, SignedIn};
pub use certificate::UserCertificateError;
#[cfg(fuzzing)]
pub use key_line::KeyLine;
pub use key_restrictions::KeyRestrictions;
pub use login_name::{Malformed, SignInName};
pub use presence::PresenceError;
pub use proof::{Proof, takes_certificates};
pub use second_factor::{SecondFactors, hash_password};
pub use throttle::{LockOut, Throttle};
