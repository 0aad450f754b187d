//! Ends that are asked for from the list.

use bastion_e2e::admission::keep;
use bastion_e2e::browser::Scene;
use bastion_e2e::{AT_ONCE, Bastion, weight};

use super::{act, administrator, console};

#[tokio::test]
async fn many_are_ended_with_one_reason_and_each_has_its_own_outcome() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let console = console(&bastion.namespace).await;
    let token = administrator(&bastion.namespace).await;
    let mut scene = Scene::start("many", &bastion.namespace, &console, &token).await;
    let mut open = vec![];
    assert_eq!(act(&mut scene, &bastion, &mut open).await, "done");
    scene.is_over().await;
    // The first stays, and the second had left before.
    for it in &mut open[2..] {
        let outcome = it.ssh.finish(AT_ONCE).await;
        assert!(outcome.stderr.contains("the keys are changed at noon"), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_end_that_the_cluster_refuses_is_said_not_to_have_been() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let console = console(&bastion.namespace).await;
    let token = administrator(&bastion.namespace).await;
    let mut scene = Scene::start("refused", &bastion.namespace, &console, &token).await;
    let mut open = vec![];
    let asked = act(&mut scene, &bastion, &mut open).await;
    keep(&bastion.namespace, asked.strip_prefix("keep ").expect("a name"), "Invalid").await;
    scene.answer("").await;
    assert_eq!(act(&mut scene, &bastion, &mut open).await, "done");
    scene.is_over().await;
}
