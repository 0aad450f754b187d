//! An API server that fails as real ones do: error answers with and without `Retry-After`, slow answers, watches that are cut off
//! or expired. A gateway's loss meanwhile is shown soon after, and a live gateway is not lost.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bastion_operator::api::{ObservedBy, Phase, Reason};
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use nix::sys::signal::Signal;
use rstest::rstest;

use bastion_e2e::{
    ApiProxy, Bastion, ControlPlane, Controller, Fault, FaultRule, Gateway, LOST_GATEWAY, Open, PROMPT_BOUND, Setting,
    Verb, default_timeout, eventually, throughout,
};

/// How soon after the API server's recovery the sessions of a dead gateway must be shown as ended, and the ends that live gateways
/// could not write.
const SHOWN_AFTER_RECOVERY: Duration = Duration::from_secs(30);

/// Two gateways and two controllers whose requests all go through a proxy. A client of each user has a session.
struct Faulty {
    proxy: ApiProxy,
    bastion: Bastion,
    /// Carries `alice`, and dies.
    dying: Gateway,
    /// Carries `bob` and `carol`, and lives on.
    live: Gateway,
    alice: Open,
    bob: Open,
    carol: Open,
    _controllers: Vec<Controller>,
}

impl Faulty {
    async fn start() -> Self {
        let proxy = ApiProxy::to(&*ControlPlane::shared().await).await;
        let bastion = Bastion::with_users(&["bob", "carol"]).await;
        let (namespace, behind) = (&bastion.namespace, Setting { api: Some(&proxy), ..Setting::default() });
        let (dying, live) = tokio::join!(
            Gateway::start_in(namespace, "gateway-1", &[], &behind),
            Gateway::start_in(namespace, "gateway-2", &[], &behind),
        );
        let controllers =
            join_all(["controller-0", "controller-1"].map(|pod| Controller::start_in(namespace, pod, &behind)));
        let controllers = controllers.await;
        let (alice, bob, carol) = tokio::join!(
            bastion.open_on(&dying, "alice", "web-1"),
            bastion.open_on(&live, "bob", "web-1"),
            bastion.open_on(&live, "carol", "web-1"),
        );
        Self { proxy, bastion, dying, live, alice, bob, carol, _controllers: controllers }
    }

    /// `bob` is online, on a gateway that was not declared lost and takes new sessions.
    async fn the_live_gateway_goes_on(&mut self) {
        self.bob.still_answers().await;
        assert_eq!(self.bastion.watch.phase(&self.bob.session), Phase::Active);
        let again = self.bastion.open_on(&self.live, "bob", "web-1").await;
        let instances = [&again, &self.bob].map(|open| open.session.spec.gateway.instance.clone());
        assert_eq!(instances[0], instances[1], "the live gateway was not given up");
    }

    /// `alice` is shown as lost, by a controller.
    async fn the_dead_gateway_is_shown(&self, within: Duration) {
        let end = self.bastion.watch.ended_within(within, &self.alice.session, Reason::GatewayLost).await;
        assert_eq!(end.session.status.expect("a status").observed_by, Some(ObservedBy::Controller));
    }

    /// The time of the last renewal of the Lease of a session's instance.
    async fn renewed(&self, open: &Open) -> String {
        let instance = &open.session.spec.gateway.instance;
        let lease = self.bastion.namespace.api::<Lease>().get(instance).await.expect("the Lease");
        assert_eq!(lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()), Some(instance));
        format!("{:?}", lease.spec.and_then(|spec| spec.renew_time))
    }
}

/// A gateway dies as the fault begins, and a session of a live one ends meanwhile. No program can write a session's end.
async fn ends_are_shown_soon_after(fault: Fault, time: Duration) {
    let mut faulty = Faulty::start().await;
    faulty.proxy.answer(fault);
    faulty.dying.process.signal(Signal::SIGKILL);
    faulty.carol.ssh.say("exit").await;
    let all_active = async || {
        let phases = [&faulty.alice, &faulty.bob, &faulty.carol].map(|open| faulty.bastion.watch.phase(&open.session));
        assert_eq!(phases, [Phase::Active; 3], "while no client can write");
    };
    throughout(time, all_active).await;
    let met = faulty.proxy.faults_met();
    assert!(met > 10, "{met} requests met the fault");
    faulty.proxy.forward();
    let recovered = Instant::now();
    faulty.bastion.watch.ended_within(SHOWN_AFTER_RECOVERY, &faulty.carol.session, Reason::UserExit).await;
    println!("{fault:?}: the end on the live gateway was shown {:.1?} after recovery", recovered.elapsed());
    faulty.the_dead_gateway_is_shown(SHOWN_AFTER_RECOVERY.saturating_sub(recovered.elapsed())).await;
    println!("{fault:?}: the dead gateway's session was shown {:.1?} after recovery", recovered.elapsed());
    faulty.the_live_gateway_goes_on().await;
}

