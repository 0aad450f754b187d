//! Lets an authenticated user without a target choose one from the menu. Until the choice there is no session. The number of
//! such users and the duration of a menu are limited.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kube::ResourceExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::language::Language;
use super::model::{Action, Choice};
use super::pending_requests::{ChannelClosed, PendingRequests};
use super::rights::{RightsQuery, Usable};
use super::terminal_menu::Menu;
use crate::api::{Allow, BastionUser};
use crate::gateway::access::{Admitted, ChannelPolicy, Grant, Refusal};
use crate::gateway::bridge::{ChannelOpen, EXIT_STATUS_NOT_RUN, PtyRequest, UserChannel, channel};
use crate::gateway::session::{Activity, ClientSide, CloseReason, task};
use crate::gateway::sign_in::{SignInName, SignedIn};
use crate::gateway::state::Gateway;
use crate::metrics::{METRICS, MenuLabels};
use crate::slots::Slot;
use crate::text::printable;

/// The actions allowed before a connection has a target: the menu is a shell.
pub const ALLOW: Allow = Allow {
    shell: true,
    exec: false,
    sftp: false,
    local_forward: false,
    remote_forward: false,
    agent_forward: false,
    web: None,
};

/// How long the menu stays open without input.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);
/// How long the menu stays open at most, even with input.
const MAX_DURATION: Duration = Duration::from_mins(15);
/// How long the rest of an escape sequence may take to arrive. After this time, an Escape counts as a key of its own.
const SEQUENCE_TIMEOUT: Duration = Duration::from_millis(100);
/// The interval at which the progress of the rights check is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// How long the user's client may take to accept output.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The exit status when the user quits the menu, as with `fzf`, and as with a shell after Ctrl-C.
const EXIT_STATUS_QUIT: u32 = 130;

/// An authenticated user whose sign-in name has no target.
pub struct PendingUser {
    /// The user and the proof of identity.
    pub signed_in: SignedIn,
    /// A slot for users who are choosing a target. It is held until the user has chosen a target.
    pub slot: Slot,
}

/// Why the selection ended without a session.
enum SelectionError {
    /// The user quit.
    Quit,
    /// The client closed the channel or the connection.
    Disconnected,
    /// The user may use no target.
    NoTargets(Language),
    /// The user chose no target in time.
    TimedOut(Language),
    /// The user was refused a session.
    Refused(Refusal),
}

/// Lets the user choose a target, and runs the session on it. `target` is set once it is chosen.
pub async fn run(
    gateway: Arc<Gateway>,
    pending_user: PendingUser,
    mut client: ClientSide,
    target: Arc<OnceLock<ChannelPolicy>>,
    activity: Arc<Activity>,
) {
    let PendingUser { signed_in, slot } = pending_user;
    METRICS.menus_open.inc();
    let selection = Selection { gateway: gateway.clone(), signed_in, deadline: Instant::now() + MAX_DURATION };
    let selected = selection.run(&mut client).await;
    METRICS.menus_open.dec();
    drop(slot);
    let outcome = MenuLabels { outcome: selected.as_ref().err().map_or("session", SelectionError::label) };
    METRICS.menus.get_or_create(&outcome).inc();
    match selected {
        Ok((channel, admitted)) => {
            let _ = target.set(admitted.channel_policy());
            activity.record_input();
            client.first = Some(ChannelOpen::Session(channel));
            task::run(gateway.sessions.clone(), admitted, client, activity).await;
        }
        Err(error) => client.disconnect(error.notice().map_or(CloseReason::Left, CloseReason::Refused)).await,
    }
}

struct Selection {
    gateway: Arc<Gateway>,
    signed_in: SignedIn,
    deadline: Instant,
}

