//! What the proxy can do to requests, and to which of them.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What a request meets in place of a healthy API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This answer, before the API server gets the request.
    Answer {
        status: StatusCode,
        /// The seconds of `Retry-After`.
        retry_after: Option<u32>,
    },
    /// This delay before the request is forwarded, and before each event of a watch is passed on. Delays of several rules
    /// add up, and another fault may follow them.
    Latency(Duration),
    /// The API server carries the request out, but the connection ends in place of its answer.
    LostAnswer,
    /// No answer, for as long as the client waits. The API server does not get the request.
    Silence,
    /// The next event of a watch is cut off in the middle of its line, and the watch ends there. Other requests pass.
    CutWatch,
    /// A watch that begins or runs gets the event `ERROR` with 410, as one that resumes from a compacted version does. Other
    /// requests pass.
    ExpiredWatch,
}

/// What a request does, in the words of RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

/// A fault, and the requests that it meets: by default all of them.
#[derive(Clone, Debug)]
pub struct FaultRule {
    fault: Fault,
    resource: Option<String>,
    verbs: Vec<Verb>,
    share: f64,
}

impl FaultRule {
    /// Lets every request meet a fault.
    pub const fn new(fault: Fault) -> Self {
        Self { fault, resource: None, verbs: Vec::new(), share: 1.0 }
    }

    /// Only requests about this resource in the plural, such as `leases`, with or without a subresource.
    pub fn resource(mut self, plural: &str) -> Self {
        self.resource = Some(plural.to_owned());
        self
    }

    /// Only requests with one of these verbs.
    pub fn verbs(mut self, verbs: &[Verb]) -> Self {
        self.verbs = verbs.to_vec();
        self
    }

    /// Only this share of the requests, from 0 to 1, and of the events of watches. The proxy's random numbers select them.
    pub const fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    fn selects(&self, request: &Target) -> bool {
        self.resource.as_ref().is_none_or(|plural| *plural == request.resource)
            && (self.verbs.is_empty() || self.verbs.contains(&request.verb))
    }
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub verb: Verb,
    /// The resource in the plural; the whole path where it is not one of the API's objects.
    pub resource: String,
}

impl Target {
    /// Reads a request's method, path and query.
    pub fn of(method: &Method, path: &str, query: Option<&str>) -> Self {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let in_group = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let (resource, has_name) = match in_group {
            ["namespaces", _, resource, rest @ ..] | [resource, rest @ ..] => (*resource, !rest.is_empty()),
            [] => (path, false),
        };
        let is_watch = query.is_some_and(|query| query.split('&').any(|it| it == "watch=true" || it == "watch=1"));
        let verb = match *method {
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ if is_watch => Verb::Watch,
            _ if has_name => Verb::Get,
            _ => Verb::List,
        };
        Self { verb, resource: resource.to_owned() }
    }
}

/// What a request meets: a delay, and then perhaps a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub latency: Duration,
    pub fault: Option<Fault>,
}

/// The rules in force, and the random numbers that select a share of requests.
pub(super) struct Rules {
    rules: Vec<FaultRule>,
    random: StdRng,
}

impl Rules {
    /// No rules, with random numbers from this seed.
    pub fn none(seed: u64) -> Self {
        Self { rules: Vec::new(), random: StdRng::seed_from_u64(seed) }
    }

    pub fn set(&mut self, rules: Vec<FaultRule>) {
        self.rules = rules;
    }

    pub fn reseed(&mut self, seed: u64) {
        self.random = StdRng::seed_from_u64(seed);
    }

    /// What a request meets as it begins.
    pub fn begin(&mut self, request: &Target) -> Outcome {
        self.outcome(request, |fault| match fault {
            Fault::CutWatch => false,
            Fault::ExpiredWatch => request.verb == Verb::Watch,
            _ => true,
        })
    }

    /// What the next event of a running watch meets.
    pub fn event(&mut self, watch: &Target) -> Outcome {
        self.outcome(watch, |fault| matches!(fault, Fault::CutWatch | Fault::ExpiredWatch | Fault::Latency(_)))
    }