/// The client library, left to itself, waits for up to 82 s between its retries after a minute of 503, and for as long as
/// `Retry-After` says.
#[rstest]
#[case::too_many_requests(StatusCode::TOO_MANY_REQUESTS, None, 20)]
#[case::too_many_requests_with_a_long_retry_after(StatusCode::TOO_MANY_REQUESTS, Some(60), 10)]
#[case::internal_error(StatusCode::INTERNAL_SERVER_ERROR, None, 20)]
#[case::internal_error_with_a_long_retry_after(StatusCode::INTERNAL_SERVER_ERROR, Some(60), 10)]
#[case::a_minute_of_unavailable(StatusCode::SERVICE_UNAVAILABLE, None, 60)]
#[case::unavailable_with_a_long_retry_after(StatusCode::SERVICE_UNAVAILABLE, Some(30), 10)]
#[case::gateway_timeout(StatusCode::GATEWAY_TIMEOUT, None, 20)]
#[case::gateway_timeout_with_a_long_retry_after(StatusCode::GATEWAY_TIMEOUT, Some(60), 10)]
#[tokio::test]
async fn a_dead_gateway_is_shown_soon_after_error_answers(
    #[case] status: StatusCode,
    #[case] retry_after: Option<u32>,
    #[case] seconds: u64,
) {
    ends_are_shown_soon_after(Fault::Answer { status, retry_after }, Duration::from_secs(seconds)).await;
}

/// Connections that are accepted and never answered.
#[tokio::test]
async fn a_dead_gateway_is_shown_soon_after_a_silent_api_server() {
    ends_are_shown_soon_after(Fault::Silence, Duration::from_secs(20)).await;
}

/// The API server answers, only late: the bounds hold all the while.
#[tokio::test]
async fn every_bound_holds_while_each_answer_takes_a_second() {
    let mut faulty = Faulty::start().await;
    faulty.proxy.set_faults([FaultRule::new(Fault::Latency(Duration::from_secs(1)))]);
    let mut last = faulty.renewed(&faulty.bob).await;
    for _ in 0..4 {
        last = eventually(default_timeout(), "the live gateway renews its Lease", async || {
            let now = faulty.renewed(&faulty.bob).await;
            if now == last { Err(now) } else { Ok(now) }
        })
        .await;
    }
    let mut carol = faulty.bastion.open_on(&faulty.live, "carol", "web-1").await;
    let killed = Instant::now();
    faulty.dying.process.signal(Signal::SIGKILL);
    carol.ssh.say("exit").await;
    faulty.bastion.watch.ended_within(PROMPT_BOUND, &carol.session, Reason::UserExit).await;
    faulty.the_dead_gateway_is_shown(LOST_GATEWAY.saturating_sub(killed.elapsed())).await;
    println!("through a latency of 1 s, the dead gateway's session was shown {:.1?} after the kill", killed.elapsed());
    faulty.the_live_gateway_goes_on().await;
}

