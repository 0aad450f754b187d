//! A real S3-compatible server of a test's own: versitygw, which checks signatures, over a folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::process::{Process, command};
use crate::run::{Run, built_tool, unique};
use crate::sshd::free_port;

const KEY: &str = "AKIAE2E";
const SECRET: &str = "not-so-secret";
const BUCKET: &str = "recordings";

/// A running server with one bucket.
pub struct S3Server {
    port: u16,
    dir: PathBuf,
    process: Process,
}

impl S3Server {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        let dir = Run::get().await.dir.join(format!("s3-{}", unique()));
        std::fs::create_dir_all(dir.join("root").join(BUCKET)).expect("a folder");
        let port = free_port().await;
        let mut command = command(built_tool("versitygw", "versitygw").await);
        command.args(["--port", &format!("127.0.0.1:{port}"), "posix"]).arg(dir.join("root"));
        command.env("ROOT_ACCESS_KEY", KEY).env("ROOT_SECRET_KEY", SECRET);
        let process = Process::start(dir.join("versitygw"), command).await;
        process.accepts_connections("127.0.0.1", port).await;
        Self { port, dir, process }
    }

    /// What leads a gateway to it, with these credentials of the right ones.
    pub fn environment(&self, secret: &str) -> Vec<(&'static str, OsString)> {
        vec![
            ("BASTION_RECORDING_URL", format!("s3://{BUCKET}/bastion").into()),
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port).into()),
            ("AWS_ALLOW_HTTP", "true".into()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ACCESS_KEY_ID", KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", secret.into()),
        ]
    }

    /// The secret that it takes.
    pub const fn secret() -> &'static str {
        SECRET
    }

    /// The folder in which the objects of the bastion lie as files.
    pub fn objects(&self) -> PathBuf {
        let objects: &Path = &self.dir.join("root").join(BUCKET);
        objects.join("bastion")
    }

    /// Kills it.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }
}
