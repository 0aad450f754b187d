//! The table, and the same as JSON.

use serde_json::{Value, json};

use crate::write_figures;

use super::environment::{DIRECT, OPENSSH, OURS};

/// What must be reached.
#[derive(Clone, Copy)]
pub enum Must {
    /// At least so many times OpenSSH's.
    AtLeast(f64),
    /// At most so many times OpenSSH's.
    AtMost(f64),
    /// At most so many times what it is directly.
    AtMostDirect(f64),
    /// At most this, whatever OpenSSH's is.
    OursAtMost(f64),
    /// Exceeds OpenSSH's by at most this much, in the figure's unit.
    AtMostOver(f64),
}

/// One line of the table.
pub struct Figure {
    name: String,
    unit: &'static str,
    values: [Option<f64>; 3],
    must: Must,
}

impl Figure {
    pub fn new(name: &str, unit: &'static str, values: [Option<f64>; 3], must: Must) -> Self {
        Self { name: name.to_owned(), unit, values, must }
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.values[OURS]? / self.values[OPENSSH]?)
    }

    fn reached(&self) -> Option<bool> {
        Some(match self.must {
            Must::AtLeast(bound) => self.ratio()? >= bound,
            Must::AtMost(bound) => self.ratio()? <= bound,
            Must::AtMostDirect(bound) => self.values[OURS]? <= self.values[DIRECT]? * bound,
            Must::OursAtMost(bound) => self.values[OURS]? <= bound,
            Must::AtMostOver(margin) => self.values[OURS]? <= self.values[OPENSSH]? + margin,
        })
    }

    fn must(&self) -> String {
        match self.must {
            Must::AtLeast(bound) => format!(">= {bound}x"),
            Must::AtMost(bound) => format!("<= {bound}x"),
            Must::AtMostDirect(bound) => format!("<= {bound}x dir"),
            Must::OursAtMost(bound) => format!("<= {bound} {}", self.unit),
            Must::AtMostOver(margin) => format!("<= +{margin} {}", self.unit),
        }
    }

    fn line(&self) -> String {
        let number = |value: Option<f64>| match value {
            Some(value) if value.abs() >= 1000.0 => format!("{value:.0}"),
            Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
            Some(value) => format!("{value:.2}"),
            None => "-".to_owned(),
        };
        let [ours, openssh, direct] = self.values.map(number);
        let ratio = self.ratio().map(|it| format!("{it:.2}x")).unwrap_or_default();
        let reached = self.reached().map(|it| if it { "yes" } else { "NO" }).unwrap_or_default();
        let (name, unit, must) = (&self.name, self.unit, self.must());
        format!("{name:58} {unit:>6} {ours:>9} {openssh:>9} {direct:>9} {ratio:>7} {must:>10} {reached:>8}")
    }

    fn json(&self) -> Value {
        json!({"figure": self.name, "unit": self.unit, "ours": self.values[OURS], "openssh": self.values[OPENSSH],
            "direct": self.values[DIRECT], "ratio": self.ratio(), "must": self.must(), "reached": self.reached()})
    }
}

/// Prints the table, and writes the JSON file.
pub fn print(figures: &[Figure]) {
    println!(
        "\n{:58} {:>6} {:>9} {:>9} {:>9} {:>7} {:>10} {:>8}",
        "figure (medians)", "unit", "ours", "OpenSSH", "direct", "ratio", "must", "reached"
    );
    for figure in figures {
        println!("{}", figure.line());
    }
    write_figures("speed", figures.iter().map(Figure::json).collect());
}
