//! The channel bridge: events from the user's client, from targets and of the session, in any order. Each is two bytes, a
//! letter and a number, so that a seed can be read and written by hand; letters that are none are passed over.
//!
//! Small letters are the client's events, capitals the target's of the same channel.

use std::sync::LazyLock;
use std::time::Duration;

use bastion_operator::gateway::fuzzing::{FuzzGateway, FuzzSession};
use bastion_operator::gateway::{LockoutLimits, Settings};
use russh::keys::ssh_key::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::api;
use crate::channel::{Book, CONFIRMATION, MAX_PACKET, OPEN, OPEN_FAILURE};
use crate::wire::{Payload, Reader, Wire};

/// More events are no new order.
const MAX_EVENTS: usize = 300;
/// As many channels as a play may have.
const MAX_CHANNELS: usize = 8;
const GLOBAL_REQUEST: u8 = 80;
const FIRST_OF_CHANNEL: u8 = 90;
const DISCONNECT: u8 = 1;
/// What a side grants that reads everything.
const ALL: u32 = 64 * 1024 * 1024;

/// The runtime's clock stands still while anything can be done, and then goes on to the next moment that somebody waits
/// for: whoever sleeps wakes when all others wait.
static STAGE: LazyLock<(Runtime, FuzzGateway)> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let host_key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    let ground =
        runtime.block_on(async { FuzzGateway::new(api::client(), settings(), host_key).await }).expect("a gateway");
    (runtime, ground)
});

fn settings() -> Settings {
    let nowhere = ([127, 0, 0, 1], 0).into();
    Settings {
        namespace: "fuzz".to_owned(),
        pod: "fuzz".to_owned(),
        pod_uid: None,
        listen: nowhere,
        http_listen: nowhere,
        web: None,
        observe: None,
        rekey_time: Duration::from_secs(3600),
        grace_period: Duration::ZERO,
        max_sessions: 1,
        max_startups_per_address: 1,
        proxy_protocol_from: vec![],
        accept_env: vec!["LANG".parse().expect("a name")],
        recording_url: None,
        redis: None,
        lock_out: LockoutLimits {
            per_user_and_address: 1,
            per_user: 1,
            per_address: 1,
            duration: Duration::from_secs(1),
        },
        banner_file: None,
    }
}

/// Plays it.
pub fn check(data: &[u8]) {
    let (runtime, ground) = &*STAGE;
    runtime.block_on(async {
        let mut stage = Stage::new(ground).await;
        for event in data.chunks_exact(2).take(MAX_EVENTS) {
            stage.play(event[0], event[1]).await;
        }
        stage.finish().await;
    });
    // What is left over of one play is not to be found in the next.
    runtime.block_on(async { sleep(Duration::from_secs(60)).await });
}

struct Stage {
    play: FuzzSession,
    client: Wire,
    channels: Vec<Channel>,
    /// The one that events are for.
    current: usize,
    /// Whether a side has said what it must not say: then it may be cut off.
    rude: bool,
}

struct Channel {
    user: Book,
    /// The target's end, once the gateway has connected.
    target: Option<Target>,
    /// Whether the target opens the channel without being told.
    willing: bool,
}

struct Target {
    wire: Wire,
    book: Book,
    /// The gateway's number and window, of a channel that it has asked for.
    asked: Option<(u32, u32)>,
}

impl Stage {
    async fn new(ground: &FuzzGateway) -> Self {
        let (mut client, stream) = Wire::new();
        let play = ground.begin(stream);
        client.sign_in().await;
        Self { play, client, channels: Vec::new(), current: 0, rude: false }
    }

    async fn play(&mut self, event: u8, number: u8) {
        let size = u32::from(number) * 64;
        match event {
            b'o' | b'f' => self.open(event == b'f', number).await,
            b'n' => self.current = usize::from(number),
            b'.' => self.settle(Duration::from_millis(1)).await,
            b'*' => self.settle(Duration::from_millis(u64::from(number) * 10)).await,
            b'!' => self.play.warn(),
            b'z' => self.play.end(),
            b'l' => {
                let listen = Payload::new(GLOBAL_REQUEST).string("tcpip-forward").byte(1).string("").number(0);
                self.client.send(listen).await;
            }
            b'R' => {
                self.rude = true;
                let raw = Payload::new(number).number(u32::from(number) % 4).string("raw").number(size).byte(number);
                self.client.send(raw).await;
            }
            b'a'..=b'z' => self.client_event(event, number, size).await,
            b'A'..=b'Z' => self.target_event(event, number, size).await,
            _ => {}
        }
    }

