//! Applies YAML manifests as `kubectl apply --server-side` does.

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use crate::run::repository;

/// The text of a file in the repository.
pub fn in_repository(path: &str) -> String {
    let path = repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Applies every document of a YAML text.
pub async fn apply(client: &Client, yaml: &str) {
    for object in serde_saphyr::from_multiple::<Value>(yaml).expect("valid YAML") {
        apply_one(client, object).await;
    }
}

/// Applies one object.
pub async fn apply_one(client: &Client, object: Value) -> DynamicObject {
    let (api, name) = api_of(client, &object);
    let params = PatchParams::apply("e2e").force();
    api.patch(&name, &params, &Patch::Apply(&object))
        .await
        .unwrap_or_else(|error| panic!("cannot apply {} {name}: {error}", object["kind"]))
}

/// The API that an object belongs to, and its name. The plural is guessed, which is right for all that we apply.
pub fn api_of(client: &Client, object: &Value) -> (Api<DynamicObject>, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    let api = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    (api, text(&object["metadata"]["name"]))
}
