//! A page's way to its session: the user of the bastion whom its person stands for, what else that user must show, and
//! whether there is a session for them.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Instant;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use kube::ResourceExt;
use russh::server::Auth;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::listener::Peer;
use super::message;
use super::message::{Channel, FromPage};
use super::prompt::{Prompt, PromptInput};
use super::socket::{Files, PageSocket};
use crate::gateway::access::{Admitted, Refusal};
use crate::gateway::bridge::{FromUser, Opened, PtyRequest, Request, Size, UserEnd, user_channel};
use crate::gateway::net::{REJECTION_TIME, SIGN_IN_GRACE};
use crate::gateway::session::{Activity, ClientSide, CloseReason, Connected, GOODBYE, Page, task};
use crate::gateway::sign_in::{SignIn, SignInName, SignedIn};
use crate::gateway::state::Gateway;
use crate::metrics::METRICS;

/// What a page asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct ConnectQuery {
    /// The target.
    pub target: String,
    /// The login on it; the target's first where there is none.
    pub login: Option<String>,
    /// The size of the terminal in characters.
    #[serde(default = "columns")]
    pub cols: u16,
    /// And in lines.
    #[serde(default = "rows")]
    pub rows: u16,
}

const fn columns() -> u16 {
    80
}

const fn rows() -> u16 {
    24
}

/// What the page's terminal is.
const TERM: &str = "xterm-256color";
/// The subsystem for files.
const SFTP: &str = "sftp";
/// How many wrong answers there may be on one page.
const ANSWERS: usize = 3;
/// How many channels may wait for the session.
const CHANNELS: usize = 16;
/// How many things a page may be told at once: that its session is there, and that it is over.
const NEWS: usize = 4;

/// A page that wants a session.
pub struct Handshake {
    /// Whose sessions they are.
    pub gateway: Arc<Gateway>,
    /// The Kubernetes user before the page.
    pub subject: Arc<str>,
    /// Where the page is.
    pub client: SocketAddr,
    /// Whether something is between it and this gateway.
    pub proxied: bool,
    /// What the browser says that it is.
    pub software: String,
    /// Its connection.
    pub peer: Peer,
    /// What it asks for.
    pub query: ConnectQuery,
}

/// Why there is no session.
enum NoSession {
    /// The page is gone.
    Gone,
    /// The person reads why.
    Because(String),
}

impl From<Refusal> for NoSession {
    fn from(refusal: Refusal) -> Self {
        Self::Because(match refusal {
            // The page lists the targets.
            Refusal::NoSuchTarget { target, .. } => format!("bastion: there is no target {target:?} that you may use"),
            refusal => refusal.notice(),
        })
    }
}

impl Handshake {
    /// Has a session on the WebSocket, or says why there is none.
    pub async fn run(mut self, mut socket: WebSocket) {
        METRICS.terminals_open.inc();
        let cut = self.peer.cut.clone();
        let admitted = tokio::select! {
            admitted = self.admit(&mut socket) => admitted,
            () = cut.cancelled() => Err(NoSession::Gone),
        };
        match admitted {
            Ok(admitted) => self.session(socket, admitted).await,
            Err(NoSession::Gone) => {}
            Err(NoSession::Because(why)) => {
                let _ = timeout(2 * GOODBYE, part(socket, why)).await;
            }
        }
        cut.cancel();
        METRICS.terminals_open.dec();
    }

    /// Lets the person have a session, as somebody has one who signs in over SSH.
    async fn admit(&mut self, socket: &mut WebSocket) -> Result<Admitted, NoSession> {
        let place = self.gateway.pending.enter()?;
        let user = self.user()?;
        let mut sign_in = SignIn::new(self.gateway.auth.clone(), self.client);
        let signed_in = timeout(SIGN_IN_GRACE, self.sign_in(socket, &mut sign_in, &user)).await;
        let signed_in = signed_in.unwrap_or_else(|_| {
            Err(NoSession::Because("bastion: you were asked and did not answer in time; connect again".to_owned()))
        });
        let admitted = match signed_in {
            Ok(signed_in) => self.gateway.access.admit(signed_in, &self.sign_in_name(&user)).await.map_err(|refusal| {
                refusal.report(&user, self.client);
                sign_in.refused(&refusal);
                NoSession::from(refusal)
            }),
            Err(no_session) => Err(no_session),
        };
        let refused = sign_in.refusals().lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((user, why)) = refused {
            self.gateway.refusals.tell(user, self.client, &why);
        }
        drop(place);
        admitted
    }

    /// The name of the BastionUser.
    fn user(&self) -> Result<String, NoSession> {
        let subject = &self.subject;
        let names = self.gateway.auth.directory.standing_for(subject);
        let because = match names.as_slice() {
            [name] => match self.gateway.auth.directory.user(name) {
                Ok(user) => return Ok(user.name_any()),
                Err(reason) => format!("bastion: you may not sign in: {reason}"),
            },
            [] => format!(
                "bastion: no user of this bastion stands for {subject:?}; whoever runs it makes a BastionUser whose \
                 spec.subject is that"
            ),
            several => format!(
                "bastion: several users of this bastion stand for {subject:?} ({}), and a page can be one alone",
                several.join(", ")
            ),
        };
        Err(NoSession::Because(because))
    }

    fn sign_in_name(&self, user: &str) -> String {
        let ConnectQuery { target, login, .. } = &self.query;
        let login = login.as_deref().filter(|login| !login.is_empty());
        SignInName::new(user, login, Some(target)).to_string()
    }

