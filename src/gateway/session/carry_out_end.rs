//! Ends a session for a known cause: shows the cause to the user, closes the connections on both sides, and writes the end.
//! `end_events.rs` and `exit_or_disconnect.rs` find the cause.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::time::timeout;
use tracing::{Instrument, warn};

use super::client::{ClientSide, CloseReason};
use super::task::Session;
use crate::api::RecordingState;
use crate::gateway::access::Refusal;
use crate::gateway::bridge::SessionNotice;
use crate::gateway::instance::Instance;
use crate::lifecycle::End;
use crate::metrics::{METRICS, RefusalLabels};

/// How long a session that ends before its first channel waits for that channel, to show the user the reason in it.
const FIRST_CHANNEL_TIMEOUT: Duration = Duration::from_millis(500);

impl Session {
    /// Writes the end, and meanwhile closes the connections on both sides.
    pub(super) async fn finish(
        &mut self,
        client: &mut ClientSide,
        instance: &Instance,
        session: ObjectReference,
        mut end: End,
    ) {
        let (writer, recording) = (self.deps.writer.clone(), self.observers.recording.clone());
        let reports = self.deps.end_reports.clone();
        let reason = CloseReason::Ended(end.cause.clone());
        self.observers.broadcast.end_session(&end.cause);
        let write = async {
            end.recording = recording.close(end.cause.reason().as_str()).await;
            reports.write(&writer, &session, &end, instance.end_signer.as_ref()).await;
        };
        tokio::join!(write, self.close(client, reason));
        if end.recording.is_some_and(|recording| recording.state == RecordingState::Unfinished) {
            let write_result = async move {
                if let Some(result) = recording.wait_until_stored().await {
                    writer.write_recording_result(&session, &result).await;
                }
            };
            self.deps.tasks.spawn(write_result.in_current_span());
        }
    }

    /// Refuses a session whose object could not be created, because a session without an object must not pass data.
    pub(super) async fn reject(&mut self, client: &mut ClientSide, refusal: Refusal, error: String) {
        warn!(error, "session not opened: its object cannot be created");
        METRICS.sign_ins_refused.get_or_create(&RefusalLabels { reason: refusal.label() }).inc();
        self.close(client, CloseReason::Refused(refusal.notice())).await;
    }

    /// Shows the reason on every channel, then closes the connections on both sides.
    async fn close(&mut self, client: &mut ClientSide, reason: CloseReason) {
        let notice: Option<Arc<str>> = reason.notice().map(Into::into);
        self.dial_queue.abort();
        // A client opens its first channel right after authentication. A notice in that channel is the most visible one.
        if notice.is_some() && self.has_no_channel() && !self.channels.has_exit() {
            let opened = timeout(FIRST_CHANNEL_TIMEOUT, client.opened.recv()).await;
            if let Some(channel) = opened.ok().flatten().and_then(|channel| self.admit_channel(channel).ok()) {
                self.dial_queue.push(channel);
            }
        }
        self.announce.send_replace(SessionNotice::Ended(notice.clone()));
        if let Some(notice) = &notice {
            join_all(self.dial_queue.take().into_iter().map(async |waiting| waiting.channel.refuse(notice).await))
                .await;
        }
        self.channels.join_all().await;
        self.release_current();
        client.disconnect(reason).await;
    }
}
