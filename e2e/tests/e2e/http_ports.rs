//! One program of each kind, and their HTTP ports, for tests that attack every port.

use std::net::SocketAddr;

use bastion_e2e::{Audit, Bastion, Console, Controller, Process};

/// One program of each kind.
pub struct Programs {
    pub bastion: Bastion,
    pub controller: Controller,
    pub audit: Audit,
    pub console: Console,
}

/// An HTTP port of a program.
pub struct Port<'a> {
    pub name: &'static str,
    pub program: &'a Process,
    pub address: SocketAddr,
    /// The port of the same program that answers probes.
    pub probes: SocketAddr,
    /// Whether it serves TLS.
    pub tls: bool,
}

impl Programs {
    /// Starts them, and waits until they are ready.
    pub async fn start() -> Self {
        let bastion = Bastion::up().await;
        let controller = Controller::start(&bastion.namespace, "controller-0").await;
        let audit = Audit::start(&bastion.namespace, "audit-0", "10m").await;
        let console = Console::start(&bastion.namespace).await;
        controller.is_ready().await;
        Self { bastion, controller, audit, console }
    }

    /// Returns the HTTP ports of all programs.
    pub fn ports(&self) -> [Port<'_>; 8] {
        let Self { bastion, controller, audit, console } = self;
        let gateway = &bastion.gateway;
        let port = |name, program, address, probes, tls| Port { name, program, address, probes, tls };
        [
            port("a gateway's probes", &gateway.process, gateway.http, gateway.http, false),
            port("a gateway's web terminal", &gateway.process, gateway.web, gateway.http, false),
            port("a gateway's observers", &gateway.process, gateway.follow, gateway.http, true),
            port("a controller's probes", &controller.process, controller.http, controller.http, false),
            port("an audit program's probes", &audit.process, audit.http, audit.http, false),
            port("the history", &audit.process, audit.history, audit.http, true),
            port("a console's probes", &console.process, console.http, console.http, false),
            port("a console", &console.process, console.address, console.http, false),
        ]
    }
}
