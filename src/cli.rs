//! The command line: one subcommand for each program. Each flag has an environment variable.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use openidconnect::IssuerUrl;
use url::Url;

use crate::audit::{self, AuditSettings, AuditTls, Retention};
use crate::console::oidc;
use crate::gateway::WebTerminalSettings;
use crate::http::internal::ServerSettings;
use crate::redis::RedisSettings;
use crate::telemetry::LogFormat;
use crate::{console, controller, drain, gateway, self_test};

/// An SSH bastion for Kubernetes whose list of online sessions is always true.
#[derive(Debug, Parser)]
#[command(name = "bastion", version, max_term_width = 100)]
pub struct Cli {
    /// The program to run.
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: Log,
}

/// The log's format and filter.
#[derive(Debug, Args)]
pub struct Log {
    /// The format of log lines.
    #[arg(long, env = "BASTION_LOG_FORMAT", hide_env_values = true, value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
    /// The log filter, in the syntax of RUST_LOG.
    #[arg(
        long,
        env = "BASTION_LOG",
        hide_env_values = true,
        default_value = "info,kube_runtime=warn,russh=warn",
        global = true
    )]
    pub log: String,
}

/// The program to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Accepts SSH connections and connects users to targets.
    Gateway(Box<Gateway>),
    /// Ends sessions of lost gateways.
    Controller(Controller),
    /// Writes sessions to the audit database, deletes finished ones, and serves the history to consoles.
    Audit(Box<Audit>),
    /// Serves sessions, history and targets over HTTP to users with the right to see them.
    Console(Box<Console>),
    /// Prints the CustomResourceDefinitions.
    Crds,
    /// Stops the gateways, ends all sessions, and waits until the audit database has them. `helm uninstall` runs it first.
    Drain(Drain),
    /// Reads a password from standard input and prints its hash, for the Secret that a BastionUser's spec.password names.
    HashPassword,
    /// Migrates the audit database to this version's schema.
    Migrate(Migrate),
    /// Opens a session through the gateways with a temporary user and target, and checks that it ends. `helm test` runs it.
    SelfTest(SelfTest),
}

/// Flags of the programs that run in a Pod.
#[derive(Debug, Args)]
pub struct PodFlags {
    /// The namespace of the bastion.
    #[arg(long, env = "BASTION_NAMESPACE", hide_env_values = true, default_value = "bastion-system")]
    pub namespace: String,
    /// The name of the Pod that this program runs in.
    #[arg(long, env = "POD_NAME", hide_env_values = true)]
    pub pod_name: String,
    /// The address and port of /metrics, /healthz and /readyz.
    #[arg(long, env = "BASTION_HTTP_LISTEN", hide_env_values = true, default_value = "0.0.0.0:8080")]
    pub http_listen: SocketAddr,
}

