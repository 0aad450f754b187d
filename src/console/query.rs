//! Parses the paths and queries of requests; errors name the parameter.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use kube::api::ListParams;

use super::api_error::ApiError;
use crate::api::Phase;

const DEFAULT_PAGE_SIZE: u32 = 100;
const MAX_PAGE_SIZE: u32 = 1000;

/// Returns the parameters in a path.
pub fn read_path<T>(path: Result<Path<T>, PathRejection>) -> Result<T, ApiError> {
    match path {
        Ok(Path(parameters)) => Ok(parameters),
        Err(rejection) => Err(ApiError::Malformed(rejection.body_text())),
    }
}

/// Returns the parameters in a query.
pub fn parse_query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(ApiError::Malformed(rejection.body_text())),
    }
}

/// Returns the phase that `status` names.
pub fn phase_of(status: &str) -> Result<Phase, ApiError> {
    let found = Phase::ALL.into_iter().find(|phase| phase.record_name() == status);
    found.ok_or_else(|| {
        let names = Phase::ALL.map(Phase::record_name).join(", ");
        ApiError::Malformed(format!("status: {status:?} is none of {names}"))
    })
}

/// Returns the size of a page: 1 to 1000, 100 by default.
pub fn limit_of(limit: Option<u32>) -> Result<u32, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_PAGE_SIZE);
    let fits = (1..=MAX_PAGE_SIZE).contains(&limit);
    fits.then_some(limit).ok_or_else(|| ApiError::Malformed(format!("limit: write a number from 1 to {MAX_PAGE_SIZE}")))
}

/// Returns the parameters of a Kubernetes list: the size of the page, and the continue token of the previous page.
pub fn page(limit: Option<u32>, after: Option<&str>) -> Result<ListParams, ApiError> {
    let params = ListParams::default().limit(limit_of(limit)?);
    Ok(match after {
        Some(after) => params.continue_token(after),
        None => params,
    })
}

/// Returns whether a text can be the name of a Kubernetes object.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, Some(100))]
    #[case(Some(1000), Some(1000))]
    #[case(Some(0), None)]
    #[case(Some(1001), None)]
    fn the_page_size_has_a_default_and_bounds(#[case] requested: Option<u32>, #[case] limit: Option<u32>) {
        assert_eq!(limit_of(requested).ok(), limit);
    }
}
