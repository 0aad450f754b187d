//! What the load tests begin with: gateways, two controllers, an audit program, a target that echoes, and the user `alice`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bastion_operator::api::{BastionSession, Phase};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

use bastion_e2e::{
    Audit, ControlPlane, Controller, Echo, Gateway, LoadClient, Namespace, SessionWatch, default_timeout, eventually,
    histories, open_load_clients,
};

/// A bastion that is ready for a group of load clients. What is stopped first comes first.
pub struct Environment {
    pub gateways: Vec<Gateway>,
    pub controllers: Vec<Controller>,
    _audit: Audit,
    pub watch: SessionWatch,
    pub echo: Echo,
    pub namespace: Namespace,
}

impl Environment {
    /// With this many gateways, on a control plane of its own, so that no other requests are counted.
    pub async fn with_gateways(number: usize) -> Self {
        let namespace = Namespace::on(Arc::new(ControlPlane::start().await)).await;
        namespace.add_flow_schema().await;
        let echo = Echo::start().await;
        namespace.user("alice").await;
        echo.add_to(&namespace, "web-1", json!({})).await;
        let audit = Audit::start(&namespace, "audit-0", "10m").await;
        let (gateways, controllers, watch) = (vec![], vec![], namespace.watch().await);
        let mut environment = Self { gateways, controllers, _audit: audit, watch, echo, namespace };
        for _ in 0..2 {
            environment.add_controller().await;
        }
        for _ in 0..number {
            environment.add_gateway().await;
        }
        environment
    }

    /// One gateway more.
    pub async fn add_gateway(&mut self) {
        let pod = format!("gateway-{}", self.gateways.len());
        self.gateways.push(Gateway::start(&self.namespace, &pod).await);
    }

    /// One controller more.
    pub async fn add_controller(&mut self) {
        let pod = format!("controller-{}", self.controllers.len());
        self.controllers.push(Controller::start(&self.namespace, &pod).await);
    }

    /// Opens alice's sessions on `web-1` through a gateway.
    pub async fn open(&self, gateway: usize, size: usize) -> Vec<LoadClient> {
        self.open_on("web-1", gateway, size).await
    }

    /// Opens alice's sessions on another target.
    pub async fn open_on(&self, target: &str, gateway: usize, size: usize) -> Vec<LoadClient> {
        open_load_clients(self.gateways[gateway].address, &format!("alice:{target}"), size).await
    }

    /// The session behind a load client.
    pub async fn session(&self, load_client: &LoadClient) -> BastionSession {
        let of_it = |session: &BastionSession| session.spec.client.software.as_ref() == Some(&load_client.software);
        self.watch
            .until(default_timeout(), "the session of a load_client", |seen| {
                seen.iter().find(|it| of_it(&it.session)).map(|it| it.session.clone())
            })
            .await
    }

    /// Waits until `size` sessions of the gateway are shown as ended.
    pub async fn ended(&self, deadline: Duration, gateway: usize, size: usize) {
        let pod = self.gateways[gateway].pod.as_str();
        self.watch
            .until(deadline, &format!("{size} sessions of {pod} have ended"), |seen| {
                let ended = seen.iter().filter(|it| it.phase.is_final() && it.session.spec.gateway.name == pod);
                let names: HashSet<&str> = ended.map(|it| it.name.as_str()).collect();
                (names.len() >= size).then_some(())
            })
            .await;
    }

    /// Checks that sessions go on: shown as Active, and each of them answers.
    pub async fn go_on(&self, load_clients: &[LoadClient]) {
        let answers = futures::future::join_all(load_clients.iter().map(LoadClient::answers)).await;
        answers.into_iter().collect::<Result<(), String>>().expect("every session answers");
        let seen = self.watch.seen();
        let histories = histories(&seen);
        for load_client in load_clients {
            let history = histories
                .values()
                .find(|it| it.software() == load_client.software)
                .expect("the load_client has a session");
            assert_eq!(history.last.phase, Phase::Active, "of {}: {:?}", history.name, history.session().status);
        }
    }

    /// The gateway instances that have a Lease, and who holds it.
    pub async fn instances(&self) -> Vec<(String, Option<String>)> {
        let leases = self.namespace.api::<Lease>().list(&ListParams::default()).await.expect("Leases can be listed");
        let gateways = leases.items.into_iter().filter(|lease| lease.name_any().starts_with("gateway-"));
        gateways.map(|lease| (lease.name_any(), lease.spec.and_then(|spec| spec.holder_identity))).collect()
    }

    /// Waits until every gateway has renewed its Lease this often.
    pub async fn renewed(&self, times: usize) {
        let version = async || {
            let leases =
                self.namespace.api::<Lease>().list(&ListParams::default()).await.map_err(|it| it.to_string())?;
            let gateways = leases.items.into_iter().filter(|lease| lease.name_any().starts_with("gateway-"));
            Ok::<_, String>(gateways.map(|lease| (lease.name_any(), lease.resource_version())).collect::<Vec<_>>())
        };
        for _ in 0..times {
            let before = eventually(default_timeout(), "the Leases", version).await;
            eventually(default_timeout(), "every gateway renews its Lease", async || {
                let now = version().await?;
                if now.iter().all(|lease| !before.contains(lease)) { Ok(()) } else { Err(format!("{now:?}")) }
            })
            .await;
        }
    }
}
