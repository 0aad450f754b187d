//! What the fuzz targets do with what libFuzzer makes up.
#![cfg(fuzzing)]

mod api;
pub mod bridge;
mod channel;
pub mod key_line;
pub mod observers;
pub mod proxy_header;
pub mod sftp;
pub mod sign_in_name;
pub mod web_terminal;
mod wire;
