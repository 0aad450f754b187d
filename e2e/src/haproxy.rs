//! A real HAProxy, which ends the TCP connections that it passes on.

use std::net::{Ipv4Addr, SocketAddr};

use crate::process::{Process, command};
use crate::run::{Run, unique};
use crate::sshd::free_port;

/// A running HAProxy in front of one server. It waits for an hour for a side that is silent.
pub struct HaProxy {
    pub address: SocketAddr,
    _process: Process,
}

impl HaProxy {
    /// Starts one whose connections to `server` come from `source`, with these words more in its line of the server.
    pub async fn before(server: SocketAddr, source: Ipv4Addr, options: &str) -> Self {
        let files = Run::get().await.dir.join(format!("haproxy-{}", unique()));
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().await));
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
             listen ssh\n  bind {address}\n  server server {server} source {source} {options}\n"
        );
        let file = files.with_added_extension("cfg");
        std::fs::write(&file, config).expect("a file");
        let mut command = command("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(file);
        let process = Process::start(files, command).await;
        process.accepts_connections("127.0.0.1", address.port()).await;
        Self { address, _process: process }
    }
}