/// Flags of the gateway.
#[derive(Debug, Args)]
pub struct Gateway {
    #[command(flatten)]
    pub pod: PodFlags,
    /// The uid of the Pod that this gateway runs in. With it, controllers detect the gateway's death from the state of its
    /// container, within about a second. Without it, they detect it from missing heartbeats.
    #[arg(long, env = "POD_UID", hide_env_values = true)]
    pub pod_uid: Option<String>,
    /// The address and port on which SSH clients connect.
    #[arg(long, env = "BASTION_LISTEN", hide_env_values = true, default_value = "0.0.0.0:2222")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub web: WebTerminal,
    #[command(flatten)]
    pub observe: Observe,
    /// How long live sessions may continue after SIGTERM, such as 90s or 1h.
    #[arg(long, env = "BASTION_GRACE_PERIOD", hide_env_values = true, default_value = "0s", value_parser = duration)]
    pub grace_period: Duration,
    /// The most sessions that this gateway carries at once.
    #[arg(long, env = "BASTION_MAX_SESSIONS", hide_env_values = true, default_value_t = 5000)]
    pub max_sessions: usize,
    /// The most sessions of one user on this gateway, for users without spec.maxSessions.
    #[arg(long, env = "BASTION_MAX_SESSIONS_PER_USER", hide_env_values = true, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_sessions_per_user: u16,
    /// The most forwarded connections that one session has open at once, in both directions together.
    #[arg(long, env = "BASTION_MAX_FORWARDS", hide_env_values = true, default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_forwards: u16,
    /// The memory for channels and for data that waits in this gateway, such as 512Mi. One user may take a quarter of it, the
    /// next a quarter of the rest, and so on. Beyond that, windows are not enlarged, and further channels of a session are
    /// refused. The default is three quarters of the memory limit of the
    /// gateway's container, or of the machine's memory.
    #[arg(long, env = "BASTION_MEMORY_BUDGET", hide_env_values = true, value_parser = bytes)]
    pub memory_budget: Option<usize>,
    /// The most connections from one address without a session, like sshd's PerSourceMaxStartups. The limit for all addresses
    /// together is 512. An IPv6 address counts as its /64 network. If a load balancer hides the clients' addresses, 512 turns
    /// this limit off.
    #[arg(long, env = "BASTION_MAX_STARTUPS_PER_ADDRESS", hide_env_values = true, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_startups_per_address: u16,
    /// The addresses or networks of load balancers that send a PROXY protocol header (version 2), such as 10.0.0.0/24,
    /// separated by commas. The gateway takes the client's address from the header, and refuses a connection from these
    /// addresses that has none. From other addresses it expects no header.
    #[arg(long, env = "BASTION_PROXY_PROTOCOL_FROM", hide_env_values = true, value_delimiter = ',', value_parser = network)]
    pub proxy_protocol_from: Vec<IpNet>,
    /// The addresses or networks of proxies between clients and this gateway that end TCP connections and send no PROXY
    /// protocol header, such as the sidecar of a service mesh (127.0.0.6), separated by commas. The kernel of such a proxy
    /// answers for a client that is gone. A client behind such a proxy, or behind one of --proxy-protocol-from, counts as lost when it
    /// answers no SSH keepalive for 20 s, or for 70 s while data may be on its way to it.
    #[arg(long, env = "BASTION_TCP_PROXIES", hide_env_values = true, value_delimiter = ',', value_parser = network)]
    pub tcp_proxies: Vec<IpNet>,
    /// The addresses or networks of targets that this gateway reaches without a proxy or service mesh that ends TCP
    /// connections, such as 10.0.0.0/24, separated by commas. A target there counts as lost when its kernel is silent, so that its sessions survive
    /// while its sshd is suspended. Another target counts as lost when its sshd answers no SSH keepalive for 20 s, or for 70 s
    /// while data may be on its way to it.
    #[arg(long, env = "BASTION_DIRECT_TARGETS", hide_env_values = true, value_delimiter = ',', value_parser = network)]
    pub direct_targets: Vec<IpNet>,
    /// The environment variables of clients that are passed to targets, like sshd's AcceptEnv, separated by commas. A * at the
    /// end matches any suffix. Other variables are dropped, and the target's sshd may drop more.
    #[arg(
        long,
        env = "BASTION_ACCEPT_ENV",
        hide_env_values = true,
        value_delimiter = ',',
        default_value = "LANG,LANGUAGE,LC_*,TZ,COLORTERM,NO_COLOR,GIT_PROTOCOL"
    )]
    pub accept_env: Vec<gateway::AcceptEnv>,
    /// A file with the banner that clients show before sign-in.
    #[arg(long, env = "BASTION_BANNER_FILE", hide_env_values = true)]
    pub banner_file: Option<PathBuf>,
    /// How long the keys of a connection are used before a new key exchange, such as 1h, at least 1s, like sshd's RekeyLimit.
    /// It holds for clients and targets. A new key exchange also comes after 1 GiB.
    #[arg(long, env = "BASTION_REKEY_TIME", hide_env_values = true, default_value = "1h", value_parser = rekey_time)]
    pub rekey_time: Duration,
    #[command(flatten)]
    pub lock_out: LockOut,
    /// The URL where recordings are stored: a folder, such as file:///var/lib/bastion/recordings, or s3://BUCKET/PREFIX. A
    /// bucket's credentials, region and endpoint come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and
    /// AWS_ENDPOINT_URL. For an endpoint without TLS, set AWS_ALLOW_HTTP=true.
    #[arg(long, env = "BASTION_RECORDING_URL", hide_env_values = true)]
    pub recording_url: Option<String>,
    #[command(flatten)]
    pub redis: Redis,
}

