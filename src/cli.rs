//! The command line: a subcommand a program; each flag can be given as an environment variable too.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use openidconnect::IssuerUrl;
use url::Url;

use crate::audit::{AuditSettings, AuditTls};
use crate::console::oidc;
use crate::gateway::{ObserveSettings, WebTerminalSettings};
use crate::redis::RedisSettings;
use crate::telemetry::LogFormat;
use crate::{console, controller, drain, gateway, self_test};

/// An SSH bastion for Kubernetes whose list of online sessions is always true.
#[derive(Debug, Parser)]
#[command(name = "bastion", version, max_term_width = 100)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: Log,
}

/// How to log.
#[derive(Debug, Args)]
pub struct Log {
    /// How log lines look.
    #[arg(long, env = "BASTION_LOG_FORMAT", hide_env_values = true, value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
    /// What is logged, in the syntax of RUST_LOG.
    #[arg(
        long,
        env = "BASTION_LOG",
        hide_env_values = true,
        default_value = "info,kube_runtime=warn,russh=warn",
        global = true
    )]
    pub log: String,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The SSH front door.
    Gateway(Box<Gateway>),
    /// Ends what no gateway can end any more, mirrors sessions into the audit database, and clears away.
    Controller(Controller),
    /// Serves sessions, history and targets over HTTP to those whom the cluster lets see them.
    Console(Box<Console>),
    /// Prints the CustomResourceDefinitions.
    Crds,
    /// Stops the gateways, ends the open sessions, and waits until all are on record; `helm uninstall` runs it first.
    Drain(Drain),
    /// Reads a password from standard input and prints its hash, for the Secret that a BastionUser's spec.password names.
    HashPassword,
    /// Brings the audit database to this version's schema.
    Migrate(Migrate),
    /// Opens a session through the gateways, from a user of its own to a target of its own, and sees it end; `helm test`
    /// runs it.
    SelfTest(SelfTest),
}

/// What every program in the cluster needs to know.
#[derive(Debug, Args)]
pub struct Place {
    /// The namespace of the bastion.
    #[arg(long, env = "BASTION_NAMESPACE", hide_env_values = true, default_value = "bastion-system")]
    pub namespace: String,
    /// The name of the Pod that this program runs in.
    #[arg(long, env = "POD_NAME", hide_env_values = true)]
    pub pod_name: String,
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, env = "BASTION_HTTP_LISTEN", hide_env_values = true, default_value = "0.0.0.0:8080")]
    pub http_listen: SocketAddr,
}

