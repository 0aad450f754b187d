//! Output as `kubectl` formats it: tables for people, JSON and YAML for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Cell, Color, Table, presets};
use jiff::Timestamp;
use kube::Resource;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::Unreadable;
use crate::text::{escape_json, is_invisible, printable};

/// An output format besides the default table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Only names, as kubectl accepts them.
    Name,
}

/// The meaning of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

/// Ends each text with a line break.
pub fn lines(texts: impl IntoIterator<Item = String>) -> String {
    texts.into_iter().flat_map(|text| [text, "\n".to_owned()]).collect()
}

/// Prints a line to standard error. The text is made printable, because it may be untrusted.
pub fn warn(text: &str) {
    eprintln!("bastion: {}", printable(text));
}

/// Prints a warning to standard error for each unreadable object, because the output does not contain the object.
pub fn warn_unreadable<K: Resource<DynamicType = ()>>(objects: &[Unreadable]) {
    for object in objects {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let (kind, name, error) = (K::kind(&()), object.name(), &object.error);
        warn(&format!("{kind} {name} in namespace {namespace} cannot be read and is left out: {error}"));
    }
}

/// Returns a cell of a table. The text is made printable, because it may be untrusted.
#[expect(clippy::needless_pass_by_value, reason = "callers pass texts and numbers")]
pub fn cell(text: impl ToString, tone: Tone) -> Cell {
    let cell = Cell::new(printable(&text.to_string()));
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::Green),
        Tone::Warning => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
    }
}

/// Returns a table as `kubectl` prints it: without rules, with three spaces between columns.
pub fn table(header: Option<&[&str]>, rows: Vec<Vec<Cell>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).enforce_styling().style_text_only();
    if let Some(header) = header {
        table.set_header(header.iter().map(|&name| cell(name, Tone::Plain)));
    }
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

/// Prints to standard output. Removes colours unless standard output is a terminal and `NO_COLOR` is not set.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Returns whether the failure is a broken pipe, as after `| head`.
pub fn is_broken_pipe(failure: &anyhow::Error) -> bool {
    failure.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Returns an object as JSON, without its `managedFields`.
pub fn object(object: &impl Serialize) -> anyhow::Result<Value> {
    let mut object = serde_json::to_value(object)?;
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    Ok(object)
}

/// Returns a List of objects as JSON, like `kubectl get -o json`.
pub fn list(items: &[impl Serialize]) -> anyhow::Result<Value> {
    let items: Result<Vec<_>, _> = items.iter().map(object).collect();
    Ok(json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items?}))
}

/// Serializes a value as YAML, or as JSON for every other format. The result has no character that controls a terminal. YAML
/// cannot escape such a character outside of quotes. A value that contains one is therefore written as JSON, which is also
/// valid YAML (YAML 1.2, section 1.3).
pub fn serialize_as(value: &impl Serialize, format: Format) -> anyhow::Result<String> {
    if format == Format::Yaml {
        let yaml = serde_saphyr::to_string(value)?;
        if !yaml.contains(|c| c != '\n' && is_invisible(c)) {
            return Ok(yaml);
        }
    }
    json(value)
}

/// Serializes a value as JSON in which characters that control a terminal are escaped.
pub fn json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(escape_json(&serde_json::to_string_pretty(value)?).into_owned() + "\n")
}

/// Formats the time between two times as `kubectl` prints ages.
pub fn age(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |large: i64, large_unit: char, small: i64, small_unit: char| match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(hours / 24, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{}d", hours / 24),
        63_072_000..252_288_000 => two(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        252_288_000.. => format!("{}y", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// The cases of k8s.io/apimachinery/pkg/util/duration, whose HumanDuration kubectl prints.
    #[rstest]
    #[case(-2, "<invalid>")]
    #[case(-1, "0s")]
    #[case(0, "0s")]
    #[case(119, "119s")]
    #[case(120, "2m")]
    #[case(150, "2m30s")]
    #[case(599, "9m59s")]
    #[case(600, "10m")]
    #[case(10_799, "179m")]
    #[case(10_800, "3h")]
    #[case(10_860, "3h1m")]
    #[case(28_800, "8h")]
    #[case(172_799, "47h")]
    #[case(172_800, "2d")]
    #[case(176_400, "2d1h")]
    #[case(691_200, "8d")]
    #[case(63_072_000, "2y")]
    #[case(63_158_400, "2y1d")]
    #[case(252_288_000, "8y")]
    fn ages_are_as_kubectl_prints_them(#[case] seconds: i64, #[case] expected: &str) {
        let at = |seconds| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        assert_eq!(age(at(0), at(seconds)), expected);
    }

    #[test]
    fn columns_are_aligned_and_nothing_can_break_out_of_them() {
        let row = |texts: [&str; 3]| texts.map(|text| cell(text, Tone::Plain)).to_vec();
        let rows = vec![row(["a", "long value", "x"]), row(["b\u{1b}[31m\nc", "界", ""])];
        let text = table(Some(&["NAME", "VALUE", "LAST"]), rows);
        assert_eq!(text, "NAME      VALUE        LAST\na         long value   x\nb[31m c   界\n");
    }

    #[rstest]
    #[case(Format::Json)]
    #[case(Format::Yaml)]
    fn no_format_controls_a_terminal_or_loses_text(#[case] format: Format) {
        let value = json!({"message": "bye \u{1b}[2J\u{9b}2J\u{7f}\u{202e}\u{fffe}"});
        let text = serialize_as(&value, format).unwrap();
        assert!(!text.contains(|c| c != '\n' && is_invisible(c)), "{text:?}");
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), value, "{text}");
    }

    #[test]
    fn a_colour_takes_no_room() {
        let rows = vec![
            vec![cell("a", Tone::Bad), cell("b", Tone::Plain)],
            vec![cell("c", Tone::Plain), cell("d", Tone::Plain)],
        ];
        let text = table(None, rows);
        assert!(text.contains("\u{1b}["), "{text:?}");
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "a   b\nc   d\n");
    }
}