    /// The sum of the delays and the first other fault among the rules that select the request.
    fn outcome(&mut self, request: &Target, concerns: impl Fn(Fault) -> bool) -> Outcome {
        let mut outcome = Outcome::default();
        for rule in self.rules.iter().filter(|rule| concerns(rule.fault) && rule.selects(request)) {
            if rule.share < 1.0 && !self.random.random_bool(rule.share.max(0.0)) {
                continue;
            }
            match rule.fault {
                Fault::Latency(more) => outcome.latency += more,
                fault => outcome.fault = outcome.fault.or(Some(fault)),
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SESSIONS: &str = "/apis/bastion.dev/v1alpha1/namespaces/n/bastionsessions";

    #[rstest]
    #[case(Method::GET, SESSIONS, "", Verb::List, "bastionsessions")]
    #[case(Method::GET, SESSIONS, "limit=500&watch=true", Verb::Watch, "bastionsessions")]
    #[case(Method::GET, "/apis/bastion.dev/v1alpha1/namespaces/n/bastionsessions/a", "", Verb::Get, "bastionsessions")]
    #[case(Method::PATCH, "/apis/bastion.dev/v1alpha1/namespaces/n/bastionsessions/a/status", "", Verb::Patch, "bastionsessions")]
    #[case(Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/n/leases/a", "", Verb::Update, "leases")]
    #[case(Method::GET, "/api/v1/namespaces/n/pods", "watch=1", Verb::Watch, "pods")]
    #[case(Method::GET, "/api/v1/nodes/a", "", Verb::Get, "nodes")]
    #[case(Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews", "", Verb::Create, "tokenreviews")]
    #[case(Method::GET, "/version", "", Verb::List, "/version")]
    fn a_request_is_read_as_the_api_server_reads_it(
        #[case] method: Method,
        #[case] path: &str,
        #[case] query: &str,
        #[case] verb: Verb,
        #[case] resource: &str,
    ) {
        let target = Target::of(&method, path, Some(query));
        assert_eq!((target.verb, target.resource.as_str()), (verb, resource));
    }

    fn target(verb: Verb, resource: &str) -> Target {
        Target { verb, resource: resource.to_owned() }
    }

    #[test]
    fn delays_add_up_and_the_first_other_fault_counts() {
        let mut rules = Rules::none(1);
        let second = Duration::from_secs(1);
        rules.set(vec![
            FaultRule::new(Fault::Latency(second)),
            FaultRule::new(Fault::Silence).resource("leases").verbs(&[Verb::Update]),
            FaultRule::new(Fault::LostAnswer).resource("leases"),
            FaultRule::new(Fault::Latency(second)).verbs(&[Verb::Update]),
            FaultRule::new(Fault::CutWatch),
        ]);
        let begin = |rules: &mut Rules, verb, resource: &str| {
            let Outcome { latency, fault } = rules.begin(&target(verb, resource));
            (latency.as_secs(), fault)
        };
        assert_eq!(begin(&mut rules, Verb::Update, "leases"), (2, Some(Fault::Silence)));
        assert_eq!(begin(&mut rules, Verb::Get, "leases"), (1, Some(Fault::LostAnswer)));
        assert_eq!(begin(&mut rules, Verb::Watch, "pods"), (1, None));
        let event = rules.event(&target(Verb::Watch, "pods"));
        assert_eq!(event, Outcome { latency: second, fault: Some(Fault::CutWatch) });
    }

    #[test]
    fn a_seed_selects_the_same_requests_again() {
        let select = |seed| {
            let mut rules = Rules::none(seed);
            rules.set(vec![FaultRule::new(Fault::Silence).share(0.3)]);
            (0..1000).map(|_| rules.begin(&target(Verb::Get, "pods")).fault.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(select(7), select(7));
        assert_ne!(select(7), select(8));
        let selected = select(7).into_iter().filter(|it| *it).count();
        assert!((200..400).contains(&selected), "{selected} of 1000");
    }
}
