//! Takes a page from its authenticated subject to a session: finds the BastionUser, asks for further factors, and
//! admits the session.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::ws::{Message, WebSocket, close_code};
use bytes::Bytes;
use futures::FutureExt;
use kube::ResourceExt;
use russh::server::Auth;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::error;
use zeroize::Zeroizing;

use super::files::FilesOpener;
use super::listener::Peer;
use super::message::{Channel, FromPage, end_frame};
use super::prompt::{Prompt, PromptInput};
use super::query::ConnectQuery;
use super::socket::PageSocket;
use super::writer::SessionNames;
use crate::failpoints::with_failpoint;
use crate::gateway::access::{Admitted, Refusal};
use crate::gateway::bridge::{ChannelOpen, FromUser, PtyRequest, Request, Size, UserChannel, UserEnd, user_channel};
use crate::gateway::net::{AUTH_REJECTION_DELAY, LOGIN_GRACE_TIME};
use crate::gateway::session::{Activity, ClientConnection, ClientSide, CloseReason, DISCONNECT_TIMEOUT, WebPage, task};
use crate::gateway::sign_in::{SignIn, SignInName, SignedIn};
use crate::gateway::state::Gateway;
use crate::http::websocket::close_frame;
use crate::memory_budget::{MEMORY_BUDGET, UserBudget};
use crate::metrics::METRICS;
use crate::tasks::panic_message;

/// The TERM value of the page's terminal.
const TERM: &str = "xterm-256color";
const SFTP_SUBSYSTEM: &str = "sftp";
/// The most wrong answers of one page.
const MAX_WRONG_ANSWERS: usize = 3;
/// The most channels that wait for the session.
const MAX_WAITING_CHANNELS: usize = 16;
/// The most events that wait for the page: the beginning and the end of its session.
const MAX_EVENTS: usize = 4;

/// A page that waits for a session.
pub struct Handshake {
    /// The dependencies of sessions.
    pub gateway: Arc<Gateway>,
    /// The authenticated Kubernetes user name.
    pub subject: Arc<str>,
    /// The page's address; port 0 behind a proxy.
    pub client: SocketAddr,
    /// The browser's `User-Agent`.
    pub user_agent: String,
    /// The connection.
    pub peer: Peer,
    /// The session that the page asks for.
    pub query: ConnectQuery,
}

/// Why the page gets no session.
enum HandshakeError {
    /// The page has disconnected.
    Disconnected,
    /// The session is refused, with this text for the user.
    Refused(String),
}

/// An admitted session and the channel of its shell.
struct Terminal {
    admitted: Admitted,
    /// The user who takes the memory of the page's channels.
    memory: Arc<UserBudget>,
    channel: UserChannel,
    end: UserEnd,
}

impl Terminal {
    /// Creates the channel of an admitted session.
    ///
    /// # Errors
    /// Fails when the user may not take the memory of the channel.
    fn new(admitted: Admitted) -> Result<Self, Refusal> {
        let memory = MEMORY_BUDGET.of_user(&admitted.grant.user.name_any());
        let (channel, end) = user_channel::in_process(&memory).ok_or(Refusal::NoMemory)?;
        Ok(Self { admitted, memory, channel, end })
    }
}

impl From<Refusal> for HandshakeError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(match refusal {
            // The page lists the targets itself.
            Refusal::NoSuchTarget { target, .. } => format!("bastion: there is no target {target:?} that you may use"),
            refusal => refusal.notice(),
        })
    }
}

impl Handshake {
    /// Runs a session on the WebSocket, or sends why there is none.
    pub async fn run(mut self, mut socket: WebSocket) {
        METRICS.terminals_open.inc();
        let cut = self.peer.cut.clone();
        let admitted = tokio::select! {
            admitted = self.admit(&mut socket) => admitted,
            () = cut.cancelled() => Err(HandshakeError::Disconnected),
        };
        match admitted {
            Ok(terminal) => self.session(socket, terminal).await,
            Err(HandshakeError::Disconnected) => {}
            Err(HandshakeError::Refused(notice)) => {
                let _ = timeout(2 * DISCONNECT_TIMEOUT, send_refusal(socket, notice)).await;
            }
        }
        cut.cancel();
        METRICS.terminals_open.dec();
    }

