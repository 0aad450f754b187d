//! `kubectl bastion sessions`: lists the open sessions, or with `--all` also those that have ended.

use std::process::ExitCode;

use comfy_table::Cell;
use jiff::Timestamp;
use kube::ResourceExt;

use super::cli::Sessions;
use super::output::{Format, Tone, age, cell};
use super::{client, output, select};
use crate::api::{BastionSession, Phase, RecordingState};

/// Prints the sessions.
pub async fn run(flags: Sessions) -> anyhow::Result<ExitCode> {
    let client = client(&flags.cluster).await?;
    let namespace = (!flags.all_namespaces).then_some(flags.cluster.namespace.as_str());
    let phase = (!flags.all).then(|| flags.phase.into());
    let sessions = select::find(&client, namespace, &flags.filter, phase).await?;
    if sessions.is_empty() && matches!(flags.output, None | Some(Format::Wide)) {
        let which = phase.map_or_else(String::new, |phase| format!("{phase} "));
        let place = namespace.map_or_else(String::new, |name| format!(" in namespace {name}"));
        output::warn(&format!("there are no {which}sessions{place}"));
        return Ok(ExitCode::SUCCESS);
    }
    let options = TableOptions { namespaces: flags.all_namespaces, header: !flags.no_headers, now: Timestamp::now() };
    output::print(&text(&sessions, flags.output, &options)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The options of a table of sessions.
pub struct TableOptions {
    /// Whether the table has a column for the namespace.
    pub namespaces: bool,
    /// Whether the table has a header line.
    pub header: bool,
    /// The time that ages are relative to.
    pub now: Timestamp,
}

/// Formats sessions; `None` is a table.
pub fn text(sessions: &[BastionSession], format: Option<Format>, options: &TableOptions) -> anyhow::Result<String> {
    match format {
        None => Ok(table(sessions, false, options)),
        Some(Format::Wide) => Ok(table(sessions, true, options)),
        Some(Format::Name) => Ok(output::lines(sessions.iter().map(full_name))),
        Some(format) => output::serialize_as(&output::list(sessions)?, format),
    }
}

/// Returns the name as `kubectl get -o name` prints it.
pub fn full_name(session: &BastionSession) -> String {
    format!("bastionsession.bastion.dev/{}", session.name_any())
}

fn table(sessions: &[BastionSession], wide: bool, options: &TableOptions) -> String {
    let mut header = if options.namespaces { vec!["NAMESPACE"] } else { Vec::new() };
    header.extend(["NAME", "USER", "TARGET", "LOGIN", "CLIENT", "PHASE", "REASON", "AGE"]);
    if wide {
        header.extend(["GATEWAY", "ENDED", "DURATION", "RECORDING", "MESSAGE"]);
    }
    let rows = sessions.iter().map(|session| row(session, wide, options)).collect();
    output::table(options.header.then_some(&header), rows)
}

fn row(session: &BastionSession, wide: bool, options: &TableOptions) -> Vec<Cell> {
    let (spec, status) = (&session.spec, session.status.clone().unwrap_or_default());
    let start = spec.start_time.0;
    let ended = status.end_time.map(|time| time.0);
    let plain = |text: &str| cell(if text.is_empty() { "-" } else { text }, Tone::Plain);
    let mut row = if options.namespaces { vec![plain(&session.namespace().unwrap_or_default())] } else { Vec::new() };
    row.extend(
        [&session.name_any(), &spec.user.name, &spec.target, &spec.login, &spec.client.address].map(|it| plain(it)),
    );
    row.push(cell(session.phase(), tone(session.phase())));
    row.push(plain(status.reason.as_deref().unwrap_or_default()));
    row.push(plain(&age(start, options.now)));
    if wide {
        row.push(plain(&spec.gateway.name));
        row.push(plain(&ended.map(|ended| age(ended, options.now)).unwrap_or_default()));
        row.push(plain(&age(start, ended.unwrap_or(options.now))));
        row.push(plain(recording(session)));
        row.push(plain(status.message.as_deref().unwrap_or_default()));
    }
    row
}

/// Returns the colour of a phase.
pub const fn tone(phase: Phase) -> Tone {
    match phase {
        Phase::Active => Tone::Good,
        Phase::Closed => Tone::Plain,
        Phase::Timeout => Tone::Warning,
        Phase::Terminated => Tone::Bad,
    }
}

/// The state of the session's recordings, in a word.
fn recording(session: &BastionSession) -> &'static str {
    let result = session.status.as_ref().and_then(|status| status.recording.as_ref());
    match (&session.spec.recording, result.map(|result| result.state)) {
        (None, _) => "",
        (Some(_), Some(RecordingState::Complete)) => "Complete",
        (Some(_), Some(RecordingState::Failed)) => "Failed",
        (Some(_), Some(RecordingState::Unfinished)) => "Unfinished",
        (Some(_), None) if session.phase().is_final() => "None",
        (Some(_), None) => "Recording",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::plugin::samples::{active, at, ended};

    const NARROW: &str = "\
NAME   USER    TARGET   LOGIN   CLIENT      PHASE    REASON     AGE
a      alice   web-1    root    192.0.2.7   Active   -          5m
b      alice   web-1    root    192.0.2.7   Closed   UserExit   5m
";
    const WIDE: &str = "\
bastion-system   a   alice   web-1   root   192.0.2.7   Active   -          5m   gateway-0   -       5m    -   -
bastion-system   b   alice   web-1   root   192.0.2.7   Closed   UserExit   5m   gateway-0   3m30s   90s   -   the command ended with exit status 0
";
    const NAMES: &str = "bastionsession.bastion.dev/a\nbastionsession.bastion.dev/b\n";

    #[rstest]
    #[case(None, false, NARROW)]
    #[case(Some(Format::Wide), true, WIDE)]
    #[case(Some(Format::Name), false, NAMES)]
    fn sessions_are_shown(#[case] format: Option<Format>, #[case] everywhere: bool, #[case] expected: &str) {
        let options = TableOptions { namespaces: everywhere, header: !everywhere, now: at(300) };
        let text = text(&[active("a"), ended("b")], format, &options).unwrap();
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), expected);
    }

    #[rstest]
    #[case(Format::Json)]
    #[case(Format::Yaml)]
    fn json_and_yaml_have_whole_objects(#[case] format: Format) {
        let options = TableOptions { namespaces: false, header: true, now: at(300) };
        let text = text(&[active("a")], Some(format), &options).unwrap();
        let list: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(list["kind"], "List");
        assert_eq!(list["items"][0]["kind"], "BastionSession");
        assert_eq!(list["items"][0]["apiVersion"], "bastion.dev/v1alpha1");
        assert_eq!(list["items"][0]["spec"]["target"], "web-1");
    }
}
