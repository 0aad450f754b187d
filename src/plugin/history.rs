//! `kubectl bastion history`: shows the sessions of the audit database, through the console's API.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context, bail, ensure};
use axum::http::Request;
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use kube::config::AuthInfo;
use kube::{Client, Config};
use url::{Host, Url};

use super::cli::{History, Output};
use super::cluster_client::{RESPONSE_TIMEOUT, config};
use super::output;
use crate::cluster;
use crate::console::{Problem, Session, SessionPage, csv};

/// The most sessions of one request.
const PAGE_SIZE: usize = 500;

/// Prints the sessions.
pub async fn run(flags: History) -> anyhow::Result<()> {
    let client = cluster::client(console_config(&flags).await?, RESPONSE_TIMEOUT)?;
    let now = Timestamp::now();
    let mut printer = Printer::new(flags.output);
    let mut after = None;
    let mut left = flags.limit;
    loop {
        let size = left.min(PAGE_SIZE);
        let page = fetch_page(&client, &query(&flags, now, size, after.as_deref())?).await?;
        left -= page.sessions.len().min(left);
        printer.add(page.sessions);
        after = page.next;
        if after.is_none() || left == 0 {
            break;
        }
    }
    match std::io::stdout().write_all(printer.finish()?.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
        written => written.context("standard output")?,
    }
    if after.is_some() {
        output::warn("there are more; --limit shows them, or --until an earlier time");
    }
    Ok(())
}

/// Returns the configuration of a client for the console. Of the kubeconfig it uses only the token, because the CA certificates
/// and the proxy in the kubeconfig are for the API server.
async fn console_config(flags: &History) -> anyhow::Result<Config> {
    let namespace = &flags.cluster.namespace;
    let base = flags.console.as_ref().with_context(|| {
        format!(
            "say where the console is: --console URL or BASTION_CONSOLE; kubectl -n {namespace} port-forward \
             svc/bastion-console 8081 in another terminal makes it http://127.0.0.1:8081"
        )
    })?;
    check_console_url(base)?;
    let cluster = config(&flags.cluster).await?;
    let mut config = Config::new(base.as_str().parse().context("--console")?);
    config.root_cert = match &flags.console_ca {
        Some(file) => Some(read_ca_certificates(file).with_context(|| format!("--console-ca {}", file.display()))?),
        None => None,
    };
    (config.connect_timeout, config.read_timeout) = (cluster.connect_timeout, cluster.read_timeout);
    config.auth_info = token_credentials(cluster.auth_info)?;
    Ok(config)
}

/// Returns the credentials of the kubeconfig that the console accepts: a token, or a plugin that gets one.
fn token_credentials(person: AuthInfo) -> anyhow::Result<AuthInfo> {
    ensure!(
        person.impersonate.is_none(),
        "your kubeconfig has you act as {:?}, but the console has no impersonation; use a context without `as`",
        person.impersonate.unwrap_or_default()
    );
    let AuthInfo { token, token_file, auth_provider, exec, .. } = person;
    ensure!(
        token.is_some() || token_file.is_some() || auth_provider.is_some() || exec.is_some(),
        "your kubeconfig has no token, and the console accepts only tokens; use a context with one, such as one that \
         `kubectl create token` made"
    );
    Ok(AuthInfo { token, token_file, auth_provider, exec, ..AuthInfo::default() })
}

/// Checks that the URL keeps the user's cluster token secret: https, or http to this machine.
fn check_console_url(url: &Url) -> anyhow::Result<()> {
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let safe = url.scheme() == "https" || (url.scheme() == "http" && here);
    ensure!(
        safe,
        "--console: write https://HOST; http:// is allowed only for this machine, since your token is sent there"
    );
    Ok(())
}

fn read_ca_certificates(file: &std::path::Path) -> anyhow::Result<Vec<Vec<u8>>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)?.collect();
    let found: Vec<Vec<u8>> = found?.into_iter().map(|certificate| certificate.to_vec()).collect();
    ensure!(!found.is_empty(), "the file has no certificate");
    Ok(found)
}