    /// Signs the user in and admits the session, with the same checks as over SSH.
    async fn admit(&mut self, socket: &mut WebSocket) -> Result<Terminal, HandshakeError> {
        let user = self.user()?;
        let slot = self.gateway.pending.acquire(&user)?;
        let mut sign_in = SignIn::new(self.gateway.auth.clone(), self.client);
        let signed_in = timeout(LOGIN_GRACE_TIME, self.sign_in(socket, &mut sign_in, &user)).await;
        let signed_in = signed_in.unwrap_or_else(|_| {
            let notice = "bastion: you did not answer the prompt in time; connect again";
            Err(HandshakeError::Refused(notice.to_owned()))
        });
        let admitted = match signed_in {
            Ok(signed_in) => {
                let admitted = self.gateway.access.admit(signed_in, &self.sign_in_name(&user)).await;
                admitted.and_then(Terminal::new).map_err(|refusal| {
                    refusal.report(&user);
                    sign_in.record_refusal(&refusal);
                    HandshakeError::from(refusal)
                })
            }
            Err(error) => Err(error),
        };
        let refused = sign_in.last_refusal().lock().take();
        if let Some((user, why)) = refused {
            self.gateway.refusals.publish(user, self.client, &why);
        }
        drop(slot);
        admitted
    }

    /// Returns the name of the BastionUser of the page's subject.
    fn user(&self) -> Result<String, HandshakeError> {
        let subject = &self.subject;
        let names = self.gateway.auth.directory.users_of_subject(subject);
        let notice = match names.as_slice() {
            [name] => match self.gateway.auth.directory.active_user(name) {
                Ok(user) => return Ok(user.name_any()),
                Err(reason) => format!("bastion: you may not sign in: {reason}"),
            },
            [] => format!(
                "bastion: no user of this bastion stands for {subject:?}; ask its administrator for a BastionUser with \
                 this spec.subject"
            ),
            several => format!(
                "bastion: several users of this bastion stand for {subject:?} ({}); only one may have that spec.subject",
                several.join(", ")
            ),
        };
        Err(HandshakeError::Refused(notice))
    }

    fn sign_in_name(&self, user: &str) -> String {
        let ConnectQuery { target, login, .. } = &self.query;
        let login = login.as_deref().filter(|login| !login.is_empty());
        SignInName::new(user, login, Some(target)).to_string()
    }

    /// Asks for the factors that the user needs in addition to the cluster's authentication.
    async fn sign_in(
        &mut self,
        socket: &mut WebSocket,
        sign_in: &mut SignIn,
        user: &str,
    ) -> Result<SignedIn, HandshakeError> {
        let mut wrong_answers = 0;
        let mut auth = sign_in.kubernetes_user_verified(user, &self.subject);
        loop {
            auth = match auth {
                Auth::Accept => return sign_in.signed_in().ok_or_else(|| Refusal::RightsUnknown.into()),
                Auth::Partial { prompts, .. } => {
                    let prompt = prompts.first().map(|(prompt, _)| prompt.as_bytes().to_vec()).unwrap_or_default();
                    let answer = self.ask(socket, prompt).await?;
                    let answered = Instant::now();
                    let auth = sign_in.keyboard_interactive(user, Some(answer)).await;
                    if matches!(auth, Auth::Reject { partial_success: false, .. }) {
                        wrong_answers += 1;
                        sleep(AUTH_REJECTION_DELAY.saturating_sub(answered.elapsed())).await;
                    }
                    auth
                }
                Auth::Reject { partial_success: true, .. } => sign_in.kubernetes_user_verified(user, &self.subject),
                _ if wrong_answers == 0 || wrong_answers >= MAX_WRONG_ANSWERS => {
                    return Err(HandshakeError::Refused("bastion: you are not signed in; connect again".to_owned()));
                }
                _ => {
                    show(socket, b"bastion: wrong answer; try again\r\n").await?;
                    sign_in.kubernetes_user_verified(user, &self.subject)
                }
            };
        }
    }