/// Each event of each watch is cut off in its middle, or each watch is told that its version is gone. Reads and writes work.
#[rstest]
#[case::cut_off(Fault::CutWatch)]
#[case::expired(Fault::ExpiredWatch)]
#[tokio::test]
async fn a_dead_gateway_is_shown_soon_after_watches_that_fail(#[case] fault: Fault) {
    const TIME: Duration = Duration::from_secs(25);
    let mut faulty = Faulty::start().await;
    let before = faulty.proxy.requests();
    faulty.proxy.set_faults([FaultRule::new(fault)]);
    faulty.dying.process.signal(Signal::SIGKILL);
    faulty.carol.ssh.say("exit").await;
    faulty.bastion.watch.ended_within(PROMPT_BOUND, &faulty.carol.session, Reason::UserExit).await;
    throughout(TIME, async || assert_eq!(faulty.bastion.watch.phase(&faulty.bob.session), Phase::Active)).await;
    let (met, requests) = (faulty.proxy.faults_met(), faulty.proxy.requests() - before);
    println!("{fault:?}: {met} faults in {requests} requests of three programs in {TIME:?}");
    assert!(met > 10, "{met} watches met the fault");
    // Three programs have six watches each at most, and start one again once a second.
    assert!(requests < 30 * usize::try_from(TIME.as_secs()).expect("seconds"), "{requests} requests in {TIME:?}");
    faulty.proxy.forward();
    let recovered = Instant::now();
    faulty.the_dead_gateway_is_shown(SHOWN_AFTER_RECOVERY).await;
    println!("{fault:?}: the dead gateway's session was shown {:.1?} after recovery", recovered.elapsed());
    faulty.the_live_gateway_goes_on().await;
}

/// An object that is deleted and a session that is terminated while watches are cut off are found afterwards.
#[tokio::test]
async fn what_a_cut_watch_missed_is_found_after_it() {
    let faulty = Faulty::start().await;
    faulty.proxy.set_faults([FaultRule::new(Fault::CutWatch)]);
    let termination = serde_json::json!({"spec": {"termination": {"requestedBy": "admin"}}});
    let (namespace, bob) = (&faulty.bastion.namespace, &faulty.bob.session);
    namespace.patch_session(&namespace.admin(), &bob.name_any(), termination).await.expect("a termination");
    let met = faulty.proxy.faults_met();
    eventually(default_timeout(), "watches are cut off", async || {
        let now = faulty.proxy.faults_met();
        if now > met + 10 { Ok(()) } else { Err(format!("{now}")) }
    })
    .await;
    faulty.proxy.forward();
    faulty.bastion.watch.ended_within(SHOWN_AFTER_RECOVERY, bob, Reason::AdminTerminated).await;
}

/// Renewals fail or are lost on their way back for less than a gateway may be silent.
#[rstest]
#[case::refused(Fault::Answer { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None })]
#[case::lost_answers(Fault::LostAnswer)]
#[case::unanswered(Fault::Silence)]
#[tokio::test]
async fn a_gateway_whose_renewals_fail_for_a_while_is_not_lost(#[case] fault: Fault) {
    let mut faulty = Faulty::start().await;
    faulty.proxy.set_faults([FaultRule::new(fault).resource("leases").verbs(&[Verb::Update])]);
    throughout(Duration::from_secs(12), async || {
        let phases = [&faulty.alice, &faulty.bob].map(|open| faulty.bastion.watch.phase(&open.session));
        assert_eq!(phases, [Phase::Active; 2]);
    })
    .await;
    assert!(faulty.proxy.faults_met() > 5, "renewals met the fault");
    faulty.proxy.forward();
    throughout(Duration::from_secs(12), async || {
        let phases = [&faulty.alice, &faulty.bob].map(|open| faulty.bastion.watch.phase(&open.session));
        assert_eq!(phases, [Phase::Active; 2]);
    })
    .await;
    faulty.alice.still_answers().await;
    faulty.the_live_gateway_goes_on().await;
}

/// A third of all requests fails in one of three ways, also while the ends are written.
#[tokio::test]
async fn every_end_is_shown_while_a_third_of_the_requests_fails() {
    let mut faulty = Faulty::start().await;
    faulty.proxy.seed(18);
    let answer = |status| Fault::Answer { status, retry_after: Some(30) };
    faulty.proxy.set_faults(
        [answer(StatusCode::TOO_MANY_REQUESTS), answer(StatusCode::SERVICE_UNAVAILABLE), Fault::LostAnswer]
            .map(|fault| FaultRule::new(fault).share(0.13)),
    );
    faulty.carol.ssh.say("exit").await;
    faulty.dying.process.signal(Signal::SIGKILL);
    faulty.bastion.watch.ended_within(PROMPT_BOUND, &faulty.carol.session, Reason::UserExit).await;
    throughout(LOST_GATEWAY, async || assert_eq!(faulty.bastion.watch.phase(&faulty.bob.session), Phase::Active)).await;
    faulty.proxy.forward();
    faulty.the_dead_gateway_is_shown(SHOWN_AFTER_RECOVERY).await;
    faulty.the_live_gateway_goes_on().await;
}
