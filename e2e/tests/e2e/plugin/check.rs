//! `kubectl bastion check`.

use super::Person;
use bastion_e2e::{Audit, Bastion, Controller, Namespace, default_timeout};

#[tokio::test]
async fn it_waits_until_all_is_well() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let ops = Person::new(namespace, "ops", &["bastion-viewer", "bastion-support"]).await;
    let outcome = ops.bastion(&["check"]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for words in [
        "CRDs          ok ",
        "Gateways      ok      1 renewing",
        "Controllers   STUCK   none renews a Lease",
        "Audit         STUCK   none renews a Lease",
        "no audit program has ever led",
    ] {
        assert!(outcome.stdout.contains(words), "{words:?} is not in {outcome:?}");
    }
    let mut waiting = ops.start(&["check", "--wait"]).await;
    waiting.finds("that it waits", |it| it.stderr().contains("bastion: waiting: Controllers: ").then_some(())).await;
    let _controller = Controller::start(namespace, "bastion-controller-0").await;
    let _audit = Audit::start(namespace, "bastion-audit-0", "10m").await;
    let outcome = waiting.finish(default_timeout()).await;
    assert!(outcome.code == Some(0) && outcome.stdout.contains("bastion-audit-0-"), "{outcome:?}");
    ops.prints(&["check"]).await;
}

#[tokio::test]
async fn what_it_may_not_see_is_not_well() {
    let namespace = Namespace::new().await;
    let nobody = Person::new(&namespace, "nobody", &[]).await;
    let outcome = nobody.bastion(&["check"]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for right in ["list bastionsessions", "list leases", "get resourcequotas"] {
        let words = format!("you may not {right} in namespace {}; have the Role bastion-", namespace.name);
        assert!(outcome.stdout.contains(&words), "{words:?} is not in {outcome:?}");
    }
}