/// Flags of the gateway.
#[derive(Debug, Args)]
pub struct Gateway {
    #[command(flatten)]
    pub place: Place,
    /// The uid of the Pod that this gateway runs in. With it, controllers learn of its death from its container, about a
    /// second after it, rather than from its silence.
    #[arg(long, env = "POD_UID", hide_env_values = true)]
    pub pod_uid: Option<String>,
    /// Where SSH clients connect.
    #[arg(long, env = "BASTION_LISTEN", hide_env_values = true, default_value = "0.0.0.0:2222")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub web: Web,
    #[command(flatten)]
    pub follow: Follow,
    /// How long live sessions may go on after SIGTERM, such as 90s or 1h.
    #[arg(long, env = "BASTION_GRACE_PERIOD", hide_env_values = true, default_value = "0s", value_parser = duration)]
    pub grace_period: Duration,
    /// How many sessions this gateway carries at most.
    #[arg(long, env = "BASTION_MAX_SESSIONS", hide_env_values = true, default_value_t = 5000)]
    pub max_sessions: usize,
    /// How many connections from one address may be open that have not signed in, or have no session yet, as with sshd's
    /// PerSourceMaxStartups; 512 may in all. An IPv6 address counts as its network of 64 bits. Where a load balancer
    /// hides the clients' addresses, 512 is the value that turns this off.
    #[arg(long, env = "BASTION_MAX_STARTUPS_PER_ADDRESS", hide_env_values = true, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_startups_per_address: u16,
    /// The load balancers that send a header of the PROXY protocol, version 2, before what a client sends: their
    /// addresses or networks, such as 10.0.0.0/24, separated by commas. Clients are then known by the addresses in those
    /// headers. What comes from there without one is turned away; what comes from elsewhere has none.
    #[arg(long, env = "BASTION_PROXY_PROTOCOL_FROM", hide_env_values = true, value_delimiter = ',', value_parser = network)]
    pub proxy_protocol_from: Vec<IpNet>,
    /// Which variables of the client's environment are passed to targets, as in sshd's AcceptEnv; separated by commas, and with
    /// a * behind what several begin with. What else a client sends is dropped, and the target's own sshd may drop more.
    #[arg(
        long,
        env = "BASTION_ACCEPT_ENV",
        hide_env_values = true,
        value_delimiter = ',',
        default_value = "LANG,LANGUAGE,LC_*,TZ,COLORTERM,NO_COLOR,GIT_PROTOCOL"
    )]
    pub accept_env: Vec<gateway::AcceptEnv>,
    /// A file whose text clients show before anybody signs in.
    #[arg(long, env = "BASTION_BANNER_FILE", hide_env_values = true)]
    pub banner_file: Option<PathBuf>,
    /// How long keys are in use until new ones are agreed on, such as 1h, on the connections to clients and to targets; after
    /// 1 GiB they are in any case. The two are sshd's RekeyLimit.
    #[arg(long, env = "BASTION_REKEY_TIME", hide_env_values = true, default_value = "1h", value_parser = rekey_time)]
    pub rekey_time: Duration,
    #[command(flatten)]
    pub lock_out: LockOut,
    /// Where sessions are recorded of targets that ask for it: the URL of a folder, such as
    /// file:///var/lib/bastion/recordings, or s3://BUCKET/PREFIX. A bucket's credentials, region and endpoint come from the
    /// usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL; for an endpoint without
    /// TLS, set AWS_ALLOW_HTTP=true.
    #[arg(long, env = "BASTION_RECORDING_URL", hide_env_values = true)]
    pub recording_url: Option<String>,
    #[command(flatten)]
    pub redis: Redis,
}

/// The web terminal.
#[derive(Debug, Args)]
pub struct Web {
    /// Where the web terminal is served, in the clear, such as 0.0.0.0:8082: put what speaks TLS before it, under the
    /// console's own host. Without it there is none.
    #[arg(long, env = "BASTION_WEB_LISTEN", hide_env_values = true)]
    pub web_listen: Option<SocketAddr>,
    /// A file with the keys of the console's cookies, the consoles' own --cookie-key-file. Without it only those have
    /// terminals who send a token.
    #[arg(long, env = "BASTION_COOKIE_KEY_FILE", hide_env_values = true)]
    pub cookie_key_file: Option<PathBuf>,
    /// The URL by which people know the console, such as https://bastion.example.com: its pages may have terminals, besides
    /// those of the host that a request is for.
    #[arg(long, env = "BASTION_PUBLIC_URL", hide_env_values = true, value_parser = web_url)]
    pub public_url: Option<Url>,
    /// What is before the web terminal, such as an Ingress, and says in X-Forwarded-For where a request comes from: addresses or
    /// networks, such as 10.0.0.0/24, separated by commas. What others say there does not count.
    #[arg(long, env = "BASTION_WEB_PROXIES", hide_env_values = true, value_delimiter = ',', value_parser = network)]
    pub web_proxies: Vec<IpNet>,
}

impl From<Web> for Option<WebTerminalSettings> {
    fn from(flags: Web) -> Self {
        let Web { web_listen, cookie_key_file, public_url, web_proxies } = flags;
        web_listen.map(|listen| WebTerminalSettings { listen, cookie_key_file, public_url, proxies: web_proxies })
    }
}

/// Following live sessions.
#[derive(Debug, Args)]
pub struct Follow {
    /// Where consoles connect for those who follow sessions that go on, over TLS, such as 0.0.0.0:8443. Without it nobody does.
    #[arg(long, env = "BASTION_FOLLOW_LISTEN", hide_env_values = true, requires = "console_user")]
    pub follow_listen: Option<SocketAddr>,
    /// The address of this Pod, by which consoles connect.
    #[arg(long, env = "POD_IP", hide_env_values = true)]
    pub pod_ip: Option<IpAddr>,
    /// The Kubernetes user that the consoles are, such as system:serviceaccount:bastion-system:bastion-console.
    #[arg(long, env = "BASTION_CONSOLE_USER", hide_env_values = true)]
    pub console_user: Option<String>,
}