/// The web terminal.
#[derive(Debug, Args)]
pub struct WebTerminal {
    /// The address and port of the web terminal, such as 0.0.0.0:8082. It does not speak TLS: put a proxy with TLS in front of
    /// it, under the console's host name. Without this flag there is no web terminal.
    #[arg(long, env = "BASTION_WEB_LISTEN", hide_env_values = true)]
    pub web_listen: Option<SocketAddr>,
    /// A file with the keys of the console's cookies, the same as the consoles' --cookie-key-file. Without it, only requests
    /// with a token get a web terminal.
    #[arg(long, env = "BASTION_COOKIE_KEY_FILE", hide_env_values = true)]
    pub cookie_key_file: Option<PathBuf>,
    /// The public URL of the console, such as https://bastion.example.com. Its pages may open web terminals, as may pages of
    /// the host that a request names.
    #[arg(long, env = "BASTION_PUBLIC_URL", hide_env_values = true, value_parser = web_url)]
    pub public_url: Option<Url>,
    /// The addresses or networks of proxies in front of the web terminal, such as 10.0.0.0/24, separated by commas. Only their
    /// X-Forwarded-For header is trusted.
    #[arg(long, env = "BASTION_WEB_PROXIES", hide_env_values = true, value_delimiter = ',', value_parser = network)]
    pub web_proxies: Vec<IpNet>,
}

impl From<WebTerminal> for Option<WebTerminalSettings> {
    fn from(flags: WebTerminal) -> Self {
        let WebTerminal { web_listen, cookie_key_file, public_url, web_proxies } = flags;
        web_listen.map(|listen| WebTerminalSettings { listen, cookie_key_file, public_url, proxies: web_proxies })
    }
}

/// Observing live sessions.
#[derive(Debug, Args)]
pub struct Observe {
    /// The address and port on which consoles connect over TLS to observe live sessions, such as 0.0.0.0:8443. Without this
    /// flag live sessions cannot be observed.
    #[arg(long, env = "BASTION_FOLLOW_LISTEN", hide_env_values = true, requires = "console_user")]
    pub follow_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub consoles: Consoles,
}

/// The consoles that connect to this program.
#[derive(Debug, Args)]
pub struct Consoles {
    /// The IP address of this Pod, to which consoles connect.
    #[arg(long, env = "POD_IP", hide_env_values = true)]
    pub pod_ip: Option<IpAddr>,
    /// The Kubernetes user name of the consoles, such as system:serviceaccount:bastion-system:bastion-console.
    #[arg(long, env = "BASTION_CONSOLE_USER", hide_env_values = true)]
    pub console_user: Option<String>,
}

impl Consoles {
    /// Returns the settings of the server for consoles; `None` if it has no address.
    fn settings(self, listen: Option<SocketAddr>) -> Option<ServerSettings> {
        let Self { pod_ip, console_user } = self;
        listen.zip(console_user).map(|(listen, console)| ServerSettings { listen, pod_ip, console })
    }
}

/// Lock-out after wrong passwords and one-time codes.
#[derive(Debug, Args)]
pub struct LockOut {
    /// The number of wrong passwords and one-time codes for one user from one address that lock out the user at that address.
    #[arg(long, env = "BASTION_LOCK_OUT_AFTER", hide_env_values = true, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub lock_out_after: u32,
    /// The number of wrong passwords and codes for one user, from all addresses together, that lock out the user. Addresses from which the user has signed
    /// in within a week are exempt.
    #[arg(long, env = "BASTION_LOCK_OUT_USER_AFTER", hide_env_values = true, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub lock_out_user_after: u32,
    /// The number of wrong passwords and codes from one address, for all users together, that lock out the address.
    #[arg(long, env = "BASTION_LOCK_OUT_ADDRESS_AFTER", hide_env_values = true, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub lock_out_address_after: u32,
    /// How long a lock-out lasts, and how long a wrong answer is counted, such as 10m.
    #[arg(long, env = "BASTION_LOCK_OUT_TIME", hide_env_values = true, default_value = "10m", value_parser = duration)]
    pub lock_out_time: Duration,
}

