//! Between signing in and a session: those who name no target choose one from the menu. They have no session before, so
//! nobody is shown as being anywhere, and how many may stay here, and how long, is limited.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kube::ResourceExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::rights::{RightsQuery, Usable};
use super::{Action, Choice, Language, Menu};
use crate::api::{Allow, BastionUser};
use crate::gateway::access::{Admitted, Grant, Opening, Refusal};
use crate::gateway::bridge::{FromUser, Item, NOT_RUN, Opened, PtyRequest, Request, UserChannel, channel};
use crate::gateway::observe::AuditLog;
use crate::gateway::session::{Activity, ClientSide, CloseReason, task};
use crate::gateway::sign_in::{KeyRestrictions, SignInName, SignedIn};
use crate::gateway::state::Gateway;
use crate::metrics::{METRICS, MenuLabels};
use crate::text::printable;

/// What a connection may ask for before it has a target.
pub const ALLOW: Allow =
    Allow { shell: true, exec: false, sftp: false, local_forward: false, remote_forward: false, agent_forward: false };

/// How long the user may do nothing.
pub const IDLE: Duration = Duration::from_mins(2);
/// How long the user may take in all.
const LONGEST: Duration = Duration::from_mins(15);
/// How soon the rest of a key's sequence must follow its Escape.
const ESCAPE_ALONE: Duration = Duration::from_millis(100);
/// How often the checking of rights shows how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How long the user's client may take to read what is shown.
const READ: Duration = Duration::from_secs(10);
/// The exit status of those who leave the menu, as `fzf` and a shell after Ctrl-C have it.
const LEFT: u32 = 130;
/// As much of what a client asks for before its shell is kept for the target.
const KEPT_REQUESTS: usize = 128;
/// The same in bytes.
const KEPT_BYTES: usize = 64 * 1024;
/// As many notices are kept for after the menu.
const KEPT_NOTICES: usize = 16;

/// Somebody who has signed in and named no target.
pub struct PendingUser {
    /// Who, and by what.
    pub signed_in: SignedIn,
    /// A place in the lobby.
    pub place: OwnedSemaphorePermit,
}

/// Why somebody leaves without a session.
enum SelectionError {
    /// By their own choice.
    Left,
    /// They closed the channel, or their connection is gone.
    Gone,
    /// There was nothing for them.
    Nothing(Language),
    /// They chose nothing for too long.
    TooLong(Language),
    /// For another reason.
    Refused(Refusal),
}

/// Has the guest choose a target, and runs the session on it. `target` is set when there is one.
pub async fn run(
    gateway: Arc<Gateway>,
    pending_user: PendingUser,
    mut client: ClientSide,
    target: Arc<OnceLock<Opening>>,
    activity: Arc<Activity>,
) {
    let PendingUser { signed_in, place } = pending_user;
    METRICS.menus_open.inc();
    let selection = Selection { gateway: gateway.clone(), signed_in, until: Instant::now() + LONGEST };
    let end = selection.run(&mut client).await;
    METRICS.menus_open.dec();
    drop(place);
    let outcome = MenuLabels { outcome: end.as_ref().err().map_or("session", SelectionError::label) };
    METRICS.menus.get_or_create(&outcome).inc();
    match end {
        Ok((channel, admitted)) => {
            let _ = target.set(admitted.opening());
            activity.input();
            client.first = Some(Opened::Session(channel));
            task::run(gateway.sessions.clone(), admitted, client, activity).await;
        }
        Err(leave) => client.leave(leave.notice().map_or(CloseReason::Left, CloseReason::Refused)).await,
    }
}

struct Selection {
    gateway: Arc<Gateway>,
    signed_in: SignedIn,
    until: Instant,
}

