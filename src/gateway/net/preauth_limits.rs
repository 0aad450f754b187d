//! Connections that have no session yet: how many there may be, in all and from one address, so that whoever opens many
//! leaves room for others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::rate_limit_key::source;

/// How many there may be in all.
pub const MOST: usize = 512;

/// A connection's place among them, to be held until it has a session or is over.
#[derive(Debug)]
pub struct PreauthPermit {
    _in_all: Arc<()>,
    _from_source: Arc<()>,
}

/// Those that there are. Whoever holds a place shares what is here, so that the number of owners is theirs and one.
#[derive(Debug)]
pub struct PreauthLimits {
    in_all: Arc<()>,
    from_source: HashMap<IpAddr, Arc<()>>,
    most_from_source: usize,
}

/// Why there is no room for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// [`MOST`] have none.
    InAll,
    /// As many from its address as may come from one.
    FromAddress,
}

impl PreauthLimits {
    /// None yet, and at most so many from one address.
    pub fn new(most_from_source: usize) -> Self {
        Self { in_all: Arc::default(), from_source: HashMap::new(), most_from_source }
    }

    /// A place for a connection from `address`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn admit(&mut self, address: IpAddr) -> Result<PreauthPermit, TooMany> {
        if Arc::strong_count(&self.in_all) > MOST {
            return Err(TooMany::InAll);
        }
        if self.from_source.len() > 2 * MOST {
            self.from_source.retain(|_, startups| Arc::strong_count(startups) > 1);
        }
        let from_source = self.from_source.entry(source(address)).or_default();
        if Arc::strong_count(from_source) > self.most_from_source {
            return Err(TooMany::FromAddress);
        }
        Ok(PreauthPermit { _in_all: self.in_all.clone(), _from_source: from_source.clone() })
    }
}

impl TooMany {
    /// A bounded word for the metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::InAll => "all",
            Self::FromAddress => "address",
        }
    }

    /// The line that a client gets in place of the gateway's identification; `ssh -v` shows it.
    pub const fn notice(self) -> &'static str {
        match self {
            Self::InAll => "bastion: too many connections have not signed in yet; try again in a minute\r\n",
            Self::FromAddress => {
                "bastion: too many connections from your address have not signed in yet; try again in a minute\r\n"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(startups: &mut PreauthLimits, address: &str, number: usize) -> Vec<PreauthPermit> {
        (0..number).map_while(|_| startups.admit(address.parse().unwrap()).ok()).collect()
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let mut startups = PreauthLimits::new(3);
        let mut held = from(&mut startups, "192.0.2.1", 9);
        assert_eq!(held.len(), 3);
        assert_eq!(startups.admit("192.0.2.1".parse().unwrap()).unwrap_err(), TooMany::FromAddress);
        assert_eq!(from(&mut startups, "192.0.2.2", 2).len(), 2);
        held.pop();
        assert_eq!(from(&mut startups, "::ffff:192.0.2.1", 9).len(), 1, "a place that was left");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let mut startups = PreauthLimits::new(3);
        let _held = (from(&mut startups, "2001:db8::1", 2), from(&mut startups, "2001:db8::2", 1));
        assert_eq!(startups.admit("2001:db8::3".parse().unwrap()).unwrap_err(), TooMany::FromAddress);
        assert!(startups.admit("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }

    #[test]
    fn there_is_room_for_so_many_in_all_and_what_is_kept_is_bounded() {
        let mut startups = PreauthLimits::new(MOST);
        for number in 0..9 * u32::try_from(MOST).unwrap() {
            assert!(startups.admit(IpAddr::from(number.to_be_bytes())).is_ok());
        }
        assert!(startups.from_source.len() <= 2 * MOST + 1, "{}", startups.from_source.len());
        let held = from(&mut startups, "192.0.2.1", MOST);
        assert_eq!(held.len(), MOST);
        assert_eq!(startups.admit("192.0.2.2".parse().unwrap()).unwrap_err(), TooMany::InAll);
        drop(held);
        assert!(startups.admit("192.0.2.2".parse().unwrap()).is_ok());
    }
}
