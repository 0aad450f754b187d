//! A real MariaDB server, with users that have passwords and rights.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bastion_operator::audit::{AuditSettings, AuditTls, Store};
use nix::unistd::User;
use sqlx::mysql::{MySqlConnectOptions, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions, MySqlConnection};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::process::{Process, command};
use crate::run::{Run, unique};
use crate::sshd::free_port;
use crate::wait::default_timeout;

/// Small enough for many servers at a time.
const SIZES: [&str; 3] = ["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--performance-schema=OFF"];

/// What the controller's user may do with its database. A `bastion migrate` of another user's may do the rest.
const ROWS: &str = "SELECT, INSERT, UPDATE";

/// A running server.
pub struct MariaDb {
    pub port: u16,
    dir: PathBuf,
    flags: Vec<String>,
    process: Process,
}

/// A database in it, and a user who may use it.
#[derive(Clone)]
pub struct Database {
    pub name: String,
    pub port: u16,
    socket: PathBuf,
    password_file: PathBuf,
}

impl MariaDb {
    /// The one that all tests share that neither stop nor change it.
    pub async fn shared() -> Arc<Self> {
        static SHARED: OnceCell<Arc<MariaDb>> = OnceCell::const_new();
        SHARED.get_or_init(async || Arc::new(Self::start(&[]).await)).await.clone()
    }

    /// Starts one on a free port.
    pub async fn start(flags: &[&str]) -> Self {
        let dir = Run::get().await.dir.join(format!("db-{}", unique()));
        let copied = Command::new("cp").args(["-r", "--reflink=auto"]).arg(template().await).arg(&dir).status().await;
        assert!(copied.expect("cp runs").success());
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        loop {
            let port = free_port().await;
            if let Some(process) = listening(&dir, port, &flags).await {
                return Self { port, dir, flags, process };
            }
        }
    }

    /// Kills it, as a lost node does.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts it again after it was killed, with what it had written.
    pub async fn start_again(&mut self) {
        self.process = listening(&self.dir, self.port, &self.flags).await.expect("the port is still free");
    }

    /// Stops the process with SIGSTOP.
    pub async fn freeze(&self) {
        self.process.freeze().await;
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// A connection of the administrator's, if there is one left.
    pub async fn try_admin(&self) -> Result<MySqlConnection, sqlx::Error> {
        MySqlConnectOptions::new().socket(self.socket()).username("root").connect().await
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// A new database without tables, and a user of the same name who may do everything there.
    pub async fn database(&self) -> Database {
        let name = format!("audit_{}", unique());
        let password = format!("secret-of-{name}");
        let password_file = self.dir.join(format!("{name}.password"));
        std::fs::write(&password_file, &password).expect("a file");
        let database = Database { name: name.clone(), port: self.port, socket: self.socket(), password_file };
        database.administer(&format!("CREATE DATABASE {name}")).await;
        database.administer(&format!("CREATE USER {name}@'%' IDENTIFIED BY '{password}'")).await;
        database.administer(&format!("GRANT ALL ON {name}.* TO {name}@'%'")).await;
        database
    }

    /// One that is migrated, whose user may only read and write rows.
    pub async fn migrated_database(&self) -> Database {
        let database = self.database().await;
        database.store().migrate().await.expect("a migration");
        database.may_only_write_rows().await;
        database
    }
}

impl Database {
    /// Where it is, for a program on this machine.
    pub fn settings(&self) -> AuditSettings {
        AuditSettings {
            url: format!("mysql://{}@127.0.0.1:{}/{}", self.name, self.port, self.name),
            password_file: Some(self.password_file.clone()),
            tls: AuditTls::Off,
            ca_file: None,
        }
    }

    /// What leads to it, as programs are told in their environment.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let settings = self.settings();
        vec![
            ("BASTION_AUDIT_URL", settings.url.into()),
            ("BASTION_AUDIT_PASSWORD_FILE", self.password_file.clone().into()),
            ("BASTION_AUDIT_TLS", "off".into()),
        ]
    }

    pub fn store(&self) -> Store {
        Store::new(self.settings()).expect("settings")
    }

    /// Takes from its user the right to change tables.
    pub async fn may_only_write_rows(&self) {
        self.administer(&format!("REVOKE ALL ON {0}.* FROM {0}@'%'", self.name)).await;
        self.administer(&format!("GRANT {ROWS} ON {0}.* TO {0}@'%'", self.name)).await;
    }

    /// Its user's password, in the file as in the server or in one of the two.
    pub fn write_password(&self, password: &str) {
        std::fs::write(&self.password_file, password).expect("a file");
    }

    /// Has the administrator execute statements, in this database where it is there.
    pub async fn administer(&self, sql: &str) {
        let mut admin = admin(&self.socket).await;
        let _ = sqlx::raw_sql(AssertSqlSafe(format!("USE {}", self.name))).execute(&mut admin).await;
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut admin).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Has the administrator ask something.
    pub async fn ask(&self, sql: &str) -> Vec<MySqlRow> {
        let mut admin = self.session().await;
        let answer = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut admin).await;
        answer.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// A connection of the administrator's, in this database.
    pub async fn session(&self) -> MySqlConnection {
        let mut admin = admin(&self.socket).await;
        sqlx::raw_sql(AssertSqlSafe(format!("USE {}", self.name))).execute(&mut admin).await.expect("the database");
        admin
    }

    /// Ends every connection of its user, who may come back.
    pub async fn cut_off(&self) {
        self.administer(&format!("KILL USER {}", self.name)).await;
    }

    /// A program of the server's on this machine, as its administrator.
    pub fn tool(&self, program: &str) -> Command {
        let mut tool = command(program);
        tool.args(["--no-defaults", "--user=root"]).arg(format!("--socket={}", self.socket.display()));
        tool
    }
}

async fn admin(socket: &Path) -> MySqlConnection {
    let options = MySqlConnectOptions::new().socket(socket).username("root");
    options.connect().await.expect("the administrator gets in")
}

/// The folder of a server that has never run, which takes seconds to make.
async fn template() -> &'static Path {
    static TEMPLATE: OnceCell<PathBuf> = OnceCell::const_new();
    TEMPLATE.get_or_init(make_template).await
}

async fn make_template() -> PathBuf {
    let dir = Run::get().await.dir.join("db-template");
    let mut install = command("mariadb-install-db");
    install
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", &account()])
        .args(SIZES);
    install.arg(format!("--datadir={}", dir.display()));
    let mut process = Process::start(Run::get().await.dir.join("mariadb-install-db"), install).await;
    let outcome = process.finish(default_timeout() * 4).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    dir
}

/// A server that is root wants to be told that it may.
fn account() -> String {
    let user = User::from_uid(nix::unistd::geteuid()).ok().flatten().expect("a user");
    format!("--user={}", user.name)
}

/// Starts a server on this port. Returns `None` if another program has taken the port.
async fn listening(dir: &Path, port: u16, flags: &[String]) -> Option<Process> {
    let mut command = command("mariadbd");
    command.args(["--no-defaults", "--bind-address=127.0.0.1", &account(), &format!("--port={port}")]).args(SIZES);
    for (flag, file) in [("datadir", ""), ("socket", "socket"), ("pid-file", "pid"), ("tmpdir", "")] {
        command.arg(format!("--{flag}={}", dir.join(file).display()));
    }
    command.args(flags).env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    let process = Process::start(dir.join(format!("mariadbd-{}", unique())), command).await;
    process.listening(Process::stderr, "ready for connections").await
}
