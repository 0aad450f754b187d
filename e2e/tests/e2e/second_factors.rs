//! Signing in with passwords and one-time codes, and the texts of refusals.

use std::time::{Duration, Instant};

use bastion_operator::api::{BastionUser, Reason};
use futures::future::join_all;
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use bastion_e2e::namespace::{Namespace, PEOPLE};
use bastion_e2e::process::{Process, command};
use bastion_e2e::redis::RedisServer;
use bastion_e2e::run::{Run, unique};
use bastion_e2e::ssh::{Answers, Ssh};
use bastion_e2e::{Bastion, Gateway, Outcome, PROMPT_BOUND, Setting, default_timeout, eventually};

pub const PASSWORD: &str = "correct horse battery staple";
/// In base32, as people write it.
const SECRET: &str = "gezd gnbv gy3t qojq gezd gnbv gy3t qojq";

/// What `bastion hash-password` prints.
pub async fn hash(password: &str) -> String {
    let run = Run::get().await;
    let mut program = command(&run.bastion);
    program.arg("hash-password");
    let mut program = Process::start(run.dir.join(format!("hash-{}", unique())), program).await;
    program.say(password).await;
    let outcome = program.finish(default_timeout()).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome.stdout.trim().to_owned()
}

/// The code of the present time, or of so many steps later.
pub fn code(later: i64) -> String {
    let secret = totp_rs::Secret::try_from_base32(SECRET.replace(' ', "").to_uppercase()).expect("a secret");
    let totp = totp_rs::Builder::new().with_secret(secret).build().expect("a generator");
    totp.generate(u64::try_from(Timestamp::now().as_second() + 30 * later).expect("a time")).to_string()
}

/// Adds a user who must show these factors, and has no key unless one of them is.
pub async fn add_user(namespace: &Namespace, name: &str, factors: &[&str]) {
    namespace.secret_with(name, json!({"password": hash(PASSWORD).await, "totp": SECRET})).await;
    let mut spec = json!({"groups": [PEOPLE], "authentication": factors,
        "password": {"name": name, "key": "password"}, "totp": {"name": name, "key": "totp"}});
    if !factors.contains(&"publickey") {
        spec["publicKeys"] = json!([]);
    }
    namespace.user_with(name, spec).await;
}

async fn with_user(factors: &[&str]) -> Bastion {
    Bastion::with(async |namespace, _| add_user(namespace, "paula", factors).await).await
}

async fn try_in(ssh: Ssh, answers: &Answers) -> Outcome {
    ssh.answering(answers).command("echo through").run().await
}

async fn sign_in(gateway: &Gateway, password: &str, code: &str) -> Outcome {
    try_in(gateway.ssh("paula:web-1").await, &Answers::new(password, code).await).await
}

pub fn assert_in(outcome: &Outcome) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "through\n"), "{outcome:?}");
}

pub fn assert_kept_out(outcome: &Outcome) {
    assert!(outcome.code == Some(255) && outcome.stdout.is_empty(), "{outcome:?}");
    assert!(outcome.stderr.contains("Permission denied (publickey,keyboard-interactive)."), "{outcome:?}");
}

#[tokio::test]
async fn a_password_lets_its_user_in() {
    let bastion = with_user(&["password"]).await;
    assert_in(&sign_in(&bastion.gateway, PASSWORD, "").await);
    assert_kept_out(&sign_in(&bastion.gateway, "wrong", "").await);
    assert_kept_out(&sign_in(&bastion.gateway, "", "").await);
    // With a key of her own, another user needs none.
    assert_in(&bastion.ssh("alice:web-1").await.command("echo through").run().await);
}

#[tokio::test]
async fn a_code_is_asked_for_after_the_password_and_is_good_once() {
    let bastion = with_user(&["password", "totp"]).await;
    let (now, next) = (code(0), code(1));
    assert_kept_out(&sign_in(&bastion.gateway, "wrong", &now).await);
    assert_in(&sign_in(&bastion.gateway, PASSWORD, &now).await);
    assert_kept_out(&sign_in(&bastion.gateway, PASSWORD, &now).await);
    assert_kept_out(&sign_in(&bastion.gateway, PASSWORD, "000000").await);
    assert_in(&sign_in(&bastion.gateway, PASSWORD, &next).await);
}

#[tokio::test]
async fn a_key_and_a_code_are_both_needed() {
    let bastion = with_user(&["publickey", "totp"]).await;
    let ssh = async || bastion.ssh("paula:web-1").await;
    let wrong = &Run::get().await.wrong_key.path;
    let answers = Answers::new("", &code(0)).await;
    let denied = try_in(ssh().await.key(wrong), &answers).await;
    assert!(denied.stderr.contains("Permission denied (publickey)."), "{denied:?}");
    assert_eq!(answers.asked(), Vec::<String>::new(), "without a key nothing is asked");
    let denied = ssh().await.command("echo through").run().await;
    assert!(denied.code == Some(255) && denied.stdout.is_empty(), "a key alone: {denied:?}");
    assert_in(&try_in(ssh().await, &answers).await);
}

