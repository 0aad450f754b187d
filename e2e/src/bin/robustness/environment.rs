//! What is used and broken: gateways, controllers, an audit program and a console, an API server, a Redis, a database and a target.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex as Cell;
use std::time::{Duration, Instant};

use bastion_e2e::programs::{Setting, all_rows};
use bastion_e2e::redis::{RedisServer, environment_for};
use bastion_e2e::robustness::history::Counts;
use bastion_e2e::robustness::schedule::{CONTROLLERS, GATEWAYS};
use bastion_e2e::robustness::{History, Kind, Program, Schedule, check};
use bastion_e2e::{
    Audit, Console, ControlPlane, Controller, Echo, Gateway, LoadClient, Namespace, Process, SessionWatch,
};
use bastion_operator::api::BastionSession;
use jiff::Timestamp;
use kube::api::ListParams;
use serde_json::json;
use tokio::sync::{Mutex, RwLock};

use crate::database::Database;
use crate::network::Network;
use crate::recorder::Recorder;

/// How long finished sessions stay.
const RETENTION: &str = "1m";
/// How long all counts may take to agree once faults and users rest. By then the last dead program is declared lost.
const SETTLED_WITHIN: Duration = Duration::from_secs(40);
/// How long the database may take to have every session.
const RECORDED_WITHIN: Duration = Duration::from_mins(1);

