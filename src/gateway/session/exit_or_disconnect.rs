//! Derives the cause of a session's end from the ends of its channels: UserExit, ClientDisconnected, TargetClosed.

use crate::gateway::bridge::ChannelEnd;
use crate::lifecycle::{Cause, Exit};

/// The state of the channels that have ended.
#[derive(Debug, Default)]
pub struct ChannelOutcome {
    /// How the last command ended; `None` if no channel has closed cleanly. If only tunnels have closed, the exit status is
    /// empty.
    exit: Option<Exit>,
    /// Whether the end of a connection to the target interrupted a channel, and no channel has closed cleanly since.
    target_lost: bool,
}

impl ChannelOutcome {
    /// Returns whether the target broke off a channel, and no channel has closed cleanly since.
    pub const fn is_target_lost(&self) -> bool {
        self.target_lost
    }

    /// Returns whether a channel has closed cleanly.
    pub const fn has_exit(&self) -> bool {
        self.exit.is_some()
    }

    /// Records the end of a channel. If the session ends with it, returns the cause. `is_last` means that no other channel is
    /// open.
    pub fn record(&mut self, end: ChannelEnd, is_last: bool) -> Option<Cause> {
        match end {
            ChannelEnd::Closed(exit) => {
                self.exit = Some(exit);
                self.target_lost = false;
            }
            ChannelEnd::TunnelClosed => self.tunnel_closed(),
            // Other channels may be on another of the session's connections, which is still open.
            ChannelEnd::TargetLost if is_last => return Some(Cause::TargetClosed),
            ChannelEnd::Dependent if is_last && self.target_lost => return Some(Cause::TargetClosed),
            ChannelEnd::TargetLost => self.target_lost = true,
            ChannelEnd::Interrupted | ChannelEnd::NotOpened | ChannelEnd::Dependent => {}
        }
        None
    }

    /// Returns why the session ends after the user's connection has ended. `open` has the ends of the channels that were open
    /// when the connection ended. `is_waiting` says whether a channel still waited for the target. `reported` is the cause that
    /// the client gave, if it gave one.
    pub fn client_gone(
        &mut self,
        open: impl IntoIterator<Item = ChannelEnd>,
        is_waiting: bool,
        reported: Option<Cause>,
    ) -> Cause {
        let mut with_channels = is_waiting;
        for end in open {
            match end {
                ChannelEnd::Closed(exit) => self.exit = Some(exit),
                ChannelEnd::TunnelClosed => self.tunnel_closed(),
                ChannelEnd::TargetLost => self.target_lost = true,
                ChannelEnd::Interrupted => with_channels = true,
                ChannelEnd::NotOpened | ChannelEnd::Dependent => {}
            }
        }
        match self.exit.take() {
            _ if with_channels => reported.unwrap_or(Cause::ClientDisconnected { with_channels }),
            // The client left because the target closed its channel.
            _ if self.target_lost => Cause::TargetClosed,
            Some(exit) => Cause::UserExit(exit),
            None => Cause::ClientDisconnected { with_channels },
        }
    }

