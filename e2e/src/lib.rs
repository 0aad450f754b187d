//! What the end-to-end tests and the demo stand on: a real control plane, a real sshd, the bastion's own programs
//! under their own ServiceAccounts, and real `ssh` clients.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::return_self_not_must_use,
    reason = "a test that cannot go on says why, and stops"
)]

pub mod admission;
pub mod api_proxy;
pub mod api_requests;
pub mod bastion;
pub mod browser;
pub mod certificates;
pub mod console_api;
pub mod console_token;
pub mod control_plane;
pub mod etcd;
pub mod false_oidc;
pub mod feed_page;
pub mod haproxy;
pub mod history;
pub mod hostile_target;
pub mod http;
pub mod load_clients;
pub mod manifests;
pub mod mariadb;
pub mod memory_cgroup;
pub mod metrics;
pub mod namespace;
pub mod network;
pub mod objects;
mod observer_client;
pub mod oidc;
pub mod proc;
pub mod process;
pub mod programs;
pub mod raw_client;
pub mod redis;
pub mod refusal;
pub mod relay;
pub mod robustness;
pub mod run;
pub mod russh_client;
pub mod s3;
pub mod security_key;
pub mod slow_webhook;
pub mod small_disk;
pub mod ssh;
pub mod sshd;
pub mod target_server;
pub mod tcp;
pub mod terminal_page;
pub mod wait;
pub mod watch;
pub mod websocket;
pub mod weight;

pub use api_proxy::{ApiProxy, Fault, FaultRule, Verb};
pub use api_requests::ApiRequests;
pub use bastion::{Bastion, Open};
pub use console_api::{Answer, ConsoleApi};
pub use control_plane::ControlPlane;
pub use etcd::{Etcd, SecondApiServer};
pub use feed_page::FeedPage;
pub use haproxy::HaProxy;
pub use history::{SessionHistory, end_time, histories};
pub use load_clients::{Echo, LoadClient, open_load_clients};
pub use mariadb::{Database, MariaDb};
pub use metrics::{metric, metric_becomes};
pub use namespace::{ApiRoute, Namespace};
pub use network::IsolatedAddress;
pub use observer_client::ObserverClient;
pub use process::{Outcome, Process};
pub use programs::{Audit, Console, Controller, Gateway, Setting};
pub use relay::Relay;
pub use run::Run;
pub use s3::S3Server;
pub use sshd::Sshd;
pub use terminal_page::TerminalPage;
pub use wait::{LOST_GATEWAY, PROMPT_BOUND, default_timeout, eventually, stretched, throughout};
pub use watch::{Observation, SessionWatch};
