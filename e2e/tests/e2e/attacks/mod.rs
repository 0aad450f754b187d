//! Attacks: each test is one of which a review has shown that it succeeded.

mod locked_out;
mod memory;
mod menu_places;
mod revocation;
mod target_names;
mod unrequested_channels;
mod untrusted_text;
mod web_terminal;
