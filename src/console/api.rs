//! The routes of the API and its OpenAPI description. Each handler first checks the caller's rights.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::middleware::map_response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoParams, Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::access::Visibility;
use super::api_error::{ApiError, ErrorResponses};
use super::client_request::ClientRequest;
use super::query::{is_name, page, parse_query, phase_of, read_path};
use super::view::{Session, SessionPage};
use super::{Console, events, feed, history, me, observe, overview, recordings, sign_in, targets, termination};
use crate::api::BastionSession;
use crate::http::allow_inline_styles;

type Answer<T> = Result<Json<T>, ApiError>;

pub fn routes() -> Router<Console> {
    Router::new()
        .route("/api/v1/sessions", get(sessions))
        .route("/api/v1/sessions/{name}", get(session))
        .route("/api/v1/sessions/{name}/events", get(events::events))
        .route("/api/v1/sessions/{name}/termination", post(termination::terminate))
        .route("/api/v1/history", get(history::history))
        .route("/api/v1/history.csv", get(history::csv))
        .route("/api/v1/history/{id}", get(history::record))
        .route("/api/v1/targets", get(targets::targets))
        .route("/api/v1/targets/{name}", get(targets::target))
        .route("/api/v1/recordings/{session}", get(recordings::recordings))
        .route("/api/v1/recordings/{session}/{number}/text", get(recordings::text))
        .route("/api/v1/recordings/{session}/{number}/matches", get(recordings::matches))
        .route("/api/v1/sessions/{session}/follow", get(observe::follow))
        .route("/api/v1/overview", get(overview::overview))
        .route("/api/v1/feed", get(feed::page::feed))
        .route("/api/v1/openapi.json", get(description))
        .merge(sign_in::routes())
        .merge(swagger_ui())
        .fallback(super::page::page)
        .method_not_allowed_fallback(async || ApiError::NoMethod)
}

fn swagger_ui() -> Router<Console> {
    let page = SwaggerUi::new("/api/v1/docs").config(Config::from("/api/v1/openapi.json"));
    Router::from(page).layer(map_response(allow_inline_styles))
}

/// Selects sessions in the cluster.
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
    /// The maximum number of sessions, 1 to 1000. The default is 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the previous page.
    after: Option<String>,
}

/// Returns the open and the recently ended sessions in the cluster. Callers who may not list sessions get their own.
#[utoipa::path(get, path = "/api/v1/sessions", params(SessionQuery), responses((status = 200, body = SessionPage), ErrorResponses))]
async fn sessions(
    State(console): State<Console>,
    request: ClientRequest,
    query: Result<Query<SessionQuery>, QueryRejection>,
) -> Answer<SessionPage> {
    let caller = console.caller(&request).await?;
    let visibility = console.auth.authorizer.visibility(&caller).await?;
    let query = parse_query(query)?;
    let params = page(query.limit, query.after.as_deref())?.fields(&query.selector(visibility)?);
    let (sessions, next) = console.list_page::<BastionSession>(&console.cluster.api(), &params).await?;
    Ok(Json(SessionPage { sessions: sessions.iter().map(|session| Session::from(&**session)).collect(), next }))
}

/// Returns one session in the cluster. Callers may get their own sessions, and others with the right to get them.
#[utoipa::path(get, path = "/api/v1/sessions/{name}", params(("name" = String, Path, description = "The name of the BastionSession")),
    responses((status = 200, body = Session), ErrorResponses))]
async fn session(
    State(console): State<Console>,
    request: ClientRequest,
    name: Result<Path<String>, PathRejection>,
) -> Answer<Session> {
    let caller = console.caller(&request).await?;
    Ok(Json(Session::from(&console.visible_session(&caller, read_path(name)?).await?)))
}

/// Returns the OpenAPI description of this API. Requires no credentials.
#[utoipa::path(get, path = "/api/v1/openapi.json", security(()), responses((status = 200, body = Object)))]
async fn description() -> Json<Value> {
    Json(openapi())
}

impl SessionQuery {
    fn selector(self, visibility: Visibility) -> Result<String, ApiError> {
        let phase = self.status.as_deref().map(phase_of).transpose()?;
        let own = match visibility {
            Visibility::All => None,
            Visibility::Own(subject) => Some(subject),
        };
        let fields = [
            ("spec.user.name", check_name("user", self.user)?),
            ("spec.target", check_name("target", self.target)?),
            ("status.phase", phase.map(|phase| phase.as_str().to_owned())),
            ("spec.user.subject", own),
        ];
        let given = fields.into_iter().filter_map(|(field, value)| Some(format!("{field}={}", escaped(&value?))));
        Ok(given.collect::<Vec<_>>().join(","))
    }
}

/// Rejects invalid names, which could otherwise inject further terms into the field selector.
fn check_name(parameter: &str, value: Option<String>) -> Result<Option<String>, ApiError> {
    match value {
        Some(value) if !is_name(&value) => {
            Err(ApiError::Malformed(format!("{parameter}: {value:?} is not a valid name")))
        }
        value => Ok(value),
    }
}

/// Escapes a value in a field selector.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Bastion Operator", description = "Sessions, history and targets of a bastion."),
    paths(
        sessions, session, events::events, termination::terminate, history::history, history::csv, history::record,
        recordings::recordings, recordings::text, recordings::matches, targets::targets, targets::target, overview::overview, feed::page::feed, observe::follow, description, sign_in::ways,
        sign_in::token, sign_in::oidc, sign_in::oidc_callback, sign_in::out, me::me
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

/// Returns the OpenAPI description of the API.
pub fn openapi() -> Value {
    serde_json::to_value(Description::openapi()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(text: &str, visibility: Visibility) -> Result<String, ApiError> {
        let uri = format!("http://x/?{text}").parse().unwrap();
        parse_query(Query::<SessionQuery>::try_from_uri(&uri))?.selector(visibility)
    }

    #[test]
    fn a_parameter_cannot_inject_a_selector() {
        assert_eq!(
            selector("user=alice&status=timeout", Visibility::All).unwrap(),
            "spec.user.name=alice,status.phase=Timeout"
        );
        let error = selector("target=web-1%2Cstatus.phase%3DActive", Visibility::All).unwrap_err().to_string();
        assert!(error.starts_with("target: "), "{error}");
    }

    #[test]
    fn own_visibility_selects_by_subject() {
        let own = || Visibility::Own("cn=alice,o=x\\y".to_owned());
        let expected = r"spec.user.name=bob,spec.user.subject=cn\=alice\,o\=x\\y";
        assert_eq!(selector("user=bob", own()).unwrap(), expected);
    }

    #[test]
    fn the_description_has_the_routes_and_the_bearer_token() {
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
