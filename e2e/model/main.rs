//! A model of the liveness protocol, which a model checker takes through every order of faults.
//!
//! # What is modelled
//! Gateways that renew a Lease by compare-and-swap and carry one session each; controllers, each with a clock, a
//! heartbeat Lease, a watch, a task that declares losses and one that sweeps; the API server with the Leases and the
//! sessions. In some models Redis as well, in which gateways show themselves, which controllers ask, and for whose word
//! they vouch in the Lease, and to which a gateway reports that its user has left; in some the gateways' Pods. A controller decides with the
//! product's own [`FailureDetector`](bastion_operator::lifecycle::FailureDetector) and
//! [`decide()`](bastion_operator::lifecycle::decide). A gateway fences itself with the product's
//! [`Fence`](bastion_operator::lifecycle::Fence). Both are called on the model's state; the budgets are the product's
//! constants. What surrounds them, requests, timeouts, retries and watches, is retold here
//! ([`gateway`], [`controller`], [`redis_heartbeats`]), so a change of that code in src/ has to be made here as well.
//!
//! The election of a leader has nothing to do with all that, and a model of its own ([`leader`]), over the product's
//! [`Election`](bastion_operator::lifecycle::Election).
//!
//! # What can go wrong, at any second and in any order ([`steps`])
//! A process crashes (a controller may be restarted), or is frozen and thaws; it is cut off and connected again; a
//! controller's watch alone stands still, and then resumes or relists; a list does not show deletions;
//! the API server is down; a message is lost, or its answer, or it is received when its sender has given up or
//! died; a clock slips by a second; a person deletes a Lease; the user leaves. Redis is cut off from any process, is
//! frozen, also between the two halves of a gateway's sign of life, the second of which it then takes late; it is
//! emptied, by a flush or a restart; its clock is set back. A Pod object is deleted though its process lives; the Pod of
//! a dead process tells of that, or is deleted, or a new process in it declares the loss of the old one, and may die
//! before it has swept. Mending, and what follows a death, costs nothing and may come at any time or never; the number
//! of faults is bounded, and within that bound every run is explored, however long.
//!
//! # What is promised ([`world::Promise`])
//! - No loss is declared of a gateway, and no session of it ended, whose renewal in the last 20 seconds stands in the
//!   API server (18 on two slipped clocks; 10, and so 8, where its Pod is gone). A Lease that was deleted is no evidence.
//! - Nor is a loss declared of a gateway that any controller which works has heard of through Redis, by a sign that it
//!   gave in the last 15 seconds (13 on slipped clocks), after which it would have ended its sessions itself.
//! - No session is ended by a report through Redis whose user is at work.
//! - No loss is declared of a gateway that nothing ailed since its last renewal but its surroundings: an API
//!   server that is down, controllers that pause, die, start or are cut off, any Redis fault.
//! - A session whose gateway is for 30 seconds dead, frozen or cut off from the API server, and from Redis where there is
//!   one, is not shown as Active if one controller was running, connected to the API server and shown news through those
//!   30 seconds, while the API server was up and answered it: one message may be lost on the way, and of two heartbeats
//!   in a row one is answered. Where the Pod is gone it is 20 seconds from then, and 8 where the Pod tells of the end of
//!   its container, if the Lease is there, which says whose Pod it is. Within 30 seconds it is also shown that a user has
//!   left whose gateway is cut off from the API server, where that gateway and the controller reach Redis.
//! - A gateway that runs, has Redis, and is cut off from both witnesses has ended its session before its loss is
//!   declared, but for one whose Pod is gone. No gateway ends its session for that reason of which a witness has heard in
//!   the last 15 seconds (13).
//! - An end is not replaced by another; a gateway that was declared lost never succeeds in renewing its Lease.
//! - No two audit programs would do at the same moment what only the leader may, even if one has just been paused; where
//!   one works for 25 seconds, and no other claims the lead, one leads.
//!
//! # What is left out
//! Time goes by in seconds, and within one controllers ask Redis first, then gateways act, then controllers, and last a
//! gateway looks whether it is cut off, which is the worst order: any other is the same fault a second earlier or later.
//! A look of a controller at its suspects is every second instead of every half, a sweep takes one second and has one
//! session a gateway. A gateway that has learnt of its loss is not followed into its next life. Redis's answers come at
//! once or not at all, and the two halves of a sign are apart only when Redis is frozen between them. That its clock is
//! set back before a controller, cut off from it for long, hears the last sign of a dead gateway takes three faults that
//! no model here has: that controller would take the sign for younger by as much, once. Orders, hot state, audit and
//! retention have no part in it, nor has a leader's request that was under way when its reign ended.

