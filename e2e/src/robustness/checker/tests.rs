use bastion_operator::api::Reason::{
    AdminTerminated, ApiClosed, ClientDisconnected, GatewayLost, GatewayShutdown, NetworkLost, Stale, TargetClosed,
    UserExit,
};
use bastion_operator::audit::SessionRecord;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::robustness::faults::Fault::{
    Api, ApiStopped, CutFromApi, CutFromRedis, DatabaseAway, Frozen, Killed, MachineStalled, RedisFlushed, RedisFrozen,
    RedisKilled, Stopped, TargetKilled,
};
use crate::robustness::faults::Program::{Controller, Gateway};
use crate::robustness::faults::{ApiFault, Fault, FaultRecord};
use crate::robustness::history::Action::{ClientKilled, ClosedByItsUser, Exited, NotOpened, TargetHungUp, Terminated};
use crate::robustness::history::{Answer, FeedChange};
use crate::robustness::report::shortest_history;
use crate::robustness::samples::{END, at, ended, record};

const UNAVAILABLE: Fault = Api(ApiFault::Answers { status: 503, retry_after: Some(30), share: 100 });
const SLOW: Fault = Api(ApiFault::Slow { milliseconds: 900 });

/// A session, and its end at this second.
fn session_ends(second: i64, reason: bastion_operator::api::Reason) -> History {
    History::session().ends(second, reason)
}

fn empty() -> FeedChange {
    FeedChange::Shows([].into())
}

fn shows_it() -> FeedChange {
    FeedChange::Shows(["s".to_owned()].into())
}

#[rstest]
#[case::nothing_happens(History::calm())]
#[case::goes_on(History::session())]
#[case::exits(session_ends(61, UserExit).does(60, Exited))]
#[case::client_killed(session_ends(61, ClientDisconnected).does(60, ClientKilled))]
#[case::target_hangs_up(session_ends(61, TargetClosed).does(60, TargetHungUp))]
#[case::not_opened(session_ends(61, ClientDisconnected).does(60, NotOpened))]
#[case::terminated(session_ends(61, AdminTerminated).does(60, Terminated))]
#[case::closed(session_ends(61, ApiClosed).does(60, ClosedByItsUser))]
#[case::target_killed(session_ends(61, TargetClosed).breaks(60, 62, TargetKilled))]
#[case::gateway_stopped(session_ends(61, GatewayShutdown).breaks(60, 64, Stopped(Gateway(0))))]
#[case::gateway_killed(session_ends(90, GatewayLost).breaks(60, 95, Killed(Gateway(0))))]
#[case::gateway_back_at_once(session_ends(62, GatewayLost).breaks(60, 61, Killed(Gateway(0))))]
#[case::one_controller_is_enough(session_ends(90, GatewayLost).breaks(60, 95, Killed(Gateway(0))).breaks(50, 99, Frozen(Controller(0))))]
#[case::no_controller_at_first(session_ends(119, GatewayLost).breaks(60, 130, Killed(Gateway(0)))
    .breaks(50, 90, Killed(Controller(0))).breaks(50, 99, Frozen(Controller(1))))]
#[case::no_api_server_at_first(session_ends(104, GatewayLost).breaks(60, 130, Killed(Gateway(0))).breaks(59, 75, ApiStopped))]
#[case::frozen_and_lost(session_ends(82, GatewayLost).breaks(60, 85, Frozen(Gateway(0))))]
#[case::frozen_and_back(session_ends(111, UserExit).breaks(60, 72, Frozen(Gateway(0))).does(110, Exited))]
#[case::cut_off_and_lost(session_ends(82, GatewayLost).breaks(60, 95, CutFromApi(Gateway(0))).breaks(60, 95, CutFromRedis(Gateway(0))))]
#[case::cut_off_while_redis_is_away(session_ends(82, GatewayLost).breaks(60, 95, CutFromApi(Gateway(0))).breaks(58, 95, RedisKilled))]
#[case::unheard_while_no_controller_hears_redis(session_ends(82, GatewayLost).breaks(60, 95, CutFromApi(Gateway(0)))
    .breaks(50, 99, CutFromRedis(Controller(0))).breaks(50, 99, CutFromRedis(Controller(1))))]
#[case::heard_through_redis(History::session().breaks(60, 120, CutFromApi(Gateway(0))))]
#[case::end_left_with_redis(session_ends(88, UserExit).breaks(60, 120, CutFromApi(Gateway(0))).does(65, Exited))]
#[case::end_kept_until_the_path_is_back(session_ends(88, UserExit).breaks(60, 80, CutFromApi(Gateway(0))).does(65, Exited))]
#[case::unavailable_then_in_time(session_ends(99, UserExit).breaks(60, 70, UNAVAILABLE).does(65, Exited))]
#[case::slow_then_in_time(session_ends(99, UserExit).breaks(60, 70, SLOW).does(65, Exited))]
#[case::typed_while_frozen_and_cut_off(session_ends(151, UserExit).breaks(60, 70, Frozen(Gateway(0)))
    .breaks(61, 150, CutFromApi(Gateway(0))).does(65, Exited))]