    /// Asks for what the user must show besides what the cluster has said.
    async fn sign_in(
        &mut self,
        socket: &mut WebSocket,
        sign_in: &mut SignIn,
        user: &str,
    ) -> Result<SignedIn, NoSession> {
        let mut wrong = 0;
        let mut auth = sign_in.with_cluster(user, &self.subject);
        loop {
            auth = match auth {
                Auth::Accept => return sign_in.done().ok_or_else(|| Refusal::RightsUnknown.into()),
                Auth::Partial { prompts, .. } => {
                    let prompt = prompts.first().map(|(prompt, _)| prompt.as_bytes().to_vec()).unwrap_or_default();
                    let answer = self.ask(socket, prompt).await?;
                    let heard = Instant::now();
                    let auth = sign_in.asked(user, Some(answer)).await;
                    if matches!(auth, Auth::Reject { partial_success: false, .. }) {
                        wrong += 1;
                        sleep(REJECTION_TIME.saturating_sub(heard.elapsed())).await;
                    }
                    auth
                }
                Auth::Reject { partial_success: true, .. } => sign_in.with_cluster(user, &self.subject),
                _ if wrong == 0 || wrong >= ANSWERS => {
                    return Err(NoSession::Because("bastion: you are not signed in; connect again".to_owned()));
                }
                _ => {
                    say(socket, b"bastion: that is not it; try again\r\n").await?;
                    sign_in.with_cluster(user, &self.subject)
                }
            };
        }
    }

    /// Asks a question on the page's terminal.
    async fn ask(&mut self, socket: &mut WebSocket, prompt: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, NoSession> {
        say(socket, &prompt).await?;
        let mut line = Prompt::default();
        while let Some(Ok(message)) = socket.recv().await {
            let typed = match message {
                Message::Binary(frame) => match Channel::of(&frame) {
                    Some((Channel::Shell, bytes)) => line.take(bytes),
                    Some((Channel::Files, _)) | None => PromptInput::More,
                },
                Message::Text(text) => {
                    if let Ok(FromPage::Resize { cols, rows }) = serde_json::from_str(&text) {
                        (self.query.cols, self.query.rows) = (cols, rows);
                    }
                    PromptInput::More
                }
                Message::Ping(_) | Message::Pong(_) => PromptInput::More,
                Message::Close(_) => return Err(NoSession::Gone),
            };
            match typed {
                PromptInput::More => {}
                PromptInput::Done(answer) => {
                    say(socket, b"\r\n").await?;
                    return Ok(answer);
                }
                PromptInput::Left => return Err(NoSession::Because("bastion: you are not signed in".to_owned())),
            }
        }
        Err(NoSession::Gone)
    }

    /// Runs the session in a task of its own, and joins the page to it.
    async fn session(self, socket: WebSocket, admitted: Admitted) {
        let activity = Arc::new(Activity::new(Instant::now()));
        let (channel, end) = user_channel::inner();
        self.ask_for_shell(&end, &admitted, &activity);
        let ((news, told), (opens, opened)) = (mpsc::channel(NEWS), mpsc::channel(CHANNELS));
        let (gone, closed, left) = (CancellationToken::new(), CancellationToken::new(), Arc::<OnceLock<_>>::default());
        let grant = &admitted.grant;
        let whose = [grant.user.name_any(), grant.target.name_any(), grant.login.clone()];
        let files = Files { asked: permitted(&admitted, Request::Subsystem(SFTP.to_owned())), opened: opens };
        let client = ClientSide {
            peer: self.client,
            software: self.software,
            connection: Connected::Web(Page { news, left: left.clone(), closed: closed.clone() }),
            gone: gone.clone(),
            cut: self.peer.cut.clone(),
            health: self.peer.health,
            opened,
            first: Some(Opened::Session(channel)),
        };
        let session = task::run(self.gateway.sessions.clone(), admitted, client, activity.clone());
        self.gateway.sessions.tasks.spawn(session);
        let (cut, proxied) = (self.peer.cut, self.proxied);
        PageSocket { end, news: told, gone, cut, closed, left, activity, whose, files, proxied }.run(socket).await;
    }

    /// What an SSH client asks for at the beginning.
    fn ask_for_shell(&self, end: &UserEnd, admitted: &Admitted, activity: &Activity) {
        let ConnectQuery { cols, rows, .. } = self.query;
        let size = Size { columns: cols.max(1).into(), rows: rows.max(1).into(), width: 0, height: 0 };
        activity.resized(size.columns, size.rows);
        let pty = Request::Pty(PtyRequest { term: TERM.to_owned(), size, modes: Vec::new() });
        end.ask([FromUser::Request(pty)]);
        match permitted(admitted, Request::Shell) {
            Ok(requests) => end.ask(requests.into_iter().map(FromUser::Request)),
            Err(notice) => end.ask([FromUser::Refused(notice)]),
        }
    }
}

/// What is asked of the target when the user asks for this.
fn permitted(admitted: &Admitted, asked: Request) -> Result<Vec<Request>, &'static str> {
    let grant = &admitted.grant;
    grant.restrictions.pass(grant.target.spec.allow, asked)
}

/// Shows something on the page's terminal.
async fn say(socket: &mut WebSocket, text: &[u8]) -> Result<(), NoSession> {
    let frame = [&[Channel::Shell.number()], text].concat();
    socket.send(Message::Binary(Bytes::from(frame))).await.map_err(|_| NoSession::Gone)
}

/// Says why there is no session, and closes the WebSocket.
async fn part(mut socket: WebSocket, why: String) -> Result<(), axum::Error> {
    socket.send(Message::Text(message::end(&CloseReason::Refused(why)))).await?;
    socket.send(Message::Close(Some(CloseFrame { code: close_code::NORMAL, reason: "".into() }))).await?;
    // What the page has sent meanwhile must be read, or closing would take the answer away from it.
    while socket.recv().await.is_some_and(|message| message.is_ok()) {}
    Ok(())
}
