//! What the programs' ServiceAccounts may not do in a release.

use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::cluster::Cluster;
use crate::release::Release;
use bastion_e2e::control_plane::service_account_user;

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_may_not_do_what_they_need_not() {
    let Some(cluster) = Cluster::get().await else { return };
    let release = Release::install(cluster, json!({"gateway": {"replicas": 1}})).await;
    let namespace = &release.namespace;
    let credentials = format!("{}-credentials", namespace.name);
    for (program, verb, group, resource, place) in [
        ("gateway", "list", "", "secrets", &namespace.name),
        ("gateway", "get", "", "secrets", &namespace.name),
        ("gateway", "list", "", "secrets", &credentials),
        ("gateway", "create", "", "secrets", &credentials),
        ("gateway", "delete", "bastion.dev", "bastionsessions", &namespace.name),
        ("gateway", "patch", "bastion.dev", "bastionsessions", &namespace.name),
        ("gateway", "create", "bastion.dev", "bastionusers", &namespace.name),
        ("gateway", "create", "", "pods", &namespace.name),
        ("controller", "get", "", "secrets", &namespace.name),
        ("controller", "get", "", "secrets", &credentials),
        ("controller", "create", "bastion.dev", "bastionsessions", &namespace.name),
        ("controller", "get", "bastion.dev", "bastionusers", &namespace.name),
        ("controller", "delete", "", "pods", &namespace.name),
        ("controller", "list", "", "pods", &credentials),
        ("controller", "patch", "bastion.dev", "bastionsessions", &namespace.name),
        ("controller", "delete", "bastion.dev", "bastionsessions", &namespace.name),
        ("audit", "get", "", "secrets", &namespace.name),
        ("audit", "create", "bastion.dev", "bastionsessions", &namespace.name),
        ("audit", "patch", "bastion.dev", "bastionsessions/status", &namespace.name),
        ("audit", "get", "bastion.dev", "bastionusers", &namespace.name),
        ("audit", "list", "", "pods", &namespace.name),
        ("audit", "list", "coordination.k8s.io", "leases", &namespace.name),
        ("console", "get", "", "secrets", &namespace.name),
        ("uninstall", "patch", "bastion.dev", "bastionsessions", &namespace.name),
        ("self-test", "create", "bastion.dev", "bastionusers", &namespace.name),
    ] {
        let user = service_account_user(&namespace.name, &format!("bastion-{program}"));
        let asked = json!({"namespace": place, "verb": verb, "group": group, "resource": resource});
        assert!(!namespace.may(&user, asked.clone()).await, "{program} may {asked}");
    }
    release.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_role_of_a_release_has_a_wildcard() {
    let Some(cluster) = Cluster::get().await else { return };
    let release = Release::install(cluster, json!({"gateway": {"replicas": 1}})).await;
    let of_it = ListParams::default().labels("app.kubernetes.io/part-of=bastion");
    let roles: Api<Role> = release.namespace.api();
    let cluster_roles: Api<ClusterRole> = Api::all(release.namespace.admin());
    let of_namespace = roles.list(&of_it).await.expect("Roles").items.into_iter().map(|it| (it.name_any(), it.rules));
    let of_cluster = cluster_roles.list(&of_it).await.expect("ClusterRoles");
    let of_cluster = of_cluster.items.into_iter().map(|it| (it.name_any(), it.rules));
    let all: Vec<_> = of_namespace.chain(of_cluster).collect();
    assert!(all.len() >= 7, "{all:?}");
    for (name, rules) in all {
        let text = serde_json::to_string(&rules).expect("JSON");
        assert!(!text.contains('*'), "{name}: {text}");
    }
    release.remove().await;
}