impl From<Follow> for Option<ObserveSettings> {
    fn from(flags: Follow) -> Self {
        let Follow { follow_listen, pod_ip, console_user } = flags;
        follow_listen.zip(console_user).map(|(listen, console)| ObserveSettings { listen, pod_ip, console })
    }
}

/// When wrong passwords and one-time codes lock out.
#[derive(Debug, Args)]
pub struct LockOut {
    /// How many wrong passwords and one-time codes for one user from one address lock the two out.
    #[arg(long, env = "BASTION_LOCK_OUT_AFTER", hide_env_values = true, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub lock_out_after: u32,
    /// How many for one user, from whatever addresses, lock that user out, but for addresses from which the user has signed
    /// in within a week.
    #[arg(long, env = "BASTION_LOCK_OUT_USER_AFTER", hide_env_values = true, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub lock_out_user_after: u32,
    /// How many from one address, for whatever users, lock that address out.
    #[arg(long, env = "BASTION_LOCK_OUT_ADDRESS_AFTER", hide_env_values = true, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub lock_out_address_after: u32,
    /// How long a lock-out lasts, and how long a wrong answer counts, such as 10m.
    #[arg(long, env = "BASTION_LOCK_OUT_TIME", hide_env_values = true, default_value = "10m", value_parser = duration)]
    pub lock_out_time: Duration,
}

/// Flags of the controller.
#[derive(Debug, Args)]
pub struct Controller {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub audit: Audit,
    /// How long finished sessions stay in the cluster once they have ended and are on record, such as 10m. For as long, they
    /// are recorded anew if the audit database is restored from a back-up.
    #[arg(long, env = "BASTION_RETENTION", hide_env_values = true, default_value = "10m", value_parser = duration)]
    pub retention: Duration,
    /// How many finished sessions stay in the cluster at most; the oldest go first.
    #[arg(long, env = "BASTION_MAX_FINISHED", hide_env_values = true, default_value_t = 5000)]
    pub max_finished: usize,
    #[command(flatten)]
    pub redis: Redis,
}

/// Flags of the console.
#[derive(Debug, Args)]
pub struct Console {
    /// The namespace of the bastion.
    #[arg(long, env = "BASTION_NAMESPACE", hide_env_values = true, default_value = "bastion-system")]
    pub namespace: String,
    /// Where the API is served, in the clear: put what speaks TLS before it, since tokens are sent there.
    #[arg(long, env = "BASTION_CONSOLE_LISTEN", hide_env_values = true, default_value = "0.0.0.0:8081")]
    pub listen: SocketAddr,
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, env = "BASTION_HTTP_LISTEN", hide_env_values = true, default_value = "0.0.0.0:8080")]
    pub http_listen: SocketAddr,
    /// A file with the keys of the cookies that those get who sign in with a browser: 32 bytes in base64 a line, the same for
    /// all consoles. The first seals, and each of them opens. Without it nobody can sign in with a browser.
    #[arg(long, env = "BASTION_COOKIE_KEY_FILE", hide_env_values = true)]
    pub cookie_key_file: Option<PathBuf>,
    /// The URL by which people know the console, such as https://bastion.example.com. Of one with https, browsers are told to
    /// ask for nothing in the clear. What is before the console may change the Host of requests where this is given.
    #[arg(long, env = "BASTION_PUBLIC_URL", hide_env_values = true, value_parser = web_url)]
    pub public_url: Option<Url>,
    /// Where the page finds the gateways' terminal, such as http://127.0.0.1:8082, where that is not on the console's own
    /// host, as behind an Ingress it is.
    #[arg(long, env = "BASTION_TERMINAL_ORIGIN", hide_env_values = true, value_parser = web_url)]
    pub terminal_origin: Option<Url>,
    #[command(flatten)]
    pub oidc: Oidc,
    /// Where the gateways put recordings, their own --recording-url, so that those can play them who may. It is only read.
    #[arg(long, env = "BASTION_RECORDING_URL", hide_env_values = true)]
    pub recording_url: Option<String>,
    /// A file with the ServiceAccount token that this console shows to gateways, for the audience bastion-gateway, which is read
    /// each time. Without it nobody follows sessions that go on.
    #[arg(long, env = "BASTION_GATEWAY_TOKEN_FILE", hide_env_values = true)]
    pub gateway_token_file: Option<PathBuf>,
    /// The name of this Pod, for Events.
    #[arg(long, env = "POD_NAME", hide_env_values = true, default_value = "bastion-console")]
    pub pod_name: String,
    #[command(flatten)]
    pub redis: Redis,
    /// Says that no audit database can be read from here, as where it is a file of the controller's.
    #[arg(long, env = "BASTION_NO_HISTORY", hide_env_values = true)]
    pub no_history: bool,
    #[command(flatten)]
    pub audit: Audit,
}