impl Selection {
    async fn run(&self, client: &mut ClientSide) -> Result<(UserChannel, Admitted), SelectionError> {
        let (channel, mut asked, pty) = self.await_shell(client).await?;
        let language = Language::of(|name| asked.variable(name));
        let mut menu = Menu::new(&self.signed_in.user.name_any(), &pty.term, pty.size, language);
        let chosen = self.choose(client, &channel, &mut asked, &mut menu).await;
        if !matches!(chosen, Err(SelectionError::Gone)) {
            show(&channel, menu.close().to_vec()).await?;
        }
        match chosen {
            Ok(admitted) => {
                let Grant { target, login, restrictions, .. } = &admitted.grant;
                let connecting = format!("{}\r\n", printable(&language.connecting(login, &target.name_any())));
                show(&channel, connecting.into_bytes()).await?;
                let items = asked.into_items(restrictions, target.spec.allow, &admitted.audit);
                channel.inbox().put_back(items);
                Ok((channel, admitted))
            }
            Err(leave) => {
                let status = if matches!(leave, SelectionError::Left) { LEFT } else { NOT_RUN };
                channel::close(&channel, leave.notice().as_deref(), status).await;
                Err(leave)
            }
        }
    }

    /// Waits for a shell on a terminal. Whatever else is asked for needs a target, and is told so.
    async fn await_shell(&self, client: &mut ClientSide) -> Result<(UserChannel, Asked, PtyRequest), SelectionError> {
        let (idle, gone) = (Instant::now() + IDLE, client.gone.clone());
        loop {
            let opened = tokio::select! {
                Some(opened) = client.opened.recv() => opened,
                leave = self.interrupted(&gone, idle, Language::default()) => return Err(leave),
            };
            let channel = match opened {
                Opened::Session(channel) => channel,
                other @ (Opened::Companion(_) | Opened::Forward(_) | Opened::Listening(_)) => {
                    other.refuse(&self.no_target(client).notice()).await;
                    continue;
                }
            };
            let asked = tokio::select! {
                asked = Asked::read(&channel) => asked,
                leave = self.interrupted(&gone, idle, Language::default()) => return Err(leave),
            };
            match asked.map(|asked| (asked.pty.clone(), asked)) {
                Some((Some(pty), asked)) => return Ok((channel, asked, pty)),
                Some((None, _)) => channel::refuse(&channel, &self.no_target(client).notice()).await,
                None => {}
            }
        }
    }

    /// Shows the menu until a target is chosen that the user gets.
    async fn choose(
        &self,
        client: &mut ClientSide,
        channel: &UserChannel,
        asked: &mut Asked,
        menu: &mut Menu,
    ) -> Result<Admitted, SelectionError> {
        let done = Arc::new(AtomicUsize::new(0));
        let mut checking = self.check_rights(done.clone());
        let mut progress = interval(PROGRESS_EVERY);
        let (mut idle, gone) = (Instant::now() + IDLE, client.gone.clone());
        loop {
            show(channel, menu.output()).await?;
            let unchecked = !checking.is_empty();
            let wish = tokio::select! {
                Some(usable) = checking.join_next() => {
                    fill(menu, usable.unwrap_or(Err(Refusal::RightsUnknown)))?;
                    None
                }
                _ = progress.tick(), if unchecked => {
                    menu.checking(self.asker(&done).progress());
                    None
                }
                item = channel.next() => {
                    idle = Instant::now() + IDLE;
                    asked.heed(item, menu)?
                }
                () = sleep(ESCAPE_ALONE), if menu.is_open() => menu.settle(),
                Some(opened) = client.opened.recv() => {
                    opened.refuse(&self.no_target(client).notice()).await;
                    None
                }
                leave = self.interrupted(&gone, idle, menu.language()) => return Err(leave),
            };
            match wish {
                Some(Action::Leave) => return Err(SelectionError::Left),
                Some(Action::Connect(choice)) => match self.admit(&choice).await {
                    Ok(admitted) => return Ok(admitted),
                    Err(refusal) => {
                        refusal.report(&self.signed_in.user.name_any(), client.peer);
                        menu.say(&refusal.notice());
                    }
                },
                None => {}
            }
        }
    }