#[case::termination_by_a_controller(session_ends(85, AdminTerminated).breaks(60, 90, Frozen(Gateway(0))).does(62, Terminated))]
#[case::faults_of_other_gateways(History::session().breaks(60, 120, Killed(Gateway(1))).breaks(60, 120, RedisFlushed))]
#[case::lost_while_the_machine_stalls(session_ends(82, GatewayLost).breaks(60, 76, MachineStalled))]
#[case::exits_while_the_machine_stalls(session_ends(99, UserExit).breaks(60, 70, MachineStalled).does(65, Exited))]
#[case::create_without_an_answer(History::calm().shows(31, ended(Stale)).breaks(19, 30, ApiStopped))]
#[case::the_database_is_away(session_ends(61, UserExit).does(60, Exited).breaks(50, 90, DatabaseAway))]
#[case::page_is_not_live(History::session().page(50, FeedChange::Live(false)).page(51, empty()).page(90, shows_it())
    .page(91, FeedChange::Live(true)))]
#[case::unanswered_while_frozen(History::session().types(61, 91, Answer::Silent).breaks(60, 72, Frozen(Gateway(0))))]
fn a_history_that_keeps_the_guarantee_has_no_violation(#[case] history: History) {
    assert_eq!(check(&history), []);
}

#[rstest]
#[case::two_ends(Kind::EndedTwice, session_ends(61, UserExit).does(60, Exited).ends(62, GatewayLost))]
#[case::another_message(Kind::EndedTwice, session_ends(61, UserExit).does(60, Exited)
    .shows(62, SessionRecord { message: Some("another".into()), ..ended(UserExit) }))]
#[case::active_again(Kind::EndedTwice, session_ends(61, UserExit).does(60, Exited).shows(62, record()).page(63, empty()))]
#[case::no_cause(Kind::Unexplained, session_ends(61, UserExit))]
#[case::another_cause(Kind::Unexplained, session_ends(61, NetworkLost).does(60, Exited))]
#[case::a_later_cause(Kind::Unexplained, session_ends(61, UserExit).does(62, Exited))]
#[case::lost_while_nothing_is_broken(Kind::Unexplained, session_ends(61, GatewayLost))]
#[case::lost_while_another_is_frozen(Kind::Unexplained, session_ends(82, GatewayLost).breaks(60, 90, Frozen(Gateway(1))))]
#[case::lost_after_a_short_freeze(Kind::Unexplained, session_ends(75, GatewayLost).breaks(60, 72, Frozen(Gateway(0))))]
#[case::lost_while_the_api_is_away(Kind::Unexplained, session_ends(101, GatewayLost).breaks(60, 100, ApiStopped))]
#[case::lost_while_redis_hears_it(Kind::Unexplained, session_ends(82, GatewayLost).breaks(60, 120, CutFromApi(Gateway(0))))]
#[case::lost_while_the_api_hears_it(Kind::Unexplained, session_ends(82, GatewayLost).breaks(60, 120, RedisFrozen))]
#[case::lost_while_all_controllers_are_frozen(Kind::Unexplained, session_ends(101, GatewayLost)
    .breaks(60, 100, Frozen(Controller(0))).breaks(60, 100, Frozen(Controller(1))))]
#[case::lost_while_slow(Kind::Unexplained, session_ends(82, GatewayLost).breaks(60, 100, SLOW))]
#[case::lost_by_an_older_death(Kind::Unexplained, session_ends(61, GatewayLost).breaks(5, 15, Killed(Gateway(0))))]
#[case::stale_though_it_was_used(Kind::Unexplained, session_ends(31, Stale).breaks(19, 30, ApiStopped))]
#[case::stale_without_a_fault(Kind::Unexplained, History::calm().shows(31, ended(Stale)))]
#[case::lost_after_a_short_stall(Kind::Unexplained, session_ends(82, GatewayLost).breaks(60, 66, MachineStalled))]
#[case::late_after_a_stall(Kind::Late, session_ends(101, UserExit).breaks(60, 70, MachineStalled).does(65, Exited))]
#[case::exit_not_at_once(Kind::Late, session_ends(69, UserExit).does(60, Exited))]
#[case::exit_never_shown(Kind::Late, History::session().does(60, Exited))]
#[case::late_after_unavailable(Kind::Late, session_ends(101, UserExit).breaks(60, 70, UNAVAILABLE).does(65, Exited))]
#[case::late_after_the_path_is_back(Kind::Late, session_ends(111, UserExit).breaks(60, 80, CutFromApi(Gateway(0)))
    .breaks(60, 80, RedisFrozen).does(65, Exited))]