    /// Shows a prompt at the page's terminal and reads the answer.
    async fn ask(&mut self, socket: &mut WebSocket, prompt: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, HandshakeError> {
        show(socket, &prompt).await?;
        let mut prompt = Prompt::default();
        while let Some(Ok(message)) = socket.recv().await {
            let input = match message {
                Message::Binary(frame) => match Channel::split(&frame) {
                    Some((Channel::Shell, bytes)) => prompt.input(bytes),
                    Some((Channel::Files, _)) | None => PromptInput::Incomplete,
                },
                Message::Text(text) => {
                    if let Ok(FromPage::Resize { cols, rows }) = serde_json::from_str(&text) {
                        (self.query.cols, self.query.rows) = (cols, rows);
                    }
                    PromptInput::Incomplete
                }
                Message::Ping(_) | Message::Pong(_) => PromptInput::Incomplete,
                Message::Close(_) => return Err(HandshakeError::Disconnected),
            };
            match input {
                PromptInput::Incomplete => {}
                PromptInput::Answer(answer) => {
                    show(socket, b"\r\n").await?;
                    return Ok(answer);
                }
                PromptInput::Cancelled => {
                    return Err(HandshakeError::Refused("bastion: you are not signed in".to_owned()));
                }
            }
        }
        Err(HandshakeError::Disconnected)
    }

    /// Runs the session in a task of its own, and joins the page to it.
    async fn session(self, socket: WebSocket, terminal: Terminal) {
        let Terminal { admitted, memory, channel, end } = terminal;
        let activity = Arc::new(Activity::new(Instant::now()));
        self.request_shell(&end, &admitted, &activity);
        let ((news, events), (opens, opened)) = (mpsc::channel(MAX_EVENTS), mpsc::channel(MAX_WAITING_CHANNELS));
        let (gone, closed, left) = (CancellationToken::new(), CancellationToken::new(), Arc::<OnceLock<_>>::default());
        let grant = &admitted.grant;
        let names =
            SessionNames { user: grant.user.name_any(), target: grant.target.name_any(), login: grant.login.clone() };
        let requests = permitted(&admitted, Request::Subsystem(SFTP_SUBSYSTEM.to_owned()));
        let files = FilesOpener { requests, opened: opens, memory };
        let client = ClientSide {
            peer: self.client,
            software: self.user_agent,
            connection: ClientConnection::Web(WebPage {
                events: news,
                close_cause: left.clone(),
                closed: closed.clone(),
            }),
            gone: gone.clone(),
            cut: self.peer.cut.clone(),
            health: self.peer.health,
            opened,
            first: Some(ChannelOpen::Session(channel)),
        };
        let session = task::run(self.gateway.sessions.clone(), admitted, client, activity.clone());
        self.gateway.sessions.tasks.spawn(session);
        let (cut, page_gone) = (self.peer.cut, gone.clone());
        let page = PageSocket { end, events, gone, cut, closed, left, activity, names, files }.run(socket);
        if let Err(panic) = AssertUnwindSafe(with_failpoint("web-terminal-page", page)).catch_unwind().await {
            error!(panic = panic_message(&*panic), "the task of a web terminal has panicked; its session ends");
            page_gone.cancel();
        }
    }

    /// Requests a terminal and a shell, as an SSH client does.
    fn request_shell(&self, end: &UserEnd, admitted: &Admitted, activity: &Activity) {
        let ConnectQuery { cols, rows, .. } = self.query;
        let size = Size { columns: cols.max(1).into(), rows: rows.max(1).into(), width: 0, height: 0 };
        activity.resized(size.columns, size.rows);
        let pty = Request::Pty(PtyRequest { term: TERM.to_owned(), size, modes: Vec::new() });
        end.send_requests([FromUser::Request(pty)]);
        end.send_requests(FromUser::from_decision(permitted(admitted, Request::Shell)));
    }
}

/// Returns the requests to the target for a request of the user, or a notice if it is not permitted.
fn permitted(admitted: &Admitted, request: Request) -> Result<Vec<Request>, &'static str> {
    let grant = &admitted.grant;
    grant.restrictions.filter(grant.target.spec.allow, request)
}

/// Shows text at the page's terminal.
async fn show(socket: &mut WebSocket, text: &[u8]) -> Result<(), HandshakeError> {
    let frame = [&[Channel::Shell.number()], text].concat();
    socket.send(Message::Binary(Bytes::from(frame))).await.map_err(|_| HandshakeError::Disconnected)
}

/// Sends why there is no session, and closes the WebSocket.
async fn send_refusal(mut socket: WebSocket, notice: String) -> Result<(), axum::Error> {
    socket.send(Message::Text(end_frame(&CloseReason::Refused(notice)))).await?;
    socket.send(close_frame(close_code::NORMAL, String::new())).await?;
    // Reads the rest: closing a socket with unread data resets the connection, and the page would lose the refusal.
    while socket.recv().await.is_some_and(|message| message.is_ok()) {}
    Ok(())
}