    /// Opens the way to what was chosen, as if it had been named at signing in.
    async fn admit(&self, Choice { target, login }: &Choice) -> Result<Admitted, Refusal> {
        let name = self.signed_in.user.name_any();
        // Since signing in, minutes may have passed.
        let user = self.gateway.access.directory.user(&name).map_err(|_| Refusal::Withdrawn)?;
        self.signed_in.proof.still_good(&user).map_err(|_| Refusal::Withdrawn)?;
        let signed_in = SignedIn { user, ..self.signed_in.clone() };
        let chosen = SignInName::new(name, Some(login), Some(target));
        self.gateway.access.admit(signed_in, &chosen.to_string()).await
    }

    fn check_rights(&self, done: Arc<AtomicUsize>) -> JoinSet<Result<Usable, Refusal>> {
        let (gateway, user) = (self.gateway.clone(), self.signed_in.user.clone());
        let mut checking = JoinSet::new();
        checking.spawn(async move { asker(&gateway, &user, &done).usable().await });
        checking
    }

    fn asker<'a>(&'a self, done: &'a AtomicUsize) -> RightsQuery<'a> {
        asker(&self.gateway, &self.signed_in.user, done)
    }

    /// Whatever ends a visit from outside.
    async fn interrupted(&self, gone: &CancellationToken, idle: Instant, language: Language) -> SelectionError {
        tokio::select! {
            () = gone.cancelled() => SelectionError::Gone,
            () = self.gateway.sessions.stop.cancelled() => SelectionError::Refused(Refusal::NotReady),
            () = sleep_until(idle.min(self.until)) => SelectionError::TooLong(language),
        }
    }

    fn no_target(&self, client: &ClientSide) -> Refusal {
        let refusal = Refusal::NoTarget { user: self.signed_in.user.name_any() };
        refusal.report(&self.signed_in.user.name_any(), client.peer);
        refusal
    }
}

fn asker<'a>(gateway: &'a Gateway, user: &'a BastionUser, done: &'a AtomicUsize) -> RightsQuery<'a> {
    RightsQuery { directory: &gateway.access.directory, user, questions: &gateway.pending.questions, done }
}

/// Gives the menu what there is to choose from.
fn fill(menu: &mut Menu, usable: Result<Usable, Refusal>) -> Result<(), SelectionError> {
    let Usable { entries, unchecked } = usable.map_err(SelectionError::Refused)?;
    match (entries.is_empty(), unchecked) {
        (true, 0) => Err(SelectionError::Nothing(menu.language())),
        (true, _) => Err(SelectionError::Refused(Refusal::RightsUnknown)),
        (false, _) => {
            menu.fill(entries, unchecked);
            Ok(())
        }
    }
}

/// Sends something to the user's terminal, who may be slow to read, but not at a standstill.
async fn show(channel: &UserChannel, output: Vec<u8>) -> Result<(), SelectionError> {
    if output.is_empty() {
        return Ok(());
    }
    match timeout(READ, channel.send(None, output.into())).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(SelectionError::Gone),
    }
}

/// What the user's client asked for on a channel, to be asked of the target.
#[derive(Default)]
struct Asked {
    pty: Option<PtyRequest>,
    env: Vec<(String, String)>,
    bytes: usize,
    /// Whether the target may ask the user's agent, if it allows that.
    agent: bool,
    /// What the user is to be told on the way.
    notices: Vec<&'static str>,
    /// What was typed after a target was chosen.
    typed: Vec<u8>,
}

impl Asked {
    /// Reads up to the request for a shell; `None` when the channel was closed before. Without a terminal, or where a
    /// command or a subsystem was asked for, there is no `pty`.
    async fn read(channel: &UserChannel) -> Option<Self> {
        let mut asked = Self::default();
        loop {
            match channel.next().await {
                Item::Said(FromUser::Request(Request::Shell)) => return Some(asked),
                Item::Said(FromUser::Refused(_) | FromUser::Request(Request::Exec(_) | Request::Subsystem(_))) => {
                    return Some(Self::default());
                }
                Item::Said(FromUser::Request(request)) => asked.keep(request),
                Item::Said(FromUser::Close) => return None,
                Item::Said(FromUser::Eof) | Item::Data(_) | Item::Extended(..) => {}
            }
        }
    }