impl Selection {
    async fn run(&self, client: &mut ClientSide) -> Result<(UserChannel, Admitted), SelectionError> {
        let (channel, mut requests, pty) = self.await_shell(client).await?;
        let language = Language::from_environment(|name| requests.variable(name));
        let mut menu = Menu::new(&self.signed_in.user.name_any(), &pty.term, pty.size, language);
        let chosen = self.choose(client, &channel, &mut requests, &mut menu).await;
        if !matches!(chosen, Err(SelectionError::Disconnected)) {
            write(&channel, menu.close().to_vec()).await?;
        }
        match chosen {
            Ok(admitted) => {
                let Grant { target, login, restrictions, .. } = &admitted.grant;
                let connecting = format!("{}\r\n", printable(&language.connecting(login, &target.name_any())));
                write(&channel, connecting.into_bytes()).await?;
                let items = requests.into_items(restrictions, target.spec.allow, &admitted.audit);
                channel.inbox().push_front(items);
                Ok((channel, admitted))
            }
            Err(error) => {
                let status = if matches!(error, SelectionError::Quit) { EXIT_STATUS_QUIT } else { EXIT_STATUS_NOT_RUN };
                channel::close(&channel, error.notice().as_deref(), status).await;
                Err(error)
            }
        }
    }

    /// Waits until the client requests a shell on a terminal. All other requests need a target, and are refused with a
    /// notice that says so.
    async fn await_shell(
        &self,
        client: &mut ClientSide,
    ) -> Result<(UserChannel, PendingRequests, PtyRequest), SelectionError> {
        let (idle, gone) = (Instant::now() + IDLE_TIMEOUT, client.gone.clone());
        loop {
            let opened = tokio::select! {
                Some(opened) = client.opened.recv() => opened,
                error = self.interrupted(&gone, idle, Language::default()) => return Err(error),
            };
            let channel = match opened {
                ChannelOpen::Session(channel) => channel,
                other @ (ChannelOpen::Companion(_) | ChannelOpen::LocalForward(_) | ChannelOpen::RemoteForwards(_)) => {
                    other.refuse(&self.no_target().notice()).await;
                    continue;
                }
            };
            let requests = tokio::select! {
                requests = PendingRequests::read(&channel) => requests,
                error = self.interrupted(&gone, idle, Language::default()) => return Err(error),
            };
            match requests.map(|requests| (requests.pty.clone(), requests)) {
                Some((Some(pty), requests)) => return Ok((channel, requests, pty)),
                Some((None, _)) => channel::refuse(&channel, &self.no_target().notice()).await,
                None => {}
            }
        }
    }

    /// Shows the menu until the user has chosen a target and is admitted to it.
    async fn choose(
        &self,
        client: &mut ClientSide,
        channel: &UserChannel,
        requests: &mut PendingRequests,
        menu: &mut Menu,
    ) -> Result<Admitted, SelectionError> {
        let done = Arc::new(AtomicUsize::new(0));
        let mut rights_check = self.check_rights(done.clone());
        let mut progress = interval(PROGRESS_INTERVAL);
        let (mut idle, gone) = (Instant::now() + IDLE_TIMEOUT, client.gone.clone());
        loop {
            write(channel, menu.output()).await?;
            let is_checking = !rights_check.is_empty();
            let action = tokio::select! {
                Some(usable) = rights_check.join_next() => {
                    set_entries(menu, usable.unwrap_or(Err(Refusal::RightsUnknown)))?;
                    None
                }
                _ = progress.tick(), if is_checking => {
                    menu.set_progress(self.rights_query(&done).progress());
                    None
                }
                item = channel.next() => {
                    idle = Instant::now() + IDLE_TIMEOUT;
                    requests.handle(item, menu).map_err(|ChannelClosed| SelectionError::Disconnected)?
                }
                () = sleep(SEQUENCE_TIMEOUT), if menu.is_in_sequence() => menu.end_sequence(),
                Some(opened) = client.opened.recv() => {
                    opened.refuse(&self.no_target().notice()).await;
                    None
                }
                error = self.interrupted(&gone, idle, menu.language()) => return Err(error),
            };
            match action {
                Some(Action::Quit) => return Err(SelectionError::Quit),
                Some(Action::Connect(choice)) => match self.admit(&choice).await {
                    Ok(admitted) => return Ok(admitted),
                    Err(refusal) => {
                        refusal.report(&self.signed_in.user.name_any());
                        menu.show_notice(&refusal.notice());
                    }
                },
                None => {}
            }
        }
    }