#[case::not_left_with_redis(Kind::Late, session_ends(121, UserExit).breaks(60, 120, CutFromApi(Gateway(0))).does(65, Exited))]
#[case::killed_and_late(Kind::Late, session_ends(91, GatewayLost).breaks(60, 130, Killed(Gateway(0))))]
#[case::killed_and_never_lost(Kind::Late, History::session().breaks(60, 130, Killed(Gateway(0))))]
#[case::frozen_and_never_lost(Kind::Late, History::session().breaks(60, 95, Frozen(Gateway(0))))]
#[case::late_after_a_controller_is_back(Kind::Late, session_ends(121, GatewayLost).breaks(60, 130, Killed(Gateway(0)))
    .breaks(50, 90, Killed(Controller(0))).breaks(50, 99, Frozen(Controller(1))))]
#[case::a_dead_database_is_no_excuse(Kind::Late, session_ends(91, GatewayLost).breaks(60, 130, Killed(Gateway(0))).breaks(59, 90, DatabaseAway))]
#[case::a_dead_redis_is_no_excuse(Kind::Late, session_ends(91, GatewayLost).breaks(60, 130, Killed(Gateway(0))).breaks(59, 90, RedisFrozen))]
#[case::termination_never_seen(Kind::Late, session_ends(100, AdminTerminated).breaks(60, 100, Frozen(Gateway(0))).does(62, Terminated))]
#[case::types_after_its_end(Kind::AliveAfterEnd, session_ends(61, UserExit).does(60, Exited).types(63, 67, Answer::Echoed))]
#[case::unanswered(Kind::Unanswered, History::session().types(60, 90, Answer::Silent))]
#[case::still_connected(Kind::StillConnected, session_ends(61, UserExit).does(60, Exited).types(60, 150, Answer::StillConnected))]
fn each_violation_is_found_and_no_other(#[case] kind: Kind, #[case] history: History) {
    assert_eq!(kinds(&history), [kind], "{:#?}", check(&history));
}

fn kinds(history: &History) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = check(history).into_iter().map(|it| it.kind).collect();
    kinds.dedup();
    kinds
}

/// A session that ended well, and what the database has of it.
#[rstest]
#[case::none(&[])]
#[case::twice(&[ended(UserExit), SessionRecord { session_id: "other".into(), ..ended(UserExit) }])]
#[case::still_active(&[record()])]
#[case::another_reason(&[ended(GatewayLost)])]
#[case::another_end_time(&[SessionRecord { end_time: Some(0), ..ended(UserExit) }])]
#[case::another_target(&[SessionRecord { target: "web-2".into(), ..ended(UserExit) }])]
#[case::one_of_nobody(&[ended(UserExit), SessionRecord { name: "nobody".into(), ..ended(UserExit) }])]
fn each_record_is_there_once_and_equal_to_its_object(#[case] rows: &[SessionRecord]) {
    let history = History { rows: rows.to_vec(), ..session_ends(61, UserExit).does(60, Exited) };
    assert_eq!(kinds(&history), [Kind::Record]);
}

#[rstest]
#[case::shows_what_ended(session_ends(61, UserExit).does(60, Exited).page(62, shows_it()).page(78, empty()))]
#[case::shows_it_for_ever(session_ends(61, UserExit).does(60, Exited).page(62, shows_it()))]
#[case::misses_a_session(History::session().page(50, empty()).page(66, shows_it()))]
fn a_live_page_shows_what_is_listed(#[case] history: History) {
    assert_eq!(kinds(&history), [Kind::Feed]);
}

#[rstest]
#[case([3, 3, 3, 3, 3], true)]
#[case([4, 3, 3, 3, 3], false)]
#[case([3, 4, 3, 3, 3], false)]
#[case([3, 3, 4, 3, 3], false)]
#[case([3, 3, 3, 4, 3], false)]
#[case([3, 3, 3, 3, 4], false)]
fn at_rest_everybody_counts_the_same_sessions(#[case] counts: [usize; 5], #[case] agree: bool) {
    let [listed, gateways, target, users, page] = counts;
    let counts = vec![Counts { at: at(90), listed, gateways, target, users, page }];
    let expected: &[Kind] = if agree { &[] } else { &[Kind::Count] };
    assert_eq!(kinds(&History { counts, ..History::calm() }), expected);
}

