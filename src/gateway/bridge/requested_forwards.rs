//! What the user of a session has asked its target for, and the target may open channels for.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::incoming::ChannelType;

/// The user's requests of one session: `auth-agent-req@openssh.com` and `tcpip-forward`.
#[derive(Debug, Default)]
pub struct RequestedForwards(Mutex<Requested>);

#[derive(Debug, Default)]
struct Requested {
    agent: bool,
    /// How many listeners the user has asked for at each port. Port 0 lets the target choose; its listeners count here until
    /// the target has answered.
    ports: HashMap<u32, usize>,
}

impl RequestedForwards {
    /// Records that the user has asked for agent forwarding. Call it before the target is asked.
    pub fn agent(&self) {
        self.0.lock().agent = true;
    }

    /// Records that the user asks for a listener. Call it before the target is asked.
    pub fn listen(&self, port: u32) {
        *self.0.lock().ports.entry(port).or_default() += 1;
    }

    /// Records the port that the target has bound for a listener at port 0.
    pub fn bound(&self, requested: u32, port: u32) {
        if requested != port {
            self.listen(port);
            self.stop(requested);
        }
    }

    /// Records that a listener has ended, or that the target refused it.
    pub fn stop(&self, port: u32) {
        let mut requested = self.0.lock();
        if let Some(listeners) = requested.ports.get_mut(&port) {
            *listeners -= 1;
            if *listeners == 0 {
                requested.ports.remove(&port);
            }
        }
    }

    /// Returns whether the user has asked for what this channel is for. The address does not count: servers name it in different
    /// ways.
    pub fn includes(&self, channel: &ChannelType) -> bool {
        let requested = self.0.lock();
        match channel {
            ChannelType::Agent => requested.agent,
            ChannelType::ForwardedTcpip { port, .. } => {
                requested.ports.contains_key(port) || requested.ports.contains_key(&0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(port: u32) -> ChannelType {
        let (address, originator) = ("localhost".to_owned(), "192.0.2.7".to_owned());
        ChannelType::ForwardedTcpip { address, port, originator, originator_port: 40_000 }
    }

    #[test]
    fn a_target_may_open_only_what_was_asked_for() {
        let requested = RequestedForwards::default();
        assert!(!requested.includes(&ChannelType::Agent) && !requested.includes(&forwarded(8080)));
        requested.listen(8080);
        assert!(requested.includes(&forwarded(8080)) && !requested.includes(&forwarded(8081)));
        requested.stop(8080);
        assert!(!requested.includes(&forwarded(8080)));
        requested.agent();
        assert!(requested.includes(&ChannelType::Agent));
    }

    #[test]
    fn a_port_that_the_target_chooses_is_known_once_it_answers() {
        let requested = RequestedForwards::default();
        requested.listen(0);
        assert!(requested.includes(&forwarded(40_001)), "the channel may arrive before the answer is read");
        requested.bound(0, 40_001);
        assert!(requested.includes(&forwarded(40_001)) && !requested.includes(&forwarded(40_002)));
    }
}
