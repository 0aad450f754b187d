//! What was: the sessions of the audit database, in pages and as a file.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::stream::try_unfold;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

use super::access::Visibility;
use super::failure::{Failure, Refusals};
use super::query::{limit_of, parse_query, phase_of, read_path};
use super::view::{Session, SessionPage, is_id, read_key};
use super::{Console, csv};
use crate::audit::{HistoryFilter, PageKey, Store};

/// How many records of a file are read at once.
const AT_ONCE: u32 = 1000;

/// Which sessions of the audit database.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
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
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
}

/// The sessions that the audit database has, newest first. Who may not list sessions sees their own.
#[utoipa::path(get, path = "/api/v1/history", params(HistoryQuery), responses((status = 200, body = SessionPage), Refusals))]
pub async fn history(
    State(console): State<Console>,
    headers: HeaderMap,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<SessionPage>, Failure> {
    let caller = console.caller(&headers).await?;
    let visibility = console.authorizer.visibility(&caller).await?;
    let query = parse_query(query)?;
    let limit = limit_of(query.limit)?;
    let filter = query.filter(&console.namespace, visibility)?;
    let records = console.store()?.history(&filter, limit + 1).await?;
    Ok(Json(SessionPage::of(records, usize::try_from(limit).unwrap_or(usize::MAX))))
}

/// One session, as the audit database has it: the caller's own, or any that they may get.
#[utoipa::path(get, path = "/api/v1/history/{id}", params(("id" = String, Path, description = "The uid of the BastionSession")),
    responses((status = 200, body = Session), Refusals))]
pub async fn record(
    State(console): State<Console>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Session>, Failure> {
    let caller = console.caller(&headers).await?;
    let id = read_path(id)?;
    let found = if is_id(&id) { console.store()?.get(&id).await? } else { None };
    let found = found.filter(|record| record.namespace == console.namespace);
    let (name, subject) = found.as_ref().map(|it| (it.name.as_str(), it.user_subject.as_str())).unzip();
    console.authorizer.let_see(&caller, name, subject).await?;
    Ok(Json(found.ok_or(Failure::Missing { what: "record of a session", name: id })?.into()))
}

/// The sessions that the audit database has, newest first, as comma-separated values; all of them, where `limit` is not given.
/// Times are UTC. Where the database fails in the midst of it, the answer breaks off. Who may not list sessions sees their own.
#[utoipa::path(get, path = "/api/v1/history.csv", params(HistoryQuery),
    responses((status = 200, description = "A line a session", content_type = "text/csv", body = String), Refusals))]
pub async fn csv(
    State(console): State<Console>,
    headers: HeaderMap,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let caller = console.caller(&headers).await?;
    let visibility = console.authorizer.visibility(&caller).await?;
    let query = parse_query(query)?;
    let left = query.limit.map(|limit| limit_of(Some(limit))).transpose()?;
    let filter = query.filter(&console.namespace, visibility)?;
    let place = console.exports.clone().try_acquire_owned().map_err(|_| Failure::TooMany)?;
    let export = Export { store: console.store()?.clone(), filter, left, begun: false, over: false, _place: place };
    let kind = [(header::CONTENT_TYPE, "text/csv; charset=utf-8")];
    let name = [(header::CONTENT_DISPOSITION, "attachment; filename=\"bastion-history.csv\"")];
    Ok((kind, name, Body::from_stream(try_unfold(export, Export::next))).into_response())
}

/// A file that is being read.
struct Export {
    store: Store,
    filter: HistoryFilter,
    left: Option<u32>,
    begun: bool,
    over: bool,
    /// Among those who may read at once.
    _place: OwnedSemaphorePermit,
}

impl Export {
    /// The next lines; the first ones with the names of the columns.
    async fn next(mut self) -> anyhow::Result<Option<(Bytes, Self)>> {
        if self.over {
            return Ok(None);
        }
        let many = self.left.map_or(AT_ONCE, |left| left.min(AT_ONCE));
        let records = self.store.history(&self.filter, many).await?;
        self.left = self.left.map(|left| left - many);
        self.over = records.len() < many as usize || self.left == Some(0);
        self.filter.after = records.last().map(PageKey::from).or(self.filter.after);
        let mut text = if self.begun { String::new() } else { csv::header() };
        self.begun = true;
        for record in records {
            text.push_str(&csv::line(&Session::from(record))?);
        }
        Ok(Some((text.into(), self)))
    }
}

impl Console {
    /// The audit database.
    ///
    /// # Errors
    /// When there is none that the console could read.
    pub fn store(&self) -> Result<&Store, Failure> {
        self.store.as_ref().ok_or(Failure::NoHistory)
    }
}

impl HistoryQuery {
    fn filter(self, namespace: &str, visibility: Visibility) -> Result<HistoryFilter, Failure> {
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
            subject: match visibility {
                Visibility::All => None,
                Visibility::Own(subject) => Some(subject),
            },
            user: self.user,
            target: self.target,
            login: self.login,
            reason: self.reason,
            client_address: self.client_address,
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn query(text: &str) -> Result<HistoryFilter, Failure> {
        let uri = format!("http://x/?{text}").parse().unwrap();
        let query = Query::<HistoryQuery>::try_from_uri(&uri);
        parse_query(query)?.filter("n", Visibility::All)
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

    #[test]
    fn who_sees_their_own_asks_for_no_others() {
        let uri = "http://x/?user=bob".parse().unwrap();
        let own = Visibility::Own("alice".to_owned());
        let filter = parse_query(Query::<HistoryQuery>::try_from_uri(&uri)).unwrap().filter("n", own).unwrap();
        assert_eq!((filter.user.as_deref(), filter.subject.as_deref()), (Some("bob"), Some("alice")));
    }
}