#[tokio::test]
async fn a_code_is_good_at_one_gateway_only_where_there_is_redis() {
    let redis = RedisServer::start().await;
    let setting = Setting { env: redis.environment(), ..Setting::default() };
    let bastion = Bastion::in_setting(&setting, async |namespace, _| {
        add_user(namespace, "paula", &["password", "totp"]).await;
    })
    .await;
    let other = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    let code = code(0);
    assert_in(&sign_in(&bastion.gateway, PASSWORD, &code).await);
    assert_kept_out(&sign_in(&other, PASSWORD, &code).await);
}

#[tokio::test]
async fn asking_for_a_key_ends_the_sessions_that_have_none() {
    let bastion = with_user(&["password"]).await;
    let ssh = bastion.ssh("paula:web-1").await.answering(&Answers::new(PASSWORD, "").await).no_terminal().start().await;
    let mut open = bastion.opened(ssh, "paula").await;
    let users: Api<BastionUser> = bastion.namespace.api();
    let patch = Patch::Merge(json!({"spec": {"authentication": ["publickey", "password"]}}));
    users.patch("paula", &PatchParams::default(), &patch).await.expect("a changed user");
    bastion.watch.ended_within(PROMPT_BOUND, &open.session, Reason::AccessRevoked).await;
    open.ssh.finish(PROMPT_BOUND).await;
}

/// Returns what the client sees of a refusal, and how long it took.
async fn transcript(bastion: &Bastion, user: &str, password: &str) -> (String, Duration) {
    let answers = Answers::new(password, "000000").await;
    let since = Instant::now();
    let wrong = &Run::get().await.wrong_key.path;
    let outcome = try_in(bastion.ssh(&format!("{user}:web-1")).await.key(wrong), &answers).await;
    let took = since.elapsed();
    assert_kept_out(&outcome);
    let seen = format!("{:?} {} {:?}", outcome.code, outcome.stderr, answers.asked());
    (seen.replace(&format!("{user}:"), "USER:"), took)
}

#[tokio::test]
async fn refusals_tell_nobody_whether_there_is_such_a_user() {
    let setting = Setting { env: vec![("BASTION_LOCK_OUT_AFTER", "2".into())], ..Setting::default() };
    let bastion = Bastion::in_setting(&setting, async |namespace, _| {
        for (user, factors) in
            [("both", &["password", "totp"][..]), ("wanda", &["password"]), ("keyed", &["publickey"])]
        {
            add_user(namespace, user, factors).await;
        }
        add_user(namespace, "locked", &["password"]).await;
        let changes = [
            ("disabled", json!({"disabled": true})),
            ("expired", json!({"expires": "2026-01-01T00:00:00Z"})),
            ("secretless", json!({"authentication": ["password"], "password": {"name": "missing", "key": "password"}})),
        ];
        for (user, change) in changes {
            let mut spec = json!({"groups": [PEOPLE], "publicKeys": []});
            bastion_e2e::objects::merge(&mut spec, change);
            namespace.user_with(user, spec).await;
        }
    })
    .await;
    for _ in 0..2 {
        transcript(&bastion, "locked", "wrong").await;
    }
    let (expected, _) = transcript(&bastion, "nobody", "wrong").await;
    let tried = [
        ("stranger", "wrong"),
        ("both", "wrong"),
        ("wanda", "wrong"),
        ("locked", PASSWORD),
        ("disabled", "wrong"),
        ("expired", "wrong"),
        ("secretless", "wrong"),
        ("keyed", PASSWORD),
    ];
    let mut times = vec![Vec::new(); tried.len()];
    for _ in 0..3 {
        let round = join_all(tried.map(|(user, password)| transcript(&bastion, user, password))).await;
        for (at, (seen, took)) in round.into_iter().enumerate() {
            assert_eq!(seen, expected, "as {}", tried[at].0);
            times[at].push(took);
        }
    }
    let medians = times.iter_mut().map(|took| {
        took.sort();
        took[1]
    });
    let medians: Vec<_> = medians.zip(tried).collect();
    let (least, most) = (medians.iter().min().expect("some"), medians.iter().max().expect("some"));
    assert!(most.0 < least.0 * 2, "refusals take alike long: {medians:?}");
}

#[tokio::test]
async fn the_banner_is_shown_and_refusals_are_told_in_an_event() {
    let file = Run::get().await.dir.join(format!("banner-{}", unique()));
    std::fs::write(&file, "Keep out.\nThis is watched.\n").expect("a file");
    let setting = Setting { env: vec![("BASTION_BANNER_FILE", file.into())], ..Setting::default() };
    let bastion = Bastion::in_setting(&setting, async |_, _| ()).await;
    let good = bastion.ssh("alice:web-1").await.command("echo through").run().await;
    assert!(good.stderr.contains("Keep out.\r\nThis is watched."), "{good:?}");
    assert_eq!(bastion.namespace.events_of("alice").await, []);
    let wrong = &Run::get().await.wrong_key.path;
    for _ in 0..2 {
        bastion.ssh("alice:web-1").await.key(wrong).command("true").run().await;
    }
    let events = eventually(default_timeout(), "an Event on the user", async || {
        let events = bastion.namespace.events_of("alice").await;
        if events.is_empty() { Err("none".to_owned()) } else { Ok(events) }
    })
    .await;
    assert_eq!(events, [("SignInRefused".to_owned(), "from 127.0.0.1: the key is not one of the user's".to_owned())]);
}
