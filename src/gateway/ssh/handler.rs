//! Handles the SSH library's callbacks. The handler queues what channels receive, and never waits for a target to take data.

use bytes::Bytes;
use russh::server::{
    self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Response, Session, VerifiedCertificate, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use tracing::Instrument;
use zeroize::Zeroizing;

use super::channel_policy::{self, AgentForward, LocalForwardDecision, RemoteForward, SessionChannel};
use super::connection::{Connection, State};
use super::jump_host;
use crate::gateway::bridge::{
    self, BREAK, ChannelOpen, Destination, END_OF_WRITE, ForwardRequest, FromUser, PtyRequest, Request, Size,
    SshChannel, UserChannel, bind_address_text,
};

/// The longest host name, in bytes (RFC 1035).
const MAX_HOST_LENGTH: usize = 255;

impl server::Handler for Connection {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        Ok(self.gateway.banner.clone())
    }

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        Ok(self.span.in_scope(|| self.sign_in.list_methods(user)))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let first = |mut answers: Response<'a>| answers.next().map(|answer| answer.to_vec()).unwrap_or_default();
        let answer = response.map(|answers| Zeroizing::new(first(answers)));
        Ok(self.sign_in.keyboard_interactive(user, answer).instrument(self.span.clone()).await)
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.span.in_scope(|| self.sign_in.key_offered(user, offer.public_key, offer.algorithm)))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.span.in_scope(|| self.sign_in.key_verified(user, key)))
    }

    async fn auth_openssh_certificate_verified(
        &mut self,
        user: &str,
        certificate: VerifiedCertificate<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.span.in_scope(|| self.sign_in.certificate_verified(user, certificate)))
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let software = String::from_utf8_lossy(session.remote_sshid()).into_owned();
        let span = self.span.clone();
        // Boxed, so that the handler's future does not keep room for this large future after it has run.
        self.state = match Box::pin(self.open_session(session.handle(), software)).instrument(span).await {
            Ok(link) => {
                self.preauth_permit = None;
                self.signed_in.cancel();
                State::Session(link)
            }
            Err(refusal) => {
                self.span.in_scope(|| refusal.report(self.sign_in.name()));
                self.sign_in.record_refusal(&refusal);
                State::Refused(refusal)
            }
        };
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match channel_policy::session_channel(self.state.phase(), self.channels.open_sessions(), self.channels.refused)
        {
            SessionChannel::Reject(failure) => reply.reject(failure).await,
            SessionChannel::ShowRefusal => {
                self.channels.refused += 1;
                reply.accept().await;
            }
            SessionChannel::HandOver => {
                let id = channel.id();
                let side = self.user_connection(session).side(channel);
                let opened = SshChannel { side, handle: session.handle() };
                match self.hand_over(id, ChannelOpen::Session(UserChannel::Ssh(opened))) {
                    Ok(()) => {
                        self.channels.add_session(id);
                        self.channels.send_notices(id)?;
                        reply.accept().await;
                    }
                    Err(_) => reply.reject(ChannelOpenFailure::ResourceShortage).await,
                }
            }
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        originator: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let port = u16::try_from(port).ok().filter(|_| host.len() <= MAX_HOST_LENGTH);
        let failure = match channel_policy::local_forward(self.state.phase(), port) {
            LocalForwardDecision::Reject(failure) => failure,
            LocalForwardDecision::NoTarget { port } => bridge::prohibited(&self.no_target_reason(host, port).await),
            LocalForwardDecision::Deny { denied, port, is_jump } => {
                self.audit_denial("local_forward", host, u32::from(port), denied.result);
                if is_jump {
                    bridge::prohibited(&jump_host::with_target(self.sign_in.name()))
                } else {
                    bridge::prohibited(denied.notice)
                }
            }
            LocalForwardDecision::Open { port } => {
                let (host, originator) = (host.to_owned(), originator.to_owned());
                let destination = Destination { host, port, originator, originator_port };
                let connection = self.user_connection(session);
                self.open_local_forward(channel, destination, reply, connection).await;
                return Ok(());
            }
        };
        reply.reject(failure).await;
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        self.put_data(channel, None, data);
        Ok(())
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        stream: u32,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.put_data(channel, Some(stream), data);
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.confirm(channel);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.put(channel, FromUser::Eof).map(drop)
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.close(channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.is_terminal_denied() {
            // OpenSSH prints that the terminal was refused; a notice of ours would repeat it.
            return session.channel_failure(channel);
        }
        self.record_size(columns, rows);
        let size = Size { columns, rows, width, height };
        let modes = modes.iter().copied().filter(|(mode, _)| *mode != Pty::TTY_OP_END).collect();
        let pty = Request::Pty(PtyRequest { term: term.to_owned(), size, modes });
        let is_queued = self.channels.put(channel, FromUser::Request(pty))?;
        answer(session, channel, is_queued)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.state.link().is_some() {
            let notice = "bastion: X11 forwarding (-X, -Y) is not supported; the session continues without it";
            self.channels.put(channel, FromUser::Request(Request::Notice(notice)))?;
        }
        // A missing reply would shift all later replies on the channel.
        session.channel_failure(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if !self.gateway.accept_env.iter().any(|accepted| accepted.accepts(name)) {
            return session.channel_failure(channel);
        }
        let variable = Request::Env { name: name.to_owned(), value: value.to_owned() };
        let is_queued = self.channels.put(channel, FromUser::Request(variable))?;
        answer(session, channel, is_queued)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.start_program(channel, Request::Shell, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start_program(channel, Request::Exec(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start_program(channel, Request::Subsystem(name.to_owned()), session)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.record_size(columns, rows);
        let size = Size { columns, rows, width, height };
        self.channels.put(channel, FromUser::Request(Request::WindowChange(size))).map(drop)
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.put(channel, FromUser::Request(Request::Signal(signal))).map(drop)
    }

    async fn agent_request(&mut self, channel: ChannelId, _: &mut Session) -> Result<bool, Self::Error> {
        let request = match channel_policy::agent_forward(self.state.phase()) {
            AgentForward::Reject => return Ok(false),
            AgentForward::Deny(denied) => {
                self.audit_denial("agent_forward", "", 0, denied.result);
                Request::Notice(denied.notice)
            }
            AgentForward::Pass => Request::AgentForward,
        };
        let allowed = matches!(request, Request::AgentForward);
        self.channels.put(channel, FromUser::Request(request))?;
        Ok(allowed)
    }

    async fn custom_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        payload: &[u8],
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        match name {
            END_OF_WRITE => {
                if let Some(inbox) = self.channels.inboxes.get(channel) {
                    inbox.mark_end_of_write();
                }
                Ok(true)
            }
            // The payload is the break's length in milliseconds, a uint32 (RFC 4335, section 3).
            BREAK if payload.len() == 4 => {
                self.channels.put(channel, FromUser::Request(Request::Break(Bytes::copy_from_slice(payload))))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, _: &mut Session) -> Result<bool, Self::Error> {
        match channel_policy::remote_forward(self.state.phase()) {
            RemoteForward::Reject => return Ok(false),
            RemoteForward::NoTarget => {
                let notice = "bastion: -R needs a target in the sign-in name; the menu opens too late for it";
                self.channels.add_notice(notice);
                return Ok(false);
            }
            RemoteForward::Deny(denied) => {
                self.audit_denial("remote_listen", bind_address_text(address), *port, denied.result);
                self.channels.add_notice(denied.notice);
                return Ok(false);
            }
            RemoteForward::Listen => {}
        }
        let State::Session(link) = &mut self.state else { return Ok(false) };
        let (address, requested) = (address.to_owned(), *port);
        let bound = link.request_listening(|answer| ForwardRequest::Listen { address, port: requested, answer }).await;
        *port = bound.unwrap_or_default();
        if bound.is_none() {
            let notice =
                "bastion: the target does not listen for -R: the port is in use, or its sshd permits no forwards";
            self.channels.add_notice(notice);
        }
        Ok(bound.is_some())
    }

    async fn cancel_tcpip_forward(&mut self, address: &str, port: u32, _: &mut Session) -> Result<bool, Self::Error> {
        let State::Session(link) = &mut self.state else { return Ok(false) };
        let address = address.to_owned();
        Ok(link.request_listening(|answer| ForwardRequest::Cancel { address, port, answer }).await.is_some())
    }
}

/// Answers a channel request.
fn answer(session: &mut Session, channel: ChannelId, is_queued: bool) -> Result<(), russh::Error> {
    if is_queued { session.channel_success(channel) } else { session.channel_failure(channel) }
}
