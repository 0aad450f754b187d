//! The target's side of a key exchange: whom it proves to be, and what it comes to.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use russh::Names;
use russh::keys::PublicKeyOrCertificate;
use tracing::warn;

use super::algorithms;
use super::host_trust::{Distrust, HostTrust};
use crate::api::LegacyAlgorithm;
use crate::metrics::{AlgorithmLabels, METRICS};

/// What a target is checked against while keys are exchanged.
pub struct Host {
    /// The session that the connection is for.
    pub session: Arc<str>,
    /// The target.
    pub name: String,
    /// What makes it trusted.
    pub trust: HostTrust,
    /// Why it is not trusted: the library only says that it is not.
    pub distrust: Arc<OnceLock<Distrust>>,
    /// The algorithms that it asks for.
    pub legacy: Vec<LegacyAlgorithm>,
}

impl Host {
    /// Whether what it shows is to be trusted.
    pub fn is_trusted(&self, shown: &PublicKeyOrCertificate) -> bool {
        match self.trust.check(shown, Timestamp::now()) {
            Ok(()) => true,
            Err(distrust) => {
                let _ = self.distrust.set(distrust);
                false
            }
        }
    }

    /// Nobody is to forget which targets still need what is old.
    pub fn report_legacy(&self, names: &Names) {
        for algorithm in algorithms::negotiated(&self.legacy, names) {
            METRICS.legacy_algorithms_negotiated.get_or_create(&AlgorithmLabels { algorithm }).inc();
            warn!(session = %self.session, target = self.name, algorithm, "a legacy algorithm is used with a target that asks for it");
        }
    }
}
