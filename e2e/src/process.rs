//! Child processes whose output goes to files, and which end with this process, however it ends.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::runtime::Handle;

use crate::proc::stat_in;
use crate::wait::{default_timeout, eventually};

/// How a process ended, and all that it wrote.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A running child. Its standard output and error are in `<files>.out` and `<files>.err`.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    files: PathBuf,
}

/// A command whose process the kernel kills with its parent, and which a Ctrl-C in the terminal does not reach.
///
/// The kernel takes the end of the *thread* that started the process for the end of its parent: only [`spawn`],
/// whose thread never ends, may start it.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program).process_group(0).kill_on_drop(true);
    command
}

/// A program that sees files of a folder in place of the system's files of the same name. That takes root.
pub fn with_files(dir: &Path, in_place_of: &[&str], program: impl AsRef<OsStr>) -> Command {
    if in_place_of.is_empty() {
        return command(program);
    }
    let mount = |file: &&str| {
        let name = Path::new(file).file_name().expect("a file's name");
        format!("mount --bind {} {file} && ", dir.join(name).display())
    };
    let script = format!("{}exec \"$@\"", in_place_of.iter().map(mount).collect::<String>());
    let mut command = command("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(program);
    command
}

/// Starts a command from the thread that lives as long as this process.
pub async fn spawn(mut command: Command) -> Child {
    let description = format!("{:?}", command.as_std());
    let started = launcher().spawn(async move { command.spawn() }).await.expect("the launcher runs");
    started.unwrap_or_else(|error| panic!("cannot start {description}: {error}"))
}

fn launcher() -> &'static Handle {
    static LAUNCHER: OnceLock<Handle> = OnceLock::new();
    LAUNCHER.get_or_init(|| {
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            send.send(runtime.handle().clone()).expect("the receiver waits for it");
            runtime.block_on(std::future::pending::<()>());
        });
        receive.recv().expect("the launcher starts")
    })
}

impl Process {
    /// Starts the command with a pipe as its input and the files beginning with `files` as its output.
    pub async fn start(files: PathBuf, mut command: Command) -> Self {
        let file = |kind| File::create(files.with_added_extension(kind)).expect("an output file");
        command.stdin(Stdio::piped()).stdout(file("out")).stderr(file("err"));
        let mut child = spawn(command).await;
        let stdin = child.stdin.take();
        Self { child, stdin, files }
    }

    /// As [`Process::start`], with standard input and output of the caller's choice.
    pub async fn start_with(files: PathBuf, mut command: Command, stdin: Stdio, stdout: Stdio) -> Self {
        let stderr = File::create(files.with_added_extension("err")).expect("an output file");
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        Self { child: spawn(command).await, stdin: None, files }
    }

    /// The process id, while it has not been waited for.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().expect("the process still runs").cast_signed())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the process still runs");
    }

    /// Sends SIGSTOP, and waits until every thread has stopped.
    pub async fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.pid());
        eventually(default_timeout(), "all threads stand still", async || {
            let moving = fs::read_dir(&tasks)
                .expect("its threads")
                .flatten()
                .find(|task| stat_in(task.path()).is_some_and(|stat| stat[0] != "T"));
            moving.map_or(Ok(()), |task| Err(format!("thread {} does not", task.path().display())))
        })
        .await;
    }

    /// Lets it go on with SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Sends SIGKILL, and waits for its end.
    pub async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.finish(default_timeout()).await;
    }

    /// Stops every thread of it but those of this name, for good.
    pub async fn hold_all_threads_but(&self, name: &str) {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("its threads").flatten();
        let others = tasks.filter(|task| read(&task.path().join("comm")).trim() != name);
        let id = |task: fs::DirEntry| task.file_name().to_str().and_then(|id| id.parse().ok()).map(Pid::from_raw);
        let others: Vec<Pid> = others.filter_map(id).collect();
        // A thread that is stopped in this way goes on when the one ends that stopped it.
        let hold = move || {
            for thread in &others {
                ptrace::seize(*thread, ptrace::Options::empty()).expect("a thread of a child can be traced");
                ptrace::interrupt(*thread).expect("a traced thread can be stopped");
            }
        };
        launcher().spawn(async move { hold() }).await.expect("all threads can be stopped");
    }

    /// Whether it runs, or stands still; not whether it has ended.
    pub fn is_there(&mut self) -> bool {
        self.child.try_wait().expect("the process can be waited for").is_none()
    }

    /// Writes a line to its standard input.
    pub async fn say(&mut self, line: &str) {
        self.type_in(&format!("{line}\n")).await;
    }

    /// Writes a text to its standard input.
    pub async fn type_in(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        stdin.write_all(text.as_bytes()).await.expect("it reads its input");
        stdin.flush().await.expect("it reads its input");
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Waits until its `log` says that it listens. Returns `None` if another program has taken its port.
    pub async fn listening(self, log: fn(&Self) -> String, ready: &str) -> Option<Self> {
        let up = eventually(default_timeout(), "the server listens", async || {
            let text = log(&self);
            match () {
                () if text.contains(ready) => Ok(true),
                () if text.contains("Address already in use") => Ok(false),
                () => Err(text),
            }
        })
        .await;
        up.then_some(self)
    }

    /// Waits until it accepts connections on this port.
    pub async fn accepts_connections(&self, host: &str, port: u16) {
        eventually(default_timeout(), &format!("a server listens on {host}:{port}"), async || {
            let connected = TcpStream::connect((host, port)).await;
            connected.map(drop).map_err(|error| format!("{error}; {}", self.last_words()))
        })
        .await;
    }

    pub fn stdout(&self) -> String {
        read(&self.files.with_added_extension("out"))
    }

    pub fn stderr(&self) -> String {
        read(&self.files.with_added_extension("err"))
    }

    /// Waits until its standard output contains the text.
    pub async fn shows(&mut self, text: &str) {
        self.finds(&format!("{text:?} on standard output"), |process| process.stdout().contains(text).then_some(()))
            .await;
    }

    /// Waits until `find` finds something in the process's output; panics when the process ends before.
    pub async fn finds<T>(&mut self, what: &str, find: impl Fn(&Self) -> Option<T>) -> T {
        eventually(default_timeout(), what, async || {
            let ended = self.child.try_wait().expect("the process can be waited for");
            let found = find(self);
            if let (Some(status), None) = (ended, &found) {
                panic!("{what}: the process ended before, {status}; {}", self.last_words());
            }
            found.ok_or_else(|| self.last_words())
        })
        .await
    }

    /// Runs a command to its end, which must be a success.
    pub async fn succeeds(files: PathBuf, command: Command) {
        let outcome = Self::start(files, command).await.finish(default_timeout()).await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }

    /// Waits for its end, for as long as that takes.
    pub async fn ended(&mut self) {
        self.child.wait().await.expect("the process can be waited for");
    }

    /// Waits for its end.
    pub async fn finish(&mut self, deadline: Duration) -> Outcome {
        let Ok(status) = tokio::time::timeout(deadline, self.child.wait()).await else {
            panic!("{} has not ended within {deadline:?}; {}", self.files.display(), self.last_words());
        };
        let status = status.expect("the process can be waited for");
        Outcome { code: status.code(), signal: status.signal(), stdout: self.stdout(), stderr: self.stderr() }
    }

    /// The last lines of its output.
    pub fn last_words(&self) -> String {
        let tail = |text: String| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        };
        format!("standard output:\n{}\nstandard error:\n{}", tail(self.stdout()), tail(self.stderr()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}\n", self.files.display(), self.last_words());
        }
    }
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
