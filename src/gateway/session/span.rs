//! The tracing span of one session. It adds the session's name to every log line of the session's task.

use std::net::SocketAddr;

use kube::ResourceExt;
use tracing::{Span, error_span};

use crate::gateway::access::Grant;

/// Returns the span of a session. The span has the level of errors, so that a filter that passes a log line also passes the
/// span.
pub fn session_span(name: &str, grant: &Grant, client: SocketAddr) -> Span {
    error_span!(parent: None, "session", session = name, user = grant.user.name_any(), target = grant.target.name_any(), %client)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tracing::{Instrument, warn};
    use tracing_subscriber::EnvFilter;

    use super::super::samples::grant;
    use super::*;
    use crate::telemetry::LogBuffer;

    #[tokio::test]
    async fn each_log_line_of_a_session_and_of_its_tasks_names_the_session() {
        let log = LogBuffer::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_env_filter(EnvFilter::new("warn"))
            .with_writer(move || writer.clone())
            .finish();
        let _default = tracing::subscriber::set_default(subscriber);
        let session = async {
            warn!("of the session");
            tokio::spawn(async { warn!("of a channel") }.in_current_span()).await.unwrap();
        };
        session.instrument(session_span("alice-web-1-x", &grant(), SocketAddr::from(([192, 0, 2, 7], 40_000)))).await;
        let text = log.text();
        let spans: Vec<Value> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["span"].clone()).collect();
        let expected = json!({
            "name": "session", "session": "alice-web-1-x", "user": "alice", "target": "web-1", "client": "192.0.2.7:40000",
        });
        assert_eq!(spans, [expected.clone(), expected]);
    }
}