    fn keep(&mut self, request: Request) {
        match request {
            Request::Pty(pty) => self.pty = Some(pty),
            Request::WindowChange(size) => {
                if let Some(pty) = &mut self.pty {
                    pty.size = size;
                }
            }
            Request::Env { name, value } => {
                let bytes = self.bytes + name.len() + value.len();
                if bytes <= KEPT_BYTES && self.env.len() < KEPT_REQUESTS {
                    self.bytes = bytes;
                    self.env.push((name, value));
                }
            }
            Request::AgentForward => self.agent = true,
            Request::Notice(notice) => {
                if self.notices.len() < KEPT_NOTICES {
                    self.notices.push(notice);
                }
            }
            // There is nothing yet that could take a signal or a break, and one channel runs one thing.
            Request::Signal(_) | Request::Break(_) | Request::Shell | Request::Exec(_) | Request::Subsystem(_) => {}
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Does in the menu what comes from the user.
    fn heed(&mut self, item: Item<FromUser>, menu: &mut Menu) -> Result<Option<Action>, SelectionError> {
        match item {
            Item::Data(bytes) => {
                let wish = bytes.iter().enumerate().find_map(|(at, byte)| Some((at, menu.read(*byte)?)));
                let Some((at, wish)) = wish else { return Ok(None) };
                self.typed = bytes.slice(at + 1..).to_vec();
                Ok(Some(wish))
            }
            Item::Extended(..) | Item::Said(FromUser::Refused(_)) => Ok(None),
            Item::Said(FromUser::Request(request)) => {
                if let Request::WindowChange(size) = &request {
                    menu.resize(*size);
                }
                self.keep(request);
                Ok(None)
            }
            Item::Said(FromUser::Eof) => Ok(Some(Action::Leave)),
            Item::Said(FromUser::Close) => Err(SelectionError::Gone),
        }
    }

    /// The same requests for the target, with the size that the terminal has now.
    fn into_items(self, restrictions: &KeyRestrictions, allow: Allow, audit: &AuditLog) -> Vec<Item<FromUser>> {
        let agent = self.agent.then(|| match restrictions.agent(allow) {
            Ok(()) => Request::AgentForward,
            Err(denied) => {
                audit.tunnel("agent_forward", "", 0, None, denied.result);
                Request::Notice(denied.notice)
            }
        });
        let notices = self.notices.into_iter().map(Request::Notice).chain(agent);
        let env = self.env.into_iter().map(|(name, value)| Request::Env { name, value });
        // The target may allow no shell by now.
        let shell: Vec<_> = match restrictions.pass(allow, Request::Shell) {
            Ok(requests) => requests.into_iter().map(FromUser::Request).collect(),
            Err(notice) => vec![FromUser::Refused(notice)],
        };
        let before = notices.chain(self.pty.map(Request::Pty)).chain(env).map(FromUser::Request);
        let typed = (!self.typed.is_empty()).then(|| Item::Data(self.typed.into()));
        before.chain(shell).map(Item::Said).chain(typed).collect()
    }
}

impl SelectionError {
    /// A bounded word for the metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Gone => "gone",
            Self::Nothing(_) => "nothing",
            Self::TooLong(_) => "too_long",
            Self::Refused(refusal) => refusal.label(),
        }
    }

    /// The line that the user reads.
    fn notice(&self) -> Option<String> {
        match self {
            Self::Left | Self::Gone => None,
            Self::Nothing(language) => Some(language.nothing().to_owned()),
            Self::TooLong(language) => Some(language.too_long(IDLE.as_secs() / 60)),
            Self::Refused(refusal) => Some(refusal.notice()),
        }
    }
}