#[test]
fn a_client_has_one_session() {
    let second = SessionRecord { name: "t".into(), ..record() };
    let both = FeedChange::Shows(["s".to_owned(), "t".to_owned()].into());
    assert_eq!(kinds(&History::session().shows(25, second).page(25, both)), [Kind::TwoSessions]);
}

#[test]
fn a_session_may_end_and_be_deleted_while_the_watch_is_blind() {
    let unseen = |api: bool| {
        let history = History::session().does(60, Exited);
        let history = if api { history.breaks(55, 75, ApiStopped) } else { history };
        let history = History { rows: vec![ended(UserExit)], ..history };
        kinds(&history.page(77, empty()))
    };
    assert_eq!(unseen(true), []);
    assert_eq!(unseen(false), [Kind::Late, Kind::Feed]);
}

#[test]
fn a_session_may_come_and_go_while_the_watch_is_blind() {
    let unknown = |started: i64| {
        let times = (at(started).as_microsecond(), Some(at(started + 1).as_microsecond()));
        let row = SessionRecord { start_time: times.0, end_time: times.1, ..ended(UserExit) };
        kinds(&History { rows: vec![row], ..History::calm().breaks(60, 70, ApiStopped) })
    };
    assert_eq!(unknown(72), []);
    assert_eq!(unknown(90), [Kind::Record]);
}

#[test]
fn the_report_has_the_session_and_the_faults_that_overlapped_alone() {
    let history = session_ends(121, UserExit)
        .breaks(5, 12, TargetKilled)
        .breaks(60, 120, CutFromApi(Gateway(0)))
        .breaks(61, 125, Frozen(Gateway(1)))
        .breaks(200, 210, ApiStopped)
        .does(65, Exited);
    let violations = check(&history);
    let report = shortest_history(&history, &violations[0]);
    let expected = "Late: session s: its end was shown 26.0 s late: its gateway could leave its end with Redis for 30 s
  [   20.0 s] shown as active - on gateway-0-a
  [   20.0 s] the page shows it
  [   22.0 s] the last line was echoed
  [   60.0 s] FAULT gateway-0 is cut off from the API server, for 60.0 s until [  120.0 s]
  [   65.0 s] the user typed exit
  [  121.0 s] shown as closed UserExit on gateway-0-a, endTime [   21.0 s]
  [  121.0 s] the page no longer shows it
";
    assert_eq!(report.trim(), expected.trim());
}

/// Faults that can only delay what others see, and that put no session at an end.
fn excuses() -> impl Strategy<Value = Vec<FaultRecord>> {
    let fault = prop::sample::select(vec![
        ApiStopped,
        UNAVAILABLE,
        SLOW,
        Api(ApiFault::Silent),
        Api(ApiFault::CutsWatches { share: 30 }),
        Frozen(Controller(0)),
        Killed(Controller(1)),
        CutFromApi(Controller(0)),
        DatabaseAway,
        MachineStalled,
    ]);
    let record = (fault, 0..END, 1_i64..60);
    let record = record.prop_map(|(fault, from, lasts)| FaultRecord { fault, from: at(from), to: at(from + lasts) });
    prop::collection::vec(record, 0..6)
}

proptest! {
    /// Whatever else is broken, an end that is shown at once, and for its reason, keeps the guarantee.
    #[test]
    fn an_end_that_is_shown_at_once_is_never_late(faults in excuses(), action in 25_i64..END) {
        let history = History { faults, ..session_ends(action + 1, UserExit).does(action, Exited) };
        prop_assert_eq!(check(&history), []);
    }

    /// While the API server or a controller is broken, the bound can only move back.
    #[test]
    fn faults_of_the_api_server_and_the_controllers_only_excuse(
        faults in excuses(), more in excuses(), action in 25_i64..200, after in 0_i64..90, killed: bool,
    ) {
        let history = if killed {
            session_ends(action + after, GatewayLost).breaks(action, END, Killed(Gateway(0)))
        } else {
            session_ends(action + after, UserExit).does(action, Exited)
        };
        let with = |more: &[FaultRecord]| {
            let mut history = history.clone();
            history.faults.extend(faults.iter().chain(more));
            kinds(&history)
        };
        prop_assert!(!with(&more).contains(&Kind::Late) || with(&[]).contains(&Kind::Late));
    }

    /// However many faults there are, a gateway that is dead for good, with nothing broken any more, is shown as lost.
    #[test]
    fn an_end_that_is_never_shown_is_always_found(faults in excuses(), killed in 25_i64..150) {
        let faults: Vec<_> = faults.into_iter().filter(|it| it.to < at(END - 31)).collect();
        let mut history = History { faults, ..History::session() };
        history.faults.push(FaultRecord { fault: Killed(Gateway(0)), from: at(killed), to: at(END) });
        prop_assert_eq!(kinds(&history), [Kind::Late]);
    }
}
