//! `bastion console`: the REST API, the live feed and the web page. It keeps no state.

mod access;
mod activity;
mod api;
mod api_error;
mod client_request;
pub mod csv;
mod events;
mod feed;
mod history;
mod history_client;
mod lookup;
mod me;
mod observe;
mod observe_client;
pub mod oidc;
mod overview;
mod page;
mod query;
mod recordings;
mod rights_watch;
mod run;
mod settings;
mod sign_in;
mod state;
mod targets;
mod termination;
mod user_index;
mod view;

pub use api::openapi;
pub use api_error::Problem;
pub use run::run;
pub use settings::Settings;
use state::Console;
pub use view::{Session, SessionPage};
