//! One page: a WebSocket that is told what changes, for as long as its person may see it.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::SinkExt;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::debug;

use super::{FeedEvent, message};
use crate::console::Console;
use crate::console::access::Visibility;
use crate::console::activity::Seen;
use crate::console::failure::{Failure, Refusals};
use crate::console::rights_watch::RightsWatch;
use crate::http::Credentials;
use crate::http::websocket::{HEARTBEAT, PATIENCE, SILENCE, close};
use crate::metrics::{METRICS, SnapshotLabels};

/// What the page says that it speaks, and is told that it does.
const PROTOCOL: &str = "feed.bastion.dev";
/// No page has more to say.
const LONGEST_MESSAGE: usize = 64 * 1024;
/// How many sessions a page may have on its screen.
const MOST_WATCHED: usize = 200;
/// From one look at what they do to the next.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a page is left.
enum Bye {
    /// It has left itself, or its network has.
    Gone,
    /// The console ends.
    Leaving,
    /// It answers nothing, or takes nothing.
    Silent,
    /// The person has as many open as they may.
    Crowded,
    /// The person may see it no longer.
    Refused(Failure),
}

/// The sessions that are open, as they come and go, over a WebSocket: a snapshot, in one message or more, then deltas numbered
/// from 1. A page that cannot follow, and every page after an interruption of the console's own watch, gets another snapshot.
/// The token comes as in the other routes, or as Kubernetes takes it: as the WebSocket subprotocol
/// `base64url.bearer.authorization.k8s.io.TOKEN`, the token in base64url without padding, beside `feed.bastion.dev`.
#[utoipa::path(get, path = "/api/v1/feed", responses((status = 101, description = "The feed begins"), Refusals))]
pub async fn feed(
    State(console): State<Console>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    console.origins.check(&headers)?;
    let credentials = Credentials::of_socket(&headers)?;
    let caller = console.authenticator.known(&credentials).await?;
    let visibility = console.authorizer.visibility(&caller).await?;
    let upgrade = upgrade.map_err(|rejection| Failure::Malformed(rejection.body_text()))?;
    let place = console.places.clone().try_acquire_owned().map_err(|_| Failure::Full)?;
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(LONGEST_MESSAGE);
    Ok(upgrade.on_upgrade(async move |socket| {
        METRICS.console_pages.inc();
        debug!(who = caller.name, "a page is open");
        let quota = console.quota.clone();
        let page = Page {
            socket,
            console,
            credentials,
            visibility,
            sequence: 0,
            watched: HashSet::new(),
            told: BTreeMap::new(),
        };
        if quota.enter(&caller.name) {
            page.run().await;
            quota.leave(&caller.name);
        } else {
            page.part(Bye::Crowded).await;
        }
        METRICS.console_pages.dec();
        drop(place);
    }))
}

struct Page {
    socket: WebSocket,
    console: Console,
    credentials: Credentials,
    visibility: Visibility,
    /// How many deltas there were since the last snapshot.
    sequence: u64,
    /// The names of the sessions that are on the screen.
    watched: HashSet<String>,
    /// What was last told of them.
    told: BTreeMap<String, Seen>,
}

/// What a page says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    /// What is on its screen, so that it is told what happens there.
    Watch { names: Vec<String> },
}

impl Page {
    async fn run(mut self) {
        let Err(bye) = self.follow().await;
        self.part(bye).await;
    }

    /// Closes it, with the reason.
    async fn part(mut self, bye: Bye) {
        let (code, reason) = match bye {
            Bye::Gone => return,
            Bye::Leaving => (close_code::AWAY, "this console ends; connect again".to_owned()),
            Bye::Silent => (close_code::AGAIN, "no sign of life; connect again".to_owned()),
            Bye::Crowded => (close_code::AGAIN, "you have as many pages open as you may".to_owned()),
            Bye::Refused(failure) => (close_code::POLICY, failure.to_string()),
        };
        let _ = timeout(PATIENCE, self.socket.send(close(code, reason))).await;
    }

