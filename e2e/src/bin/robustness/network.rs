//! The network between the programs and their witnesses: each program reaches the API server and Redis through relays of its
//! own, and all of them reach the API server through one proxy.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::http::StatusCode;
use bastion_e2e::namespace::ApiRoute;
use bastion_e2e::robustness::{ApiFault, Program};
use bastion_e2e::{ApiProxy, ControlPlane, Fault, FaultRule, Relay, Verb};

/// All paths, and the proxy before the API server.
pub struct Network {
    proxy: ApiProxy,
    paths: BTreeMap<Program, Path>,
}

/// One program's ways out.
struct Path {
    api: Relay,
    redis: Relay,
}

/// A program's way to the API server, through its relay and the proxy.
pub struct ApiPath<'a> {
    relay: &'a Relay,
    proxy: &'a ApiProxy,
}

impl ApiRoute for ApiPath<'_> {
    fn address(&self) -> SocketAddr {
        self.relay.address
    }

    fn certificate(&self) -> Option<&str> {
        self.proxy.certificate()
    }
}

impl Network {
    pub async fn of(
        programs: impl IntoIterator<Item = Program>,
        control_plane: &ControlPlane,
        redis: u16,
        seed: u64,
    ) -> Self {
        let proxy = ApiProxy::to(control_plane).await;
        proxy.seed(seed);
        let mut paths = BTreeMap::new();
        for program in programs {
            let redis = Relay::to((Ipv4Addr::LOCALHOST, redis).into()).await;
            paths.insert(program, Path { api: Relay::to(proxy.address()).await, redis });
        }
        Self { proxy, paths }
    }

    pub fn api_of(&self, program: Program) -> ApiPath<'_> {
        ApiPath { relay: self.api_relay(program), proxy: &self.proxy }
    }

    pub fn api_relay(&self, program: Program) -> &Relay {
        &self.paths[&program].api
    }

    pub fn redis_relay(&self, program: Program) -> &Relay {
        &self.paths[&program].redis
    }

    /// Lets all programs meet this fault from now on, also on connections that are open.
    pub fn break_api(&self, fault: ApiFault) {
        self.proxy.set_faults([rule(fault)]);
        if fault.is_outage() {
            self.proxy.disconnect();
        }
    }

    pub fn repair_api(&self) {
        self.proxy.forward();
        self.proxy.disconnect();
    }
}

fn rule(fault: ApiFault) -> FaultRule {
    let share = |percent: u8| f64::from(percent) / 100.0;
    match fault {
        ApiFault::Answers { status, retry_after, share: percent } => {
            let status = StatusCode::from_u16(status).expect("a status");
            FaultRule::new(Fault::Answer { status, retry_after }).share(share(percent))
        }
        ApiFault::Slow { milliseconds } => FaultRule::new(Fault::Latency(Duration::from_millis(milliseconds.into()))),
        ApiFault::LosesAnswers { share: percent } => FaultRule::new(Fault::LostAnswer).share(share(percent)),
        ApiFault::Silent => FaultRule::new(Fault::Silence),
        ApiFault::CutsWatches { share: percent } => FaultRule::new(Fault::CutWatch).share(share(percent)),
        ApiFault::ExpiresWatches { share: percent } => {
            FaultRule::new(Fault::ExpiredWatch).verbs(&[Verb::Watch]).share(share(percent))
        }
    }
}