/// Flags of the controller.
#[derive(Debug, Args)]
pub struct Controller {
    #[command(flatten)]
    pub pod: PodFlags,
    #[command(flatten)]
    pub redis: Redis,
}

/// Flags of the audit program.
#[derive(Debug, Args)]
pub struct Audit {
    #[command(flatten)]
    pub pod: PodFlags,
    #[command(flatten)]
    pub database: Database,
    /// How long a finished session stays in the cluster after the audit database has it, such as 10m. During this time
    /// the session is recorded again if the audit database is restored from a backup.
    #[arg(long, env = "BASTION_RETENTION", hide_env_values = true, default_value = "10m", value_parser = duration)]
    pub retention: Duration,
    /// The most finished sessions that stay in the cluster. The oldest are deleted first.
    #[arg(long, env = "BASTION_MAX_FINISHED", hide_env_values = true, default_value_t = 5000)]
    pub max_finished: usize,
    /// The address and port on which consoles read the history over TLS, such as 0.0.0.0:8443. Without this flag consoles have
    /// no history.
    #[arg(long, env = "BASTION_HISTORY_LISTEN", hide_env_values = true, requires = "console_user")]
    pub history_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub consoles: Consoles,
}

/// Flags of the console.
#[derive(Debug, Args)]
pub struct Console {
    /// The namespace of the bastion.
    #[arg(long, env = "BASTION_NAMESPACE", hide_env_values = true, default_value = "bastion-system")]
    pub namespace: String,
    /// The address and port of the page and the API. They do not speak TLS: put a proxy with TLS in front, since requests
    /// carry tokens.
    #[arg(long, env = "BASTION_CONSOLE_LISTEN", hide_env_values = true, default_value = "0.0.0.0:8081")]
    pub listen: SocketAddr,
    /// The address and port of /metrics, /healthz and /readyz.
    #[arg(long, env = "BASTION_HTTP_LISTEN", hide_env_values = true, default_value = "0.0.0.0:8080")]
    pub http_listen: SocketAddr,
    /// A file with the keys of the cookies for users who sign in with a browser: 32 bytes in base64 on each line, the same for
    /// all consoles. The first key encrypts; all keys decrypt. Without it, users cannot sign in with a browser.
    #[arg(long, env = "BASTION_COOKIE_KEY_FILE", hide_env_values = true)]
    pub cookie_key_file: Option<PathBuf>,
    /// The public URL of the console, such as https://bastion.example.com. With https, browsers are told to use only TLS (HSTS).
    /// With this flag, a proxy in front of the console may change the Host header.
    #[arg(long, env = "BASTION_PUBLIC_URL", hide_env_values = true, value_parser = web_url)]
    pub public_url: Option<Url>,
    /// The URL of the gateways' web terminal, such as http://127.0.0.1:8082, if it is not on the console's own host. Behind an
    /// Ingress it usually is.
    #[arg(long, env = "BASTION_TERMINAL_ORIGIN", hide_env_values = true, value_parser = web_url)]
    pub terminal_origin: Option<Url>,
    #[command(flatten)]
    pub oidc: Oidc,
    /// The URL where the gateways store recordings, the same as their --recording-url. The console only reads from it, to play
    /// recordings.
    #[arg(long, env = "BASTION_RECORDING_URL", hide_env_values = true)]
    pub recording_url: Option<String>,
    /// The addresses or networks of proxies in front of the console, such as 10.0.0.0/24, separated by commas. Only their
    /// X-Forwarded-For header is trusted. The console checks at most 20 new tokens a second from one address.
    #[arg(long, env = "BASTION_WEB_PROXIES", hide_env_values = true, value_delimiter = ',', value_parser = network)]
    pub web_proxies: Vec<IpNet>,
    /// The name of this Pod, for Events, and for the tokens with which it authenticates to gateways and audit programs.
    #[arg(long, env = "POD_NAME", hide_env_values = true, default_value = "bastion-console")]
    pub pod_name: String,
    #[command(flatten)]
    pub redis: Redis,
}

