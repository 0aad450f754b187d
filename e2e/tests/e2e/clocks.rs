//! Clocks that are set forward or back while the programs run.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bastion_operator::api::{Phase, Reason};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::ListParams;

use bastion_e2e::run::{Run, unique};
use bastion_e2e::{
    Bastion, Controller, LOST_GATEWAY, Namespace, Open, Setting, default_timeout, eventually, throughout,
};

/// By this many minutes clocks are off. (The API server's certificate is good from an hour before it was made.)
const MINUTES: i64 = 50;

/// The time of day of programs that run under libfaketime. Their monotonic clock is the kernel's.
struct Clock(PathBuf);

impl Clock {
    async fn new() -> Self {
        let clock = Self(Run::get().await.dir.join(format!("clock-{}", unique())));
        clock.set(0);
        clock
    }

    /// Sets the clock this many minutes off.
    fn set(&self, minutes: i64) {
        let next = self.0.with_added_extension("next");
        fs::write(&next, format!("{minutes:+}m\n")).expect("a file");
        fs::rename(next, &self.0).expect("a file");
    }

    fn env(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", libfaketime().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.0.clone().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

fn libfaketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let paths = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    paths.into_iter().find(|path| path.exists()).expect("the Debian package libfaketime: hack/prepare installs it")
}

/// Returns the clock offsets of the programs that renew the Leases whose names contain `program`.
async fn offsets(namespace: &Namespace, program: &str) -> Vec<SignedDuration> {
    let leases = namespace.api::<Lease>().list(&ListParams::default()).await.expect("Leases can be listed");
    let of_it = leases.into_iter().filter(|lease| lease.name_any().starts_with(program));
    let renewed = of_it.filter_map(|lease| lease.spec?.renew_time);
    renewed.map(|time| time.0.duration_since(Timestamp::now())).collect()
}

/// Waits until both programs have the clock that was set.
async fn jumped(bastion: &Bastion, minutes: i64) {
    let expected = SignedDuration::from_mins(minutes);
    for program in ["gateway-0", "controller-0"] {
        eventually(default_timeout(), &format!("the clock of {program} is off by {minutes} minutes"), async || {
            let offsets = offsets(&bastion.namespace, program).await;
            let near = |it: &SignedDuration| (*it - expected).abs() < SignedDuration::from_mins(1);
            if offsets.iter().any(near) { Ok(()) } else { Err(format!("{offsets:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_clock_that_jumps_ends_no_session_and_turns_no_time_around() {
    let clock = Clock::new().await;
    let setting = Setting { env: clock.env(), ..Setting::default() };
    let bastion = Bastion::in_setting(&setting, async |namespace, _| {
        for user in ["ahead", "behind"] {
            namespace.user(user).await;
        }
    })
    .await;
    let _controller = Controller::start_in(&bastion.namespace, "controller-0", &setting).await;
    let begun = Instant::now();
    let (mut alice, behind) = tokio::join!(bastion.open("alice"), bastion.open("behind"));
    let unharmed = async |minutes| {
        clock.set(minutes);
        jumped(&bastion, minutes).await;
        throughout(Duration::from_secs(25), async || {
            assert_eq!(bastion.watch.phase(&alice.session), Phase::Active, "at {minutes} minutes");
        })
        .await;
    };
    unharmed(MINUTES).await;
    let ahead = bastion.open("ahead").await;
    unharmed(-MINUTES).await;
    alice.still_answers().await;
    for Open { mut ssh, session } in [ahead, behind] {
        ssh.say("exit").await;
        let end = bastion.watch.ended(&session, Reason::UserExit).await;
        let end = end.session.status.and_then(|status| status.end_time).expect("an endTime").0;
        let lasted = Duration::try_from(end.duration_since(session.spec.start_time.0)).expect("no time turned around");
        assert!(lasted <= begun.elapsed(), "{} lasted {lasted:?}", session.spec.user.name);
    }
    // Its last sign of life is by a clock that stands before its start.
    bastion.gateway.process.signal(nix::sys::signal::Signal::SIGKILL);
    bastion.watch.ended_within(LOST_GATEWAY, &alice.session, Reason::GatewayLost).await;
}
