//! The programs themselves: their probes, and what they print.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use bastion_e2e::manifests::in_repository;
use bastion_e2e::process::{Process, command};
use bastion_e2e::run::{Run, unique};
use bastion_e2e::{Bastion, Controller, PROMPT_BOUND};

/// Returns the status code and body of a GET.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    try_get(address, path).await.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the status code and body of a GET.
///
/// # Errors
/// When the connection fails or is closed without an answer.
pub async fn try_get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    exchange.await.map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no head in {answer:?}"))?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.ok_or_else(|| format!("no status in {head}"))?, body.to_owned()))
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
    let outcome = process.finish(PROMPT_BOUND).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout == in_repository("crds/bastion.dev.yaml"), "crds/ has drifted: make generate");
}
