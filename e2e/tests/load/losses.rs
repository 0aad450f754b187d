//! Gateways and controllers that are killed under load.

use std::time::Instant;

use bastion_operator::api::{ObservedBy, Reason};
use nix::sys::signal::Signal;

use crate::environment::Environment;
use bastion_e2e::{ApiRequests, Controller, LOST_GATEWAY, eventually, histories, weight};

/// One after the other on one bastion: a gateway killed, a gateway and a controller killed at once, and
/// the sweeping controller killed in the middle of its sweep.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_of_a_killed_gateway_end_in_time_and_no_others() {
    let _held = weight::take(2).await;
    let mut environment = Environment::with_gateways(2).await;
    let opening = Instant::now();
    let bystanders = environment.open(1, 100).await;
    let lost = environment.open(0, 1000).await;
    println!("1,100 sessions opened in {:.1?}", opening.elapsed());

    let before = ApiRequests::count(&environment.namespace.control_plane).await;
    environment.kill_gateway(0, lost.len()).await;
    environment.go_on(&bystanders).await;
    let requests = ApiRequests::count(&environment.namespace.control_plane).await.since(&before);
    println!("API writes from the kill to the last end:\n{requests}");
    assert_eq!(requests.done("PATCH", "bastionsessions", "status"), 1000, "one write an end:\n{requests}");
    drop(lost);

    environment.a_gateway_and_a_controller(bystanders.len()).await;
    environment.the_sweeping_controller().await;
}

impl Environment {
    /// Kills a gateway; all of its sessions are shown as lost in time.
    async fn kill_gateway(&self, gateway: usize, sessions: usize) {
        let killed = Instant::now();
        self.gateways[gateway].process.signal(Signal::SIGKILL);
        self.lost_in_time(gateway, sessions, killed).await;
    }

    async fn lost_in_time(&self, gateway: usize, sessions: usize, killed: Instant) {
        self.ended(LOST_GATEWAY.saturating_sub(killed.elapsed()), gateway, sessions).await;
        let pod = self.gateways[gateway].pod.as_str();
        let seen = self.watch.seen();
        let mut took = Vec::new();
        for history in histories(&seen).values().filter(|it| it.session().spec.gateway.name == pod) {
            let end = history.end().expect("it has ended");
            let status = history.session().status.clone().expect("a status");
            let lost = (Some(Reason::GatewayLost.as_str()), Some(ObservedBy::Controller));
            assert_eq!((end.reason.as_deref(), status.observed_by), lost, "of {}", history.name);
            took.push(end.at.saturating_duration_since(killed));
        }
        took.sort();
        assert_eq!(took.len(), sessions);
        println!(
            "{sessions} sessions of {pod}: the first was shown as ended {:.1?} after the kill, the last {:.1?}",
            took[0],
            took[sessions - 1]
        );
    }

    async fn a_gateway_and_a_controller(&mut self, sessions: usize) {
        self.add_gateway().await;
        let bystanders = self.open(2, 20).await;
        let killed = Instant::now();
        self.controllers[0].process.signal(Signal::SIGKILL);
        self.gateways[1].process.signal(Signal::SIGKILL);
        self.lost_in_time(1, sessions, killed).await;
        self.go_on(&bystanders).await;
    }

    /// With the controller that is left, and a new one, of which one sweeps.
    async fn the_sweeping_controller(&mut self) {
        self.add_controller().await;
        self.add_gateway().await;
        let lost = self.open(3, 400).await;
        let before: Vec<usize> = self.controllers.iter().map(ends_written).collect();
        let killed = Instant::now();
        self.gateways[3].process.signal(Signal::SIGKILL);
        let sweeper = eventually(LOST_GATEWAY, "a controller sweeps", async || {
            let written: Vec<usize> = self.controllers.iter().map(ends_written).collect();
            let begun = written.iter().zip(&before).position(|(now, before)| now > before);
            begun.ok_or_else(|| format!("{written:?} ends written"))
        })
        .await;
        self.controllers[sweeper].process.signal(Signal::SIGKILL);
        let written = ends_written(&self.controllers[sweeper]) - before[sweeper];
        assert!(written < lost.len(), "controller-{sweeper} had written all ends before it was killed");
        self.lost_in_time(3, lost.len(), killed).await;
        println!("controller-{sweeper} had written {written} of these ends when it was killed");
    }
}

fn ends_written(controller: &Controller) -> usize {
    controller.process.stderr().matches("\"session ended\"").count()
}