mod bastion;
mod controller;
mod gateway;
mod leader;
mod objects;
mod redis;
mod redis_heartbeats;
mod rules;
mod steps;
mod world;

use std::time::Instant;

use rstest::rstest;
use stateright::{Checker, HasDiscoveries, Model};

use bastion::{Bastion, format_path, format_steps, name_of, name_of_example};
use leader::Campaign;
use rules::Rules;
use steps::Scope;
use world::{Example, Promise};

/// Checks a model completely, or until a promise is broken, and says how large it was.
fn check(what: &str, model: Bastion) -> impl Checker<Bastion> {
    let begun = Instant::now();
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{what}: {} states, {} generated, depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64(),
    );
    for promise in Promise::ALL {
        if let Some(path) = checker.discovery(name_of(promise)) {
            println!("  broken: {}\n{}", name_of(promise), format_path(&path));
        }
    }
    checker
}

/// Checks a model whose promises hold, and which comes across these examples.
fn holds(what: &str, model: Bastion, examples: &[Example]) {
    let checker = check(what, model);
    for promise in Promise::ALL {
        checker.assert_no_discovery(name_of(promise));
    }
    for example in examples {
        checker.assert_any_discovery(name_of_example(*example));
    }
}

const WITHOUT_REDIS: [Example; 8] = [
    Example::LossDeclared,
    Example::SecondFinishesSweep,
    Example::SilenceForgiven,
    Example::SuspectShowsItself,
    Example::LossLearnt,
    Example::LateEndRefused,
    Example::LandsAfterDeath,
    Example::LeaseRecreated,
];

/// The promises hold.
#[rstest]
#[case::two_faults_of_any_kind(Bastion::default(), &WITHOUT_REDIS)]
#[case::two_gateways(Bastion { gateways: 2, controllers: 1, scope: TWO_GATEWAYS, ..Bastion::default() }, &[])]
fn the_promises_hold(#[case] model: Bastion, #[case] examples: &[Example]) {
    let what = format!("{} gateway(s), {} controller(s), {} faults", model.gateways, model.controllers, model.faults);
    holds(&what, model, examples);
}

/// Of two gateways each is judged by itself, whatever befalls the controller.
const TWO_GATEWAYS: Scope = Scope { watches: true, messages: true, ..CONTROLLERS };

/// A gateway goes, and two faults more befall the only controller, or the Lease.
#[test]
fn the_promises_hold_with_a_third_fault() {
    let scope = Scope { controllers: true, people: true, ..Scope::NONE };
    let model = Bastion { controllers: 1, faults: 3, gateway_first: true, scope, ..Bastion::default() };
    holds("a gateway is gone, and two faults more", model, &[]);
}

/// Two messages are lost as well, one of them each controller's, and the other one finishes the work.
#[test]
fn the_promises_hold_with_two_messages_lost() {
    let scope = Scope { messages: true, ..Scope::NONE };
    let model = Bastion { faults: 3, gateway_first: true, scope, ..Bastion::default() };
    holds("a gateway is gone, and two messages of two controllers are lost", model, &[]);
}