/// Sign-in with an OpenID Connect provider. Claims become a Kubernetes user as with the API server's flags of the same names.
#[derive(Debug, Args)]
pub struct Oidc {
    /// The issuer URL of the OpenID Connect provider, such as https://id.example.com. Register the redirect URI
    /// PUBLIC_URL/auth/oidc/callback there. Without this flag, users sign in with tokens.
    #[arg(long, env = "BASTION_OIDC_ISSUER_URL", hide_env_values = true, value_parser = issuer, requires_all = ["oidc_client_id", "public_url", "cookie_key_file"])]
    pub oidc_issuer_url: Option<IssuerUrl>,
    /// The client id of the console at the provider.
    #[arg(long, env = "BASTION_OIDC_CLIENT_ID", hide_env_values = true)]
    pub oidc_client_id: Option<String>,
    /// A file with the client secret. It is read at each sign-in. A public client has none.
    #[arg(long, env = "BASTION_OIDC_CLIENT_SECRET_FILE", hide_env_values = true)]
    pub oidc_client_secret_file: Option<PathBuf>,
    /// A file with CA certificates (PEM) for the provider, in addition to those that the system trusts.
    #[arg(long, env = "BASTION_OIDC_CA_FILE", hide_env_values = true)]
    pub oidc_ca_file: Option<PathBuf>,
    /// The provider's name on the sign-in page.
    #[arg(long, env = "BASTION_OIDC_NAME", hide_env_values = true, default_value = "single sign-on")]
    pub oidc_name: String,
    /// The scopes to request besides openid, separated by commas.
    #[arg(
        long,
        env = "BASTION_OIDC_SCOPES",
        hide_env_values = true,
        value_delimiter = ',',
        default_value = "profile,email"
    )]
    pub oidc_scopes: Vec<String>,
    /// The claim with the user's Kubernetes user name. If it is email, the address must be verified.
    #[arg(long, env = "BASTION_OIDC_USERNAME_CLAIM", hide_env_values = true, default_value = "sub")]
    pub oidc_username_claim: String,
    /// A prefix of the Kubernetes user name, such as oidc:, or - for none. Without this flag, the prefix is the issuer URL and #;
    /// a verified email address gets no prefix. Names that begin with system: or bastion: are refused.
    #[arg(long, env = "BASTION_OIDC_USERNAME_PREFIX", hide_env_values = true, allow_hyphen_values = true)]
    pub oidc_username_prefix: Option<String>,
    /// The claim with the user's groups.
    #[arg(long, env = "BASTION_OIDC_GROUPS_CLAIM", hide_env_values = true, default_value = "groups")]
    pub oidc_groups_claim: String,
    /// A prefix of the Kubernetes groups, such as oidc:.
    #[arg(long, env = "BASTION_OIDC_GROUPS_PREFIX", hide_env_values = true, default_value = "")]
    pub oidc_groups_prefix: String,
}

impl From<Oidc> for Option<oidc::Settings> {
    fn from(flags: Oidc) -> Self {
        Some(oidc::Settings {
            name: flags.oidc_name,
            issuer_url: flags.oidc_issuer_url?,
            client_id: flags.oidc_client_id?,
            client_secret_file: flags.oidc_client_secret_file,
            scopes: flags.oidc_scopes,
            ca_file: flags.oidc_ca_file,
            claims: oidc::ClaimSettings {
                username: flags.oidc_username_claim,
                username_prefix: username_prefix(flags.oidc_username_prefix),
                groups: flags.oidc_groups_claim,
                groups_prefix: flags.oidc_groups_prefix,
            },
        })
    }
}

/// Redis or Valkey, 6.2 or newer: an optional second channel for the gateways' heartbeats.
#[derive(Debug, Args)]
pub struct Redis {
    /// The URL of Redis or Valkey, 6.2 or newer, such as redis://redis:6379/0, or rediss:// for TLS. Without it, gateways send
    /// heartbeats only through their Leases.
    #[arg(long, env = "BASTION_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// A file with the password of Redis. It is read at each connection.
    #[arg(long, env = "BASTION_REDIS_PASSWORD_FILE", hide_env_values = true, requires = "redis_url")]
    pub redis_password_file: Option<PathBuf>,
}

impl From<Redis> for Option<RedisSettings> {
    fn from(flags: Redis) -> Self {
        Some(RedisSettings { url: flags.redis_url?, password_file: flags.redis_password_file })
    }
}