    /// Tells the page everything, and listens to it, until there is an end of it.
    async fn follow(&mut self) -> Result<Infallible, Bye> {
        let stop = self.console.stop.clone();
        let (console, credentials) = (self.console.clone(), self.credentials.clone());
        let mut news = self.show("opened").await?;
        let mut rights = pin!(another_sight(&console, &credentials, self.visibility.clone()));
        let (mut heartbeat, mut looks) = (interval(HEARTBEAT), interval(LOOK_EVERY));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Bye::Leaving),
                said = self.socket.recv() => match said {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Bye::Gone),
                    Some(Ok(said)) => {
                        heard = Instant::now();
                        self.heed(&said);
                    }
                },
                visibility = &mut rights => {
                    self.visibility = visibility.map_err(Bye::Refused)?;
                    rights.set(another_sight(&console, &credentials, self.visibility.clone()));
                    news = self.show("rights").await?;
                }
                _ = looks.tick(), if !self.watched.is_empty() => self.look().await?,
                _ = heartbeat.tick() => {
                    if heard.elapsed() > SILENCE {
                        return Err(Bye::Silent);
                    }
                    let alive = message::heartbeat(self.sequence, Timestamp::now());
                    self.send(vec![Message::Ping(vec![].into()), Message::Text(alive)]).await?;
                }
                told = news.recv() => match told {
                    Ok(FeedEvent::Changes(changes)) => self.tell(&changes).await?,
                    Ok(FeedEvent::Stale) => self.say(message::stale(self.sequence, Timestamp::now())).await?,
                    Ok(FeedEvent::Reset) => news = self.show("reset").await?,
                    Err(RecvError::Lagged(_)) => news = self.show("slow").await?,
                    Err(RecvError::Closed) => return Err(Bye::Leaving),
                },
            }
        }
    }

    /// Shows all that the person may see. What comes is told after it.
    async fn show(&mut self, cause: &'static str) -> Result<broadcast::Receiver<FeedEvent>, Bye> {
        METRICS.console_snapshots.get_or_create(&SnapshotLabels { cause }).inc();
        let (snapshot, news) = self.console.feed.open(&self.visibility);
        self.sequence = 0;
        for part in snapshot.iter() {
            self.say(part.clone()).await?;
        }
        Ok(news)
    }

    /// Takes note of what a page says. What it should not say is nothing.
    fn heed(&mut self, said: &Message) {
        let Message::Text(text) = said else { return };
        if let (Some(_), Ok(Said::Watch { names })) = (&self.console.hot, serde_json::from_str(text)) {
            self.watched = names.into_iter().take(MOST_WATCHED).collect();
            self.told.clear();
        }
    }

    /// Tells what the sessions on the screen do, where that is another than before.
    async fn look(&mut self) -> Result<(), Bye> {
        let Some(hot) = self.console.hot.clone() else { return Ok(()) };
        let known = self.console.feed.known(&self.watched, &self.visibility);
        let seen = hot.of(&known).await;
        if seen == self.told {
            return Ok(());
        }
        self.told = seen;
        self.say(message::activity(self.sequence, &self.told, Timestamp::now())).await
    }

    async fn tell(&mut self, changes: &[message::EncodedDelta]) -> Result<(), Bye> {
        let mut messages = Vec::new();
        for told in changes.iter().filter(|told| self.visibility.has(&told.subject)) {
            self.sequence += 1;
            messages.push(Message::Text(told.numbered(self.sequence)));
        }
        self.send(messages).await
    }

    async fn say(&mut self, text: Utf8Bytes) -> Result<(), Bye> {
        self.send(vec![Message::Text(text)]).await
    }

    async fn send(&mut self, messages: Vec<Message>) -> Result<(), Bye> {
        let sending = async {
            for message in messages {
                self.socket.feed(message).await?;
            }
            self.socket.flush().await
        };
        match timeout(PATIENCE, sending).await {
            Ok(sent) => sent.map_err(|_| Bye::Gone),
            Err(_) => Err(Bye::Silent),
        }
    }
}

/// Waits until a person sees others.
async fn another_sight(
    console: &Console,
    credentials: &Credentials,
    visibility: Visibility,
) -> Result<Visibility, Failure> {
    let mut watch = RightsWatch::new();
    loop {
        watch.pause().await;
        let now = async { console.authorizer.visibility(&console.authenticator.known(credentials).await?).await };
        let other = now.await.map(|now| Some(now).filter(|now| *now != visibility));
        if let Some(changed) = watch.consider(other) {
            return changed;
        }
    }
}