/// With Redis as the second witness.
#[rstest]
#[case::one_controller(Bastion { controllers: 1, ..with_redis() }, &[Example::OnlyRedisHears, Example::FenceFalls])]
#[case::two_controllers(with_redis(), &[Example::VouchedFor])]
#[case::late_vouchers(
    Bastion { controllers: 1, faults: 3, gateway_first: true, scope: VOUCHERS, ..with_redis() },
    &[Example::VouchedFor]
)]
#[case::reported_ends(
    Bastion { controllers: 1, scope: REPORTS, ..with_redis() },
    &[Example::EndReported]
)]
#[case::three_cuts(Bastion { faults: 3, gateway_first: true, scope: CUTS, ..with_redis() }, &[Example::FenceFalls])]
fn the_promises_hold_with_redis(#[case] model: Bastion, #[case] examples: &[Example]) {
    holds(&format!("with Redis, {} controller(s), {} faults", model.controllers, model.faults), model, examples);
}

/// With Pods, which report a death, and may be gone though no process died.
#[rstest]
#[case::one_controller(
    Bastion { controllers: 1, scope: Scope { messages: true, people: true, ..PODS }, ..with_pods() },
    &[]
)]
#[case::two_controllers(with_pods(), &[Example::SuccessorSweeps])]
#[case::and_redis(
    Bastion { redis: true, controllers: 1, gateway_first: true, scope: CUTS_AND_PODS, ..with_pods() },
    &[]
)]
fn the_promises_hold_with_pods(#[case] model: Bastion, #[case] examples: &[Example]) {
    holds(&format!("with Pods, {} controller(s), {} faults", model.controllers, model.faults), model, examples);
}

const PODS: Scope = Scope { pods: true, ..Scope::GATEWAYS };

fn with_pods() -> Bastion {
    Bastion { pods: true, scope: PODS, ..Bastion::default() }
}

const VOUCHERS: Scope = Scope { vouchers: true, ..Scope::GATEWAYS };
const REPORTS: Scope = Scope { gateways: true, people: true, redis_links: true, ..Scope::NONE };
const CUTS_AND_PODS: Scope = Scope { pods: true, ..CUTS };
const CUTS: Scope = Scope { redis_links: true, vouchers: true, ..Scope::NONE };

fn with_redis() -> Bastion {
    let scope = Scope { gateways: true, redis_links: true, redis: true, redis_data: true, ..Scope::NONE };
    Bastion { redis: true, scope, ..Bastion::default() }
}

/// One rule is broken, and the checker finds out. What may go wrong is what its shortest story takes, and
/// a little more.
#[rstest]
#[case::a_controller_trusts_itself(2, OUTAGES, |rules: &mut Rules| rules.controllers_doubt_themselves = false, Promise::Healthy)]
#[case::a_loss_is_a_blind_patch(1, MESSAGES, |rules: &mut Rules| rules.losses_are_swapped = false, Promise::RenewedInTime)]
#[case::only_the_winner_sweeps(2, CONTROLLERS, |rules: &mut Rules| rules.others_sweep_too = false, Promise::ShownInTime)]
#[case::phases_do_not_absorb(1, PEOPLE, |rules: &mut Rules| rules.phases_absorb = false, Promise::FinalPhase)]
#[case::a_wait_is_a_pause(1, MESSAGES, |rules: &mut Rules| rules.waiting_is_no_pause = false, Promise::ShownInTime)]
#[case::a_heartbeat_is_lost_for_ever(1, MESSAGES, |rules: &mut Rules| rules.heartbeats_are_adopted = false, Promise::ShownInTime)]
#[case::a_heartbeat_is_awaited_for_long(1, MESSAGES, |rules: &mut Rules| rules.heartbeat_timeout = 10, Promise::ShownInTime)]
#[case::an_end_is_awaited_for_long(1, MESSAGES, |rules: &mut Rules| rules.end_timeout = 10, Promise::ShownInTime)]
#[case::a_silence_is_forgotten(1, PEOPLE, |rules: &mut Rules| rules.silences_are_remembered = false, Promise::KnowsItsLoss)]
fn a_broken_rule_is_caught(
    #[case] controllers: usize,
    #[case] scope: Scope,
    #[case] broken: fn(&mut Rules),
    #[case] promise: Promise,
) {
    let mut rules = Rules::of_the_product();
    broken(&mut rules);
    let checker = check("a broken rule", Bastion { controllers, scope, rules, ..Bastion::default() });
    checker.assert_any_discovery(name_of(promise));
}

