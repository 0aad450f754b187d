//! Ends Active objects of an instance that have no session: Stale.

use backon::Retryable;
use jiff::Timestamp;
use kube::{Api, Resource};
use tokio::time::sleep;
use tracing::warn;

use super::lifetime::Instance;
use crate::api::{BastionSession, ObservedBy};
use crate::cluster::{Guarded, SessionWriter, retry_pace};
use crate::lifecycle::{Cause, End, STALE_AFTER};

impl Instance {
    /// Spawns a task that ends an Active object without a session, unless such a task runs for this object already.
    pub(super) fn end_object(
        &self,
        name: String,
        cause: Cause,
        api: &Api<Guarded<BastionSession>>,
        writer: &SessionWriter,
    ) {
        if !self.stale_ends.lock().insert(name.clone()) {
            return;
        }
        let (api, writer, stale_ends) = (api.clone(), writer.clone(), self.stale_ends.clone());
        tokio::spawn(async move {
            end_stale(api, name.clone(), cause, writer).await;
            stale_ends.lock().remove(&name);
        });
    }
}

/// Ends an object without a session, if the object is still Active after [`STALE_AFTER`]. The delay is for a session that has
/// just ended, of which the watch still reports the start.
async fn end_stale(api: Api<Guarded<BastionSession>>, name: String, cause: Cause, writer: SessionWriter) {
    sleep(STALE_AFTER).await;
    let get = async || api.get_opt(&name).await;
    let found = get.retry(retry_pace()).notify(|error, _| {
        warn!(session = name, %error, "an Active session without a connection could not be read; trying again");
    });
    let session = match found.await {
        Ok(Some(session)) if session.is_active() => session,
        Ok(_) | Err(_) => return,
    };
    let start = session.start().unwrap_or_else(Timestamp::now);
    warn!(session = name, "an Active session of this instance has no connection; it ends");
    writer.end_until_final(&session.object_ref(&()), &End::inferred(cause, ObservedBy::Gateway, start, None)).await;
}
