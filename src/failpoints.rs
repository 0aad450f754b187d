//! Failpoints: named places where a test build can be made to fail, by the environment variable `FAILPOINTS`.
//!
//! Failpoints exist only with the feature `failpoints`. The tests' crate turns the feature on; releases are built without
//! it. For each point, `FAILPOINTS` takes an action of the crate `fail`: `panic` panics, `return(error)` makes the step
//! fail, `return(2000)` delays the step by 2000 ms without blocking its thread, and `1*panic->off` panics once. Each
//! background task and each named part of a background task is also a failpoint; there, `return(error)` ends the task.

/// The failure that a failpoint injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a failpoint made this step fail")]
pub struct InjectedError;

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("failpoints are for test builds; build what ships with `-p bastion-operator`");

#[cfg(feature = "failpoints")]
mod enabled {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::InjectedError;

    /// Reads `FAILPOINTS`. The failpoints are active until the result is dropped.
    pub fn from_environment() -> fail::FailScenario<'static> {
        fail::FailScenario::setup()
    }

    /// Takes the action that `FAILPOINTS` names for the point `name`, if it names one.
    ///
    /// # Errors
    /// The action is `return(error)`.
    pub async fn failpoint(name: &str) -> Result<(), InjectedError> {
        match fail::eval(name, |argument| argument.and_then(|it| it.parse().ok())) {
            None => Ok(()),
            Some(Some(milliseconds)) => {
                sleep(Duration::from_millis(milliseconds)).await;
                Ok(())
            }
            Some(None) => Err(InjectedError),
        }
    }

    /// Runs a task. If `FAILPOINTS` names the task, also takes its action once a second while the task runs.
    ///
    /// # Errors
    /// The action is `return(error)`; the task is dropped.
    pub async fn with_failpoint<T>(name: &str, task: impl Future<Output = T>) -> Result<T, InjectedError> {
        if !fail::list().iter().any(|(point, _)| point == name) {
            return Ok(task.await);
        }
        let failing = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                if let Err(error) = failpoint(name).await {
                    return error;
                }
            }
        };
        tokio::select! {
            output = task => Ok(output),
            error = failing => Err(error),
        }
    }
}

#[cfg(not(feature = "failpoints"))]
mod disabled {
    use std::future::{Ready, ready};

    use futures::FutureExt;

    use super::InjectedError;

    /// Does nothing.
    ///
    /// # Errors
    /// Never.
    pub fn failpoint(_: &str) -> Ready<Result<(), InjectedError>> {
        ready(Ok(()))
    }

    /// Runs a task.
    ///
    /// # Errors
    /// Never.
    pub fn with_failpoint<T>(_: &str, task: impl Future<Output = T>) -> impl Future<Output = Result<T, InjectedError>> {
        task.map(Ok)
    }
}

#[cfg(not(feature = "failpoints"))]
pub use disabled::{failpoint, with_failpoint};
#[cfg(feature = "failpoints")]
pub use enabled::{failpoint, from_environment, with_failpoint};
