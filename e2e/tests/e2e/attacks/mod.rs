//! Attacks, as they were found or thought of. Each test plays an attacker, who must not succeed.

mod cookies;
mod created_objects;
mod cross_site;
mod editor;
mod floods;
mod garbage;
mod hostile_targets;
mod locked_out;
mod memory;
mod menu_places;
mod observer_tokens;
mod oidc_names;
mod oidc_tokens;
mod redis;
mod revocation;
mod signed_out_cookies;
mod target_names;
mod token_floods;
mod unrequested_channels;
mod untrusted_text;
mod web_terminal;
