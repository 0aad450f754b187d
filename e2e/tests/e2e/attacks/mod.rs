//! Attacks, as they were found or thought of. Each test plays an attacker, who must not succeed.

mod created_objects;
mod editor;
mod observer_tokens;
mod oidc_names;
mod signed_out_cookies;
mod token_floods;
