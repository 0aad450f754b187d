//! What the schemas refuse, and the words in which they do. Nothing but an API server is needed.

use bastion_operator::api::{BastionSession, BastionUser, Phase};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use bastion_e2e::Namespace;
use bastion_e2e::objects::{bastion_session, bastion_target, bastion_user, ended_status, merge};
use bastion_e2e::refusal::{assert_let_through, assert_refused};

const BAD_ADDRESS: &str = "must be an IP address or a host name, without a port; the port goes into spec.port";
const BAD_HOST_KEY: &str = "must be one line of an OpenSSH public key without options or host name, such as: ssh-ed25519 AAAAC3Nz... comment, or @cert-authority and such a line for an authority that signs host keys";
const ONE_CREDENTIAL: &str =
    "must have exactly one of privateKey, password and certificateAuthority, such as: privateKey: {name: web-1}";
const BAD_USER_KEY: &str =
    "must be one line of an OpenSSH public key, such as: ssh-ed25519 AAAAC3Nz... comment; only cert-authority may";
const BAD_LOGIN: &str = "must be a login name: no white space, ':' or '@', and no '-' at its beginning";
const OF_KUBERNETES: &str = "must not be empty or begin with 'system:', which Kubernetes keeps for itself";
const SPEC_IS_FINAL: &str = "the spec of a session is final; only spec.termination can be set";
const END_IS_FINAL: &str = "this session has ended; how and when it ended is final";

const NOT_ONE_LINE: &str = "must be one line of text, without control characters";
const NO_TIME: &str = "must be a time such as 2026-01-31T10:00:00Z";

const GATEWAY: &str = "gateway-0";

