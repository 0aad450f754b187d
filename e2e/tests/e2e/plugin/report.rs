//! `kubectl bastion report`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use kube::ResourceExt;
use serde_json::json;

use super::Person;
use bastion_e2e::run::Run;
use bastion_e2e::{Bastion, Controller, eventually};
use bastion_e2e::{Namespace, default_timeout};

/// The files in a ZIP.
fn unzipped(path: &std::path::Path) -> BTreeMap<String, String> {
    let mut zip = zip::ZipArchive::new(File::open(path).expect("a file")).expect("a ZIP");
    let mut files = BTreeMap::new();
    for at in 0..zip.len() {
        let mut file = zip.by_index(at).expect("a file in it");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("text");
        files.insert(file.name().expect("a name").into_owned(), text);
    }
    files
}

#[tokio::test]
async fn it_has_what_helps_and_no_secret() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let env = json!([{"name": "AWS_SECRET_ACCESS_KEY", "value": "hunter2"}]);
    let containers = json!([{"name": "gateway", "image": "bastion", "env": env}]);
    let spec = json!({"serviceAccountName": "bastion-gateway", "containers": containers});
    namespace.add(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other"}, "spec": spec})).await;
    let _controller = Controller::start(namespace, "bastion-controller-0").await;
    let alice = bastion.open("alice").await;
    let name = alice.session.name_any();
    eventually(default_timeout(), "its Event is there", async || {
        let events = namespace.events_of(&name).await;
        if events.is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await;
    let ops = Person::new(namespace, "ops", &["bastion-viewer", "bastion-support"]).await;
    let path = namespace.dir.join("report.zip");
    let file = path.display().to_string();
    let text = ops.prints(&["report", "--no-logs", "--file", &file]).await;
    let files = unzipped(&path);
    for name in ["versions", "check", "sessions", "targets", "users", "leases", "events", "quotas", "pods"] {
        assert!(
            text.contains(&format!("{name}.json")) && files.contains_key(&format!("{name}.json")),
            "{name}: {text}"
        );
    }
    assert!(files["contents.txt"].contains("sessions.json"), "{files:?}");
    assert!(files["sessions.json"].contains(&name) && files["events.json"].contains(&name));
    assert!(files["leases.json"].contains(&alice.session.spec.gateway.instance));
    let key = Run::get().await.target_key.private();
    let secret = key.lines().nth(2).expect("a line of the key");
    for (name, text) in &files {
        assert!(
            !text.contains("hunter2") && !text.contains(secret) && !text.contains("managedFields"),
            "{name}: {text}"
        );
    }
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    ops.is_told(&["report", "--file", &file], "cannot be created; name another file with --file").await;
}

/// There is no kubelet here, which alone has logs: what cannot be had is named, and the rest is there.
#[tokio::test]
async fn what_it_lacks_is_named() {
    let namespace = Namespace::new().await;
    namespace.account("bastion-gateway", "gateway-0").await;
    let ops = Person::new(&namespace, "ops", &["bastion-support"]).await;
    let path = namespace.dir.join("report.zip");
    let outcome = ops.bastion(&["report", "--file", &path.display().to_string()]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let files = unzipped(&path);
    let words = format!("not in it: sessions.json: you may not list bastionsessions in namespace {}", namespace.name);
    for text in [&outcome.stderr, &files["contents.txt"]] {
        assert!(text.contains(&words) && text.contains("not in it: logs/gateway-0/gateway.log: "), "{text}");
    }
    assert!(files.contains_key("pods.json"), "{files:?}");
}
