//! A real Redis server of a test's own.

use std::ffi::OsString;
use std::path::PathBuf;

use redis::{FromRedisValue, cmd};

use crate::process::{Process, command};
use crate::run::{Run, unique};
use crate::sshd::free_port;

/// A running redis-server, which keeps nothing on disk.
pub struct RedisServer {
    pub port: u16,
    process: Process,
    dir: PathBuf,
}

impl RedisServer {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        let dir = Run::get().await.dir.join(format!("redis-{}", unique()));
        std::fs::create_dir(&dir).expect("a folder");
        loop {
            let port = free_port().await;
            if let Some(process) = listening(&dir, port).await {
                return Self { port, process, dir };
            }
        }
    }

    /// What leads to it, as programs are told in their environment.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        environment_for(self.port)
    }

    /// Asks it something, over a connection of its own.
    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T, String> {
        self.ask_with(None, words).await
    }

    /// The same, with a password.
    pub async fn ask_with<T: FromRedisValue>(&self, password: Option<&str>, words: &[&str]) -> Result<T, String> {
        let asked = async {
            let secret = password.map(|password| format!(":{password}@")).unwrap_or_default();
            let client = redis::Client::open(format!("redis://{secret}127.0.0.1:{}", self.port))?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
        };
        asked.await.map_err(|error: redis::RedisError| error.to_string())
    }

    /// Stops the process with SIGSTOP.
    pub async fn freeze(&self) {
        self.process.freeze().await;
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Kills it.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts it again after it was killed, with nothing in it.
    pub async fn start_again(&mut self) {
        self.process = listening(&self.dir, self.port).await.expect("the port is still free");
    }
}

/// What leads a program to the Redis server, or the relay to one, that listens on this port.
pub fn environment_for(port: u16) -> Vec<(&'static str, OsString)> {
    vec![("BASTION_REDIS_URL", format!("redis://127.0.0.1:{port}").into())]
}

/// Starts a server on this port. Returns `None` if another program has taken the port.
async fn listening(dir: &std::path::Path, port: u16) -> Option<Process> {
    let mut command = command("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string(), "--dir"]);
    command.arg(dir);
    let process = Process::start(dir.join(format!("redis-{}", unique())), command).await;
    process.listening(Process::stdout, "Ready to accept connections").await
}
