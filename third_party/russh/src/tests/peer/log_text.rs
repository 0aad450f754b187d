//! What the peer sent is quoted and cut in log lines.

use super::*;
use crate::Channel;
use crate::helpers::Brief;

/// The environment variable that has this test's program log what it does.
const CHILD: &str = "RUSSH_LOG_TEXT_CHILD";

struct Server;

impl server::Handler for Server {
    type Error = Error;

    async fn auth_none(&mut self, _: &str) -> Result<server::Auth, Error> {
        Ok(server::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<server::Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Error> {
        reply.accept().await;
        Ok(())
    }
}

/// Has a server log a request whose name has line breaks and is long.
#[tokio::test]
async fn log_lines_are_quoted_and_short() {
    if std::env::var_os(CHILD).is_none() {
        // A program has one logger, so that the test runs itself again.
        let child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::peer::log_text::log_lines_are_quoted_and_short",
            ])
            .arg("--nocapture")
            .env(CHILD, "1")
            .env("RUST_LOG", "russh=warn")
            .output();
        let output = within(child).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains("unknown channel request"), "{log}");
        for line in log.lines() {
            assert!(!line.starts_with("forged"), "{log}");
            assert!(line.len() < 200, "{} bytes in a line", line.len());
        }
        return;
    }
    env_logger::init();
    let (mut peer, _server) = Peer::of_server(server::Config::default(), Server).await;
    peer.authenticate().await;
    let theirs = peer.open_session().await;
    let name = format!("\nforged\n{}", "x".repeat(30_000));
    peer.send(packet!(msg::CHANNEL_REQUEST, theirs, name, 1u8))
        .await;
    peer.expect(msg::CHANNEL_FAILURE).await;
}

#[test]
fn text_is_quoted_and_cut() {
    assert_eq!(Brief("break").to_string(), "\"break\"");
    assert_eq!(Brief("a\n\u{1b}[2J").to_string(), "\"a\\n\\u{1b}[2J\"");
    let long = Brief("x".repeat(300_000)).to_string();
    assert_eq!(long, format!("\"{}...", "x".repeat(63)));
    let wide = Brief("\u{e9}".repeat(100)).to_string();
    assert_eq!(wide, format!("\"{}...", "\u{e9}".repeat(31)));
}
