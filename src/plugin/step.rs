//! The result of a check: a list of steps with their state and advice.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::output::{self, Format, Tone, cell};
use crate::text::printable;

/// The state of a checked part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There is no problem.
    Ok,
    /// A change is pending, within its time.
    Waiting,
    /// There is a problem.
    Stuck,
    /// The part cannot be read.
    Unknown,
}

impl State {
    const fn label(self) -> (&'static str, Tone) {
        match self {
            Self::Ok => ("ok", Tone::Good),
            Self::Waiting => ("waiting", Tone::Warning),
            Self::Stuck => ("STUCK", Tone::Bad),
            Self::Unknown => ("unknown", Tone::Warning),
        }
    }
}

/// The check of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The name of the part.
    pub part: &'static str,
    /// The state of the part.
    pub state: State,
    /// The state in words.
    pub says: String,
    /// The remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Step {
    pub fn ok(part: &'static str, says: impl Into<String>) -> Self {
        Self { part, state: State::Ok, says: says.into(), advice: None }
    }

    pub fn waiting(part: &'static str, says: impl Into<String>) -> Self {
        Self { part, state: State::Waiting, says: says.into(), advice: None }
    }

    pub fn stuck(part: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { part, state: State::Stuck, says: says.into(), advice: Some(advice.into()) }
    }

    pub fn unknown(part: &'static str, why: impl Into<String>) -> Self {
        Self { part, state: State::Unknown, says: why.into(), advice: None }
    }
}

/// The result of reading an object.
#[derive(Clone, Debug)]
pub enum Lookup<T> {
    /// The object exists.
    Found(T),
    /// The object does not exist.
    Absent,
    /// The object cannot be read. The text says why.
    Unknown(String),
}

/// Formats steps: a table with the advice below it, JSON, YAML, or the names of the parts with a problem.
pub fn text(steps: &[Step], format: Option<Format>) -> anyhow::Result<String> {
    match format {
        Some(format @ (Format::Json | Format::Yaml)) => {
            let ok = steps.iter().all(|step| step.state == State::Ok);
            output::serialize_as(&json!({"ok": ok, "steps": steps}), format)
        }
        Some(Format::Name) => {
            let bad = steps.iter().filter(|step| step.state != State::Ok);
            Ok(output::lines(bad.map(|step| step.part.to_string())))
        }
        None | Some(Format::Wide) => {
            let row = |step: &Step| {
                let (word, tone) = step.state.label();
                vec![cell(step.part, Tone::Plain), cell(word, tone), cell(&step.says, Tone::Plain)]
            };
            let table = output::table(Some(&["PART", "STATE", "WHAT"]), steps.iter().map(row).collect());
            // Advice may name objects, such as the Pod in a Lease that others can write.
            let advice = steps
                .iter()
                .filter_map(|step| Some(format!("\n{}: {}\n", step.part, printable(step.advice.as_ref()?))));
            Ok(table + &advice.collect::<String>())
        }
    }
}

/// Returns exit code 1 if a step has a state for which `counts` returns true.
pub fn exit_code(steps: &[Step], counts: impl Fn(State) -> bool) -> ExitCode {
    if steps.iter().any(|step| counts(step.state)) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_below_the_table() {
        let steps = [
            Step::ok("Session", "Active"),
            Step::stuck("Lease", "not renewed for 43s", "see whether a controller runs"),
        ];
        let text = text(&steps, None).unwrap();
        let expected = "PART      STATE   WHAT\nSession   ok      Active\nLease     STUCK   not renewed for 43s\n\nLease: see whether a controller runs\n";
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), expected);
    }

    #[test]
    fn json_has_the_states() {
        let steps = [Step::ok("Session", "Active"), Step::unknown("Lease", "you may not")];
        let value: serde_json::Value = serde_json::from_str(&text(&steps, Some(Format::Json)).unwrap()).unwrap();
        assert_eq!(value["ok"], false);
        assert_eq!(value["steps"][1], json!({"part": "Lease", "state": "unknown", "says": "you may not"}));
        assert_eq!(super::text(&steps, Some(Format::Name)).unwrap(), "Lease\n");
    }
}
