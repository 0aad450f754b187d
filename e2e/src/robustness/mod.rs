//! The pure parts of `make robustness`: the schedule of faults and users that a seed draws, the history that a run records,
//! and the checker that proves the guarantee of the list of sessions over it.

pub mod checker;
pub mod conditions;
pub mod faults;
pub mod history;
pub mod report;
#[cfg(test)]
mod samples;
pub mod schedule;
pub mod spans;

pub use checker::{Kind, Violation, check};
pub use faults::{ApiFault, Fault, FaultRecord, Program};
pub use history::History;
pub use schedule::Schedule;