    fn channel(&mut self) -> Option<&mut Channel> {
        let count = self.channels.len();
        self.channels.get_mut(self.current.checked_rem(count)?)
    }

    async fn open(&mut self, forward: bool, number: u8) {
        if self.channels.len() >= MAX_CHANNELS {
            return;
        }
        let mine = u32::try_from(self.channels.len()).expect("few");
        let granted = if number & 2 == 0 { ALL } else { 16 };
        let kind = if forward { "direct-tcpip" } else { "session" };
        let mut open = Payload::new(OPEN).string(kind).number(mine).number(granted).number(MAX_PACKET);
        if forward {
            open = open.string("localhost").number(u32::from(number) * 300).string("127.0.0.1").number(1);
        }
        self.client.send(open).await;
        self.channels.push(Channel { user: Book::new(granted), target: None, willing: number & 1 == 0 });
        self.current = self.channels.len() - 1;
        if number & 4 == 0 {
            self.settle(Duration::from_millis(1)).await;
        }
    }

    async fn client_event(&mut self, event: u8, number: u8, size: u32) {
        let answered = |answer: bool| (number & 1 == 1).then_some(answer);
        let Some(channel) = self.channel() else { return };
        let book = &mut channel.user;
        let numbers = |numbers: &[u32]| numbers.iter().fold(Payload(Vec::new()), |it, number| it.number(*number));
        let payload = match event {
            b'd' => book.data(None, size),
            b't' => book.data(Some(1), size),
            b'w' => book.grant(size),
            b'e' => book.eof(),
            b'c' => book.close(),
            b'p' => {
                let rest = Payload(Vec::new()).string("xterm").number(80).number(24).number(0).number(0).string([0]);
                book.request("pty-req", answered(true), &rest.0)
            }
            b'v' => book.request("env", answered(true), &Payload(Vec::new()).string("LANG").string("C").0),
            b'j' => book.request("env", answered(false), &Payload(Vec::new()).string("LD_PRELOAD").string("x").0),
            b's' => book.begin("shell", number & 1 == 1, &[]),
            b'x' => book.begin("exec", number & 1 == 1, &Payload(Vec::new()).string("id").0),
            b'b' => book.begin("subsystem", number & 1 == 1, &Payload(Vec::new()).string("sftp").0),
            b'i' => book.request("signal", None, &Payload(Vec::new()).string("TERM").0),
            b'r' => book.request("window-change", None, &numbers(&[u32::from(number), 30, 0, 0]).0),
            b'a' => book.request("auth-agent-req@openssh.com", answered(true), &[]),
            b'k' => book.request("break", answered(true), &numbers(&[size]).0),
            b'u' => book.request("eow@openssh.com", None, &[]),
            b'y' => {
                let rest = Payload(Vec::new()).byte(0).string("MIT-MAGIC-COOKIE-1").string("00").number(0);
                book.request("x11-req", answered(false), &rest.0)
            }
            b'q' => book.request("nobody@example.com", answered(false), &[1, 2, 3]),
            _ => None,
        };
        if let Some(payload) = payload {
            self.client.send(payload).await;
        }
    }

    async fn target_event(&mut self, event: u8, number: u8, size: u32) {
        let rude = matches!(event, b'Q');
        self.rude |= rude;
        let Some(Channel { target: Some(target), .. }) = self.channel() else { return };
        let book = &mut target.book;
        let text = |text: &str| Payload(Vec::new()).string(text).0;
        let payload = match event {
            b'O' => target.confirm(),
            b'N' => target.refuse(number),
            b'D' => book.data(None, size),
            b'T' => book.data(Some(1), size),
            b'W' => book.grant(size),
            b'E' => book.eof(),
            b'C' => book.close(),
            b'X' => book.request("exit-status", None, &Payload(Vec::new()).number(u32::from(number)).0),
            b'G' => {
                let rest = Payload(Vec::new()).string("KILL").byte(0).string("").string("").0;
                book.request("exit-signal", None, &rest)
            }
            b'U' => book.request("eow@openssh.com", None, &[]),
            b'K' => book.request("keepalive@openssh.com", None, &text("")),
            b'S' => book.answer(true),
            b'F' => book.answer(false),
            b'H' => Some(Payload::new(DISCONNECT).number(11).string("bye").string("")),
            b'Q' => Some(Payload::new(number).number(u32::from(number) % 4).string("raw").number(size).byte(number)),
            _ => None,
        };
        if let Some(payload) = payload {
            target.wire.send(payload).await;
        }
        if event == b'L' {
            target.wire = Wire::new().0;
            target.wire.over = true;
        }
    }

