//! The clock for liveness: it also counts the time during which the machine was suspended.
//!
//! [`Instant::now`] is `CLOCK_MONOTONIC` on Linux, which stands still while a machine or VM is suspended. The clocks of
//! other machines continue. A controller may then declare a gateway lost, while the gateway believes that it renewed its
//! Lease a moment ago. [`now`] is `CLOCK_BOOTTIME`, on which a suspension is a gap between two checks. The failure detector
//! and the gateway handle such a gap as a pause of the process.
//!
//! A hypervisor may also stop a VM in such a way that none of its clocks counts. A program in the VM cannot see that. The
//! compare-and-swap of the Lease then tells the gateway that it was declared lost.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// One moment on both clocks, from which all other moments are counted.
#[derive(Clone, Copy, Debug)]
struct Origin {
    monotonic: Instant,
    since_boot: Duration,
}

impl Origin {
    /// Returns the instant that is `since_boot` after the boot.
    fn at(self, since_boot: Duration) -> Instant {
        self.monotonic + since_boot.saturating_sub(self.since_boot)
    }
}

/// Returns the current time on a clock that also counts suspensions. Compare it only with instants from this function.
pub fn now() -> Instant {
    static ORIGIN: LazyLock<Option<Origin>> =
        LazyLock::new(|| Some(Origin { monotonic: Instant::now(), since_boot: since_boot()? }));
    match (*ORIGIN, since_boot()) {
        (Some(origin), Some(since_boot)) => origin.at(since_boot),
        // A kernel without this clock.
        (None, _) | (_, None) => Instant::now(),
    }
}

/// Returns the time since the boot, with suspensions; `None` if the kernel has no such clock.
fn since_boot() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_BOOTTIME).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{FailureDetector, Fence};

    #[test]
    fn a_suspension_counts() {
        // Before: 5 s after the boot, of which the machine was suspended for none. It is then suspended for 100 s.
        let origin = Origin { monotonic: Instant::now(), since_boot: Duration::from_secs(5) };
        let (before, after) = (origin.at(Duration::from_secs(6)), origin.at(Duration::from_secs(107)));
        assert_eq!(after - before, Duration::from_secs(101), "100 s of suspension and 1 s of work");
        assert_eq!(origin.at(Duration::from_secs(4)), origin.monotonic, "no instant precedes the origin");
    }

    #[test]
    fn after_a_suspension_nothing_old_counts() {
        let origin = Origin { monotonic: Instant::now(), since_boot: Duration::from_secs(5) };
        let at = |since_boot| origin.at(Duration::from_secs(since_boot));
        let (mut fence, mut detector) = (Fence::new(at(5)), FailureDetector::new(at(5)));
        detector.observe_own_heartbeat(at(6));
        assert!(!fence.is_cut_off(at(6)) && detector.trusts_its_watch(at(6)));
        // Suspended for 100 s, of which CLOCK_MONOTONIC counts none.
        detector.tick(at(107));
        assert!(!detector.trusts_its_watch(at(107)), "a controller declares nobody lost by what it saw before");
        assert!(!fence.is_cut_off(at(107)), "a gateway has its whole time to reach a witness again");
    }

    #[test]
    fn the_clock_advances_like_the_monotonic_one_on_a_machine_that_runs() {
        let (start, monotonic) = (now(), Instant::now());
        while monotonic.elapsed() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        assert!(now() - start >= Duration::from_millis(5));
        assert!(now() >= start);
    }
}