/// Flags of `bastion drain`.
#[derive(Debug, Args)]
pub struct Drain {
    /// The namespace of the bastion.
    #[arg(long, env = "BASTION_NAMESPACE", hide_env_values = true, default_value = "bastion-system")]
    pub namespace: String,
    /// The reason that users of ended sessions see.
    #[arg(long, default_value = "the bastion is being uninstalled")]
    pub reason: String,
}

/// Flags of `bastion self-test`.
#[derive(Debug, Args)]
pub struct SelfTest {
    /// The namespace of the bastion.
    #[arg(long, env = "BASTION_NAMESPACE", hide_env_values = true, default_value = "bastion-system")]
    pub namespace: String,
    /// The gateways, as HOST:PORT.
    #[arg(long, default_value = "bastion-gateway:22")]
    pub gateway: String,
    /// The IP address of this program. The gateways connect to it as a target.
    #[arg(long, env = "POD_IP", hide_env_values = true)]
    pub address: String,
}

/// Flags of `bastion migrate`.
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    pub database: Database,
}

/// The audit database.
#[derive(Debug, Args)]
pub struct Database {
    /// The audit database: mysql://USER@HOST:PORT/DATABASE for MySQL or MariaDB, or sqlite:// and the path of a file.
    #[arg(
        long,
        env = "BASTION_AUDIT_URL",
        hide_env_values = true,
        default_value = "sqlite:///var/lib/bastion/audit.db"
    )]
    pub audit_url: String,
    /// A file with the password of the database. It is read at each connection, so that it can change without a restart.
    #[arg(long, env = "BASTION_AUDIT_PASSWORD_FILE", hide_env_values = true)]
    pub audit_password_file: Option<PathBuf>,
    /// Whether to use TLS, and to verify the server's certificate and host name.
    #[arg(long, env = "BASTION_AUDIT_TLS", hide_env_values = true, value_enum, default_value = "verify")]
    pub audit_tls: AuditTls,
    /// A file with CA certificates (PEM) for the server, in addition to the public ones. It is read at each connection.
    #[arg(long, env = "BASTION_AUDIT_CA_FILE", hide_env_values = true)]
    pub audit_ca_file: Option<PathBuf>,
}

impl From<Database> for AuditSettings {
    fn from(flags: Database) -> Self {
        Self {
            url: flags.audit_url,
            password_file: flags.audit_password_file,
            tls: flags.audit_tls,
            ca_file: flags.audit_ca_file,
        }
    }
}

impl From<LockOut> for gateway::LockoutLimits {
    fn from(flags: LockOut) -> Self {
        Self {
            per_user_and_address: flags.lock_out_after,
            per_user: flags.lock_out_user_after,
            per_address: flags.lock_out_address_after,
            duration: flags.lock_out_time,
        }
    }
}

impl From<Gateway> for gateway::Settings {
    fn from(flags: Gateway) -> Self {
        Self {
            namespace: flags.pod.namespace,
            pod: flags.pod.pod_name,
            pod_uid: flags.pod_uid,
            listen: flags.listen,
            http_listen: flags.pod.http_listen,
            web: flags.web.into(),
            observe: flags.observe.consoles.settings(flags.observe.follow_listen),
            grace_period: flags.grace_period,
            max_sessions: flags.max_sessions,
            max_startups_per_address: flags.max_startups_per_address.into(),
            proxy_protocol_from: flags.proxy_protocol_from,
            tcp_paths: gateway::TcpPaths { tcp_proxies: flags.tcp_proxies, direct_targets: flags.direct_targets },
            max_sessions_per_user: flags.max_sessions_per_user.into(),
            max_forwards: flags.max_forwards.into(),
            memory_budget: flags.memory_budget,
            accept_env: flags.accept_env,
            lock_out: flags.lock_out.into(),
            rekey_time: flags.rekey_time,
            banner_file: flags.banner_file,
            recording_url: flags.recording_url,
            redis: flags.redis.into(),
        }
    }
}

impl From<Console> for console::Settings {
    fn from(flags: Console) -> Self {
        Self {
            namespace: flags.namespace,
            listen: flags.listen,
            cookie_key_file: flags.cookie_key_file,
            oidc: flags.oidc.into(),
            redis: flags.redis.into(),
            recording_url: flags.recording_url,
            proxies: flags.web_proxies,
            pod_name: flags.pod_name,
            public_url: flags.public_url,
            terminal_origin: flags.terminal_origin,
            http_listen: flags.http_listen,
        }
    }
}

