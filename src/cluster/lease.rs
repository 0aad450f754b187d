//! Reads Leases with times that this program cannot represent.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A Lease without the times that this program cannot represent.
///
/// Any writer of a Lease can set `renewTime` to the last day of 9999, which the API server accepts. Such a Lease counts as
/// never renewed. It still exists and can be replaced.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct LenientLease(pub Lease);

impl<'de> Deserialize<'de> for LenientLease {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        if let Ok(lease) = Lease::deserialize(&object) {
            return Ok(Self(lease));
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            for time in ["acquireTime", "renewTime"] {
                if spec.get(time).is_some_and(|value| MicroTime::deserialize(value).is_err()) {
                    spec.remove(time);
                }
            }
        }
        Lease::deserialize(object).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Resource for LenientLease {
    const API_VERSION: &'static str = Lease::API_VERSION;
    const GROUP: &'static str = Lease::GROUP;
    const KIND: &'static str = Lease::KIND;
    const VERSION: &'static str = Lease::VERSION;
    const URL_PATH_SEGMENT: &'static str = Lease::URL_PATH_SEGMENT;
    type Scope = NamespaceResourceScope;
}

impl Metadata for LenientLease {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectList;
    use serde_json::json;

    use super::*;

    /// The latest time that the API server accepts, and too late for this program to represent.
    const TOO_LATE: &str = "9999-12-31T23:59:59.000000Z";
    const READABLE: &str = "2026-01-02T03:04:05.000000Z";

    fn lease(name: &str, renewed: &str, changed: &str) -> Value {
        let metadata = json!({"name": name, "resourceVersion": "7", "managedFields": [{"time": changed}]});
        json!({"metadata": metadata, "spec": {"holderIdentity": name, "acquireTime": READABLE, "renewTime": renewed}})
    }

    #[test]
    fn a_list_is_read_although_a_lease_has_a_time_out_of_range() {
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [
            lease("good", READABLE, READABLE), lease("renewed-late", TOO_LATE, READABLE), lease("changed-late", READABLE, TOO_LATE),
        ]});
        assert!(serde_json::from_value::<ObjectList<Lease>>(list.clone()).is_err(), "the guard is needed");
        let list: ObjectList<LenientLease> = serde_json::from_value(list).unwrap();
        let read = list.items.into_iter().map(|lease| {
            let spec = lease.0.spec.unwrap();
            (lease.0.metadata.name.unwrap(), spec.renew_time.is_some(), spec.acquire_time.is_some())
        });
        let expected = [("good", true, true), ("renewed-late", false, true), ("changed-late", true, true)];
        assert!(read.eq(expected.map(|(name, renewed, acquired)| (name.to_owned(), renewed, acquired))));
    }
}
