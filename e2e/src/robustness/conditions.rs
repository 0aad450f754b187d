//! What the guarantee presupposes, as the times in which it held.
//!
//! The guarantee (docs/architecture.md): while the API server answers and one controller runs, a session whose gateway is
//! dead, or cut off from every witness, is shown as ended within 30 s; a session that ended on a live gateway is shown at
//! once, or within 30 s while that gateway cannot reach the API server but a witness of it can; no live session is shown as
//! ended while a witness of its gateway reaches a controller. The witnesses are the API server and Redis.

use jiff::{SignedDuration, Timestamp};

use super::faults::{Fault, FaultRecord, Part, Program};
use super::history::{History, Session};
use super::spans::{Span, Spans};

/// How long a program takes to find its way back to a witness. Two times in which it could not reach the witness count as
/// one if they are closer together than this.
const FINDS_BACK_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// The conditions of one run.
#[derive(Clone, Copy)]
pub struct Conditions<'a>(pub &'a History);

impl Conditions<'_> {
    fn during(self, fault: impl Fn(Fault) -> bool) -> Spans {
        self.0.faults_of(fault).map(FaultRecord::span).collect()
    }

    /// The API server answers every request. While it answers some, or late, this does not hold.
    fn api_answers(self) -> Spans {
        self.during(|fault| [Part::Api, Part::Machine].contains(&fault.part())).complement()
    }

    /// The API server answers, at least some requests and in the end.
    fn api_is_there(self) -> Spans {
        self.during(Fault::is_api_outage).complement()
    }

    /// The process runs.
    fn runs(self, program: Program) -> Spans {
        self.during(|fault| fault.part() == Part::Process(program)).complement()
    }

    /// The process runs, and the network lets it pass to the API server.
    fn has_path_to_api(self, program: Program) -> Spans {
        self.runs(program).without(&self.during(|fault| fault == Fault::CutFromApi(program)))
    }

    /// The process runs, and Redis hears it.
    fn reaches_redis(self, program: Program) -> Spans {
        let away = |fault| matches!(fault, Fault::RedisKilled | Fault::RedisFrozen | Fault::MachineStalled);
        self.runs(program).without(&self.during(|fault| away(fault) || fault == Fault::CutFromRedis(program)))
    }

    /// One controller, and the times in which it runs and the API server answers it.
    fn controllers(self) -> impl Iterator<Item = (Program, Spans)> {
        let controllers = (0..self.0.controllers).map(Program::Controller);
        controllers.map(move |it| (it, self.has_path_to_api(it).and(&self.api_answers())))
    }

    /// When the process of the session's gateway was killed or stopped that had accepted the session.
    pub fn gateway_died(self, session: &Session<'_>) -> Option<Timestamp> {
        let ends = |fault| [Fault::Killed, Fault::Stopped].iter().any(|kind| kind(session.program()) == fault);
        self.0.faults_of(ends).map(|it| it.from).filter(|from| session.started <= *from).min()
    }

    fn dead(self, session: &Session<'_>) -> Spans {
        self.gateway_died(session).map(Spans::since).unwrap_or_default()
    }

    /// The session's gateway is dead, or no witness hears it.
    fn gateway_is_silent(self, session: &Session<'_>) -> Spans {
        let heard = self.has_path_to_api(session.program()).or(&self.reaches_redis(session.program()));
        self.dead(session).or(&heard.complement())
    }

    /// The times in which a session whose gateway is silent becomes shown as ended: one set for each controller.
    pub fn loss_is_seen(self, session: &Session<'_>) -> impl Iterator<Item = Spans> {
        let silent = self.gateway_is_silent(session);
        self.controllers().map(move |(_, runs)| silent.and(&runs))
    }

    /// The times in which the session's gateway can write its end.
    pub fn gateway_writes(self, session: &Session<'_>) -> Spans {
        self.has_path_to_api(session.program()).and(&self.api_answers()).without(&self.dead(session))
    }

    /// The times in which the session's gateway cannot write its end, but can leave it with Redis, where a controller finds
    /// it.
    pub fn redis_carries_ends(self, session: &Session<'_>) -> impl Iterator<Item = Spans> {
        let gateway = session.program();
        let cut = self.during(|fault| fault == Fault::CutFromApi(gateway));
        let leaves =
            self.reaches_redis(gateway).and(&cut).without(&self.dead(session)).without(&self.holds_input(gateway));
        self.controllers().map(move |(controller, runs)| leaves.and(&runs).and(&self.reaches_redis(controller)))
    }

    /// The times in which an end that was asked for over the API is written by a controller, whatever the gateway does.
    pub fn request_is_seen(self) -> impl Iterator<Item = Spans> {
        self.controllers().map(|(_, runs)| runs)
    }

    /// A gateway that was frozen passes nothing on before it has reached the API server again: what was typed is not done.
    fn holds_input(self, gateway: Program) -> Spans {
        let unreachable =
            self.has_path_to_api(gateway).and(&self.api_is_there()).complement().bridged(FINDS_BACK_WITHIN);
        self.0
            .faults_of(|fault| fault == Fault::Frozen(gateway))
            .map(|frozen| {
                let until = unreachable.iter().filter(|it| it.meets(frozen.span())).map(|it| it.to).max();
                Span { from: frozen.from, to: until.map_or(frozen.to, |until| until.max(frozen.to)) }
            })
            .collect()
    }

    /// The times in which no witness of the gateway reached a controller.
    pub fn unheard(self, gateway: Program) -> Spans {
        let by_api = self.has_path_to_api(gateway).and(&self.api_is_there());
        let controllers = (0..self.0.controllers).map(Program::Controller);
        let by_redis = controllers.map(|it| self.reaches_redis(it).and(&self.has_path_to_api(it)));
        let by_redis = by_redis.fold(Spans::default(), |all, it| all.or(&it)).and(&self.reaches_redis(gateway));
        by_api.or(&by_redis).complement().bridged(FINDS_BACK_WITHIN)
    }

    /// The times in which the gateway ran and could reach no witness.
    pub fn cut_off(self, gateway: Program) -> Spans {
        let api = self.has_path_to_api(gateway).and(&self.api_is_there());
        let reaches = api.or(&self.reaches_redis(gateway));
        self.runs(gateway).without(&reaches).bridged(FINDS_BACK_WITHIN)
    }
}