/// Signing in with an OpenID Connect provider. Claims become a Kubernetes user as with the API server's flags of the same names.
#[derive(Debug, Args)]
pub struct Oidc {
    /// The OpenID Connect provider with which people sign in, such as https://id.example.com; its registration of the console
    /// names PUBLIC_URL/auth/oidc/callback. Without it they sign in with tokens.
    #[arg(long, env = "BASTION_OIDC_ISSUER_URL", hide_env_values = true, value_parser = issuer, requires_all = ["oidc_client_id", "public_url", "cookie_key_file"])]
    pub oidc_issuer_url: Option<IssuerUrl>,
    /// What the provider knows the console as.
    #[arg(long, env = "BASTION_OIDC_CLIENT_ID", hide_env_values = true)]
    pub oidc_client_id: Option<String>,
    /// A file with the secret that goes with it, which is read at each sign-in; none for a public client.
    #[arg(long, env = "BASTION_OIDC_CLIENT_SECRET_FILE", hide_env_values = true)]
    pub oidc_client_secret_file: Option<PathBuf>,
    /// A file with the certificates (PEM) of who vouches for the provider, besides those that the system trusts.
    #[arg(long, env = "BASTION_OIDC_CA_FILE", hide_env_values = true)]
    pub oidc_ca_file: Option<PathBuf>,
    /// What the page calls the provider.
    #[arg(long, env = "BASTION_OIDC_NAME", hide_env_values = true, default_value = "single sign-on")]
    pub oidc_name: String,
    /// What is asked for besides openid, separated by commas.
    #[arg(
        long,
        env = "BASTION_OIDC_SCOPES",
        hide_env_values = true,
        value_delimiter = ',',
        default_value = "profile,email"
    )]
    pub oidc_scopes: Vec<String>,
    /// The claim that is a person's Kubernetes user name. Where it is email, an address must be verified.
    #[arg(long, env = "BASTION_OIDC_USERNAME_CLAIM", hide_env_values = true, default_value = "sub")]
    pub oidc_username_claim: String,
    /// What their Kubernetes user name begins with, such as oidc:.
    #[arg(long, env = "BASTION_OIDC_USERNAME_PREFIX", hide_env_values = true, default_value = "")]
    pub oidc_username_prefix: String,
    /// The claim that has their groups.
    #[arg(long, env = "BASTION_OIDC_GROUPS_CLAIM", hide_env_values = true, default_value = "groups")]
    pub oidc_groups_claim: String,
    /// What their Kubernetes groups begin with, such as oidc:.
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
                username_prefix: flags.oidc_username_prefix,
                groups: flags.oidc_groups_claim,
                groups_prefix: flags.oidc_groups_prefix,
            },
        })
    }
}

/// Redis or Valkey, 6.2 or newer: optional, as the second witness of the gateways' life.
#[derive(Debug, Args)]
pub struct Redis {
    /// Redis, such as redis://redis:6379/0, or rediss:// for TLS; without it the gateways' Leases are the only witnesses
    /// of their life.
    #[arg(long, env = "BASTION_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// A file with the password for it, which is read at each connection.
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
    /// What users read whose sessions are ended.
    #[arg(long, default_value = "the bastion is being uninstalled")]
    pub reason: String,
}

