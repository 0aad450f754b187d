//! `kubectl bastion ssh`, through the real `kubectl` and the real `ssh`, under a person's own rights.

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::Person;
use bastion_e2e::run::Run;
use bastion_e2e::{Bastion, Outcome};

impl Person<'_> {
    /// Runs `kubectl bastion ssh` with these arguments, to its end.
    async fn ssh(&self, arguments: &[&str]) -> Outcome {
        let key = Run::get().await.user_key.path.display().to_string();
        let options = ["BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none"];
        let mut all = vec!["ssh", "-i", &key];
        all.extend(options.iter().flat_map(|option| ["-o", option]));
        all.extend(arguments);
        self.bastion(&all).await
    }

    async fn fails(&self, arguments: &[&str], words: &str) {
        let outcome = self.ssh(arguments).await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(255), ""), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(words), "{arguments:?} should say {words:?}: {outcome:?}");
    }
}

/// Makes the Service of the gateway, with a load balancer that is the gateway itself.
async fn add_service(bastion: &Bastion) {
    let port = bastion.gateway.address.port();
    let ports = json!([{"name": "ssh", "port": port}]);
    let metadata = json!({"name": "bastion-gateway"});
    let spec = json!({"type": "LoadBalancer", "selector": {"app": "bastion-gateway"}, "ports": ports});
    bastion.namespace.add(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})).await;
    let status = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}}));
    let services = bastion.namespace.api::<Service>();
    services.patch_status("bastion-gateway", &PatchParams::default(), &status).await.expect("a load balancer");
}

#[tokio::test]
async fn a_command_runs_with_the_least_rights_and_its_exit_status_is_kept() {
    let bastion = Bastion::up().await;
    add_service(&bastion).await;
    let alice = Person::new(&bastion.namespace, "bastion:alice", &["bastion-ssh"]).await;
    let outcome = alice.ssh(&["web-1", "--", "echo hi; exit 7"]).await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(7), "hi\n"), "{outcome:?}");
    let session = bastion.watch.started("alice").await;
    assert_eq!(session.spec.login, bastion.sshd.login);
    let login = bastion.sshd.login.clone();
    let outcome = alice.ssh(&["web-1", "-l", &login, "--", "echo", "two  words"]).await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "two words\n"), "{outcome:?}");
}

#[tokio::test]
async fn only_the_published_host_key_is_trusted() {
    let bastion = Bastion::up().await;
    let alice = Person::new(&bastion.namespace, "bastion:alice", &["bastion-ssh"]).await;
    let published = bastion.namespace.api::<ConfigMap>().get("bastion-known-hosts").await.expect("the host key");
    let line = &published.data.expect("data")["known_hosts"];
    assert!(line.starts_with("bastion-gateway ssh-ed25519 "), "{line}");
    let gateway = bastion.gateway.address.to_string();
    let outcome = alice.ssh(&["web-1", "--gateway", &gateway, "--", "echo hi"]).await;
    assert_eq!(outcome.stdout, "hi\n", "{outcome:?}");
    let other = format!("{}:{}", bastion.sshd.address, bastion.sshd.port);
    alice.fails(&["web-1", "--gateway", &other, "--", "echo hi"], "Host key verification failed.").await;
}

#[tokio::test]
async fn what_is_wrong_is_said_with_the_way_out() {
    let bastion = Bastion::with(async |namespace, _| {
        namespace.user_with("bob", json!({"subject": "bob@example.com"})).await;
    })
    .await;
    let name = &bastion.namespace.name;
    let nobody = Person::new(&bastion.namespace, "nobody@example.com", &[]).await;
    nobody.fails(&["web-1"], "name it with --user or BASTION_USER").await;
    let words =
        format!("you may not get the Service bastion-gateway in namespace {name}; have the Role bastion-ssh bound");
    nobody.fails(&["web-1", "--user", "bob"], &words).await;
    nobody.fails(&["web-1", "--user", "bob", "--gateway", "127.0.0.1:1"], "you may not get the ConfigMap").await;

    let bob = Person::new(&bastion.namespace, "bob@example.com", &["bastion-ssh", "bastion-viewer"]).await;
    bob.fails(&["web-9"], &format!("there is no target \"web-9\" in namespace {name}")).await;
    bob.fails(&["web-1", "-l", "postgres"], "login \"postgres\" is not among the logins of target \"web-1\"").await;
    bob.fails(&["root@web-1"], "a user, login or target must not contain ':' or '@'").await;
    bob.fails(&["web-1"], "you may not connect to target \"web-1\"").await;
    let grant = bastion.namespace.grant("bob@example.com", "bastiontargets", &["web-1"]).await;
    bob.fails(&["web-1"], &format!("there is no Service bastion-gateway in namespace {name}")).await;
    bastion.namespace.withdraw(&grant).await;

    let stranger = Person::new(&bastion.namespace, "stranger@example.com", &["bastion-ssh"]).await;
    stranger.fails(&["web-1"], "stands for your Kubernetes user \"stranger@example.com\"").await;
}

#[tokio::test]
async fn without_a_target_it_is_the_menu() {
    let bastion = Bastion::up().await;
    let alice = Person::new(&bastion.namespace, "bastion:alice", &["bastion-ssh"]).await;
    let gateway = bastion.gateway.address.to_string();
    alice.fails(&["--gateway", &gateway], "bastion: name a target: ").await;
}
