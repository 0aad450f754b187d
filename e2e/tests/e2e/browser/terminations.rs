//! Terminations from the list of sessions.

use bastion_e2e::admission::keep;
use bastion_e2e::browser::BrowserScenario;
use bastion_e2e::{Bastion, Console, PROMPT_BOUND, weight};

use super::{act, administrator};

#[tokio::test]
async fn many_are_ended_with_one_reason_and_each_has_its_own_outcome() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let console = Console::start(&bastion.namespace).await;
    let token = administrator(&bastion.namespace).await;
    let mut scenario = BrowserScenario::start("many", &bastion.namespace, &console, &token).await;
    let mut open = vec![];
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
    scenario.exited().await;
    // The first stays, and the second had left before.
    for it in &mut open[2..] {
        let outcome = it.ssh.finish(PROMPT_BOUND).await;
        assert!(outcome.stderr.contains("the keys are changed at noon"), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_end_that_the_cluster_refuses_is_said_not_to_have_been() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let console = Console::start(&bastion.namespace).await;
    let token = administrator(&bastion.namespace).await;
    let mut scenario = BrowserScenario::start("refused", &bastion.namespace, &console, &token).await;
    let mut open = vec![];
    let asked = act(&mut scenario, &bastion, &mut open).await;
    keep(&bastion.namespace, asked.strip_prefix("keep ").expect("a name"), "Invalid").await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
    scenario.exited().await;
}
