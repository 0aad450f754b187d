//! The REST API: each route asks whether the caller may, then the cluster or the audit database.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use kube::api::{Api, ListParams};
use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoParams, Modify, OpenApi};

use super::access::{Right, Sight};
use super::failure::{Failure, Refusals};
use super::view::{Session, SessionPage, Target, TargetPage, is_id, read_key};
use super::{Console, events, feed, page, sign_in, termination};
use crate::api::{BastionSession, BastionTarget, Phase};
use crate::audit::{HistoryFilter, Store};
use crate::cluster::code;
use crate::web::{Caller, asked};

const USUAL_LIMIT: u32 = 100;
const MOST: u32 = 1000;

type Answer<T> = Result<Json<T>, Failure>;

pub fn routes() -> Router<Console> {
    Router::new()
        .route("/api/v1/sessions", get(sessions))
        .route("/api/v1/sessions/{name}", get(session))
        .route("/api/v1/sessions/{name}/events", get(events::events))
        .route("/api/v1/sessions/{name}/termination", post(termination::terminate))
        .route("/api/v1/history", get(history))
        .route("/api/v1/history/{id}", get(record))
        .route("/api/v1/targets", get(targets))
        .route("/api/v1/feed", get(feed::page::feed))
        .route("/api/v1/openapi.json", get(description))
        .merge(sign_in::routes())
        .fallback(page::page)
        .method_not_allowed_fallback(async || Failure::NoMethod)
}

/// Which sessions of the cluster.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SessionQuery {
    /// The name of the BastionUser.
    user: Option<String>,
    /// The name of the BastionTarget.
    target: Option<String>,
    /// `active`, `closed`, `timeout` or `terminated`.
    status: Option<String>,
    /// How many at most; 100 where it is not given, and no more than 1000.
    limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
}

/// Which sessions of the audit database.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// The name of the BastionUser.
    user: Option<String>,
    /// The name of the BastionTarget.
    target: Option<String>,
    /// The login name on the target.
    login: Option<String>,
    /// `active`, `closed`, `timeout` or `terminated`.
    status: Option<String>,
    /// Why it ended, such as `AdminTerminated`.
    reason: Option<String>,
    /// The IP address that the user came from.
    client_address: Option<String>,
    /// Started at or after this time, such as `2026-01-31T00:00:00Z`.
    since: Option<String>,
    /// Started before this time.
    until: Option<String>,
    /// How many at most; 100 where it is not given, and no more than 1000.
    limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
}

/// Which targets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TargetQuery {
    /// How many at most; 100 where it is not given, and no more than 1000.
    limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
}

/// The sessions that are open, and those that ended a moment ago, as the cluster has them. Who may not list them sees
/// their own.
#[utoipa::path(get, path = "/api/v1/sessions", params(SessionQuery), responses((status = 200, body = SessionPage), Refusals))]
async fn sessions(
    State(console): State<Console>,
    headers: HeaderMap,
    query: Result<Query<SessionQuery>, QueryRejection>,
) -> Answer<SessionPage> {
    let caller = console.visitors.caller(&headers).await?;
    let sight = console.gate.sight(&caller).await?;
    let query = understood(query)?;
    let params = page(query.limit, query.after.as_deref())?.fields(&query.selector(sight)?);
    let api: Api<BastionSession> = Api::namespaced(console.client, &console.namespace);
    let listed = listed(&api, &params).await?;
    let sessions = listed.items.iter().map(Session::from).collect();
    Ok(Json(SessionPage { sessions, next: listed.metadata.continue_.filter(|next| !next.is_empty()) }))
}

/// One session, as the cluster has it: the caller's own, or any that they may get.
#[utoipa::path(get, path = "/api/v1/sessions/{name}", params(("name" = String, Path, description = "The name of the BastionSession")),
    responses((status = 200, body = Session), Refusals))]
