//! Limits connections without a session, in total and per address, like `MaxStartups` and `PerSourceMaxStartups` of sshd.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::addresses::rate_limit_key;

/// The most connections without a session, in total.
pub const MAX_PREAUTH_CONNECTIONS: usize = 512;

/// A permit for one connection. It is held until the connection has a session or has ended.
#[derive(Debug)]
pub struct PreauthPermit {
    _total: Arc<()>,
    _of_address: Arc<()>,
}

/// Counts unauthenticated connections. Each permit holds clones of the `Arc`s, so an `Arc`'s strong count is the number of
/// permits plus one.
#[derive(Debug)]
pub struct PreauthLimits {
    total: Arc<()>,
    by_address: HashMap<IpAddr, Arc<()>>,
    max_per_address: usize,
}

/// The limit that a connection exceeds. The text is sent to the client instead of the identification string; `ssh -v` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreauthLimitError {
    /// [`MAX_PREAUTH_CONNECTIONS`] are open.
    #[error("bastion: too many connections have not signed in yet; try again in a minute")]
    Total,
    /// The limit of the client's address is reached.
    #[error("bastion: too many connections from your address have not signed in yet; try again in a minute")]
    Address,
    /// 90 % of the gateway's open files are in use.
    #[error(
        "bastion: this gateway has almost as many connections as its limit of open files allows; try again in a minute"
    )]
    OpenFiles,
}

impl PreauthLimits {
    /// Returns limits without connections. `max_per_address` is the most connections per address.
    pub fn new(max_per_address: usize) -> Self {
        Self { total: Arc::default(), by_address: HashMap::new(), max_per_address }
    }

    /// Returns a permit for a connection from `address`.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn admit(&mut self, address: IpAddr) -> Result<PreauthPermit, PreauthLimitError> {
        if Arc::strong_count(&self.total) > MAX_PREAUTH_CONNECTIONS {
            return Err(PreauthLimitError::Total);
        }
        if self.by_address.len() > 2 * MAX_PREAUTH_CONNECTIONS {
            self.by_address.retain(|_, permits| Arc::strong_count(permits) > 1);
        }
        let of_address = self.by_address.entry(rate_limit_key(address)).or_default();
        if Arc::strong_count(of_address) > self.max_per_address {
            return Err(PreauthLimitError::Address);
        }
        Ok(PreauthPermit { _total: self.total.clone(), _of_address: of_address.clone() })
    }
}

impl PreauthLimitError {
    /// Returns the metric label; the number of labels is bounded.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Total => "all",
            Self::Address => "address",
            Self::OpenFiles => "open_files",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(limits: &mut PreauthLimits, address: &str, number: usize) -> Vec<PreauthPermit> {
        (0..number).map_while(|_| limits.admit(address.parse().unwrap()).ok()).collect()
    }

    #[test]
    fn each_address_has_its_own_limit() {
        let mut limits = PreauthLimits::new(3);
        let mut held = admit(&mut limits, "192.0.2.1", 9);
        assert_eq!(held.len(), 3);
        assert_eq!(limits.admit("192.0.2.1".parse().unwrap()).unwrap_err(), PreauthLimitError::Address);
        assert_eq!(admit(&mut limits, "192.0.2.2", 2).len(), 2);
        held.pop();
        assert_eq!(admit(&mut limits, "::ffff:192.0.2.1", 9).len(), 1, "a released permit");
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let mut limits = PreauthLimits::new(3);
        let _held = (admit(&mut limits, "2001:db8::1", 2), admit(&mut limits, "2001:db8::2", 1));
        assert_eq!(limits.admit("2001:db8::3".parse().unwrap()).unwrap_err(), PreauthLimitError::Address);
        assert!(limits.admit("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }

    #[test]
    fn the_total_is_limited_and_the_map_is_bounded() {
        let mut limits = PreauthLimits::new(MAX_PREAUTH_CONNECTIONS);
        for number in 0..9 * u32::try_from(MAX_PREAUTH_CONNECTIONS).unwrap() {
            assert!(limits.admit(IpAddr::from(number.to_be_bytes())).is_ok());
        }
        assert!(limits.by_address.len() <= 2 * MAX_PREAUTH_CONNECTIONS + 1, "{}", limits.by_address.len());
        let held = admit(&mut limits, "192.0.2.1", MAX_PREAUTH_CONNECTIONS);
        assert_eq!(held.len(), MAX_PREAUTH_CONNECTIONS);
        assert_eq!(limits.admit("192.0.2.2".parse().unwrap()).unwrap_err(), PreauthLimitError::Total);
        drop(held);
        assert!(limits.admit("192.0.2.2".parse().unwrap()).is_ok());
    }
}
