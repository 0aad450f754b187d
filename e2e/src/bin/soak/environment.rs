//! What is used and broken: two gateways, two controllers, an audit program, an API server, a Redis, a target.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex as Cell;
use std::time::{Duration, Instant};

use bastion_operator::api::BastionSession;
use kube::api::ListParams;
use serde_json::json;
use tokio::sync::{Mutex, RwLock};

use crate::ledger::Ledger;
use bastion_e2e::programs::Setting;
use bastion_e2e::redis::{RedisServer, environment_for};
use bastion_e2e::{Audit, ControlPlane, Controller, Echo, Gateway, LoadClient, Namespace, SessionWatch};

/// How long finished sessions stay.
const RETENTION: &str = "1m";

/// How long all counts may take to agree once faults and users rest. By then the last dead program is declared lost.
const SETTLED_WITHIN: Duration = Duration::from_secs(40);

/// The test environment; a fault holds the lock of the part that it breaks.
pub struct Environment {
    pub watch: SessionWatch,
    pub gateways: [Mutex<Gateway>; 2],
    /// Where the gateways listen at present.
    pub addresses: [Cell<SocketAddr>; 2],
    pub controllers: Mutex<[Controller; 2]>,
    _audit: Audit,
    pub echo: Mutex<Echo>,
    pub redis: Mutex<RedisServer>,
    redis_port: u16,
    pub locks: Locks,
    pub load_clients: Cell<Vec<Arc<LoadClient>>>,
    pub ledger: Ledger,
    pub namespace: Namespace,
}

/// Locks of activities, not of data.
#[derive(Default)]
pub struct Locks {
    /// Held for writing while the API server is stopped; for reading by activities that need it.
    pub api: RwLock<()>,
    /// Held for reading by every fault from its beginning to its repair.
    pub faults: RwLock<()>,
    /// Held for reading by users and administrators while they do something.
    pub users: RwLock<()>,
}

impl Environment {
    pub async fn set_up() -> Self {
        let namespace = Namespace::on(Arc::new(ControlPlane::start().await)).await;
        let echo = Echo::start().await;
        namespace.user("alice").await;
        let sessions = json!([{"apiGroups": ["bastion.dev"], "resources": ["bastionsessions"], "verbs": ["patch"]}]);
        namespace.allow("bastion:alice", sessions).await;
        echo.add_to(&namespace, "web-1", json!({})).await;
        let redis = RedisServer::start().await;
        let audit = Audit::start(&namespace, "audit-0", RETENTION).await;
        let controllers =
            [start_controller(&namespace, redis.port, 0).await, start_controller(&namespace, redis.port, 1).await];
        let gateways = [start_gateway(&namespace, redis.port, 0).await, start_gateway(&namespace, redis.port, 1).await];
        Self {
            watch: namespace.watch().await,
            addresses: [Cell::new(gateways[0].address), Cell::new(gateways[1].address)],
            gateways: gateways.map(Mutex::new),
            controllers: Mutex::new(controllers),
            _audit: audit,
            echo: Mutex::new(echo),
            redis_port: redis.port,
            redis: Mutex::new(redis),
            locks: Locks::default(),
            load_clients: Cell::default(),
            ledger: Ledger::default(),
            namespace,
        }
    }

    /// Starts another process of a gateway.
    pub async fn start_gateway(&self, number: usize) -> Gateway {
        start_gateway(&self.namespace, self.redis_port, number).await
    }

    /// Starts another process of a controller.
    pub async fn start_controller(&self, number: usize) -> Controller {
        start_controller(&self.namespace, self.redis_port, number).await
    }

    /// Holds everything still, and waits until all agree on how many sessions there are: the API, the gateways, the
    /// target, and the users.
    pub async fn count(&self) -> Result<(), String> {
        let (_faults, _users) = (self.locks.faults.write().await, self.locks.users.write().await);
        let begin = Instant::now();
        loop {
            let [api, gateways, target, users] = self.counts().await;
            if [gateways, target, users] == [api; 3] {
                println!("{} at rest, everybody counts {api} sessions", self.ledger.age());
                return Ok(());
            }
            if begin.elapsed() > SETTLED_WITHIN {
                return Err(format!(
                    "{SETTLED_WITHIN:?} after the last fault the API has {api} Active sessions, the gateways carry \
                     {gateways}, the target has {target} connections, and {users} users are connected"
                ));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn counts(&self) -> [usize; 4] {
        let active = ListParams::default().fields("status.phase=Active");
        let api = self.namespace.api::<BastionSession>().list(&active).await.expect("sessions can be listed");
        let mut gateways = 0;
        for gateway in &self.gateways {
            gateways += gateway.lock().await.sessions_active().await;
        }
        let target = self.echo.lock().await.open();
        let mut load_clients = self.load_clients.lock().expect("no panic");
        load_clients.retain(|load_client| !load_client.is_gone());
        [api.items.len(), gateways, target, load_clients.len()]
    }

    /// Copies the logs of the programs to where they stay.
    pub fn keep_logs(&self) -> String {
        let to = std::env::temp_dir().join(format!("bastion-soak-{}", std::process::id()));
        std::fs::create_dir_all(&to).expect("a folder");
        for file in std::fs::read_dir(&self.namespace.dir).expect("the programs' folder").flatten() {
            if file.path().extension().is_some_and(|it| it == "err") {
                std::fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
            }
        }
        to.display().to_string()
    }
}

async fn start_gateway(namespace: &Namespace, redis_port: u16, number: usize) -> Gateway {
    let setting = Setting { env: environment_for(redis_port), ..Setting::default() };
    Gateway::start_in(namespace, &format!("gateway-{number}"), &["--grace-period", "0s"], &setting).await
}

async fn start_controller(namespace: &Namespace, redis_port: u16, number: usize) -> Controller {
    let setting = Setting { env: environment_for(redis_port), ..Setting::default() };
    Controller::start_in(namespace, &format!("controller-{number}"), &setting).await
}
