//! Watches the objects of an instance's sessions. Ends each session whose end was requested or written.

use futures::StreamExt;
use jiff::Timestamp;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use tokio::sync::Notify;

use super::lifetime::{Instance, InstanceConfig};
use crate::api::{BastionSession, BastionSessionStatus, ObservedBy, Reason};
use crate::cluster::{Guarded, SessionWriter};
use crate::lifecycle::Cause;
use crate::metrics::{EndLabels, METRICS};

impl Instance {
    /// Watches the objects of this instance's sessions, and compares the objects with the sessions at intervals. Ends each
    /// session whose end was requested or written, each object without a session, and each session without an object. A
    /// session whose object does not decode continues, because its end can be written without decoding the object.
    pub async fn watch_sessions(&self, config: &InstanceConfig, writer: &SessionWriter) {
        let listed = Notify::new();
        tokio::select! {
            () = self.handle_events(config, writer, &listed) => {}
            () = self.compare_sessions(config, writer, &listed) => {}
        }
    }

    /// Handles the events of the watch. Notifies `listed` after each list, so that a comparison finds the objects that were
    /// deleted before the list.
    async fn handle_events(&self, config: &InstanceConfig, writer: &SessionWriter, listed: &Notify) {
        let api = config.sessions();
        let own = watcher::Config::default().fields(&format!("spec.gateway.instance={}", self.id));
        let mut events = std::pin::pin!(config.reports.watch(api.clone(), own));
        while let Some(event) = events.next().await {
            match event {
                Event::Apply(session) => {
                    if let Ok(session) = &session.0 {
                        observe_end(session);
                    }
                    self.reconcile(&session, &api, writer);
                }
                Event::InitApply(session) => self.reconcile(&session, &api, writer),
                // The finalizer was removed by force, so no object is left to write the end to.
                Event::Delete(session) => drop(self.registry.end(&session.name_any(), &Cause::Deleted)),
                Event::Init => {}
                Event::InitDone => listed.notify_one(),
            }
        }
    }

    /// Compares an object with the registry. Ends the session if its end was requested or written, and ends an Active object
    /// without a session.
    pub(super) fn reconcile(
        &self,
        session: &Guarded<BastionSession>,
        api: &Api<Guarded<BastionSession>>,
        writer: &SessionWriter,
    ) {
        let name = session.name_any();
        if session.has_ended() {
            // Another writer wrote the end, or this gateway did; in the second case the signal has no effect.
            self.registry.end(&name, &session.requested_end().unwrap_or(Cause::GatewayLost));
        } else if let Some(cause) = session.requested_end() {
            if !self.registry.end(&name, &cause) {
                self.end_object(name, cause, api, writer);
            }
        } else if !self.registry.contains(&name) {
            self.end_object(name, Cause::Stale, api, writer);
        }
    }
}

/// Measures the time from a session's end until the watch shows the end. Counts only ends that a gateway observed; other ends
/// are found later than they happen.
fn observe_end(session: &BastionSession) {
    // Once the audit has removed its finalizer, an event no longer reports the end.
    let is_recent = !session.is_in_audit_database();
    let is_own = |status: &&BastionSessionStatus| is_recent && status.observed_by == Some(ObservedBy::Gateway);
    let Some(status) = session.status.as_ref().filter(is_own) else { return };
    let reason = Reason::ALL.into_iter().find(|reason| Some(reason.as_str()) == status.reason.as_deref());
    if let (Some(reason), Some(end)) = (reason, &status.end_time) {
        let seconds = Timestamp::now().duration_since(end.0).as_secs_f64().max(0.0);
        METRICS.end_seen_seconds.get_or_create(&EndLabels::of(reason)).observe(seconds);
    }
}
