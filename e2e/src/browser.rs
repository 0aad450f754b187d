//! Runs a scenario of web/browser/ in a real Chromium. The scenario asks the test to act outside the browser.

use std::path::Path;
use std::time::Duration;

use crate::namespace::{Namespace, kubectl_path};
use crate::process::{Process, command};
use crate::programs::Console;
use crate::run::repository;
use crate::wait::{default_timeout, eventually, stretched};

/// Where Debian has Chromium.
const CHROMIUM: &str = "/usr/bin/chromium";
/// How long a part of a scenario may take on an idle machine. It has many waits of up to [`default_timeout`].
const SCENARIO_STEP_TIMEOUT: Duration = Duration::from_mins(3);

/// A scenario that goes on in a browser.
pub struct BrowserScenario {
    process: Process,
    requests_read: usize,
}

impl BrowserScenario {
    /// Whether there is a browser to play it in.
    pub fn has_browser() -> bool {
        Path::new(CHROMIUM).exists()
    }

    /// Starts the scenario of this name, for a user with this token.
    pub async fn start(name: &str, namespace: &Namespace, console: &Console, token: &str) -> Self {
        let web = repository().join("web");
        let mut command = command("node");
        command.arg(web.join("browser/scenarios.mjs")).arg(name).current_dir(&web);
        command.env("CONSOLE_URL", format!("http://{}", console.address)).env("TOKEN", token);
        command.env("PATIENCE_MS", default_timeout().as_millis().to_string());
        command.env("KUBECTL", kubectl_path().await).env("KUBECONFIG", namespace.control_plane.kubeconfig());
        command.env("NAMESPACE", &namespace.name);
        let process = Process::start(namespace.dir.join(format!("browser-{name}")), command).await;
        Self { process, requests_read: 0 }
    }

    /// What it asks for next; `done` at its end.
    pub async fn next(&mut self) -> String {
        let number = self.requests_read;
        self.requests_read += 1;
        let nth_request =
            |it: &Process| it.stdout().lines().filter_map(|line| line.strip_prefix('@')).nth(number).map(str::to_owned);
        eventually(stretched(SCENARIO_STEP_TIMEOUT), "the scenario's next line", async || {
            match nth_request(&self.process) {
                Some(line) => Ok(line),
                None if !self.process.is_there() => panic!("the scenario has ended: {}", self.process.last_words()),
                None => Err(self.process.last_words()),
            }
        })
        .await
    }

    /// Answers what it asked for.
    pub async fn answer(&mut self, text: &str) {
        self.process.say(text).await;
    }

    /// Waits for `done` and its exit.
    pub async fn finish(mut self) {
        assert_eq!(self.next().await, "done");
        self.exited().await;
    }

    /// Waits for its exit, after `done`.
    pub async fn exited(&mut self) {
        assert_eq!(self.process.finish(default_timeout()).await.code, Some(0));
    }
}