async fn session(
    State(console): State<Console>,
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
) -> Answer<Session> {
    let caller = console.visitors.caller(&headers).await?;
    Ok(Json(Session::from(&console.seen_by(&caller, read_path(name)?).await?)))
}

/// The sessions that the audit database has, newest first. Who may not list sessions sees their own.
#[utoipa::path(get, path = "/api/v1/history", params(HistoryQuery), responses((status = 200, body = SessionPage), Refusals))]
async fn history(
    State(console): State<Console>,
    headers: HeaderMap,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Answer<SessionPage> {
    let caller = console.visitors.caller(&headers).await?;
    let sight = console.gate.sight(&caller).await?;
    let query = understood(query)?;
    let limit = limit_of(query.limit)?;
    let filter = query.filter(&console.namespace, sight)?;
    let records = console.store()?.history(&filter, limit + 1).await?;
    Ok(Json(SessionPage::of(records, usize::try_from(limit).unwrap_or(usize::MAX))))
}

/// One session, as the audit database has it: the caller's own, or any that they may get.
#[utoipa::path(get, path = "/api/v1/history/{id}", params(("id" = String, Path, description = "The uid of the BastionSession")),
    responses((status = 200, body = Session), Refusals))]
async fn record(
    State(console): State<Console>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Answer<Session> {
    let caller = console.visitors.caller(&headers).await?;
    let id = read_path(id)?;
    let found = if is_id(&id) { console.store()?.get(&id).await? } else { None };
    let found = found.filter(|record| record.namespace == console.namespace);
    let (name, subject) = found.as_ref().map(|it| (it.name.as_str(), it.user_subject.as_str())).unzip();
    console.gate.let_see(&caller, name, subject).await?;
    Ok(Json(found.ok_or(Failure::Missing { what: "record of a session", name: id })?.into()))
}

/// The targets, as the cluster has them.
#[utoipa::path(get, path = "/api/v1/targets", params(TargetQuery), responses((status = 200, body = TargetPage), Refusals))]
async fn targets(
    State(console): State<Console>,
    headers: HeaderMap,
    query: Result<Query<TargetQuery>, QueryRejection>,
) -> Answer<TargetPage> {
    let caller = console.visitors.caller(&headers).await?;
    console.gate.require(&caller, Right { verb: "list", resource: "bastiontargets", name: None }).await?;
    let query = understood(query)?;
    let api: Api<BastionTarget> = Api::namespaced(console.client, &console.namespace);
    let listed = listed(&api, &page(query.limit, query.after.as_deref())?).await?;
    let targets = listed.items.into_iter().map(Target::from).collect();
    Ok(Json(TargetPage { targets, next: listed.metadata.continue_.filter(|next| !next.is_empty()) }))
}

/// The description of this API; it is everybody's.
#[utoipa::path(get, path = "/api/v1/openapi.json", security(()), responses((status = 200, body = Object)))]
async fn description() -> Json<Value> {
    Json(openapi())
}

impl Console {
    /// The session of this name, for who may see it.
    ///
    /// # Errors
    /// When there is none, the caller may not see it, or the API server does not answer.
    pub async fn seen_by(&self, caller: &Caller, name: String) -> Result<BastionSession, Failure> {
        let api: Api<BastionSession> = Api::namespaced(self.client.clone(), &self.namespace);
        // What can be no name is nobody's.
        let found = if is_name(&name) { asked(api.get_opt(&name)).await? } else { None };
        let subject = found.as_ref().map(|session| session.spec.user.subject.as_str());
        self.gate.let_see(caller, Some(&name), subject).await?;
        found.ok_or(Failure::Missing { what: "session", name })
    }

    fn store(&self) -> Result<&Store, Failure> {
        self.store.as_ref().ok_or(Failure::NoHistory)
    }
}

impl SessionQuery {
    fn selector(self, sight: Sight) -> Result<String, Failure> {
        let phase = self.status.as_deref().map(phase_of).transpose()?;
        let own = match sight {
            Sight::All => None,
            Sight::Own(subject) => Some(subject),
        };
        let fields = [
            ("spec.user.name", named("user", self.user)?),
            ("spec.target", named("target", self.target)?),
            ("status.phase", phase.map(|phase| phase.as_str().to_owned())),
            ("spec.user.subject", own),
        ];
        let given = fields.into_iter().filter_map(|(field, value)| Some(format!("{field}={}", escaped(&value?))));
        Ok(given.collect::<Vec<_>>().join(","))
    }
}

impl HistoryQuery {
    fn filter(self, namespace: &str, sight: Sight) -> Result<HistoryFilter, Failure> {
        let moment = |name: &str, text: Option<String>| {
            let read = |text: String| text.parse::<Timestamp>().map(Timestamp::as_microsecond);
            let wrong = |_| Failure::Malformed(format!("{name}: write a time such as 2026-01-31T00:00:00Z"));
            text.map(read).transpose().map_err(wrong)
        };
        let key = |text: String| {
            read_key(&text)
                .ok_or_else(|| Failure::Malformed("after: send `next` of the page before, as it is".to_owned()))
        };
        Ok(HistoryFilter {
            namespace: Some(namespace.to_owned()),
            status: self
                .status
                .map(|status| phase_of(&status).map(|phase| phase.record_name().to_owned()))
                .transpose()?,
            since: moment("since", self.since)?,
            until: moment("until", self.until)?,
            after: self.after.map(key).transpose()?,
            subject: match sight {
                Sight::All => None,
                Sight::Own(subject) => Some(subject),
            },
            user: self.user,
            target: self.target,
            login: self.login,
            reason: self.reason,
            client_address: self.client_address,
        })
    }
}

pub fn read_path(path: Result<Path<String>, PathRejection>) -> Result<String, Failure> {
    match path {
        Ok(Path(text)) => Ok(text),
        Err(rejection) => Err(Failure::Malformed(rejection.body_text())),
    }
}

fn understood<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Failure> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(Failure::Malformed(rejection.body_text())),
    }
}

