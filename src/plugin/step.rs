//! What was looked at, how it is, and what to do about it.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::output;
use super::output::{Format, Tone, cell};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// On its way; it takes no longer than it may.
    Waiting,
    /// Not as it should be.
    Stuck,
    /// It cannot be seen.
    Unknown,
}

impl State {
    const fn shown(self) -> (&'static str, Tone) {
        match self {
            Self::Ok => ("ok", Tone::Good),
            Self::Waiting => ("waiting", Tone::Doubtful),
            Self::Stuck => ("STUCK", Tone::Bad),
            Self::Unknown => ("unknown", Tone::Doubtful),
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What.
    pub part: &'static str,
    /// How it is.
    pub state: State,
    /// In words.
    pub says: String,
    /// What to do about it.
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

/// Something of the cluster, as far as it can be seen.
#[derive(Clone, Debug)]
pub enum Known<T> {
    /// It is there.
    Is(T),
    /// It is not there.
    IsNot,
    /// It cannot be seen, and why.
    Hidden(String),
}

/// The steps as a table with what to do below it, or as an object.
pub fn text(steps: &[Step], format: Option<Format>) -> anyhow::Result<String> {
    match format {
        Some(format @ (Format::Json | Format::Yaml)) => {
            let ok = steps.iter().all(|step| step.state == State::Ok);
            output::written(&json!({"ok": ok, "steps": steps}), format)
        }
        Some(Format::Name) => {
            let bad = steps.iter().filter(|step| step.state != State::Ok);
            Ok(output::lines(bad.map(|step| step.part.to_string())))
        }
        None | Some(Format::Wide) => {
            let row = |step: &Step| {
                let (word, tone) = step.state.shown();
                vec![cell(step.part, Tone::Plain), cell(word, tone), cell(&step.says, Tone::Plain)]
            };
            let table = output::table(Some(&["PART", "STATE", "WHAT"]), steps.iter().map(row).collect());
            let advice = steps.iter().filter_map(|step| Some(format!("\n{}: {}\n", step.part, step.advice.as_ref()?)));
            Ok(table + &advice.collect::<String>())
        }
    }
}

/// Fails when one of them is in a state that counts.
pub fn exit_code(steps: &[Step], counts: impl Fn(State) -> bool) -> ExitCode {
    if steps.iter().any(|step| counts(step.state)) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_stands_below_the_table() {
        let steps = [
            Step::ok("Session", "Active"),
            Step::stuck("Lease", "not renewed for 43s", "see whether a controller runs"),
        ];
        let text = text(&steps, None).unwrap();
        let expected = "PART      STATE   WHAT\nSession   ok      Active\nLease     STUCK   not renewed for 43s\n\nLease: see whether a controller runs\n";
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), expected);
    }

    #[test]
    fn programs_read_states() {
        let steps = [Step::ok("Session", "Active"), Step::unknown("Lease", "you may not")];
        let value: serde_json::Value = serde_json::from_str(&text(&steps, Some(Format::Json)).unwrap()).unwrap();
        assert_eq!(value["ok"], false);
        assert_eq!(value["steps"][1], json!({"part": "Lease", "state": "unknown", "says": "you may not"}));
        assert_eq!(super::text(&steps, Some(Format::Name)).unwrap(), "Lease\n");
    }
}
