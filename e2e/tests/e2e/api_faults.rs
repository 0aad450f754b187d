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

    fn nobody_has_ended(&self) {
        let phases = [&self.alice, &self.bob, &self.carol].map(|open| self.bastion.watch.phase(&open.session));
        assert_eq!(phases, [Phase::Active; 3]);
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

/// Error answers of an overloaded or failing API server, with and without the seconds of `Retry-After`.
const ERRORS: [(StatusCode, Option<u32>); 8] = [
    (StatusCode::TOO_MANY_REQUESTS, None),
    (StatusCode::TOO_MANY_REQUESTS, Some(60)),
    (StatusCode::INTERNAL_SERVER_ERROR, None),
    (StatusCode::INTERNAL_SERVER_ERROR, Some(60)),
    (StatusCode::SERVICE_UNAVAILABLE, None),
    (StatusCode::SERVICE_UNAVAILABLE, Some(60)),
    (StatusCode::GATEWAY_TIMEOUT, None),
    (StatusCode::GATEWAY_TIMEOUT, Some(60)),
];

fn errors() -> impl DoubleEndedIterator<Item = Fault> {
    ERRORS.into_iter().map(|(status, retry_after)| Fault::Answer { status, retry_after })
}

/// A session of a live gateway ends while each kind of error is all that the API server answers.
#[tokio::test]
async fn the_ends_of_a_live_gateway_are_shown_soon_after_each_error_answer() {
    let mut faulty = Faulty::start().await;
    for fault in errors() {
        let mut carol = faulty.bastion.open_on(&faulty.live, "carol", "web-1").await;
        let met = faulty.proxy.faults_met();
        faulty.proxy.answer(fault);
        carol.ssh.say("exit").await;
        throughout(Duration::from_secs(5), async || {
            let phases = [&carol, &faulty.bob].map(|open| faulty.bastion.watch.phase(&open.session));
            assert_eq!(phases, [Phase::Active; 2], "while no client can write");
        })
        .await;
        assert!(faulty.proxy.faults_met() > met, "requests met the fault");
        faulty.proxy.forward();
        let recovered = Instant::now();
        faulty.bastion.watch.ended_within(SHOWN_AFTER_RECOVERY, &carol.session, Reason::UserExit).await;
        println!("{fault:?}: the end was shown {:.1?} after recovery", recovered.elapsed());
    }
    faulty.alice.still_answers().await;
    faulty.the_live_gateway_goes_on().await;
}

/// A gateway dies as the faults begin, and a session of a live one ends meanwhile. No program can write a session's end.
async fn ends_are_shown_soon_after(rules: Vec<FaultRule>, time: Duration) {
    let mut faulty = Faulty::start().await;
    faulty.proxy.set_faults(rules);
    faulty.proxy.disconnect();
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
    println!("the end on the live gateway was shown {:.1?} after recovery", recovered.elapsed());
    faulty.the_dead_gateway_is_shown(SHOWN_AFTER_RECOVERY.saturating_sub(recovered.elapsed())).await;
    println!("the dead gateway's session was shown {:.1?} after recovery", recovered.elapsed());
    faulty.the_live_gateway_goes_on().await;
}

/// Each request meets one of the errors.
#[tokio::test]
async fn a_dead_gateway_is_shown_soon_after_mixed_error_answers() {
    let shares = [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0].map(|left: f64| left.recip());
    let rules = errors().zip(shares).map(|(fault, share)| FaultRule::new(fault).share(share)).collect();
    ends_are_shown_soon_after(rules, Duration::from_secs(20)).await;
}

/// The longest pause between the client library's own retries is 82 s, which it reaches after a minute.
#[tokio::test]
async fn a_dead_gateway_is_shown_soon_after_a_minute_of_503() {
    let fault = Fault::Answer { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None };
    ends_are_shown_soon_after(vec![FaultRule::new(fault)], Duration::from_mins(1)).await;
}

/// A client that obeys `Retry-After` would send its next request 20 s after the overload.
#[tokio::test]
async fn a_dead_gateway_is_shown_soon_after_503_with_a_long_retry_after() {
    let fault = Fault::Answer { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: Some(30) };
    ends_are_shown_soon_after(vec![FaultRule::new(fault)], Duration::from_secs(10)).await;
}

/// Connections that are accepted and never answered.
#[tokio::test]
async fn a_dead_gateway_is_shown_soon_after_a_silent_api_server() {
    ends_are_shown_soon_after(vec![FaultRule::new(Fault::Silence)], Duration::from_secs(20)).await;
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
    // Three programs have six watches each at most, and start one again once a second, which takes a list and a watch.
    assert!(requests < 40 * usize::try_from(TIME.as_secs()).expect("seconds"), "{requests} requests in {TIME:?}");
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

/// Each renewal is refused, loses its answer or gets none, for less time than a gateway may be silent.
#[tokio::test]
async fn a_gateway_whose_renewals_fail_for_a_while_is_not_lost() {
    let mut faulty = Faulty::start().await;
    let refused = Fault::Answer { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None };
    let renewal = |fault| FaultRule::new(fault).resource("leases").verbs(&[Verb::Update]);
    faulty.proxy.set_faults([
        renewal(refused).share(0.4),
        renewal(Fault::LostAnswer).share(0.5),
        renewal(Fault::Silence),
    ]);
    throughout(Duration::from_secs(12), async || faulty.nobody_has_ended()).await;
    assert!(faulty.proxy.faults_met() > 5, "renewals met the faults");
    faulty.proxy.forward();
    throughout(Duration::from_secs(12), async || faulty.nobody_has_ended()).await;
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
