//! The programs themselves: their probes, and what they print.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::manifests::in_repository;
use crate::harness::process::{Process, command};
use crate::harness::run::{Run, unique};
use crate::harness::{AT_ONCE, Bastion, Controller};

/// The status code and body of a GET.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("no status in {head}")), body.to_owned())
}

#[tokio::test]
async fn the_probes_of_both_programs_answer_and_their_metrics_are_served() {
    let bastion = Bastion::up().await;
    let controller = Controller::start(&bastion.namespace, "controller-0", "10m").await;
    for (program, address) in [("gateway", bastion.gateway.http), ("controller", controller.http)] {
        for path in ["/healthz", "/readyz"] {
            let answer = get(address, path).await;
            assert_eq!(answer.0, 200, "{program} {path}: {answer:?}");
        }
        let (code, metrics) = get(address, "/metrics").await;
        assert!(code == 200 && metrics.contains("bastion_"), "{program} /metrics: {code} {metrics}");
    }
}

#[tokio::test]
async fn the_program_prints_the_crds_that_are_in_the_repository() {
    let run = Run::get().await;
    let mut command = command(&run.bastion);
    command.arg("crds");
    let mut process = Process::start(run.dir.join(format!("crds-{}", unique())), command).await;
    let outcome = process.finish(AT_ONCE).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout == in_repository("crds/bastion.dev.yaml"), "crds/ has drifted: make generate");
}
