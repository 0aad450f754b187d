//! The query of a request for a terminal.

use serde::Deserialize;

/// The session that a page asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct ConnectQuery {
    /// The name of the target.
    pub target: String,
    /// The login on the target; by default the first one of the target.
    pub login: Option<String>,
    /// The terminal's width in characters, 80 by default.
    #[serde(default = "default_cols")]
    pub cols: u16,
    /// The terminal's height in lines, 24 by default.
    #[serde(default = "default_rows")]
    pub rows: u16,
}

const fn default_cols() -> u16 {
    80
}

const fn default_rows() -> u16 {
    24
}