impl From<Drain> for drain::Settings {
    fn from(flags: Drain) -> Self {
        Self { namespace: flags.namespace, reason: flags.reason }
    }
}

impl From<SelfTest> for self_test::Settings {
    fn from(flags: SelfTest) -> Self {
        Self { namespace: flags.namespace, gateway: flags.gateway, address: flags.address }
    }
}

impl From<Controller> for controller::Settings {
    fn from(flags: Controller) -> Self {
        Self {
            namespace: flags.pod.namespace,
            pod: flags.pod.pod_name,
            redis: flags.redis.into(),
            http_listen: flags.pod.http_listen,
        }
    }
}

impl From<Audit> for audit::Settings {
    fn from(flags: Audit) -> Self {
        let Audit { pod, database, retention, max_finished, history_listen, consoles } = flags;
        Self {
            namespace: pod.namespace,
            pod: pod.pod_name,
            database: database.into(),
            retention: Retention { duration: retention, max_finished },
            history: consoles.settings(history_listen),
            http_listen: pod.http_listen,
        }
    }
}

/// Parses a duration with units, such as `90s`, `10m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "write a duration such as 90s, 10m or 1h".to_owned())?;
    Duration::try_from(span).map_err(|_| "a duration cannot be negative".to_owned())
}

/// Parses a number of bytes as Kubernetes writes it, such as `512Mi` or `1Gi`.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => 0,
    };
    let bytes = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(factor)).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "write a number of bytes such as 512Mi or 1Gi".to_owned())
}

/// Parses an IP address or a network in CIDR notation.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.ok_or_else(|| "write an address such as 10.0.0.1, or a network such as 10.0.0.0/24".to_owned())
}

/// Parses an http or https URL without a path.
fn web_url(text: &str) -> Result<Url, String> {
    let url = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.path() == "/");
    url.ok_or_else(|| "write a URL without a path, such as https://bastion.example.com".to_owned())
}

/// Parses the URL of an OpenID Connect provider.
fn issuer(text: &str) -> Result<IssuerUrl, String> {
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    let url = IssuerUrl::new(text.to_owned()).ok().filter(|_| is_web);
    url.ok_or_else(|| "write the issuer URL of the provider, such as https://id.example.com".to_owned())
}

/// Interprets a prefix as the API server does with its --oidc-username-prefix: an empty prefix means the default, and `-` means
/// no prefix.
fn username_prefix(flag: Option<String>) -> Option<String> {
    flag.filter(|prefix| !prefix.is_empty()).map(|prefix| if prefix == "-" { String::new() } else { prefix })
}

/// Parses the rekey time, which must be at least one second. With a shorter time, key exchanges would leave no time for data.
fn rekey_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_secs(1) { Err("the time must be at least 1s".to_owned()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_network_is_an_address_with_or_without_a_prefix_length() {
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network("fd00::/64").unwrap().to_string(), "fd00::/64");
        assert!(network("balancer").is_err());
    }

    #[test]
    fn a_web_url_has_no_path() {
        assert!(web_url("https://bastion.example.com").is_ok() && web_url("http://127.0.0.1:8081/").is_ok());
        for wrong in ["bastion.example.com", "ftp://x", "https://x/y"] {
            assert!(web_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_have_the_units_of_kubernetes() {
        assert_eq!((bytes("512Mi"), bytes("1Gi"), bytes("2048")), (Ok(512 << 20), Ok(1 << 30), Ok(2048)));
        for wrong in ["", "0", "Mi", "1M", "1.5Gi", "-1Mi", "99999999999Gi"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_empty_username_prefix_is_the_default() {
        for (flag, expected) in [(None, None), (Some(""), None), (Some("-"), Some("")), (Some("oidc:"), Some("oidc:"))]
        {
            assert_eq!(username_prefix(flag.map(str::to_owned)).as_deref(), expected);
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        assert!(duration("10").is_err());
        assert!(duration("-1s").is_err());
        assert!(rekey_time("0s").is_err());
        assert_eq!(rekey_time("1s"), Ok(Duration::from_secs(1)));
    }
}