    /// Admits the user to the chosen target, as if the sign-in name had named it.
    async fn admit(&self, Choice { target, login }: &Choice) -> Result<Admitted, Refusal> {
        let name = self.signed_in.user.name_any();
        // The user may have been changed or deleted since authentication.
        let user = self.gateway.access.directory.active_user(&name).map_err(|_| Refusal::Withdrawn)?;
        self.signed_in.proof.check(&user).map_err(|_| Refusal::Withdrawn)?;
        let signed_in = SignedIn { user, ..self.signed_in.clone() };
        let chosen = SignInName::new(name, Some(login), Some(target));
        self.gateway.access.admit(signed_in, &chosen.to_string()).await
    }

    fn check_rights(&self, done: Arc<AtomicUsize>) -> JoinSet<Result<Usable, Refusal>> {
        let (gateway, user) = (self.gateway.clone(), self.signed_in.user.clone());
        let mut rights_check = JoinSet::new();
        rights_check.spawn(async move { rights_query(&gateway, &user, &done).usable().await });
        rights_check
    }

    fn rights_query<'a>(&'a self, done: &'a AtomicUsize) -> RightsQuery<'a> {
        rights_query(&self.gateway, &self.signed_in.user, done)
    }

    /// Waits for the first event that ends the selection: a disconnect, a shutdown, or a timeout.
    async fn interrupted(&self, gone: &CancellationToken, idle: Instant, language: Language) -> SelectionError {
        tokio::select! {
            () = gone.cancelled() => SelectionError::Disconnected,
            () = self.gateway.sessions.stop.cancelled() => SelectionError::Refused(Refusal::NotReady),
            () = sleep_until(idle.min(self.deadline)) => SelectionError::TimedOut(language),
        }
    }

    fn no_target(&self) -> Refusal {
        let refusal = Refusal::NoTarget { user: self.signed_in.user.name_any() };
        refusal.report(&self.signed_in.user.name_any());
        refusal
    }
}

fn rights_query<'a>(gateway: &'a Gateway, user: &'a BastionUser, done: &'a AtomicUsize) -> RightsQuery<'a> {
    RightsQuery { directory: &gateway.access.directory, user, permits: &gateway.pending.review_permits, done }
}

/// Shows the result of the rights check in the menu.
fn set_entries(menu: &mut Menu, usable: Result<Usable, Refusal>) -> Result<(), SelectionError> {
    let Usable { entries, unchecked } = usable.map_err(SelectionError::Refused)?;
    match (entries.is_empty(), unchecked) {
        (true, 0) => Err(SelectionError::NoTargets(menu.language())),
        (true, _) => Err(SelectionError::Refused(Refusal::RightsUnknown)),
        (false, _) => {
            menu.set_entries(entries, unchecked);
            Ok(())
        }
    }
}

/// Writes to the user's terminal, within [`WRITE_TIMEOUT`].
async fn write(channel: &UserChannel, output: Vec<u8>) -> Result<(), SelectionError> {
    if output.is_empty() {
        return Ok(());
    }
    match timeout(WRITE_TIMEOUT, channel.send(None, output.into())).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(SelectionError::Disconnected),
    }
}

impl SelectionError {
    /// Returns the metric label; the number of labels is bounded.
    const fn label(&self) -> &'static str {
        match self {
            Self::Quit => "left",
            Self::Disconnected => "gone",
            Self::NoTargets(_) => "nothing",
            Self::TimedOut(_) => "too_long",
            Self::Refused(refusal) => refusal.label(),
        }
    }

    /// Returns the line that the user reads.
    fn notice(&self) -> Option<String> {
        match self {
            Self::Quit | Self::Disconnected => None,
            Self::NoTargets(language) => Some(language.no_targets().to_owned()),
            Self::TimedOut(language) => Some(language.timed_out(IDLE_TIMEOUT.as_secs() / 60)),
            Self::Refused(refusal) => Some(refusal.notice()),
        }
    }
}