const CONTROLLERS: Scope = Scope { controllers: true, ..Scope::GATEWAYS };
const OUTAGES: Scope = Scope { watches: true, api: true, ..Scope::NONE };
const MESSAGES: Scope = Scope { messages: true, ..Scope::GATEWAYS };
const PEOPLE: Scope = Scope { people: true, ..Scope::GATEWAYS };

/// One rule about Redis is broken, and the checker finds out.
#[rstest]
#[case::redis_frozen_makes_the_dead_look_young(
    |rules: &mut Rules| rules.stamps_tell_when_they_were_asked_for = false,
    Promise::ShownInTime
)]
#[case::a_clock_set_back_makes_the_dead_look_alive(
    |rules: &mut Rules| rules.only_later_stamps_count = false,
    Promise::ShownInTime
)]
#[case::what_redis_says_is_kept_to_oneself(|rules: &mut Rules| rules.controllers_vouch = false, Promise::RenewedInTime)]
#[case::a_gateway_cut_off_waits_for_long(|rules: &mut Rules| rules.fence_falls_later = 10, Promise::FencedInTime)]
fn a_broken_rule_about_redis_is_caught(#[case] broken: fn(&mut Rules), #[case] promise: Promise) {
    let mut rules = Rules::of_the_product();
    broken(&mut rules);
    check("a broken rule about Redis", Bastion { rules, ..with_redis() }).assert_any_discovery(name_of(promise));
}

/// A Pod that is gone is taken for a proof of death.
#[test]
fn a_missing_pod_that_proves_a_death_is_caught() {
    let rules = Rules { gone_pods_prove_nothing: false, ..Rules::of_the_product() };
    let checker = check("a missing Pod proves a death", Bastion { controllers: 1, rules, ..with_pods() });
    checker.assert_any_discovery(name_of(Promise::RenewedInTime));
}

/// This one takes three faults: the gateway goes, and its Lease is deleted while the controller's watch stands still.
#[test]
fn a_missing_lease_that_is_suspected_for_ever_is_caught() {
    let rules = Rules { lists_tell_what_is_gone: false, ..Rules::of_the_product() };
    let scope = Scope { watches: true, people: true, ..Scope::NONE };
    let model = Bastion { controllers: 1, faults: 3, gateway_first: true, scope, rules, ..Bastion::default() };
    check("a missing Lease suspected for ever", model).assert_any_discovery(name_of(Promise::ShownInTime));
}

/// Checks the election, and says how large it was and what was found.
fn check_election(what: &str, faults: u8, rules: leader::Rules) -> impl Checker<Campaign> {
    let model = Campaign { faults, rules };
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("{what}: {} states, {} generated", checker.unique_state_count(), checker.state_count());
    for name in [leader::ONE_LEADS, leader::ANOTHER_LEADS] {
        if let Some(path) = checker.discovery(name) {
            let steps = format_steps(path.into_actions(), leader::Step::takes_a_second, leader::Step::is_only_time);
            println!("  broken: {name}\n{steps}");
        }
    }
    checker
}

#[test]
fn one_controller_leads() {
    let checker = check_election("the election", 2, leader::Rules::of_the_product());
    checker.assert_no_discovery(leader::ONE_LEADS);
    checker.assert_no_discovery(leader::ANOTHER_LEADS);
    checker.assert_any_discovery(leader::CHANGES_HANDS);
}

#[rstest]
#[case::a_leader_believes_what_it_was_told(|rules: &mut leader::Rules| rules.checks_term = false)]
#[case::a_term_is_measured_by_the_time_of_day(|rules: &mut leader::Rules| rules.clock_is_monotonic = false)]
#[case::a_leader_steps_down_too_late(|rules: &mut leader::Rules| rules.leads_longer = 5)]
fn two_leaders_are_caught(#[case] broken: fn(&mut leader::Rules)) {
    let mut rules = leader::Rules::of_the_product();
    broken(&mut rules);
    check_election("a broken election", 2, rules).assert_any_discovery(leader::ONE_LEADS);
}