fn phase_of(status: &str) -> Result<Phase, Failure> {
    let meant = Phase::ALL.into_iter().find(|phase| phase.record_name() == status);
    meant.ok_or_else(|| {
        let names = Phase::ALL.map(Phase::record_name).join(", ");
        Failure::Malformed(format!("status: {status:?} is none of {names}"))
    })
}

fn limit_of(limit: Option<u32>) -> Result<u32, Failure> {
    let limit = limit.unwrap_or(USUAL_LIMIT);
    let fits = (1..=MOST).contains(&limit);
    fits.then_some(limit).ok_or_else(|| Failure::Malformed(format!("limit: write a number from 1 to {MOST}")))
}

fn page(limit: Option<u32>, after: Option<&str>) -> Result<ListParams, Failure> {
    let params = ListParams::default().limit(limit_of(limit)?);
    Ok(match after {
        Some(after) => params.continue_token(after),
        None => params,
    })
}

/// A name to look for; what can be none would be another part of the selector.
fn named(parameter: &str, value: Option<String>) -> Result<Option<String>, Failure> {
    match value {
        Some(value) if !is_name(&value) => {
            Err(Failure::Malformed(format!("{parameter}: {value:?} can be the name of none")))
        }
        value => Ok(value),
    }
}

/// A value in a field selector.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

/// Whether something can be a name in Kubernetes.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// A page of a list.
async fn listed<K>(api: &Api<K>, params: &ListParams) -> Result<kube::core::ObjectList<K>, Failure>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let gone = "after: this place is forgotten by now; begin with the first page again";
    let wrong = "after: send `next` of the page before, as it is";
    asked(async {
        match api.list(params).await {
            Ok(listed) => Ok(Ok(listed)),
            Err(error) if code(&error) == Some(410) => Ok(Err(Failure::Malformed(gone.to_owned()))),
            Err(error) if code(&error) == Some(400) => Ok(Err(Failure::Malformed(wrong.to_owned()))),
            Err(error) => Err(error),
        }
    })
    .await?
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Bastion Operator", description = "Sessions, history and targets of a bastion."),
    paths(
        sessions, session, events::events, termination::terminate, history, record, targets, feed::page::feed, description,
        sign_in::ways, sign_in::token, sign_in::out, sign_in::me
    ),
    modifiers(&Bearer),
    security(("token" = []))
)]
struct Description;