/// Flags of `bastion self-test`.
#[derive(Debug, Args)]
pub struct SelfTest {
    /// The namespace of the bastion.
    #[arg(long, env = "BASTION_NAMESPACE", hide_env_values = true, default_value = "bastion-system")]
    pub namespace: String,
    /// Where the gateways are.
    #[arg(long, default_value = "bastion-gateway:22")]
    pub gateway: String,
    /// The address at which the gateways reach this program, which is the target.
    #[arg(long, env = "POD_IP", hide_env_values = true)]
    pub address: String,
}

/// Flags of `bastion migrate`.
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    pub audit: Audit,
}

/// The audit database.
#[derive(Debug, Args)]
pub struct Audit {
    /// The audit database: mysql://USER@HOST:PORT/DATABASE for MySQL or MariaDB, or sqlite:// and the path of a file.
    #[arg(
        long,
        env = "BASTION_AUDIT_URL",
        hide_env_values = true,
        default_value = "sqlite:///var/lib/bastion/audit.db"
    )]
    pub audit_url: String,
    /// A file with the password for it, which is read at each use, so that it can be changed without a restart.
    #[arg(long, env = "BASTION_AUDIT_PASSWORD_FILE", hide_env_values = true)]
    pub audit_password_file: Option<PathBuf>,
    /// Whether to speak TLS with the server, and verify who signed its certificate and that it is made out to the host.
    #[arg(long, env = "BASTION_AUDIT_TLS", hide_env_values = true, value_enum, default_value = "verify")]
    pub audit_tls: AuditTls,
    /// A file with the certificates, in PEM, of the authorities that may have signed the server's, besides those of the
    /// public web; it is read at each connection.
    #[arg(long, env = "BASTION_AUDIT_CA_FILE", hide_env_values = true)]
    pub audit_ca_file: Option<PathBuf>,
}

impl From<Audit> for AuditSettings {
    fn from(flags: Audit) -> Self {
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
            namespace: flags.place.namespace,
            pod: flags.place.pod_name,
            pod_uid: flags.pod_uid,
            listen: flags.listen,
            http_listen: flags.place.http_listen,
            web: flags.web.into(),
            observe: flags.follow.into(),
            grace_period: flags.grace_period,
            max_sessions: flags.max_sessions,
            max_startups_per_address: flags.max_startups_per_address.into(),
            proxy_protocol_from: flags.proxy_protocol_from,
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
            audit: (!flags.no_history).then(|| flags.audit.into()),
            cookie_key_file: flags.cookie_key_file,
            oidc: flags.oidc.into(),
            redis: flags.redis.into(),
            recording_url: flags.recording_url,
            gateway_token_file: flags.gateway_token_file,
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
            namespace: flags.place.namespace,
            pod: flags.place.pod_name,
            audit: flags.audit.into(),
            retention: flags.retention,
            max_finished: flags.max_finished,
            redis: flags.redis.into(),
            http_listen: flags.place.http_listen,
        }
    }
}

/// A number of seconds, minutes or hours.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "write a duration such as 90s, 10m or 1h".to_owned())?;
    Duration::try_from(span).map_err(|_| "a duration cannot be negative".to_owned())
}

/// An address, or a network of them.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.ok_or_else(|| "write an address such as 10.0.0.1, or a network such as 10.0.0.0/24".to_owned())
}

/// The URL of a site.
fn web_url(text: &str) -> Result<Url, String> {
    let url = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.path() == "/");
    url.ok_or_else(|| "write a URL without a path, such as https://bastion.example.com".to_owned())
}

fn issuer(text: &str) -> Result<IssuerUrl, String> {
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    let url = IssuerUrl::new(text.to_owned()).ok().filter(|_| is_web);
    url.ok_or_else(|| "write the provider's URL as it names itself, such as https://id.example.com".to_owned())
}

/// Keys that are exchanged all the time leave none for data.
fn rekey_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_secs(1) { Err("keys are in use for 1s at least".to_owned()) } else { Ok(time) }
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
    fn networks_are_addresses_with_and_without_a_mask() {
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network("fd00::/64").unwrap().to_string(), "fd00::/64");
        assert!(network("balancer").is_err());
    }

    #[test]
    fn a_site_has_no_path() {
        assert!(web_url("https://bastion.example.com").is_ok() && web_url("http://127.0.0.1:8081/").is_ok());
        for wrong in ["bastion.example.com", "ftp://x", "https://x/y"] {
            assert!(web_url(wrong).is_err(), "{wrong}");
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