/// Returns the path and query of one page.
fn query(flags: &History, now: Timestamp, size: usize, after: Option<&str>) -> anyhow::Result<String> {
    let since = flags.since.as_deref().map(|text| parse_time(text, now)).transpose().context("--since")?;
    let until = flags.until.as_deref().map(|text| parse_time(text, now)).transpose().context("--until")?;
    let mut query = url::form_urlencoded::Serializer::new("/api/v1/history?".to_owned());
    let given = [
        ("user", flags.user.clone()),
        ("target", flags.target.clone()),
        ("login", flags.login.clone()),
        ("status", flags.status.clone()),
        ("reason", flags.reason.clone()),
        ("client_address", flags.client.clone()),
        ("since", since),
        ("until", until),
        ("after", after.map(str::to_owned)),
        ("limit", Some(size.to_string())),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    Ok(query.finish().replacen("?&", "?", 1))
}

/// Parses a time, a day (UTC), or a time span before now. Returns an RFC 3339 time.
fn parse_time(text: &str, now: Timestamp) -> anyhow::Result<String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.to_string());
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        return Ok(day.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp().to_string());
    }
    let span = match text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok()) {
        Some(days) => SignedDuration::from_secs(days.checked_mul(24 * 60 * 60).context("too long ago")?),
        None => text
            .parse()
            .ok()
            .context("write a time such as 2026-01-31T12:00:00Z or 2026-01-31 (UTC), or 7d, 12h or 30m ago")?,
    };
    Ok(now.checked_sub(span)?.to_string())
}

async fn fetch_page(client: &Client, path: &str) -> anyhow::Result<SessionPage> {
    let request = Request::get(path).body(Body::empty())?;
    let answer = client.send(request).await.context("the console does not answer; see --console")?;
    let status = answer.status();
    let body = answer.into_body().collect_bytes().await.context("the console's response was interrupted")?;
    if status.is_success() {
        return serde_json::from_slice(&body).context("the server at --console is not a console of this version");
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(Problem { error }) => bail!("{error}"),
        Err(_) => bail!("the server at --console is not a console: {status}"),
    }
}

/// Formats sessions: CSV page by page, JSON and a table after the last session. A table needs all sessions for the widths of
/// its columns.
struct Printer {
    output: Output,
    sessions: Vec<Session>,
    text: String,
}

const COLUMNS: [&str; 9] = ["START", "USER", "TARGET", "LOGIN", "CLIENT", "STATUS", "REASON", "DURATION", "NAME"];

impl Printer {
    fn new(output: Output) -> Self {
        let text = if output == Output::Csv { csv::header() } else { String::new() };
        Self { output, sessions: Vec::new(), text }
    }

    fn add(&mut self, sessions: Vec<Session>) {
        match self.output {
            Output::Csv => {
                for session in &sessions {
                    self.text.push_str(&csv::line(session));
                }
            }
            Output::Json | Output::Table => self.sessions.extend(sessions),
        }
    }

    fn finish(self) -> anyhow::Result<String> {
        match self.output {
            Output::Csv => Ok(self.text),
            Output::Json => output::json(&self.sessions),
            Output::Table => table(&self.sessions),
        }
    }
}

fn table(sessions: &[Session]) -> anyhow::Result<String> {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(sessions.iter().map(|session| {
        let duration = session.duration_seconds.map(Span);
        [
            session.start_time.split('.').next().unwrap_or_default().trim_end_matches('Z').to_owned() + "Z",
            session.user.clone(),
            session.target.clone(),
            session.login.clone(),
            session.client_address.clone(),
            session.status.clone(),
            session.reason.clone().unwrap_or_default(),
            duration.map(|span| span.to_string()).unwrap_or_default(),
            session.name.clone(),
        ]
    }));
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (value, width) in row.iter().zip(&widths) {
            write!(line, "{value:width$}   ")?;
        }
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(text)
}

/// A number of seconds, for people.
struct Span(f64);

