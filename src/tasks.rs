//! The background tasks of a program. If a task panics or ends too early, the whole program ends and Kubernetes restarts it.
//! The program never continues without one of its tasks.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::failpoints::with_failpoint;

/// The background tasks of one program. Clones share them.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    abort: CancellationToken,
    failure: Arc<watch::Sender<Option<TaskError>>>,
}

/// The failure of a background task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The task returned too early.
    #[error("the background task `{0}` has ended unexpectedly")]
    Ended(Cow<'static, str>),
    /// The task panicked with this message.
    #[error("the background task `{0}` has panicked: {1}")]
    Panicked(Cow<'static, str>, String),
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            tracker: TaskTracker::new(),
            abort: CancellationToken::new(),
            failure: Arc::new(watch::Sender::new(None)),
        }
    }
}

impl Tasks {
    /// Spawns a task that must not end before `until` is cancelled. Returns a handle that becomes ready when the task has
    /// ended, also after a failure.
    pub fn spawn(
        &self,
        name: impl Into<Cow<'static, str>>,
        until: &CancellationToken,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let until = until.clone();
        self.spawn_supervised(name.into(), move || until.is_cancelled(), task)
    }

    /// Spawns a task that must run until [`Self::shut_down`].
    pub fn spawn_endless(&self, name: impl Into<Cow<'static, str>>, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_supervised(name.into(), || false, task);
    }

    /// Spawns a task that ends once its work is done. Only a panic is a failure of such a task.
    pub fn spawn_finite(
        &self,
        name: impl Into<Cow<'static, str>>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        self.spawn_supervised(name.into(), || true, task)
    }

    fn spawn_supervised(
        &self,
        name: Cow<'static, str>,
        may_end: impl FnOnce() -> bool + Send + 'static,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let (failure, abort) = (self.failure.clone(), self.abort.clone());
        // Boxed, because each wrapper would hold a copy of a future that may be large.
        let task = Box::pin(task);
        self.tracker.spawn(async move {
            let task = abort.run_until_cancelled(with_failpoint(&name, task));
            let error = match AssertUnwindSafe(task).catch_unwind().await {
                // While the program shuts down, the end of one task may end another.
                Ok(Some(_)) if !may_end() && !abort.is_cancelled() => TaskError::Ended(name),
                Ok(_) => return,
                Err(panic) => TaskError::Panicked(name, panic_message(&*panic).to_owned()),
            };
            error!(%error, "a background task failed; the program ends");
            failure.send_modify(|first| _ = first.get_or_insert(error));
        })
    }

    /// Waits for the first failure. Returns at once if a task has failed before.
    pub async fn failed(&self) -> TaskError {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await.map(|first| first.clone()) {
            Ok(Some(error)) => error,
            // This object keeps the sender.
            _ => std::future::pending().await,
        }
    }

    /// Checks that no task has failed.
    ///
    /// # Errors
    /// The first failure of a task.
    pub fn check(&self) -> Result<(), TaskError> {
        self.failure.borrow().clone().map_or(Ok(()), Err)
    }

    /// Waits until all tasks have ended.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Waits until `stop` is cancelled and all tasks have ended. Returns earlier if a task fails.
    ///
    /// # Errors
    /// The first failure of a task.
    pub async fn run_until(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        tokio::select! {
            biased;
            failure = self.failed() => Err(failure),
            () = async { stop.cancelled().await; self.ended().await } => self.check(),
        }
    }

    /// Drops the tasks that still run, and waits until all have ended.
    pub async fn shut_down(&self) {
        self.abort.cancel();
        self.ended().await;
    }
}

/// Awaits a part of a background task. If the part panics, the message of the panic also names the part.
pub async fn named<T>(part: &'static str, future: impl Future<Output = T>) -> T {
    match AssertUnwindSafe(with_failpoint(part, Box::pin(future))).catch_unwind().await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => resume_unwind(Box::new(format!("{part}: {error}"))),
        Err(panic) => resume_unwind(Box::new(format!("{part}: {}", panic_message(&*panic)))),
    }
}

/// Returns ticks at intervals of `period`; the first tick comes at once. A late tick delays the ticks after it, so that ticks
/// never come in a burst.
pub fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Returns the message in the value of a panic.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    async fn no_failure(tasks: &Tasks) -> bool {
        tokio::task::yield_now().await;
        timeout(Duration::from_secs(1), tasks.failed()).await.is_err() && tasks.check().is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_too_early_is_a_failure_with_its_name() {
        let (tasks, until) = (Tasks::default(), CancellationToken::new());
        tasks.spawn("renewal", &until, std::future::pending());
        assert!(no_failure(&tasks).await);
        tasks.spawn("watch", &until, async {});
        let error = tasks.failed().await;
        assert_eq!(error.to_string(), "the background task `watch` has ended unexpectedly");
        assert_eq!(tasks.check(), Err(error));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_may_end_after_its_token_or_when_its_work_is_done() {
        let (tasks, until) = (Tasks::default(), CancellationToken::new());
        tasks.spawn_finite("once", async {});
        tasks.spawn("server", &until, until.clone().cancelled_owned());
        assert!(no_failure(&tasks).await);
        until.cancel();
        tasks.spawn_endless("reflector", std::future::pending());
        assert!(no_failure(&tasks).await);
        tasks.shut_down().await;
        assert_eq!(tasks.check(), Ok(()));
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_of_every_task_and_names_its_part() {
        type Spawn = fn(&Tasks, std::pin::Pin<Box<dyn Future<Output = ()> + Send>>);
        let ways: [Spawn; 3] = [
            |tasks, task| drop(tasks.spawn_finite("instance", task)),
            |tasks, task| tasks.spawn_endless("instance", task),
            |tasks, task| {
                let ended = CancellationToken::new();
                ended.cancel();
                tasks.spawn("instance", &ended, task);
            },
        ];
        for spawn in ways {
            let tasks = Tasks::default();
            spawn(&tasks, Box::pin(named("Lease renewal", async { panic!("at {}", "last") })));
            let expected = TaskError::Panicked("instance".into(), "Lease renewal: at last".to_owned());
            assert_eq!(tasks.failed().await, expected);
            spawn(&tasks, Box::pin(async { panic!("later") }));
            tasks.ended().await;
            assert_eq!(tasks.check(), Err(expected), "the first failure counts");
        }
    }

    #[tokio::test]
    async fn a_dropped_program_leaves_no_task_behind() {
        let tasks = Tasks::default();
        let (held, free) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn_endless("reflector", async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        tasks.shut_down().await;
        assert!(free.await.is_err());
    }
}