/// The token of a Kubernetes user.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The token of a Kubernetes user"));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    }
}

/// The description of the API.
pub fn openapi() -> Value {
    serde_json::to_value(Description::openapi()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn query(text: &str) -> Result<HistoryFilter, Failure> {
        let uri = format!("http://x/?{text}").parse().unwrap();
        let query = Query::<HistoryQuery>::try_from_uri(&uri);
        understood(query)?.filter("n", Sight::All)
    }

    #[test]
    fn a_query_is_a_filter() {
        let filter = query("user=alice&status=terminated&since=1970-01-01T00:00:01Z&after=5.u-1").unwrap();
        assert_eq!(filter.namespace.as_deref(), Some("n"));
        assert_eq!(
            (filter.user.as_deref(), filter.status.as_deref(), filter.since),
            (Some("alice"), Some("terminated"), Some(1_000_000))
        );
        assert_eq!(filter.after.map(|key| key.start_time), Some(5));
    }

    #[rstest]
    #[case("since=yesterday", "since: write a time")]
    #[case("status=Closed", "status: \"Closed\" is none of active, closed, timeout, terminated")]
    #[case("after=x", "after: send")]
    #[case("usr=alice", "unknown field `usr`")]
    fn what_is_wrong_is_named(#[case] text: &str, #[case] words: &str) {
        let error = query(text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }

    #[rstest]
    #[case(None, Some(100))]
    #[case(Some(1000), Some(1000))]
    #[case(Some(0), None)]
    #[case(Some(1001), None)]
    fn pages_have_a_size(#[case] asked: Option<u32>, #[case] limit: Option<u32>) {
        assert_eq!(limit_of(asked).ok(), limit);
    }

    fn selector(text: &str, sight: Sight) -> Result<String, Failure> {
        let uri = format!("http://x/?{text}").parse().unwrap();
        understood(Query::<SessionQuery>::try_from_uri(&uri))?.selector(sight)
    }

    #[test]
    fn a_selector_cannot_be_added_to() {
        assert_eq!(
            selector("user=alice&status=timeout", Sight::All).unwrap(),
            "spec.user.name=alice,status.phase=Timeout"
        );
        let error = selector("target=web-1%2Cstatus.phase%3DActive", Sight::All).unwrap_err().to_string();
        assert!(error.starts_with("target: "), "{error}");
    }

    #[test]
    fn who_sees_their_own_asks_for_no_others() {
        let own = || Sight::Own("cn=alice,o=x\\y".to_owned());
        let expected = r"spec.user.name=bob,spec.user.subject=cn\=alice\,o\=x\\y";
        assert_eq!(selector("user=bob", own()).unwrap(), expected);
        let uri = "http://x/?user=bob".parse().unwrap();
        let filter = understood(Query::<HistoryQuery>::try_from_uri(&uri)).unwrap().filter("n", own()).unwrap();
        assert_eq!((filter.user.as_deref(), filter.subject.as_deref()), (Some("bob"), Some("cn=alice,o=x\\y")));
    }

    #[test]
    fn the_description_names_every_route_and_asks_for_a_token() {
        let description = openapi();
        for path in [
            "/api/v1/sessions",
            "/api/v1/sessions/{name}",
            "/api/v1/history",
            "/api/v1/history/{id}",
            "/api/v1/targets",
        ] {
            assert!(description["paths"][path]["get"]["responses"]["200"].is_object(), "{path}");
        }
        assert_eq!(description["components"]["securitySchemes"]["token"]["scheme"], "bearer");
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