impl std::fmt::Display for Span {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let span = SignedDuration::try_from_secs_f64(self.0).unwrap_or_default();
        let (hours, minutes, seconds) = (span.as_hours(), span.as_mins() % 60, span.as_secs() % 60);
        match (hours, minutes) {
            (0, 0) => write!(formatter, "{seconds}s"),
            (0, _) => write!(formatter, "{minutes}m{seconds}s"),
            _ => write!(formatter, "{hours}h{minutes}m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;
    use crate::audit::SessionRecord;
    use crate::audit::samples::ended;
    use crate::plugin::cli::{Cli, Command};

    fn flags(line: &[&str]) -> History {
        let line = [["kubectl-bastion", "history"].as_slice(), line].concat();
        let Command::History(flags) = Cli::try_parse_from(line).unwrap().command else { panic!("not history") };
        flags
    }

    #[test]
    fn flags_become_a_query() {
        let now = "2026-01-08T00:00:00Z".parse().unwrap();
        let flags = flags(&["--user", "alice", "--since", "7d", "--until", "2026-01-07", "--client", "2001:db8::1"]);
        let path = query(&flags, now, 100, Some("5.u")).unwrap();
        assert_eq!(
            path,
            "/api/v1/history?user=alice&client_address=2001%3Adb8%3A%3A1&since=2026-01-01T00%3A00%3A00Z&\
             until=2026-01-07T00%3A00%3A00Z&after=5.u&limit=100"
        );
    }

    #[rstest]
    #[case("90m", Some("2026-01-07T22:30:00Z"))]
    #[case("12h", Some("2026-01-07T12:00:00Z"))]
    #[case("2026-01-01T00:00:00+01:00", Some("2025-12-31T23:00:00Z"))]
    #[case("yesterday", None)]
    #[case("9999999999999999d", None)]
    fn a_time_is_absolute_or_relative_to_now(#[case] text: &str, #[case] expected: Option<&str>) {
        let now = "2026-01-08T00:00:00Z".parse().unwrap();
        assert_eq!(parse_time(text, now).ok().as_deref(), expected);
    }

    #[rstest]
    #[case("https://console.example", true)]
    #[case("http://127.0.0.1:8443", true)]
    #[case("http://localhost:8443", true)]
    #[case("http://[::1]:8443", true)]
    #[case("http://console.example", false)]
    #[case("http://localhost.example", false)]
    fn a_token_is_never_sent_in_the_clear(#[case] url: &str, #[case] safe: bool) {
        assert_eq!(check_console_url(&url.parse().unwrap()).is_ok(), safe);
    }

    fn person(auth_info: serde_json::Value) -> anyhow::Result<AuthInfo> {
        token_credentials(serde_json::from_value(auth_info).unwrap())
    }

    #[test]
    fn the_console_gets_only_the_token() {
        let credentials =
            person(serde_json::json!({"token": "t", "client-certificate": "c", "username": "u", "password": "p"}));
        let credentials = credentials.unwrap();
        assert!(
            credentials.token.is_some() && credentials.client_certificate.is_none() && credentials.password.is_none()
        );
        let words = person(serde_json::json!({"client-certificate": "c"})).unwrap_err().to_string();
        assert!(words.contains("has no token"), "{words}");
        let words = person(serde_json::json!({"token": "t", "as": "bob"})).unwrap_err().to_string();
        assert!(words.contains("act as \"bob\""), "{words}");
    }

    fn printed(output: Output) -> String {
        let mut printer = Printer::new(output);
        printer.add(vec![SessionRecord::of(&ended("a")).into()]);
        printer.finish().unwrap()
    }

    #[test]
    fn a_table_is_aligned() {
        let text = printed(Output::Table);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "2026-01-02T03:04:05Z   alice   web-1    root    192.0.2.7   closed   UserExit   1h0m       alice-web-1-a"
        );
        assert_eq!(lines[0].find("REASON"), lines[1].find("UserExit"));
    }

    #[test]
    fn json_and_csv_have_everything() {
        let json: Vec<Session> = serde_json::from_str(&printed(Output::Json)).unwrap();
        assert_eq!(json[0].exit_code, Some(3));
        let csv = printed(Output::Csv);
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, csv::header().trim_end()));
    }
}
