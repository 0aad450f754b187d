//! Admission of authenticated users to sessions.

use std::sync::Arc;

use kube::ResourceExt;

use super::directory::{Directory, Grant};
use super::max_sessions::SessionLimit;
use super::refusal::Refusal;
use crate::api::{Allow, BastionUser, RecordingMode};
use crate::gateway::instance::{CurrentInstance, Instance};
use crate::gateway::observe::AuditLog;
use crate::gateway::session::session_name;
use crate::gateway::sign_in::SignedIn;
use crate::open_files::OPEN_FILES;
use crate::slots::{Slot, Slots, SlotsError};

/// The dependencies of admission.
pub struct AccessDeps {
    /// Users, targets and rights.
    pub directory: Arc<Directory>,
    /// Checks `maxSessions` of users.
    pub session_limit: SessionLimit,
    /// One slot for each session that this gateway may carry.
    pub slots: Slots,
    /// The most sessions on this gateway of a user without `maxSessions`.
    pub max_sessions_per_user: usize,
    /// The instance that owns new sessions.
    pub instance: CurrentInstance,
    /// Whether the gateway has a store for recordings.
    pub has_recordings: bool,
}

/// A user who is admitted to a session.
pub struct Admitted {
    /// The user, target and login.
    pub grant: Grant,
    /// The audit log of the session.
    pub audit: Arc<AuditLog>,
    /// Held while the session is online.
    pub slot: Slot,
    /// The instance that owns the session.
    pub instance: Arc<Instance>,
}

impl Admitted {
    /// Returns the rules for the channels of the user's connection.
    pub fn channel_policy(&self) -> ChannelPolicy {
        ChannelPolicy { allow: self.grant.target.spec.allow, audit: self.audit.clone() }
    }
}

/// The rules for the channels of one session.
pub struct ChannelPolicy {
    /// The actions that the target allows.
    pub allow: Allow,
    /// The audit log of the session.
    pub audit: Arc<AuditLog>,
}

impl AccessDeps {
    /// Admits a user who has signed in under `sign_in_name`. Waits up to 10 s for a confirmed instance.
    ///
    /// # Errors
    /// Returns the refusal that the user reads.
    pub async fn admit(&self, signed_in: SignedIn, sign_in_name: &str) -> Result<Admitted, Refusal> {
        let SignedIn { user, proof, restrictions } = signed_in;
        let grant = self.directory.grant(user, proof, restrictions, sign_in_name).await?;
        let target = &grant.target;
        if let Some(blocker) = grant.proof.blocker(&grant.user, target) {
            return Err(blocker.into());
        }
        self.session_limit.check(&grant.user).await?;
        if target.spec.recording == RecordingMode::Required && !self.has_recordings {
            return Err(Refusal::NoRecordingStore { target: target.name_any() });
        }
        if OPEN_FILES.are_scarce() {
            return Err(Refusal::OpenFiles);
        }
        let slot = self.slot(&grant.user)?;
        let instance = self.instance.confirmed().await.ok_or(Refusal::NotReady)?;
        let audit = Arc::new(AuditLog::new(session_name(&grant), &grant));
        Ok(Admitted { grant, audit, slot, instance })
    }

    /// Takes a slot for a session. A user with `maxSessions` is limited by that alone, over all gateways.
    fn slot(&self, user: &BastionUser) -> Result<Slot, Refusal> {
        let per_user = user.spec.max_sessions.map_or(self.max_sessions_per_user, |_| usize::MAX);
        self.slots.take(&user.name_any(), per_user).map_err(|error| match error {
            SlotsError::Total => Refusal::Full,
            SlotsError::User => Refusal::TooManySessions { limit: i32::try_from(per_user).unwrap_or(i32::MAX) },
        })
    }
}