    /// Records that a tunnel has closed cleanly. The exit status of an earlier command stays; without one it is empty.
    fn tunnel_closed(&mut self) {
        self.exit.get_or_insert_default();
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::ChannelEnd::{Closed, Dependent, Interrupted, NotOpened, TargetLost, TunnelClosed};
    use super::*;
    use crate::lifecycle::PeerSide;

    const NETWORK_LOST: Cause = Cause::NetworkLost(PeerSide::User);

    fn exit(code: u32) -> Exit {
        Exit { code: Some(code), signal: None }
    }

    fn disconnected(with_channels: bool) -> Cause {
        Cause::ClientDisconnected { with_channels }
    }

    /// Records the ends in order. At each end except the last, another channel is open.
    fn record_all(ends: &[ChannelEnd]) -> (ChannelOutcome, Option<Cause>) {
        let (mut outcome, mut cause) = (ChannelOutcome::default(), None);
        for (at, end) in ends.iter().enumerate() {
            assert_eq!(cause, None, "the session has ended");
            cause = outcome.record(end.clone(), at + 1 == ends.len());
        }
        (outcome, cause)
    }

    #[rstest]
    #[case::exit(&[Closed(exit(0))], None)]
    #[case::tunnel_closed(&[TunnelClosed], None)]
    #[case::not_opened(&[NotOpened], None)]
    #[case::agent_channel_closed(&[Dependent], None)]
    #[case::target_lost(&[TargetLost], Some(Cause::TargetClosed))]
    #[case::target_lost_by_all(&[TargetLost, TargetLost], Some(Cause::TargetClosed))]
    #[case::target_lost_then_agent_channel_closed(&[TargetLost, Dependent], Some(Cause::TargetClosed))]
    #[case::target_lost_then_exit(&[TargetLost, Closed(exit(0))], None)]
    #[case::exit_between_target_lost_and_agent_channel(&[TargetLost, Closed(exit(0)), Dependent], None)]
    fn the_last_channel_ends_the_session_if_the_target_is_lost(
        #[case] ends: &[ChannelEnd],
        #[case] expected: Option<Cause>,
    ) {
        assert_eq!(record_all(ends).1, expected);
    }

    #[test]
    fn a_lost_target_does_not_end_a_session_with_another_open_channel() {
        assert_eq!(ChannelOutcome::default().record(TargetLost, false), None);
    }

    #[rstest]
    #[case::user_exit(&[Closed(exit(3))], &[], false, None, Cause::UserExit(exit(3)))]
    #[case::user_exit_of_the_last_channel(&[Closed(exit(3)), Closed(exit(4))], &[], false, None, Cause::UserExit(exit(4)))]
    #[case::user_exit_read_after_the_client_left(&[], &[Closed(exit(3))], false, None, Cause::UserExit(exit(3)))]
    #[case::tunnels_have_no_exit_status(&[TunnelClosed], &[], false, None, Cause::UserExit(Exit::default()))]
    #[case::a_tunnel_keeps_the_exit_status(&[Closed(exit(3)), TunnelClosed], &[], false, None, Cause::UserExit(exit(3)))]
    #[case::tab_closed(&[], &[Interrupted], false, Some(Cause::TabClosed), Cause::TabClosed)]
    #[case::tab_closed_after_the_exit(&[Closed(exit(3))], &[], false, Some(Cause::TabClosed), Cause::UserExit(exit(3)))]
    #[case::network_lost_behind_a_proxy(&[], &[Interrupted], false, Some(NETWORK_LOST), NETWORK_LOST)]
    #[case::client_disconnected(&[], &[Interrupted], false, None, disconnected(true))]
    #[case::client_disconnected_with_one_of_two_channels(&[Closed(exit(3))], &[Interrupted], false, None, disconnected(true))]
    #[case::client_disconnected_before_the_target_answered(&[], &[], true, None, disconnected(true))]
    #[case::client_disconnected_without_channels(&[], &[], false, None, disconnected(false))]
    #[case::no_channel_was_opened(&[NotOpened], &[NotOpened, Dependent], false, None, disconnected(false))]
    #[case::target_closed(&[], &[TargetLost], false, None, Cause::TargetClosed)]
    #[case::target_closed_after_an_exit(&[Closed(exit(3))], &[TargetLost], false, None, Cause::TargetClosed)]
    fn a_session_whose_client_is_gone_ends(
        #[case] before: &[ChannelEnd],
        #[case] open: &[ChannelEnd],
        #[case] is_waiting: bool,
        #[case] reported: Option<Cause>,
        #[case] expected: Cause,
    ) {
        let (mut outcome, ended) = record_all(before);
        assert_eq!(ended, None);
        assert_eq!(outcome.client_gone(open.to_vec(), is_waiting, reported), expected);
    }
}