/// The test environment; a fault holds the lock of the part that it breaks.
pub struct Environment {
    pub watch: SessionWatch,
    pub programs: BTreeMap<Program, Mutex<Running>>,
    /// Where the gateways listen at present.
    addresses: [Cell<SocketAddr>; GATEWAYS],
    pub console_address: SocketAddr,
    /// The token of somebody who may see all sessions.
    pub viewer: String,
    pub network: Network,
    pub echo: Mutex<Echo>,
    pub redis: Mutex<RedisServer>,
    pub database: Mutex<Database>,
    audit_variables: Vec<(&'static str, std::ffi::OsString)>,
    pub locks: Locks,
    pub clients: Cell<Vec<Arc<LoadClient>>>,
    pub recorder: Recorder,
    pub namespace: Namespace,
}

/// Locks of activities, not of data.
pub struct Locks {
    /// Held for writing while the API server is broken; for reading by activities that need it.
    pub api: RwLock<()>,
    /// The same for each program's way to the API server.
    pub paths: BTreeMap<Program, RwLock<()>>,
    /// Held for reading by users and administrators while they do something.
    pub users: RwLock<()>,
}

/// A running program.
pub enum Running {
    Gateway(Gateway),
    Controller(Controller),
    Audit(Audit),
    Console(Console),
}

impl Running {
    pub const fn process(&mut self) -> &mut Process {
        match self {
            Self::Gateway(it) => &mut it.process,
            Self::Controller(it) => &mut it.process,
            Self::Audit(it) => &mut it.process,
            Self::Console(it) => &mut it.process,
        }
    }
}

/// The programs of a run.
fn programs() -> impl Iterator<Item = Program> {
    let gateways = (0..GATEWAYS).map(Program::Gateway);
    gateways.chain((0..CONTROLLERS).map(Program::Controller)).chain([Program::Audit, Program::Console])
}

/// Starts a program as the Pod of its name, and returns once it does its work. This is the only place that starts programs.
async fn start(
    program: Program,
    namespace: &Namespace,
    network: &Network,
    database: &[(&'static str, std::ffi::OsString)],
) -> Running {
    let (pod, api) = (program.to_string(), network.api_of(program));
    let mut env = environment_for(network.redis_relay(program).address.port());
    if program == Program::Audit {
        env.extend_from_slice(database);
    }
    let setting = Setting { api: Some(&api), env, ..Setting::default() };
    match program {
        Program::Gateway(_) => {
            Running::Gateway(Gateway::start_in(namespace, &pod, &["--grace-period", "0s"], &setting).await)
        }
        Program::Controller(_) => Running::Controller(Controller::start_in(namespace, &pod, &setting).await),
        Program::Audit => Running::Audit(Audit::start_in(namespace, &pod, RETENTION, &setting).await),
        Program::Console => Running::Console(Console::start_in(namespace, &pod, &setting).await),
    }
}

impl Environment {
    pub async fn set_up(schedule: &Schedule) -> Self {
        let namespace = Namespace::on(Arc::new(ControlPlane::start().await)).await;
        let echo = Echo::start().await;
        namespace.user("alice").await;
        let sessions = json!([{"apiGroups": ["bastion.dev"], "resources": ["bastionsessions"], "verbs": ["patch"]}]);
        namespace.allow("bastion:alice", sessions).await;
        echo.add_to(&namespace, "web-1", json!({})).await;
        let redis = RedisServer::start().await;
        let database = Database::start(schedule.database, &namespace).await;
        let network = Network::of(programs(), &namespace.control_plane, redis.port, schedule.seed).await;
        let mut running = BTreeMap::new();
        for program in programs() {
            running.insert(program, start(program, &namespace, &network, &database.environment()).await);
        }
        let addresses = std::array::from_fn(|number| match &running[&Program::Gateway(number)] {
            Running::Gateway(gateway) => Cell::new(gateway.address),
            _ => panic!("a gateway is a gateway"),
        });
        let Running::Console(console) = &running[&Program::Console] else { panic!("a console is a console") };
        let locks = Locks {
            api: RwLock::default(),
            paths: programs().map(|it| (it, RwLock::default())).collect(),
            users: RwLock::default(),
        };
        Self {
            watch: namespace.watch().await,
            addresses,
            console_address: console.address,
            viewer: namespace.viewer().await,
            programs: running.into_iter().map(|(program, running)| (program, Mutex::new(running))).collect(),
            network,
            echo: Mutex::new(echo),
            redis: Mutex::new(redis),
            audit_variables: database.environment(),
            database: Mutex::new(database),
            locks,
            clients: Cell::default(),
            recorder: Recorder::begin(),
            namespace,
        }
    }

    /// Starts another process of a program.
    pub async fn start(&self, program: Program) -> Running {
        let running = start(program, &self.namespace, &self.network, &self.audit_variables).await;
        if let (Running::Gateway(gateway), Program::Gateway(number)) = (&running, program) {
            *self.addresses[number].lock().expect("no panic") = gateway.address;
        }
        running
    }

    /// Where this gateway listens at present.
    pub fn address(&self, gateway: usize) -> SocketAddr {
        *self.addresses[gateway].lock().expect("no panic")
    }

    /// Holds the users still, and waits until all agree on how many sessions there are. To be called while nothing is broken.
    pub async fn agree_at_rest(&self) -> bool {
        let _users = self.locks.users.write().await;
        let begin = Instant::now();
        loop {
            let counts = self.counts().await;
            let agree = [counts.gateways, counts.target, counts.users, counts.page] == [counts.listed; 4];
            if agree || begin.elapsed() > SETTLED_WITHIN {
                println!("{} at rest: {counts:?}", self.recorder.age());
                self.recorder.counts(counts);
                return agree;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn counts(&self) -> Counts {
        let active = ListParams::default().fields("status.phase=Active");
        let listed = self.namespace.api::<BastionSession>().list(&active).await.expect("sessions can be listed");
        let mut gateways = 0;
        for (program, running) in &self.programs {
            let mut running = running.lock().await;
            let process = running.process();
            assert!(process.is_there(), "{program} has ended by itself:\n{}", process.last_words());
            if let Running::Gateway(gateway) = &*running {
                gateways += gateway.sessions_active().await;
            }
        }
        let target = self.echo.lock().await.open();
        let page = self.recorder.on_page();
        let mut clients = self.clients.lock().expect("no panic");
        clients.retain(|client| !client.is_gone());
        Counts { at: Timestamp::now(), listed: listed.items.len(), gateways, target, users: clients.len(), page }
    }

    /// The history of the run, once the database has every session or has had time enough.
    pub async fn history(&self) -> History {
        let store = self.database.lock().await.store();
        let begin = Instant::now();
        loop {
            let rows = all_rows(&store).await.unwrap_or_default();
            let history = self.recorder.history(&self.watch.seen(), rows, CONTROLLERS);
            let is_recorded = !check(&history).iter().any(|it| it.kind == Kind::Record);
            if is_recorded || begin.elapsed() > RECORDED_WITHIN {
                return history;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Copies the logs of the programs to where they stay.
    pub fn keep_logs(&self) -> String {
        let to = std::env::temp_dir().join(format!("bastion-robustness-{}", std::process::id()));
        std::fs::create_dir_all(&to).expect("a folder");
        for file in std::fs::read_dir(&self.namespace.dir).expect("the programs' folder").flatten() {
            if file.path().extension().is_some_and(|it| it == "err") {
                std::fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
            }
        }
        to.display().to_string()
    }
}
