//! The menu in which users choose a target. It opens for `ssh USER@GATEWAY`, which names no target.

mod keys;
mod language;
mod list;
mod model;
mod pending_requests;
mod pending_users;
mod picker;
mod rights;
mod screen;
pub mod target_selection;
mod terminal_menu;
mod text;

pub use pending_users::PendingUsers;

#[cfg(test)]
mod tests;
