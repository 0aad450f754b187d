//! Real `ssh` clients.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::process::{Outcome, Process, command};
use crate::run::{Run, unique};
use crate::wait::default_timeout;

/// An `ssh` command line that is still being put together.
pub struct Ssh {
    files: PathBuf,
    known_hosts: PathBuf,
    address: SocketAddr,
    sign_in_name: String,
    key: PathBuf,
    options: Vec<String>,
    command: Vec<String>,
    answers: Option<Answers>,
    agent: Option<PathBuf>,
}

/// What is answered to the gateway's questions, by a program in place of a person.
#[derive(Clone)]
pub struct Answers {
    program: PathBuf,
    asked: PathBuf,
}

impl Answers {
    /// To a question for a password and to one for a code. Anything else is not answered.
    pub async fn new(password: &str, code: &str) -> Self {
        let base = Run::get().await.dir.join(format!("answers-{}", unique()));
        let (program, asked) = (base.with_added_extension("sh"), base.with_added_extension("asked"));
        let script = format!(
            "#!/bin/sh\necho \"$1\" >> '{}'\ncase \"$1\" in\n*Password:*) echo '{password}' ;;\n*code:*) echo '{code}' ;;\n*) exit 1 ;;\nesac\n",
            asked.display()
        );
        std::fs::write(&program, script).expect("a file");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("a program");
        Self { program, asked }
    }

    /// The questions so far.
    pub fn asked(&self) -> Vec<String> {
        let asked = std::fs::read_to_string(&self.asked).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }
}

impl Ssh {
    /// To the gateway at `address`, as `sign_in_name`, with the key that all users of the run have.
    pub async fn new(dir: &Path, known_hosts: &Path, address: SocketAddr, sign_in_name: &str) -> Self {
        Self {
            files: dir.join(format!("ssh-{}", unique())),
            known_hosts: known_hosts.to_owned(),
            address,
            sign_in_name: sign_in_name.to_owned(),
            key: Run::get().await.user_key.path.clone(),
            options: Vec::new(),
            command: Vec::new(),
            answers: None,
            agent: None,
        }
    }

    /// With answers to the gateway's questions, each asked for once.
    pub fn answering(mut self, answers: &Answers) -> Self {
        self.answers = Some(answers.clone());
        self.set("NumberOfPasswordPrompts=1")
    }

    /// To another address, which leads there too.
    pub const fn by_way_of(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// With another key.
    pub fn key(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.key);
        self
    }

    /// With the agent that listens at this socket, which it forwards.
    pub fn forwarding_agent(mut self, socket: &Path) -> Self {
        self.agent = Some(socket.to_owned());
        self.option("-A")
    }

    /// With a key that an agent has; the file is that of the public key.
    pub fn key_in_agent(mut self, path: &Path, agent: &Path) -> Self {
        self.agent = Some(agent.to_owned());
        self.key(path)
    }

    /// With an option of the command line.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// With a configuration line, as after `-o`.
    pub fn set(self, line: &str) -> Self {
        self.option("-o").option(line)
    }

    /// With a terminal on the target, though there is none here.
    pub fn terminal(self) -> Self {
        self.option("-tt")
    }

    /// Without a terminal, which a shell else asks for.
    pub fn no_terminal(self) -> Self {
        self.option("-T")
    }

    /// With a command in place of a shell.
    pub fn command(mut self, command: &str) -> Self {
        self.command.push(command.to_owned());
        self
    }

    /// The options that `ssh`, `scp` and `sftp` share.
    pub fn common_options(&self) -> Vec<String> {
        let set = |line: String| ["-o".to_owned(), line];
        let mut options = vec!["-F".to_owned(), "/dev/null".to_owned()];
        let known_hosts = format!("UserKnownHostsFile={}", self.known_hosts.display());
        options.extend(set(format!("BatchMode={}", if self.answers.is_some() { "no" } else { "yes" })));
        let fixed = ["StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "ConnectTimeout=20"];
        options.extend(fixed.into_iter().flat_map(|line| set(line.to_owned())));
        let agent = self.agent.as_ref().map_or_else(|| "none".to_owned(), |agent| agent.display().to_string());
        options.extend(set(format!("IdentityAgent={agent}")));
        options.extend(set("GlobalKnownHostsFile=/dev/null".to_owned()));
        options.extend(set(known_hosts));
        options.extend(set(format!("User={}", self.sign_in_name)));
        options.extend(set(format!("Port={}", self.address.port())));
        options.extend(["-i".to_owned(), self.key.display().to_string()]);
        options.extend(self.options.clone());
        options
    }

    /// The words of the command line, beginning with `ssh`.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec!["ssh".to_owned()];
        words.extend(self.common_options());
        words.push(self.address.ip().to_string());
        words.extend(self.command.clone());
        words
    }

    /// The command line without a host, for programs that take one as their way to a host. No word of it has a space.
    pub fn remote_shell(&self) -> String {
        format!("ssh {}", self.common_options().join(" "))
    }

    fn build(&self) -> Command {
        let words = self.words();
        let mut command = command(&words[0]);
        command.args(&words[1..]);
        if let Some(answers) = &self.answers {
            command.env("SSH_ASKPASS", &answers.program).env("SSH_ASKPASS_REQUIRE", "force");
        }
        command
    }

    /// Starts it, with a pipe as its input.
    pub async fn start(self) -> Process {
        Process::start(self.files.clone(), self.build()).await
    }

    /// Starts it, with files as its input and output.
    pub async fn start_with(self, stdin: std::fs::File, stdout: std::fs::File) -> Process {
        Process::start_with(self.files.clone(), self.build(), stdin.into(), stdout.into()).await
    }

    /// Runs it with an empty input, to its end.
    pub async fn run(self) -> Outcome {
        let mut process = self.start().await;
        process.close_input();
        process.finish(default_timeout()).await
    }

    /// Starts it in a terminal of its own with this many rows and columns; the terminal's name is the first line shown.
    pub async fn start_in_terminal(self, rows: u16, columns: u16) -> Process {
        let quoted: Vec<String> = self.words().iter().map(|word| format!("'{word}'")).collect();
        let line = format!("tty; stty rows {rows} cols {columns}; TERM=xterm exec {}", quoted.join(" "));
        let mut command = command("script");
        command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        Process::start(self.files.clone(), command).await
    }

    /// Runs `scp` or `sftp` with this client's options and these arguments.
    pub async fn run_other(self, program: &str, arguments: &[impl AsRef<OsStr>]) -> Outcome {
        let mut command = command(program);
        command.args(self.common_options()).args(arguments);
        let mut process = Process::start(self.files.clone(), command).await;
        process.close_input();
        process.finish(default_timeout()).await
    }
}