#[tokio::test]
async fn a_target_with_a_wrong_spec_is_refused_in_words_that_help() {
    let namespace = Namespace::new().await;
    let cases = [
        (json!({"address": "web-1:22"}), BAD_ADDRESS),
        (json!({"address": ""}), BAD_ADDRESS),
        (json!({"address": "-oProxyCommand=x"}), BAD_ADDRESS),
        (json!({"address": "two hosts"}), BAD_ADDRESS),
        (json!({"description": "two\nlines"}), "must be one line of text, without control characters"),
        (json!({"description": "x".repeat(257)}), "spec.description: Too long: may not be more than 256 bytes"),
        (json!({"port": 0}), "spec.port in body should be greater than or equal to 1"),
        (json!({"port": 65536}), "spec.port in body should be less than or equal to 65535"),
        (json!({"hostKeys": []}), "spec.hostKeys in body should have at least 1 items"),
        (json!({"hostKeys": ["ssh-ed25519"]}), BAD_HOST_KEY),
        (json!({"hostKeys": ["web-1 ssh-ed25519 AAAA"]}), BAD_HOST_KEY),
        (json!({"hostKeys": ["ssh-dss AAAA"]}), BAD_HOST_KEY),
        (json!({"hostKeys": ["ssh-ed25519 AAAA\nssh-ed25519 BBBB"]}), BAD_HOST_KEY),
        (json!({"hostKeys": ["@cert-authority * ssh-ed25519 AAAA"]}), BAD_HOST_KEY),
        (json!({"hostKeys": ["@revoked ssh-ed25519 AAAA"]}), BAD_HOST_KEY),
        (json!({"legacyAlgorithms": ["3des-cbc"]}), "Unsupported value: \"3des-cbc\": supported values: "),
        (json!({"legacyAlgorithms": ["aes128-cbc", "aes128-cbc"]}), "Duplicate value"),
        (json!({"logins": []}), "spec.logins in body should have at least 1 items"),
        (json!({"logins": [""]}), BAD_LOGIN),
        (json!({"logins": ["-l"]}), BAD_LOGIN),
        (json!({"logins": ["two words"]}), BAD_LOGIN),
        (json!({"logins": ["root@web-1"]}), BAD_LOGIN),
        (json!({"logins": ["alice:root"]}), BAD_LOGIN),
        (json!({"limits": {"idleSeconds": 0}}), "spec.limits.idleSeconds in body should be greater than or equal to 1"),
        (json!({"limits": {"maxSeconds": -1}}), "spec.limits.maxSeconds in body should be greater than or equal to 1"),
        (
            json!({"limits": {"maxSeconds": 31_536_001}}),
            "spec.limits.maxSeconds in body should be less than or equal to",
        ),
        (json!({"groups": ["system:nodes"]}), OF_KUBERNETES),
        (json!({"groups": [""]}), OF_KUBERNETES),
        (json!({"credentials": {}}), ONE_CREDENTIAL),
        (json!({"credentials": {"privateKey": {"name": "a"}, "password": {"name": "b"}}}), ONE_CREDENTIAL),
        (json!({"credentials": {"password": {}}}), "spec.credentials.password.name: Required value"),
        (json!({"credentials": {"privateKey": {"name": ""}}}), "spec.credentials.privateKey.name"),
        (json!({"credentials": {"privateKey": {"name": "a\u{1b}[2J"}}}), NOT_ONE_LINE),
        (json!({"credentials": {"password": {"name": "a", "key": "a\u{7}"}}}), NOT_ONE_LINE),
        (json!({"description": "\u{1b}]52;c;eA==\u{7}"}), NOT_ONE_LINE),
        (json!({"description": "a\u{9b}2J"}), NOT_ONE_LINE),
        (json!({"description": "a\u{7f}"}), NOT_ONE_LINE),
        (json!({"description": "a\u{fffe}"}), NOT_ONE_LINE),
        (json!({"description": "a\u{ffff}"}), NOT_ONE_LINE),
        (json!({"description": "a\u{202e}txt.exe"}), NOT_ONE_LINE),
        (json!({"description": "a\u{2066}b"}), NOT_ONE_LINE),
        (json!({"groups": ["web\u{1b}[2J"]}), NOT_ONE_LINE),
        (json!({"logins": ["ro\u{1b}[2Jot"]}), NOT_ONE_LINE),
        (json!({"hostKeys": ["ssh-ed25519 AAAA a\u{1b}[2J"]}), NOT_ONE_LINE),
    ];
    for (spec, words) in cases {
        let mut target = bastion_target("web-1");
        merge(&mut target["spec"], spec.clone());
        assert_refused(&spec.to_string(), namespace.create_as(&namespace.admin(), target).await, words);
    }
}

#[tokio::test]
async fn a_target_may_be_named_and_keyed_in_every_usual_way() {
    let namespace = Namespace::new().await;
    let cases = [
        json!({"address": "192.0.2.7"}),
        json!({"address": "2001:db8::7"}),
        json!({"address": "web-1.example.com."}),
        json!({"address": "web-1", "port": 65535}),
        json!({"hostKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 root@web-1", "ecdsa-sha2-nistp256 AAAAE2Vj=="]}),
        json!({"hostKeys": ["@cert-authority ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 the authority of all hosts"]}),
        json!({"credentials": {"password": {"name": "web-1"}}}),
        json!({"credentials": {"certificateAuthority": {"name": "authority", "key": "ca"}}}),
        json!({"legacyAlgorithms": ["aes128-cbc", "ssh-rsa", "diffie-hellman-group14-sha1", "hmac-sha1"]}),
        json!({"logins": ["root", "deploy", "www-data", "svc_$", "DOMAIN\\user"]}),
        json!({"limits": {"idleSeconds": 1, "maxSeconds": 31_536_000}}),
        json!({"groups": ["web", "production:eu"]}),
    ];
    for (number, spec) in cases.into_iter().enumerate() {
        let mut target = bastion_target(&format!("web-{number}"));
        merge(&mut target["spec"], spec.clone());
        assert_let_through(&spec.to_string(), namespace.create_as(&namespace.admin(), target).await);
    }
}