    /// Waits until nobody has anything to do, looks at all that was said, and joins what the client has opened.
    async fn settle(&mut self, while_: Duration) {
        sleep(while_).await;
        self.hear().await;
        while let Some(opened) = self.play.opened() {
            let (mut wire, stream) = Wire::new();
            tokio::join!(self.play.join(opened, stream), wire.let_in());
            let waiting = self.channels.iter_mut().find(|channel| channel.target.is_none() && !channel.user.refused);
            // The session hears of channels in their order.
            let Some(channel) = waiting else {
                assert!(self.rude, "a channel that the client did not open");
                continue;
            };
            channel.target = Some(Target { wire, book: Book::new(ALL), asked: None });
            sleep(Duration::from_millis(1)).await;
            self.hear().await;
        }
    }

    async fn hear(&mut self) {
        for packet in self.client.packets().await {
            if packet[0] >= FIRST_OF_CHANNEL {
                self.heard_by_client(&packet);
            }
        }
        for channel in &mut self.channels {
            let Some(target) = &mut channel.target else { continue };
            for packet in target.wire.packets().await {
                if packet[0] >= FIRST_OF_CHANNEL {
                    target.heard(&packet, self.rude);
                }
            }
            if channel.willing
                && let Some(confirmation) = target.confirm()
            {
                target.wire.send(confirmation).await;
            }
        }
    }

    fn heard_by_client(&mut self, packet: &[u8]) {
        let mut reader = Reader(packet);
        let (message, mine) = (reader.byte(), reader.number());
        let rude = self.rude;
        let Some(channel) = self.channels.get_mut(mine as usize) else {
            assert!(rude, "message {message} on channel {mine}, which there is not");
            return;
        };
        match message {
            CONFIRMATION => {
                let (theirs, window) = (reader.number(), reader.number());
                channel.user.opened(theirs, window);
            }
            OPEN_FAILURE => {
                assert!(channel.user.theirs.is_none() && !channel.user.refused, "refused after it was open");
                channel.user.refused = true;
            }
            _ if rude => {}
            _ => channel.user.heard(message, &mut reader),
        }
    }

    /// Ends the session, with both sides reading, and looks whether everything has come to its end.
    async fn finish(mut self) {
        self.settle(Duration::from_millis(1)).await;
        for channel in &mut self.channels {
            if let Some(payload) = channel.user.grant(ALL) {
                self.client.send(payload).await;
            }
            if let Some(target) = &mut channel.target
                && let Some(payload) = target.book.grant(ALL)
            {
                target.wire.send(payload).await;
            }
        }
        self.settle(Duration::from_millis(1)).await;
        self.play.end();
        self.settle(Duration::from_secs(30)).await;
        assert_eq!(self.play.joined(), 0, "channels have not ended");
        if self.client.over || self.rude || !self.play.is_connected() {
            return;
        }
        for (number, channel) in self.channels.iter().enumerate() {
            let user = &channel.user;
            assert!(user.theirs.is_some() != user.refused, "channel {number} was not answered: {user:?}");
            assert!(!user.must_close(), "channel {number} was not closed: {user:?}");
            assert!(user.is_answered(), "channel {number} waits for answers: {user:?}");
        }
    }
}

impl Target {
    fn confirm(&mut self) -> Option<Payload> {
        let (theirs, window) = self.asked.take()?;
        self.book.opened(theirs, window);
        Some(Payload::new(CONFIRMATION).number(theirs).number(0).number(ALL).number(MAX_PACKET))
    }

    fn refuse(&mut self, code: u8) -> Option<Payload> {
        let (theirs, _) = self.asked.take()?;
        Some(Payload::new(OPEN_FAILURE).number(theirs).number(u32::from(code % 5)).string("no").string(""))
    }

    fn heard(&mut self, packet: &[u8], rude: bool) {
        let mut reader = Reader(packet);
        let message = reader.byte();
        if message == OPEN {
            reader.string();
            let asked = (reader.number(), reader.number());
            assert!(self.asked.replace(asked).is_none(), "opened twice");
            return;
        }
        if rude {
            return;
        }
        assert_eq!(reader.number(), 0, "message {message} for a channel that the target has not");
        self.book.heard(message, &mut reader);
    }
}
