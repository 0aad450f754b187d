//! Finds the address of the gateway.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use kube::Client;
use kube::api::{Api, ListParams};

use crate::api::GATEWAY_SERVICE;
use crate::cluster::code;

/// A host and a TCP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || "write HOST:PORT, such as bastion.example.com:22 or [2001:db8::1]:22".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
        let usable = !host.is_empty() && !host.starts_with('-') && !host.contains(char::is_whitespace);
        if !usable || (bare.is_none() && host.contains([':', '[', ']', '@'])) {
            return Err(invalid());
        }
        Ok(Self { host: bare.unwrap_or(host).to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// Finds the gateway by its Service: the load balancer's address, or the node port of a node with a ready gateway.
///
/// # Errors
/// When the Service cannot be read or is not reachable from outside the cluster. The error says what to do.
pub async fn find(client: &Client, namespace: &str) -> anyhow::Result<Address> {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = services.get(GATEWAY_SERVICE).await.map_err(|error| match code(&error) {
        Some(404) => anyhow!(
            "there is no Service {GATEWAY_SERVICE} in namespace {namespace}; name the bastion's namespace with -n, or the \
             gateway with --gateway HOST:PORT or BASTION_GATEWAY"
        ),
        Some(403) => anyhow!(
            "you may not get the Service {GATEWAY_SERVICE} in namespace {namespace}; have the Role bastion-ssh bound to \
             you, or name the gateway with --gateway HOST:PORT or BASTION_GATEWAY"
        ),
        _ => anyhow::Error::new(error).context(format!("the Service {GATEWAY_SERVICE} cannot be read")),
    })?;
    let port = port_of(&service)
        .with_context(|| format!("the Service {GATEWAY_SERVICE} in namespace {namespace} has no ports"))?;
    if let Some(address) = load_balancer_address(&service, port) {
        return Ok(address);
    }
    if let Some(node_port) = port.node_port.and_then(|port| u16::try_from(port).ok()) {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let pods = pods.list(&ListParams::default().labels(&selector(&service))).await;
        let pods = pods.context("the gateways' Pods cannot be listed to find a node")?;
        if let Some(host) = pods.iter().find_map(node_of_ready_pod) {
            return Ok(Address { host, port: node_port });
        }
        bail!(
            "no gateway is ready behind the Service {GATEWAY_SERVICE} in namespace {namespace}; try again in a moment"
        );
    }
    bail!(
        "the Service {GATEWAY_SERVICE} in namespace {namespace} cannot be reached from outside the cluster; run kubectl -n \
         {namespace} port-forward svc/{GATEWAY_SERVICE} 2222:{} in another terminal, and then this with --gateway \
         127.0.0.1:2222",
        port.port
    )
}

/// Returns the port named `ssh`, or the first port.
fn port_of(service: &Service) -> Option<&ServicePort> {
    let ports = service.spec.as_ref()?.ports.as_deref()?;
    ports.iter().find(|port| port.name.as_deref() == Some("ssh")).or(ports.first())
}

/// Returns the address of the load balancer, if there is one.
fn load_balancer_address(service: &Service, port: &ServicePort) -> Option<Address> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_deref()?;
    let host = ingress.iter().find_map(|it| it.hostname.clone().or_else(|| it.ip.clone()))?;
    Some(Address { host, port: u16::try_from(port.port).ok()? })
}

fn selector(service: &Service) -> String {
    let labels = service.spec.iter().flat_map(|spec| spec.selector.iter().flatten());
    labels.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Returns the address of a Pod's node, if the Pod is ready.
fn node_of_ready_pod(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let ready = status.conditions.iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
    status.host_ip.clone().filter(|_| ready)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case("bastion.example.com:22", Some(("bastion.example.com", 22)))]
    #[case("192.0.2.1:2222", Some(("192.0.2.1", 2222)))]
    #[case("[2001:db8::1]:22", Some(("2001:db8::1", 22)))]
    #[case("2001:db8::1", None)]
    #[case("bastion.example.com", None)]
    #[case("bastion.example.com:0", None)]
    #[case("-oProxyCommand=x:22", None)]
    #[case("alice@bastion:22", None)]
    #[case(":22", None)]
    fn addresses_are_parsed(#[case] text: &str, #[case] expected: Option<(&str, u16)>) {
        let address = text.parse::<Address>().ok();
        assert_eq!(address.as_ref().map(|address| (address.host.as_str(), address.port)), expected);
    }

    fn service(status: &Value) -> Service {
        let ports = json!([{"name": "metrics", "port": 8080}, {"name": "ssh", "port": 22, "nodePort": 30022}]);
        let spec = json!({"selector": {"app": "bastion", "part": "gateway"}, "ports": ports});
        serde_json::from_value(json!({"spec": spec, "status": status})).unwrap()
    }

    #[rstest]
    #[case(json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}), Some("192.0.2.7:22"))]
    #[case(json!({"loadBalancer": {"ingress": [{"hostname": "lb.example.com", "ip": "192.0.2.7"}]}}), Some("lb.example.com:22"))]
    #[case(json!({"loadBalancer": {}}), None)]
    fn a_load_balancer_is_the_gateway(#[case] status: Value, #[case] expected: Option<&str>) {
        let service = service(&status);
        let port = port_of(&service).unwrap();
        assert_eq!((port.port, port.node_port), (22, Some(30022)), "the port of this name, not the first");
        assert_eq!(load_balancer_address(&service, port).map(|it| it.to_string()).as_deref(), expected);
        assert_eq!(selector(&service), "app=bastion,part=gateway");
    }

    #[rstest]
    #[case("True", Some("192.0.2.9"))]
    #[case("False", None)]
    fn a_ready_pod_names_its_node(#[case] ready: &str, #[case] expected: Option<&str>) {
        let status = json!({"hostIP": "192.0.2.9", "conditions": [{"type": "Ready", "status": ready}]});
        let pod: Pod = serde_json::from_value(json!({"status": status})).unwrap();
        assert_eq!(node_of_ready_pod(&pod).as_deref(), expected);
    }
}