#[tokio::test]
async fn a_user_with_a_wrong_spec_is_refused_in_words_that_help() {
    let namespace = Namespace::new().await;
    let cases = [
        (json!({"publicKeys": ["ssh-ed25519"]}), BAD_USER_KEY),
        (json!({"publicKeys": ["command=\"true\" ssh-ed25519 AAAA"]}), BAD_USER_KEY),
        (json!({"publicKeys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]}), BAD_USER_KEY),
        (json!({"publicKeys": ["cert-authority,command=\"a\\\\\",no-pty ssh-ed25519 AAAA"]}), BAD_USER_KEY),
        (json!({"publicKeys": ["cert-authority,from=\"10.0.0.0/8\" ssh-ed25519 AAAA"]}), BAD_USER_KEY),
        (json!({"publicKeys": ["cert-authority,principals=\"\" ssh-ed25519 AAAA"]}), BAD_USER_KEY),
        (json!({"publicKeys": ["cert-authority,principals=\"a b\" ssh-ed25519 AAAA"]}), BAD_USER_KEY),
        (json!({"publicKeys": ["cert-authority,principals=\"a\\\\\" ssh-ed25519 AAAA"]}), BAD_USER_KEY),
        (json!({"publicKeys": ["cert-authority ssh-ed25519-cert-v01@openssh.com AAAA"]}), BAD_USER_KEY),
        (json!({"publicKeys": ["verify-required ssh-ed25519 AAAA"]}), BAD_USER_KEY),
        (json!({"publicKeys": ["verify-required,no-pty sk-ssh-ed25519@openssh.com AAAA"]}), BAD_USER_KEY),
        (json!({"authentication": []}), "spec.authentication in body should have at least 1 items"),
        (json!({"authentication": ["face"]}), "supported values: \"publickey\", \"password\", \"totp\""),
        (json!({"authentication": ["publickey", "publickey"]}), "each factor is named once"),
        (
            json!({"authentication": ["totp"], "totp": {"name": "alice", "key": "totp"}}),
            "a one-time code comes after a key or a password; write [publickey, totp] or [password, totp]",
        ),
        (json!({"authentication": ["password"]}), "spec.password must name the Secret that holds its hash"),
        (json!({"authentication": ["publickey", "totp"]}), "spec.totp must name the Secret that holds its secret"),
        (json!({"maxSessions": 0}), "spec.maxSessions in body should be greater than or equal to 1"),
        (json!({"subject": "system:admin"}), "must not begin with 'system:', which Kubernetes keeps for itself"),
        (json!({"subject": ""}), "spec.subject in body should be at least 1 chars long"),
        (json!({"groups": ["system:masters"]}), OF_KUBERNETES),
        (json!({"expires": "tomorrow"}), NO_TIME),
        (json!({"expires": "2099-01-01T00:00:00+99:00"}), NO_TIME),
        (json!({"expires": "2099-01-01T00:00:00+00:60"}), NO_TIME),
        (json!({"expires": "2099-01-01T00:00:00"}), NO_TIME),
        (json!({"expires": "2099-01-01t00:00:00z"}), NO_TIME),
        (json!({"expires": "2099-01-01T00:00:00.0123456789Z"}), NO_TIME),
        (json!({"expires": "2099-01-01T00:00:00x1Z"}), NO_TIME),
        (json!({"expires": "2099-02-30T00:00:00Z"}), NO_TIME),
        (json!({"expires": "2099-01-01T24:00:00Z"}), NO_TIME),
        (json!({"expires": "9999-12-31T23:59:59Z"}), NO_TIME),
        (json!({"expires": "2099-01-01T00:00:00+99:00"}), "spec.expires: Invalid value"),
        (json!({"subject": "a\u{1b}[2J"}), NOT_ONE_LINE),
        (json!({"groups": ["a\u{85}b"]}), NOT_ONE_LINE),
        (json!({"publicKeys": ["ssh-ed25519 AAAA alice\u{1b}]52;c;eA==\u{7}"]}), NOT_ONE_LINE),
        (json!({"publicKeys": ["cert-authority,command=\"a\u{1b}[2J\" ssh-ed25519 AAAA"]}), NOT_ONE_LINE),
        (json!({"password": {"name": "a\u{1b}[2J", "key": "password"}}), NOT_ONE_LINE),
        (json!({"totp": {"name": "a", "key": "a\u{1b}[2J"}}), NOT_ONE_LINE),
    ];
    for (spec, words) in cases {
        let mut user = bastion_user("alice");
        user["spec"] = spec.clone();
        assert_refused(&spec.to_string(), namespace.create_as(&namespace.admin(), user).await, words);
    }
    let long = bastion_user(&"a".repeat(64));
    let words = "metadata.name of a user is at most 63 characters long, since sessions are named after it";
    assert_refused("a name of 64 characters", namespace.create_as(&namespace.admin(), long).await, words);
}

#[tokio::test]
async fn a_user_may_have_keys_and_authorities_in_every_usual_way() {
    let namespace = Namespace::new().await;
    let mut user = bastion_user("alice");
    user["spec"] = json!({"publicKeys": [
        "sk-ssh-ed25519@openssh.com AAAAGnNr alice's key",
        "cert-authority ssh-ed25519 AAAAC3Nz the CA",
        "cert-authority,no-pty,no-touch-required,verify-required ssh-ed25519 AAAAC3Nz",
        "verify-required sk-ssh-ed25519@openssh.com AAAAC3Nz a key with a PIN",
        "no-touch-required,verify-required sk-ecdsa-sha2-nistp256@openssh.com AAAAC3Nz",
        "cert-authority,principals=\"CORP\\\\alice\" ssh-rsa AAAAB3Nz",
        "cert-authority,principals=\"dev,ops\",command=\"say \\\"a, b\\\"\",no-pty ssh-rsa AAAAB3Nz",
        "cert-authority,no-port-forwarding,no-agent-forwarding ecdsa-sha2-nistp256 AAAAE2Vj==",
    ], "authentication": ["publickey", "password", "totp"], "password": {"name": "alice", "key": "password"},
        "totp": {"name": "alice", "key": "totp"}, "maxSessions": 3});
    assert_let_through("every kind of line", namespace.create_as(&namespace.admin(), user).await);
}

#[tokio::test]
async fn times_may_be_written_in_every_usual_way() {
    let namespace = Namespace::new().await;
    let times = [
        "2099-01-01T00:00:00Z",
        "2099-01-01T00:00:00.123456789Z",
        "2096-02-29T23:59:59+23:59",
        "2099-01-01T00:00:00-05:30",
        "0001-01-01T00:00:00Z",
        "9999-12-29T23:59:59Z",
    ];
    for (number, time) in times.into_iter().enumerate() {
        let mut user = bastion_user(&format!("user-{number}"));
        user["spec"] = json!({"expires": time});
        assert_let_through(time, namespace.create_as(&namespace.admin(), user).await);
        namespace.api::<BastionUser>().get(&format!("user-{number}")).await.expect(time);
    }
}

#[tokio::test]
async fn a_session_with_a_time_or_a_text_that_harms_is_refused() {
    let namespace = Namespace::new().await;
    let gateway = namespace.account("bastion-gateway", GATEWAY).await.client;
    let evil = "a\u{1b}[2J";
    let cases = [
        (json!({"startTime": "2026-01-01T10:00:00.000000+99:00"}), NO_TIME),
        (json!({"startTime": "2026-01-01T10:00:00.000000+99:00"}), "spec.startTime: Invalid value"),
        (json!({"user": {"name": evil, "subject": "bastion:alice"}}), NOT_ONE_LINE),
        (json!({"user": {"name": "alice", "subject": evil}}), NOT_ONE_LINE),
        (json!({"user": {"name": "alice", "subject": "bastion:alice", "groups": [evil]}}), NOT_ONE_LINE),
        (json!({"target": evil}), NOT_ONE_LINE),
        (json!({"login": evil}), NOT_ONE_LINE),
        (json!({"client": {"address": evil, "port": 1}}), NOT_ONE_LINE),
        (json!({"recording": {"mode": "Required", "location": evil}}), NOT_ONE_LINE),
    ];
    for (spec, words) in cases {
        let mut session = bastion_session("session", GATEWAY);
        merge(&mut session["spec"], spec.clone());
        assert_refused(&spec.to_string(), namespace.create_as(&gateway, session).await, words);
    }
    let mut session = bastion_session("session", GATEWAY);
    merge(&mut session["spec"], json!({"client": {"address": "::1", "port": 1, "software": evil}}));
    assert_let_through("what an older gateway does not clean", namespace.create_as(&gateway, session).await);
}

/// A namespace with one Active session, `session`, and clients for its gateway, the controller and the audit program.
struct OneSession {
    namespace: Namespace,
    gateway: Client,
    controller: Client,
    audit: Client,
}

impl OneSession {
    async fn new() -> Self {
        let namespace = Namespace::new().await;
        let gateway = namespace.account("bastion-gateway", GATEWAY).await.client;
        let controller = namespace.account("bastion-controller", "controller-0").await.client;
        let audit = namespace.account("bastion-audit", "audit-0").await.client;
        let created = namespace.create_as(&gateway, bastion_session("session", GATEWAY)).await;
        assert_let_through("a session by its gateway", created);
        Self { namespace, gateway, controller, audit }
    }

    async fn ended() -> Self {
        let new = Self::new().await;
        let answer = new.patch_status(json!({"status": ended_status()})).await;
        assert_let_through("an end by the gateway", answer);
        new
    }

    async fn patch(&self, patch: Value) -> Result<BastionSession, String> {
        self.namespace.patch_session(&self.namespace.admin(), "session", patch).await
    }

    async fn patch_status(&self, patch: Value) -> Result<BastionSession, String> {
        self.namespace.patch_status(&self.gateway, "session", patch).await
    }

    async fn get(&self) -> BastionSession {
        self.namespace.api().get("session").await.expect("the session")
    }
}

#[tokio::test]
async fn a_new_session_is_active_whatever_status_is_sent_with_it() {
    let namespace = Namespace::new().await;
    let gateway = namespace.account("bastion-gateway", GATEWAY).await.client;
    let mut session = bastion_session("session", GATEWAY);
    session["status"] = ended_status();
    assert_let_through("a session by its gateway", namespace.create_as(&gateway, session).await);
    let session = namespace.api::<BastionSession>().get("session").await.expect("the session");
    let status = session.status.expect("the default status");
    assert_eq!((status.phase, status.reason), (Phase::Active, None));
}

#[tokio::test]
async fn the_spec_of_a_session_is_final() {
    let one = OneSession::new().await;
    let cases = [
        json!({"user": {"name": "mallory"}}),
        json!({"user": {"groups": ["admins"]}}),
        json!({"target": "db-1"}),
        json!({"login": "postgres"}),
        json!({"protocol": "Web"}),
        json!({"client": {"address": "192.0.2.1"}}),
        json!({"gateway": {"instance": "gateway-0-zzzzzzzzzz"}}),
        json!({"startTime": "2026-01-01T09:00:00.000000Z"}),
        json!({"limits": {"maxSeconds": 60}}),
    ];
    for spec in cases {
        assert_refused(&spec.to_string(), one.patch(json!({"spec": spec})).await, SPEC_IS_FINAL);
    }
}

#[tokio::test]
async fn a_termination_is_asked_for_once_and_not_taken_back() {
    let one = OneSession::new().await;
    let termination = json!({"spec": {"termination": {"requestedBy": "admin", "reason": "maintenance"}}});
    assert_let_through("the first", one.patch(termination.clone()).await);
    assert_let_through("the same again, as a retry sends it", one.patch(termination).await);
    let words = "a termination can be requested only once, and cannot be withdrawn";
    for change in [json!({"reason": "another"}), json!({"reason": null}), json!(null)] {
        let patch = json!({"spec": {"termination": change}});
        assert_refused(&patch.to_string(), one.patch(patch.clone()).await, words);
    }
}

#[tokio::test]
async fn a_termination_says_who_asks() {
    let one = OneSession::new().await;
    let nobody = json!({"spec": {"termination": {"requestedBy": ""}}});
    assert_refused("by nobody", one.patch(nobody).await, "requestedBy in body should be at least 1 chars long");
    let missing = json!({"spec": {"termination": {"reason": "maintenance"}}});
    assert_refused("without requestedBy", one.patch(missing).await, "spec.termination.requestedBy: Required value");
}

#[tokio::test]
async fn a_termination_that_would_steer_a_terminal_is_refused() {
    let one = OneSession::new().await;
    let texts = ["\u{1b}]52;c;cm0gLXJmIC8=\u{7}", "a\u{1b}[2J", "two\nlines", "a\u{9b}2J", "a\u{7f}", "a\u{202e}b"];
    for text in texts {
        for (field, termination) in [
            ("spec.termination.reason", json!({"requestedBy": "admin", "reason": text})),
            ("spec.termination.requestedBy", json!({"requestedBy": text})),
        ] {
            let patch = json!({"spec": {"termination": termination}});
            let answer = one.patch(patch.clone()).await;
            assert_refused(&patch.to_string(), answer, &format!("{field}: Invalid value"));
        }
    }
    let reason =
        json!({"spec": {"termination": {"requestedBy": "admin", "reason": "维护 – maintenance, 👩\u{200d}💻"}}});
    assert_let_through("text of any language", one.patch(reason).await);
}

#[tokio::test]
async fn an_end_is_not_refused_for_its_words() {
    let one = OneSession::new().await;
    let mut status = ended_status();
    merge(&mut status, json!({"message": "two\nlines \u{1b}[2J", "exitSignal": "a\u{1b}[2J"}));
    assert_let_through("by a gateway that does not clean them", one.patch_status(json!({"status": status})).await);
}

#[tokio::test]
async fn the_times_of_a_status_can_be_read() {
    let one = OneSession::new().await;
    let bad = "2026-01-01T10:05:00.000000+99:00";
    let condition =
        json!({"type": "Ended", "status": "True", "reason": "UserExit", "message": "", "lastTransitionTime": bad});
    for (field, status) in [
        ("status.endTime", json!({"endTime": bad})),
        ("status.lastSeenTime", json!({"lastSeenTime": bad})),
        ("status.conditions[0].lastTransitionTime", json!({"conditions": [condition]})),
    ] {
        let mut end = ended_status();
        merge(&mut end, status);
        let answer = one.patch_status(json!({"status": end})).await;
        assert_refused(field, answer, &format!("{field}: Invalid value"));
    }
}

#[tokio::test]
async fn an_ended_session_cannot_be_terminated() {
    let one = OneSession::ended().await;
    let patch = json!({"spec": {"termination": {"requestedBy": "admin"}}});
    assert_refused("too late", one.patch(patch).await, "this session has already ended; there is nothing to terminate");
}

#[tokio::test]
async fn a_terminated_session_ends_although_its_termination_stays() {
    let one = OneSession::new().await;
    assert_let_through("asked", one.patch(json!({"spec": {"termination": {"requestedBy": "admin"}}})).await);
    let mut status = ended_status();
    merge(&mut status, json!({"phase": "Terminated", "reason": "AdminTerminated"}));
    assert_let_through("ended", one.patch_status(json!({"status": status})).await);
    let finalizers = json!({"metadata": {"finalizers": null}});
    let freed = one.namespace.patch_session(&one.audit, "session", finalizers).await;
    assert_let_through("the audit program's finalizer patch", freed);
}

#[tokio::test]
async fn no_patch_reopens_an_ended_session_or_rewrites_its_end() {
    let one = OneSession::ended().await;
    let cases = [
        json!({"phase": "Active"}),
        json!({"phase": null}),
        json!({"phase": "Terminated"}),
        json!({"phase": "Timeout", "reason": "GatewayLost", "endTime": "2026-01-01T10:06:00.000000Z"}),
        json!({"reason": "GatewayLost"}),
        json!({"message": "another history"}),
        json!({"message": null}),
        json!({"endTime": "2026-01-01T10:04:00.000000Z"}),
        json!({"observedBy": "Controller"}),
        json!({"exitCode": 1}),
        json!({"exitCode": null}),
        json!(null),
        json!({}),
    ];
    let before = one.get().await.status;
    for status in cases {
        let answer = one.patch_status(json!({"status": status})).await;
        if status == json!({}) {
            assert_let_through("a patch of nothing", answer);
        } else {
            assert_refused(&status.to_string(), answer, END_IS_FINAL);
        }
        assert_eq!(one.get().await.status, before, "after {status}");
    }
}

#[tokio::test]
async fn no_replacement_or_json_patch_reopens_an_ended_session() {
    let one = OneSession::ended().await;
    let before = one.get().await;
    let sessions: Api<BastionSession> = Api::namespaced(one.gateway.clone(), &one.namespace.name);
    for operation in
        [json!({"op": "remove", "path": "/status"}), json!({"op": "replace", "path": "/status", "value": null})]
    {
        let patch = Patch::Json::<()>(serde_json::from_value(json!([operation])).expect("a JSON patch"));
        let answer = sessions.patch_status("session", &PatchParams::default(), &patch).await;
        assert_refused(&operation.to_string(), answer.map_err(|error| error.to_string()), END_IS_FINAL);
    }
    let admin: Api<BastionSession> = one.namespace.api();
    let replaced = BastionSession { status: None, ..before.clone() };
    let answer = admin.replace_status("session", &PostParams::default(), &replaced).await;
    assert!(answer.is_err(), "a replacement without status was let through: {answer:?}");
    assert_eq!(one.get().await.status, before.status);
}

#[tokio::test]
async fn an_end_needs_a_reason_and_a_time_that_is_not_before_the_start() {
    let one = OneSession::new().await;
    let cases = [
        (json!({"phase": "Closed"}), "an ended session needs a reason and an endTime"),
        (json!({"phase": "Closed", "reason": "UserExit"}), "an ended session needs a reason and an endTime"),
        (
            json!({"phase": "Timeout", "endTime": "2026-01-01T10:05:00.000000Z"}),
            "an ended session needs a reason and an endTime",
        ),
        (
            json!({"phase": "Closed", "reason": "UserExit", "endTime": "2026-01-01T09:59:59.999999Z"}),
            "a session cannot end before it starts",
        ),
        (json!({"phase": "Open"}), "supported values: \"Active\", \"Closed\", \"Timeout\", \"Terminated\""),
        (json!({"bytesIn": -1}), "bytesIn in body should be greater than or equal to 0"),
    ];
    for (status, words) in cases {
        assert_refused(&status.to_string(), one.patch_status(json!({"status": status})).await, words);
    }
    let at_the_start = json!({"phase": "Closed", "reason": "UserExit", "endTime": "2026-01-01T10:00:00.000000Z"});
    assert_let_through("an end in the moment of its start", one.patch_status(json!({"status": at_the_start})).await);
}

#[tokio::test]
async fn the_first_of_two_ends_stays_whichever_writer_is_late() {
    let one = OneSession::ended().await;
    let late = json!({"status": {"phase": "Timeout", "reason": "GatewayLost", "message": "the gateway is gone",
        "endTime": "2026-01-01T10:20:00.000000Z", "observedBy": "Controller"}});
    for (who, client) in [("the gateway", &one.gateway), ("the controller", &one.controller)] {
        let answer = one.namespace.patch_status(client, "session", late.clone()).await;
        assert_refused(&format!("{who}, too late"), answer, END_IS_FINAL);
    }
    let again = one.patch_status(json!({"status": ended_status()})).await;
    assert_let_through("the first writer's own retry", again);
    let status = one.get().await.status.expect("a status");
    assert_eq!((status.phase, status.reason.as_deref()), (Phase::Closed, Some("UserExit")));
}
